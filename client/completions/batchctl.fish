# fish completion for batchctl: batchctl itself says what fits
function __batchctl_complete
	set -l words (commandline -opc)
	set -l word (commandline -ct)
	set -l program $words[1]
	command -q -- $program; or set program batchctl
	set -l answer (command $program completions fish -- $words[2..-1] $word 2>/dev/null)
	set -l others (string split ' ' -- $answer[1])
	switch "$others[1]"
		case :files
			__fish_complete_path $word
		case :dirs
			__fish_complete_directories $word ''
		case :command
			set -l from (math $others[2] + 2)
			set -l line
			if test $from -le (count $words)
				set line (string escape -- $words[$from..-1])
			end
			complete -C (string join ' ' -- $line $word)
	end
	for line in $answer[2..-1]
		echo $line
	end
end
complete -c batchctl -e
complete -c batchctl -k -f -a '(__batchctl_complete)'
