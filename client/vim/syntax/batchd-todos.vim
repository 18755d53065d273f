if exists('b:current_syntax')
  finish
endif

syntax match BatchdTodoDone     /^\s*\[[xX-]\].*$/ contains=BatchdTodoId
syntax match BatchdTodoActive   /^\s*\[\~\]/ nextgroup=BatchdTodoPriority skipwhite
syntax match BatchdTodoOpen     /^\s*\[ \?\]/ nextgroup=BatchdTodoPriority skipwhite
syntax match BatchdTodoPriority /!\(high\|medium\|low\)\>/ contained
syntax match BatchdTodoId       /\s\^[^ ^]\+$/

let b:current_syntax = 'batchd-todos'
