# bash completion for batchctl: batchctl itself says what fits
_batchctl() {
	local program=$1 cur=${COMP_WORDS[COMP_CWORD]} words=() others='' line i at kept
	COMPREPLY=()
	type -P -- "$program" >/dev/null || program=batchctl
	# readline splits words at = and :, batchctl does not
	for ((i = 1; i <= COMP_CWORD; i++)); do
		if ((${#words[@]})) && [[ ${COMP_WORDS[i]} == [=:]* || ${COMP_WORDS[i-1]} == [=:] ]]; then
			words[${#words[@]}-1]+=${COMP_WORDS[i]}
		else
			words+=("${COMP_WORDS[i]}")
		fi
	done
	kept=${words[${#words[@]}-1]}
	[[ $cur == [=:] ]] && cur=
	kept=${kept%"$cur"}
	{
		read -r others at
		while IFS=$'\t' read -r line _; do
			printf -v line %q "${line#"$kept"}"
			COMPREPLY+=("$line")
		done
	} < <("$program" completions bash -- "${words[@]}" 2>/dev/null)
	compopt -o nosort 2>/dev/null
	case $others in
	:files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	:dirs) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	:command)
		if declare -F _command_offset >/dev/null; then
			_command_offset $((at + 1))
		elif ((at == COMP_CWORD - 1)); then
			mapfile -t COMPREPLY < <(compgen -c -- "$cur")
		else
			compopt -o filenames 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		fi ;;
	esac
	# what ends in = waits for its value
	((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
	return 0
}
complete -F _batchctl batchctl
