#compdef batchctl
# zsh completion for batchctl: batchctl itself says what fits
_batchctl() {
	local program=${(Q)words[1]} line value
	local -a answer others values shown
	(( $+commands[$program] )) || [[ -x $program ]] || program=batchctl
	answer=("${(@f)$($program completions zsh -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
	others=(${=answer[1]})
	for line in "${(@)answer[2,-1]}"; do
		value=${line%%$'\t'*}
		values+=("$value")
		[[ $line == *$'\t'* ]] && shown+=("${(r:24:)value} ${line#*$'\t'}") || shown+=("$value")
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
