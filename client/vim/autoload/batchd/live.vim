" What Vim knows of batchd, kept by two subscriptions: todo lists, and runs that have not ended. Nothing is polled, and whoever asks
" here is answered from memory.

let s:lists = {} " name -> {list, rev, todos}
let s:names = {} " folder -> name of its list
let s:runs = {} " id -> run that has not ended
let s:fetching = {} " what is being asked -> whether it changed meanwhile
let s:subscribed = 0
let s:ENDED = ['succeeded', 'failed', 'cancelled', 'interrupted']
let s:watched = {} " runs of this Vim: their end is told

" How the list is named to batchd: by name where one is set, else by the folder.
function! batchd#live#selector() abort
  let list = get(g:, 'batchd_list', $BATCHD_LIST)
  return list !=# '' ? #{list: list} : #{cwd: getcwd()}
endfunction

function! batchd#live#current() abort
  let selector = batchd#live#selector()
  let name = has_key(selector, 'list') ? selector.list : get(s:names, selector.cwd, '')
  return get(s:lists, name, #{list: '', rev: 0, todos: []})
endfunction

function! batchd#live#runs() abort
  return s:runs
endfunction

function! batchd#live#watch(run) abort
  let s:watched[a:run] = 1
endfunction

function! s:event(name) abort
  if exists('#User#' .. a:name)
    execute 'doautocmd <nomodeline> User' a:name
  endif
endfunction

function! s:show() abort
  let todos = filter(copy(batchd#live#current().todos), {_, t -> t.status !=# 'cancelled'})
  let done = len(filter(copy(todos), {_, t -> t.status ==# 'completed'}))
  let runs = len(s:runs)
  let parts = runs ? [runs .. (runs == 1 ? ' run' : ' runs')] : []
  let parts += empty(todos) ? [] : [printf('todos %d/%d', done, len(todos))]
  let g:batchd_status = join(parts, ', ')
  redrawstatus!
endfunction

function! s:took(list) abort
  let s:lists[a:list.list] = a:list
  call s:show()
  call batchd#todo#follow(a:list)
  call batchd#place#signs()
  call s:event('BatchdTodosChanged')
endfunction

function! s:page(key, params, got, Callback, err, page) abort
  if a:err ==# ''
    let todos = a:got + a:page.todos
    if get(a:page, 'next', v:null) isnot v:null
      let params = #{list: a:page.list, rev: a:page.rev, offset: len(todos)}
      return batchd#rpc#request('todo.list', params, function('s:page', [a:key, a:params, todos, a:Callback]))
    endif
  endif
  let again = get(s:fetching, a:key, 0)
  call filter(s:fetching, {key, v -> key !=# a:key})
  let list = {}
  if a:err ==# ''
    let list = #{list: a:page.list, rev: a:page.rev, todos: todos}
    if has_key(a:params, 'cwd')
      let s:names[a:params.cwd] = list.list
    endif
    call s:took(list)
  endif
  call a:Callback(a:err, list)
  if again
    call batchd#live#fetch(a:params)
  endif
endfunction

" Asks for a list; of changes that come while it is being asked for one more look takes all in.
function! batchd#live#fetch(selector, Callback = v:null) abort
  let key = get(a:selector, 'list', get(a:selector, 'cwd', ''))
  if has_key(s:fetching, key) && a:Callback is v:null
    let s:fetching[key] = 1
    return
  endif
  let s:fetching[key] = 0
  let Done = a:Callback is v:null ? {err, list -> 0} : a:Callback
  call batchd#rpc#request('todo.list', a:selector, function('s:page', [key, a:selector, [], Done]))
endfunction

function! s:run_changed(run) abort
  if index(s:ENDED, a:run.state) < 0
    let s:runs[a:run.run] = a:run
  else
    call filter(s:runs, {id, run -> id != a:run.run})
    if has_key(s:watched, a:run.run)
      unlet s:watched[a:run.run]
      let s = a:run.summary
      call batchd#say(printf('run %d %s: %d of %d ops well%s', a:run.run, a:run.state, s.succeeded, s.ops,
            \ a:run.state ==# 'failed' ? '; :Batch errors ' .. a:run.run : ''))
    endif
  endif
  call s:show()
  call s:event('BatchdRunsChanged')
endfunction

function! s:run_seen(err, run) abort
  if a:err ==# ''
    call s:run_changed(a:run)
  endif
endfunction

function! s:runs_are(err, snapshot) abort
  if a:err !=# ''
    let s:subscribed = 0
    return
  endif
  let s:run_sub = a:snapshot.sub
  let s:runs = {}
  for run in a:snapshot.runs
    let s:runs[run.run] = run
  endfor
  for id in keys(s:watched) " ended while nobody was looking
    if !has_key(s:runs, id)
      call batchd#rpc#request('run.get', #{run: str2nr(id), ops: 'none'}, function('s:run_seen'))
    endif
  endfor
  call s:show()
  call s:event('BatchdRunsChanged')
endfunction

function! s:lists_again() abort
  call batchd#live#fetch(batchd#live#selector())
  for name in keys(s:lists)
    call batchd#live#fetch(#{list: name})
  endfor
endfunction

function! s:todo_changed(event) abort
  if has_key(s:lists, a:event.list)
    call batchd#live#fetch(#{list: a:event.list})
  endif
endfunction

" After a restart of batchd, or where it dropped events.
function! s:resync(event) abort
  if a:event.sub == get(s:, 'run_sub', -1)
    call batchd#rpc#request('rpc.unsubscribe', #{sub: s:run_sub}, {err, result -> 0})
    call batchd#rpc#request('run.subscribe', {}, function('s:runs_are'))
  else
    call s:lists_again()
  endif
endfunction

function! batchd#live#lost() abort
  let s:subscribed = 0
  let s:runs = {}
  let g:batchd_status = ''
  redrawstatus!
endfunction

" From here on Vim follows batchd; where there is none yet, the next :Batch or FocusGained tries again.
function! batchd#live#begin() abort
  let s:begun = 1
  if s:subscribed
    return
  endif
  let s:subscribed = 1
  call batchd#rpc#on('todo.changed', function('s:todo_changed'))
  call batchd#rpc#on('run.state', function('s:run_changed'))
  call batchd#rpc#on('resync', function('s:resync'))
  call batchd#rpc#request('todo.subscribe', {}, {err, result -> 0})
  call batchd#rpc#request('run.subscribe', {}, function('s:runs_are'))
  call s:lists_again()
endfunction

" Another folder, or the window has been looked at again.
function! batchd#live#again() abort
  if exists('s:begun')
    call batchd#live#begin()
    if empty(batchd#live#current().list)
      call batchd#live#fetch(batchd#live#selector())
    endif
    call s:show()
  endif
endfunction
