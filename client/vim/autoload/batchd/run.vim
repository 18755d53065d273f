" Runs: what is submitted and shown goes through batchctl, which reads batches and starts batchd where none is.

function! s:submitted(done, first, file, state) abort
  if a:state.left > 0
    return
  elseif a:state.status == 0
    let run = str2nr(get(a:state.out, 0, ''))
    call batchd#say('run ' .. run)
    call batchd#live#watch(run)
    call batchd#live#begin()
    return a:done(run)
  endif
  let faults = []
  for line in a:state.err
    let m = matchlist(line, '^batchctl submit: <stdin>:\(\d\+\):\(\d\+\): \(.*\)$')
    if !empty(m)
      call add(faults, #{filename: a:file, lnum: m[1] + a:first - 1, col: str2nr(m[2]), text: m[3], type: 'E'})
    endif
  endfor
  if !empty(faults)
    call setqflist([], ' ', #{title: 'batchd: not submitted', items: faults})
  endif
  call batchd#say(join(a:state.err))
endfunction

" Its output and its exit come in any order.
function! s:part(Done, state, ...) abort
  let a:state.left -= 1
  call a:Done(a:state)
endfunction

function! s:exited(Done, state, job, status) abort
  let a:state.status = a:status
  call s:part(a:Done, a:state)
endfunction

function! s:job(argv, options, Done) abort
  if !executable('batchctl')
    return batchd#say('batchctl is not in PATH')
  endif
  let state = #{left: 2, status: 0, out: [], err: []}
  call job_start(a:argv, extend(#{out_cb: {_, line -> add(state.out, line)}, err_cb: {_, line -> add(state.err, line)},
        \ close_cb: function('s:part', [a:Done, state]), exit_cb: function('s:exited', [a:Done, state])}, a:options))
endfunction

function! s:opened(bang, mods, run) abort
  if a:bang
    call batchd#run#log(a:run, a:mods)
  endif
endfunction

" The batch in these lines of the current buffer, or in a file.
function! batchd#run#submit(file, first, last, bang, mods) abort
  let Opened = function('s:opened', [a:bang, a:mods])
  if a:file ==# ''
    return s:job(['batchctl', 'submit', '-'], #{in_io: 'buffer', in_buf: bufnr(), in_top: a:first, in_bot: a:last},
          \ {state -> s:submitted(Opened, a:first, expand('%:p'), state)})
  endif
  let file = fnamemodify(expand(a:file), ':p')
  if !filereadable(file)
    return batchd#say('cannot read ' .. file)
  endif
  call s:job(['batchctl', 'submit', '-'], #{in_io: 'file', in_name: file}, {state -> s:submitted(Opened, 1, file, state)})
endfunction

function! batchd#run#run(command, bang, mods) abort
  let Opened = function('s:opened', [a:bang, a:mods])
  call s:job(['batchctl', 'add', '--', a:command], #{in_io: 'null'}, {state -> s:submitted(Opened, 1, '', state)})
endfunction

function! s:log_ended(buf, run, job, status) abort
  if bufloaded(a:buf)
    call setbufvar(a:buf, '&modified', 0)
  endif
endfunction

" A buffer with what the run printed; it grows while the run does.
function! batchd#run#log(run, mods) abort
  execute a:mods 'new'
  setlocal buftype=nofile bufhidden=wipe noswapfile filetype=batchd-log
  execute 'silent! file' fnameescape('batchd: log of run ' .. a:run)
  let buf = bufnr()
  let job = job_start(['batchctl', 'log', '-f', a:run .. ''], #{in_io: 'null', out_io: 'buffer', out_buf: buf, out_msg: 0,
        \ err_io: 'out', exit_cb: function('s:log_ended', [buf, a:run])})
  let b:batchd_job = job
  autocmd BufWipeout <buffer> call job_stop(getbufvar(str2nr(expand('<abuf>')), 'batchd_job'))
endfunction

" What `batchctl` prints on stdout, as messages.
function! batchd#run#show(argv) abort
  call s:job(['batchctl'] + a:argv, #{in_io: 'null'}, {state -> state.left ? 0 : s:shown(state)})
endfunction

function! s:shown(state) abort
  for line in a:state.out
    echomsg line
  endfor
  if !empty(a:state.err)
    call batchd#say(join(a:state.err))
  endif
endfunction
