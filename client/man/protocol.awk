# proto/PROTOCOL.md as scdoc, for batchd-protocol(7): one text, two forms.

BEGIN {
	print "batchd-protocol(7)\n\n# NAME\n\nbatchd-protocol - the wire and the batches of batchd(8)\n\n# DESCRIPTION\n"
}

# Text with what scdoc would take for marks made plain; `code` and **strong** are bold.
function inline(s,    out, n, i, part) {
	n = split(s, part, "`")
	for (i = 1; i <= n; i++) {
		gsub(/\\\|/, "|", part[i])
		gsub(/\\/, "\\\\", part[i])
		if (i % 2) {
			gsub(/\*\*/, "\001", part[i])
			gsub(/\*/, "\\*", part[i])
			gsub(/\001/, "*", part[i])
		} else {
			gsub(/\*/, "\\*", part[i])
		}
		gsub(/_/, "\\_", part[i])
		if (i % 2)
			out = out part[i]
		else if (part[i] != "")
			out = out "*" part[i] "*"
	}
	return out
}

function row(line,    cell, n, i, first) {
	gsub(/\\\|/, "\002", line)
	sub(/^\| */, "", line)
	sub(/ *\|$/, "", line)
	n = split(line, cell, / *\| */)
	for (i = 1; i <= n; i++) {
		gsub(/\002/, "\\|", cell[i])
		first = i == 1 ? (in_table ? "|" : "[") : ":"
		printf "%s%s %s\n", first, in_table ? " " : "[", in_table ? inline(cell[i]) : "*" cell[i] "*"
	}
	in_table = 1
}

/^```/ { in_code = !in_code; print "```"; next }
in_code { print; next }
/^<!--/ || /^# / { next }
/^\|[-|]*\|$/ { next }
/^\|/ { row($0); next }
in_table { in_table = 0; if ($0 != "") print "" }
/^## / { print "# " toupper(substr($0, 4)); next }
/^###+ / { sub(/^#+ /, ""); gsub(/`/, ""); gsub(/_/, "\\_"); print "## " $0; next }
/^[0-9]+\. / { sub(/^[0-9]+\. /, ""); print ". " inline($0); next }
/^- / { print "- " inline(substr($0, 3)); next }
/^ +/ { sub(/^ +/, ""); print "  " inline($0); next }
{ line = inline($0); sub(/^[][|#.]/, "\\\\&", line); print line }

END { print "\n# SEE ALSO\n\n*batchctl*(1), *batchd*(8), *batchd-notation*(7)" }
