" What a configuration may call; `:help batchd`.

" For 'statusline': `2 runs, todos 3/7`, or nothing. Answered from memory; its first call has Vim follow batchd.
function! batchd#statusline() abort
  if !exists('s:asked')
    let s:asked = 1
    call timer_start(0, {-> batchd#live#begin()})
  endif
  return get(g:, 'batchd_status', '')
endfunction

" Any method of batchd (proto/PROTOCOL.md): Callback(error text or '', result)
function! batchd#request(method, params, Callback) abort
  call batchd#rpc#request(a:method, a:params, a:Callback)
endfunction

function! batchd#say(text) abort
  echohl WarningMsg
  echomsg 'batchd: ' .. a:text
  echohl None
endfunction
