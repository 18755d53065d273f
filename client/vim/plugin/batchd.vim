" Defines :Batch and the buffers; everything else is loaded when it is first used. Neovim has a plugin of its own.
if exists('g:loaded_batchd') || has('nvim') || v:version < 900 || !has('channel')
  finish
endif
let g:loaded_batchd = 1

command! -nargs=* -bang -range -complete=customlist,batchd#command#complete Batch
      \ call batchd#command#run(<q-args>, <bang>0, <range>, <line1>, <line2>, <q-mods>)

augroup batchd
  autocmd!
  autocmd BufReadCmd batchd://todos/* call batchd#todo#read(expand('<abuf>'))
  autocmd BufWriteCmd batchd://todos/* call batchd#todo#write(expand('<abuf>'))
  autocmd FocusGained,DirChanged * call batchd#live#again()
augroup END

highlight default link BatchdTodoOpen Normal
highlight default link BatchdTodoActive Statement
highlight default link BatchdTodoDone Comment
highlight default link BatchdTodoError ErrorMsg
highlight default link BatchdTodoPriority Special
highlight default link BatchdTodoId Identifier
highlight default link BatchdTodoRemark Comment

nnoremap <silent> <Plug>(batchd-todos) :<C-U>Batch todo<CR>
nnoremap <silent> <Plug>(batchd-log) :<C-U>Batch log<CR>
nnoremap <silent> <Plug>(batchd-errors) :<C-U>Batch errors<CR>
nnoremap <silent> <Plug>(batchd-submit) :<C-U>Batch submit<CR>
xnoremap <silent> <Plug>(batchd-submit) :Batch submit<CR>
