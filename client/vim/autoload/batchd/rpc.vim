" Calls to batchd through `batchctl rpc --framing=lsp`: JSON-RPC on the stdio of a job. Nothing here waits. The job keeps its
" subscriptions over a restart of batchd; it never starts one by itself.

let s:handlers = {} " type of event -> function(event)

function! batchd#rpc#on(type, Handler) abort
  let s:handlers[a:type] = a:Handler
endfunction

function! s:notified(channel, message) abort
  let event = get(a:message, 'params', {})
  if type(event) == v:t_dict && has_key(s:handlers, get(event, 'type', ''))
    call s:handlers[event.type](event)
  endif
endfunction

function! s:ended(job, status) abort
  if exists('s:job') && s:job is a:job
    unlet s:job
    call batchd#live#lost()
  endif
endfunction

function! s:open() abort
  if exists('s:job') && job_status(s:job) ==# 'run'
    return 1
  elseif !executable('batchctl')
    return 0
  endif
  let s:job = job_start(['batchctl', 'rpc', '--framing=lsp', '--no-start'], #{in_mode: 'lsp', out_mode: 'lsp', err_io: 'null',
        \ noblock: 1, out_cb: function('s:notified'), exit_cb: function('s:ended')})
  if job_status(s:job) !=# 'run'
    return 0
  endif
  call batchd#rpc#request('rpc.hello', #{client: 'vim', omit_nil: v:true}, {err, result -> 0})
  return 1
endfunction

function! s:answered(Callback, channel, message) abort
  if has_key(a:message, 'error')
    call a:Callback(a:message.error.message, {})
  else
    call a:Callback('', get(a:message, 'result', {}))
  endif
endfunction

function! batchd#rpc#request(method, params, Callback) abort
  if !s:open()
    call timer_start(0, {-> a:Callback('batchctl is not in PATH, or does not start', {})})
    return
  endif
  call ch_sendexpr(s:job, #{method: a:method, params: a:params}, #{callback: function('s:answered', [a:Callback])})
endfunction

function! batchd#rpc#connected() abort
  return exists('s:job') && job_status(s:job) ==# 'run'
endfunction

" Starts batchd where none is: Callback(error text or '')
function! batchd#rpc#start(Callback) abort
  if !executable('batchctl')
    return a:Callback('batchctl is not in PATH')
  endif
  let said = []
  call job_start(['batchctl', 'daemon', 'start'], #{out_io: 'null', err_cb: {_, line -> add(said, line)},
        \ exit_cb: {_, status -> a:Callback(status ? join(said) .. ' ' : '')}})
endfunction
