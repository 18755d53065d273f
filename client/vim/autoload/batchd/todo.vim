" A todo list as a buffer, `batchd://todos/LIST`: edit the lines, write the buffer; see |batchd-todos|.
"   [ ] !high Build the site ^build

let s:PREFIX = 'batchd://todos/'
let s:WRITE_MS = 2000 " how long :w waits, so that :wq knows how it went
let s:MARK = #{pending: ' ', in_progress: '~', completed: 'x', cancelled: '-'}
let s:STATUS = {' ': 'pending', '': 'pending', '~': 'in_progress', 'x': 'completed', 'X': 'completed', '-': 'cancelled'}
let s:NEWLINE = "\u23ce"
let s:buffers = {} " bufnr -> {list, base, rev}

function! s:render(item) abort
  let content = substitute(a:item.content, '\n', s:NEWLINE, 'g')
  let said = a:item.priority !=# 'medium' || content =~# '^!\(high\|medium\|low\)\>'
  let id = substitute(a:item.id, '[% \t^]', {m -> printf('%%%02x', char2nr(m[0]))}, 'g')
  return printf('[%s] %s%s ^%s', s:MARK[a:item.status], said ? '!' .. a:item.priority .. ' ' : '', content, id)
endfunction

" What a line says: status, priority, content, and id where it has one; {} for an empty line.
function! s:parse(line) abort
  let text = trim(a:line)
  if text ==# ''
    return {}
  endif
  let item = #{status: 'pending', priority: 'medium'}
  let box = matchlist(text, '^\%([-*+]\s\+\)\?\[\(.\?\)\]\s*\(.*\)$')
  if !empty(box) && has_key(s:STATUS, box[1])
    let item.status = s:STATUS[box[1]]
    let text = box[2]
  endif
  let priority = matchlist(text, '^!\(high\|medium\|low\)\s\+\(.*\)$')
  if !empty(priority)
    let item.priority = priority[1]
    let text = priority[2]
  endif
  let id = matchlist(' ' .. text, '^\(.\{-}\)\s\+^\([^ \t^]\+\)$')
  if !empty(id)
    let item.id = substitute(id[2], '%\(\x\x\)', {m -> nr2char(str2nr(m[1], 16))}, 'g')
    let text = id[1]
  endif
  let item.content = substitute(trim(text), s:NEWLINE, "\n", 'g')
  return item
endfunction

" Items for todo.write: what a line does not change is not said. Throws what is wrong with a line.
function! s:to_write(base, lines) abort
  let known = {}
  for item in a:base
    let known[item.id] = item
  endfor
  let [items, seen] = [[], {}]
  for number in range(len(a:lines))
    let item = s:parse(a:lines[number])
    if empty(item)
      continue
    elseif item.content ==# ''
      throw printf('batchd: line %d: an item without content; delete the line to remove the item', number + 1)
    endif
    if has_key(item, 'id') && has_key(seen, item.id)
      unlet item.id " a copied line is a new item
    endif
    if has_key(item, 'id') && has_key(known, item.id)
      let seen[item.id] = 1
      let was = known[item.id]
      call filter(item, {k, v -> k ==# 'id' || a:lines[number] !=# s:render(was) && v !=# was[k]})
    endif
    call add(items, item)
  endfor
  return items
endfunction

function! s:remarks(item) abort
  let parts = has_key(a:item, 'owner') ? ['@' .. a:item.owner] : []
  let parts += empty(get(a:item, 'blocked_by', [])) ? [] : ['after ' .. join(a:item.blocked_by, ', ')]
  let parts += has_key(a:item, 'at') ? [a:item.at] : []
  return parts + (has_key(a:item, 'error') ? ['failed: ' .. a:item.error] : [])
endfunction

" What an item has beside its line stands behind it, in Vims that have virtual text.
function! s:decorate(buf) abort
  if !has('patch-9.0.0067')
    return
  endif
  silent! call prop_type_add('batchd_remark', #{highlight: 'BatchdTodoRemark'})
  silent! call prop_type_add('batchd_error', #{highlight: 'BatchdTodoError'})
  let row = -1
  for item in s:buffers[a:buf].base
    let row += 1
    let remarks = s:remarks(item)
    if !empty(remarks)
      call prop_add(row + 1, 0, #{bufnr: a:buf, type: has_key(item, 'error') ? 'batchd_error' : 'batchd_remark',
            \ text: join(remarks, '  '), text_padding_left: 1})
    endif
  endfor
endfunction

function! s:fill(buf, list) abort
  let s:buffers[a:buf] = #{list: a:list.list, base: a:list.todos, rev: a:list.rev}
  let lines = map(copy(a:list.todos), {_, item -> s:render(item)})
  call setbufvar(a:buf, '&undolevels', -1) " what came from batchd is not to be undone
  if has('patch-9.0.0067')
    call prop_clear(1, max([1, len(getbufline(a:buf, 1, '$'))]), #{bufnr: a:buf})
  endif
  call setbufline(a:buf, 1, empty(lines) ? [''] : lines)
  if len(getbufline(a:buf, 1, '$')) > max([1, len(lines)])
    call deletebufline(a:buf, max([1, len(lines)]) + 1, '$')
  endif
  call setbufvar(a:buf, '&undolevels', &g:undolevels)
  call setbufvar(a:buf, '&modified', 0)
  call s:decorate(a:buf)
endfunction

" A list has changed: its buffer follows, unless it is being edited; then :w will tell.
function! batchd#todo#follow(list) abort
  for [buf, b] in items(s:buffers)
    if !bufloaded(str2nr(buf))
      unlet s:buffers[buf]
    elseif b.list ==# a:list.list && b.rev != a:list.rev && !get(b, 'writing', 0)
      if !getbufvar(str2nr(buf), '&modified')
        call s:fill(str2nr(buf), a:list)
      elseif !get(b, 'told', 0)
        let b.told = 1
        call batchd#say('the list has changed elsewhere; :w shows how, :e! takes it')
      endif
    endif
  endfor
endfunction

" Shows the list as it is beside the edits, as a diff. Writing then writes over what is seen there.
function! s:show_conflict(buf, err, list) abort
  if a:err !=# ''
    return batchd#say(a:err)
  endif
  let b = s:buffers[a:buf]
  let b.base = a:list.todos
  let b.rev = a:list.rev
  execute bufwinnr(a:buf) > 0 ? bufwinnr(a:buf) .. 'wincmd w' : 'sbuffer ' .. a:buf
  diffthis
  vertical new
  setlocal buftype=nofile bufhidden=wipe noswapfile filetype=batchd-todos
  call setline(1, map(copy(a:list.todos), {_, item -> s:render(item)}))
  setlocal nomodifiable
  execute 'silent file' fnameescape('batchd: elsewhere, revision ' .. a:list.rev)
  diffthis
  wincmd p
  call batchd#say('not written: the list has changed elsewhere; take what you want from the diff and :w again, or :e! to take all')
endfunction

function! s:written(buf, state, err, result) abort
  let a:state.err = a:err
  if a:err =~# '^E_CONFLICT'
    call batchd#live#fetch(#{list: s:buffers[a:buf].list}, function('s:conflict_known', [a:buf, a:state]))
  elseif a:err !=# ''
    let a:state.ended = 1
  else
    call batchd#live#fetch(#{list: s:buffers[a:buf].list}, function('s:filled', [a:buf, a:state]))
  endif
endfunction

function! s:conflict_known(buf, state, err, list) abort
  let a:state.conflict = [a:err, a:list]
  let a:state.ended = 1
endfunction

function! s:filled(buf, state, err, list) abort
  if a:err ==# '' && getbufvar(a:buf, 'changedtick') == a:state.tick
    call s:fill(a:buf, a:list)
  endif
  let a:state.ended = 1
endfunction

" BufWriteCmd. The write is asynchronous; it is waited for, within bounds, since :wq wants to know.
function! batchd#todo#write(buf) abort
  let buf = str2nr(a:buf)
  if !has_key(s:buffers, buf)
    return batchd#say('the list is not there yet; nothing was written')
  endif
  let b = s:buffers[buf]
  try
    let todos = s:to_write(b.base, getbufline(buf, 1, '$'))
  catch /^batchd:/
    return batchd#say(substitute(v:exception, '^batchd: ', '', ''))
  endtry
  let state = #{ended: 0, err: '', tick: getbufvar(buf, 'changedtick')}
  let b.writing = 1
  let params = #{list: b.list, mode: 'replace', source: '*', base_rev: b.rev, todos: todos}
  call batchd#rpc#request('todo.write', params, function('s:written', [buf, state]))
  let since = reltime()
  while !state.ended && reltimefloat(reltime(since)) * 1000 < s:WRITE_MS
    sleep 5m
  endwhile
  if has_key(s:buffers, buf)
    let s:buffers[buf].writing = 0
  endif
  if !state.ended
    call batchd#say('no answer yet; the buffer stays modified')
  elseif has_key(state, 'conflict')
    call s:show_conflict(buf, state.conflict[0], state.conflict[1])
  elseif state.err !=# ''
    call batchd#say(state.err)
  endif
endfunction

function! s:read(buf, err, list) abort
  if a:err !=# ''
    call batchd#say(a:err)
  elseif bufloaded(a:buf)
    call s:fill(a:buf, a:list)
  endif
endfunction

" BufReadCmd
function! batchd#todo#read(buf) abort
  let buf = str2nr(a:buf)
  setlocal buftype=acwrite bufhidden=hide noswapfile filetype=batchd-todos
  call batchd#live#begin()
  call batchd#live#fetch(#{list: bufname(buf)[len(s:PREFIX) :]}, function('s:read', [buf]))
endfunction

" Sets the box of these lines, as an edit: x done, ~ begun, blank open, - cancelled; a second time: open.
function! batchd#todo#mark(mark, first, last) abort
  for row in range(a:first, a:last)
    let line = getline(row)
    let same = line =~# '^\s*\[' .. escape(a:mark, '~') .. '\]'
    call setline(row, substitute(line, '^\(\s*\)\[.\?\]', '\1[' .. (same ? ' ' : escape(a:mark, '~')) .. ']', ''))
  endfor
endfunction

" Goes to where the item under the cursor stands.
function! batchd#todo#jump() abort
  let id = get(s:parse(getline('.')), 'id', '')
  let b = get(s:buffers, bufnr(), #{base: [], list: ''})
  for item in b.base
    if item.id ==# id
      return batchd#place#open(item, b.list)
    endif
  endfor
  call batchd#say('no item here')
endfunction

function! s:split(mods, err, list) abort
  if a:err !=# ''
    return batchd#say(a:err)
  endif
  execute a:mods 'split' fnameescape(s:PREFIX .. a:list.list)
endfunction

function! batchd#todo#open(mods) abort
  call batchd#live#fetch(batchd#live#selector(), function('s:split', [a:mods]))
endfunction
