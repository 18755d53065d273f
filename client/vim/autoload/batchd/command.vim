" `:Batch SUB ARGS`. Verbs that act on runs are batchctl's own, with the selectors that it knows.

let s:VERBS = #{cancel: ['cancel'], pause: ['pause'], resume: ['resume'], retry: ['restart', '--failed'], restart: ['restart']}
let s:STATUS = #{start: 'in_progress', done: 'completed', open: 'pending', cancel: 'cancelled'}
let s:SUBS = sort(keys(s:VERBS) + ['status', 'submit', 'run', 'log', 'errors', 'todo', 'start'])
let s:TODO_SUBS = sort(keys(s:STATUS) + ['list', 'add', 'here', 'places', 'rm'])

function! s:changed(err, result) abort
  if a:err !=# ''
    call batchd#say(a:err)
  endif
endfunction

function! s:add(item, err) abort
  if a:err !=# ''
    return batchd#say(a:err)
  endif
  call batchd#live#begin()
  call batchd#rpc#request('todo.write', extend(#{mode: 'merge', todos: [a:item]}, batchd#live#selector()), function('s:changed'))
endfunction

function! s:todo_add(words, here) abort
  let item = #{content: join(a:words)}
  if item.content ==# ''
    return batchd#say('what is to be done? `:Batch todo add TEXT`')
  elseif a:here
    if expand('%') ==# '' || &buftype !=# ''
      return batchd#say('this buffer is no file')
    endif
    let list = batchd#live#current().list
    let base = (list[0] ==# '/' ? list : getcwd()) .. '/'
    let file = expand('%:p')
    let item.at = (stridx(file, base) == 0 ? file[len(base) :] : file) .. ':' .. line('.')
  endif
  call batchd#rpc#start(function('s:add', [item]))
endfunction

function! s:todo(words, mods) abort
  let sub = get(a:words, 0, 'list')
  if sub ==# 'list'
    call batchd#todo#open(a:mods)
  elseif sub ==# 'places'
    call batchd#place#todos()
  elseif sub ==# 'add' || sub ==# 'here'
    call s:todo_add(a:words[1 :], sub ==# 'here')
  elseif (has_key(s:STATUS, sub) || sub ==# 'rm') && len(a:words) > 1
    for id in a:words[1 :]
      let params = extend(#{id: id}, batchd#live#selector())
      let params = sub ==# 'rm' ? params : extend(params, #{status: s:STATUS[sub]})
      call batchd#rpc#request(sub ==# 'rm' ? 'todo.remove' : 'todo.update', params, function('s:changed'))
    endfor
  elseif has_key(s:STATUS, sub) || sub ==# 'rm'
    call batchd#say(printf('which? `:Batch todo %s ID`', sub))
  else
    call batchd#say('no such command: todo ' .. sub)
  endif
endfunction

" RUN[.OP] with a name or `last`: by `batchctl status`.
function! s:with_run(arg, Callback) abort
  let [name; op] = split(a:arg ==# '' ? 'last' : a:arg, '\.')
  let op = get(op, 0, '')
  if name =~# '^\d\+$'
    return a:Callback(str2nr(name), op)
  endif
  let [out, said] = [[], []]
  call job_start(['batchctl', 'status', '--json', name], #{in_io: 'null', out_cb: {_, line -> add(out, line)}, err_cb: {_, line -> add(said, line)},
        \ close_cb: {_ -> empty(out) ? batchd#say(join(said)) : a:Callback(json_decode(join(out, "\n")).runs[0].run, op)}})
endfunction

function! s:begun(err) abort
  call batchd#live#begin()
  call batchd#say(a:err ==# '' ? 'batchd is there' : a:err)
endfunction

function! batchd#command#run(args, bang, range, line1, line2, mods) abort
  let words = split(a:args)
  let sub = get(words, 0, 'status')
  let rest = words[1 :]
  if sub ==# 'start'
    return batchd#rpc#start(function('s:begun'))
  endif
  call batchd#live#begin()
  if sub ==# 'submit'
    call batchd#run#submit(join(rest), a:range ? a:line1 : 1, a:range ? a:line2 : line('$'), a:bang, a:mods)
  elseif sub ==# 'run' && empty(rest)
    call batchd#say('what? `:Batch run COMMAND`')
  elseif sub ==# 'run'
    call batchd#run#run(matchstr(a:args, '^\s*run\s\+\zs.*'), a:bang, a:mods)
  elseif sub ==# 'log'
    call s:with_run(get(rest, 0, ''), {run, op -> batchd#run#log(run .. (op ==# '' ? '' : '.' .. op), a:mods)})
  elseif sub ==# 'errors'
    call s:with_run(get(rest, 0, ''), function('batchd#place#errors'))
  elseif sub ==# 'todo'
    call s:todo(rest, a:mods)
  elseif sub ==# 'status'
    call batchd#run#show(['status'] + rest)
  elseif has_key(s:VERBS, sub)
    call batchd#run#show(s:VERBS[sub] + (empty(rest) ? ['last'] : rest))
  else
    call batchd#say(printf('no such command: %s; there are %s', sub, join(s:SUBS, ', ')))
  endif
endfunction

" Completion of :Batch, answered from memory.
function! batchd#command#complete(lead, line, cursor) abort
  call batchd#live#begin()
  let words = split(matchstr(a:line[: a:cursor - 1], 'Batch!\?\s\+\zs.*'), '\s\+', 1)
  if len(words) <= 1
    let known = s:SUBS
  elseif words[0] ==# 'todo' && len(words) == 2
    let known = s:TODO_SUBS
  elseif words[0] ==# 'todo'
    let known = has_key(s:STATUS, words[1]) || words[1] ==# 'rm' ? map(copy(batchd#live#current().todos), {_, t -> t.id}) : []
  elseif index(['submit', 'run'], words[0]) >= 0
    return getcompletion(a:lead, 'file')
  else
    let known = ['last'] + keys(batchd#live#runs())
  endif
  return filter(copy(known), {_, word -> stridx(word, a:lead) == 0})
endfunction
