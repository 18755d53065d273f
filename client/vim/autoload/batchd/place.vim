" Places in files: where todo items stand (`at`), and what ops printed as `file:line:`.

let s:LAST_LINES = 10 " shown of a failed op that names no place
let s:SIGNS = #{
      \ BatchdInProgress: #{text: '>>', texthl: 'BatchdTodoActive'},
      \ BatchdPending: #{text: '[]', texthl: 'BatchdTodoOpen'},
      \ BatchdFailed: #{text: '!!', texthl: 'BatchdTodoError'}}

" A project's list is named by its folder; `at` is seen from there.
function! s:base(list) abort
  return a:list[0] ==# '/' ? a:list : getcwd()
endfunction

" [file, line] of `file:line`, or [].
function! s:place(item, base) abort
  let m = matchlist(get(a:item, 'at', ''), '^\(.\{-1,}\):\(\d\+\)')
  return empty(m) ? [] : [m[1][0] ==# '/' ? m[1] : a:base .. '/' .. m[1], str2nr(m[2])]
endfunction

function! batchd#place#open(item, list) abort
  let place = s:place(a:item, s:base(a:list))
  if empty(place)
    return batchd#say('this item has no place; `:Batch todo here TEXT` makes one that has')
  endif
  execute 'edit +' .. place[1] fnameescape(place[0])
endfunction

function! s:quickfix(title, items) abort
  if empty(a:items)
    return batchd#say(a:title .. ': nothing')
  endif
  call setqflist([], ' ', #{title: a:title, items: a:items})
  botright copen
  wincmd p
endfunction

" The places of the list's open items, as the quickfix list.
function! batchd#place#todos() abort
  let list = batchd#live#current()
  let found = []
  for item in list.todos
    let place = s:place(item, s:base(list.list))
    if !empty(place) && index(['completed', 'cancelled'], item.status) < 0
      call add(found, #{filename: place[0], lnum: place[1], text: item.content, type: has_key(item, 'error') ? 'E' : 'I'})
    endif
  endfor
  call s:quickfix('batchd todos', found)
endfunction

" What 'errorformat' finds in the lines, names seen from the run's folder; only places whose files are there.
function! s:places_in(lines, cwd) abort
  let found = getqflist(#{lines: ['batchd: in ' .. a:cwd] + a:lines, efm: '%Dbatchd: in %f,' .. &errorformat}).items
  return filter(found, {_, e -> e.valid && e.bufnr > 0 && filereadable(fnamemodify(bufname(e.bufnr), ':p'))})
endfunction

function! s:entries(run, op, lines) abort
  let why = a:op.state ==# 'succeeded' ? 'ok' : a:op.state .. (has_key(a:op, 'exit') ? printf(' (exit %d)', a:op.exit) : '')
  let head = #{text: printf('op %d.%d %s: %s', a:run.run, a:op.index, why, a:op.text), type: a:op.state ==# 'failed' ? 'E' : 'I'}
  let places = s:places_in(a:lines, a:run.cwd)
  if empty(places) && a:op.state ==# 'succeeded'
    return []
  elseif empty(places)
    let places = map(a:lines[-s:LAST_LINES :], {_, line -> #{text: line}})
  endif
  return [head] + places
endfunction

" One op after the other, by `batchctl log`: bytes as they were printed.
function! s:collect(run, ops, i, found) abort
  if a:i >= len(a:ops)
    return s:quickfix(printf('batchd run %d: %s', a:run.run, a:run.state), a:found)
  endif
  let op = a:ops[a:i]
  let lines = []
  call job_start(['batchctl', 'log', '-n', '5000', a:run.run .. '.' .. op.index], #{in_io: 'null',
        \ out_cb: {_, line -> add(lines, line)}, err_cb: {_, line -> add(lines, line)},
        \ close_cb: {_ -> s:collect(a:run, a:ops, a:i + 1, a:found + s:entries(a:run, op, lines))}})
endfunction

function! s:got(op, whole, err, run) abort
  if a:err !=# ''
    return batchd#say(a:err)
  endif
  let ops = filter(copy(a:run.ops), {_, o -> a:op ==# '' || o.index .. '' ==# a:op || get(o, 'id', '') ==# a:op})
  if a:op !=# '' && empty(ops)
    call batchd#say(printf('run %d has no op %s', a:run.run, a:op))
  elseif empty(ops) && !a:whole
    call batchd#rpc#request('run.get', #{run: a:run.run}, function('s:got', ['', 1]))
  else
    call s:collect(a:run, ops[: 99], 0, [])
  endif
endfunction

" The failed ops of a run (of one that succeeded: all) and the places that they printed, as the quickfix list.
function! batchd#place#errors(run, op) abort
  call batchd#rpc#request('run.get', #{run: a:run, ops: a:op ==# '' ? 'failed' : 'all'}, function('s:got', [a:op, 0]))
endfunction

" Puts the signs of the current list's open items into the buffers that are loaded.
function! batchd#place#signs() abort
  call sign_unplace('batchd')
  if !get(g:, 'batchd_signs', 1)
    return
  endif
  for [name, sign] in items(s:SIGNS)
    if empty(sign_getdefined(name))
      call sign_define(name, sign)
    endif
  endfor
  augroup batchd_signs
    autocmd!
    autocmd BufReadPost,DirChanged * call batchd#place#signs()
  augroup END
  let list = batchd#live#current()
  for item in list.todos
    let place = s:place(item, s:base(list.list))
    let sign = item.status ==# 'in_progress' ? 'BatchdInProgress'
          \ : item.status !=# 'pending' ? '' : has_key(item, 'error') ? 'BatchdFailed' : 'BatchdPending'
    let buf = empty(place) ? -1 : bufnr('^' .. escape(place[0], '*?[]{},\^$') .. '$')
    if sign !=# '' && buf > 0 && bufloaded(buf)
      call sign_place(0, 'batchd', sign, buf, #{lnum: place[1], priority: 9})
    endif
  endfor
endfunction
