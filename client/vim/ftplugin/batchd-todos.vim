if exists('b:did_ftplugin')
  finish
endif
let b:did_ftplugin = 1

setlocal nowrap commentstring=
let b:undo_ftplugin = 'setlocal wrap< commentstring<'

if exists('g:batchd_no_maps')
  finish
endif
nnoremap <buffer> <silent> <CR> :<C-U>call batchd#todo#jump()<CR>
for [s:key, s:mark] in [['x', 'x'], ['s', '~'], ['o', ' '], ['c', '-']]
  execute printf("nnoremap <buffer> <silent> <LocalLeader>%s :<C-U>call batchd#todo#mark('%s', line('.'), line('.'))<CR>", s:key, s:mark)
  execute printf("xnoremap <buffer> <silent> <LocalLeader>%s :<C-U>call batchd#todo#mark('%s', line(\"'<\"), line(\"'>\"))<CR>", s:key, s:mark)
endfor
