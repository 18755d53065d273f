#compdef batchctl
# zsh completion for batchctl: batchctl itself says what fits
_batchctl() {
	local program=${(Q)words[1]} line value text
	integer wide
	local -a answer others values shown
	(( $+commands[$program] )) || [[ -x $program ]] || program=batchctl
	answer=("${(@f)$($program completions zsh -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
	others=(${=answer[1]})
	values=("${(@)${(@)answer[2,-1]}%%$'\t'*}")
	for value in $values; do
		(( wide = ${(m)#value} > wide ? ${(m)#value} : wide ))
	done
	for line in "${(@)answer[2,-1]}"; do
		value=${line%%$'\t'*} text=$value
		[[ $line == *$'\t'* ]] && text="${(mr:wide:)value}  ${line#*$'\t'}"
		(( ${(m)#text} < COLUMNS )) || text=${(mr:COLUMNS - 1:)text}	# one that wraps is hard to read
		shown+=("$text")
	done
	case $others[1] in
	:files) compset -P '*=' ; _files; return ;;
	:dirs) compset -P '*=' ; _files -/; return ;;
	:command) shift $((others[2] + 1)) words; (( CURRENT -= others[2] + 1 )); _normal; return ;;
	esac
	(( $#values )) || return 1
	compadd -l -V batchctl -d shown -a values
}
if [[ $funcstack[1] == _batchctl ]]; then
	_batchctl "$@"
else
	compdef _batchctl batchctl
fi
