if exists('b:current_syntax')
  finish
endif

syntax match BatchdLogEnd /^-- .*$/

let b:current_syntax = 'batchd-log'
