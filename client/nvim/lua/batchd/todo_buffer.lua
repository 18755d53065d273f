-- A todo list as a buffer: `batchd://todos/LIST`. Edit the lines, write the buffer. What changes elsewhere meanwhile is laid under
-- the edits; where both changed one item the line says so, and only `:w!` writes over it.
local anchors = require('batchd.anchors')
local live = require('batchd.live')
local rpc = require('batchd.rpc')
local text = require('batchd.todo_text')

local M = {}

local PREFIX = 'batchd://todos/'
local CLASH = 'not written: changed here and elsewhere: %d item(s), marked; `:w!` keeps yours, `:e!` takes theirs'
local WRITE_MS = 2000 -- how long :w waits, so that :wq knows how it went
local ns = vim.api.nvim_create_namespace('batchd_todos')
local buffers = {} -- bufnr -> { list, base, rev, clashes }

local function lines_of(buf)
  return vim.api.nvim_buf_get_lines(buf, 0, -1, false)
end

-- Replaces only what differs: cursors and marks stay where they are.
local function set_lines(buf, new)
  local old = lines_of(buf)
  local first, last_old, last_new = 1, #old, #new
  while first <= last_old and first <= last_new and old[first] == new[first] do
    first = first + 1
  end
  while last_old >= first and last_new >= first and old[last_old] == new[last_new] do
    last_old, last_new = last_old - 1, last_new - 1
  end
  if last_old >= first or last_new >= first then
    vim.api.nvim_buf_set_lines(buf, first - 1, last_old, false, vim.list_slice(new, first, last_new))
  end
end

local function remarks(item)
  local parts = {}
  if item.owner then
    table.insert(parts, '@' .. item.owner)
  end
  if item.blocked_by and #item.blocked_by > 0 then
    table.insert(parts, 'after ' .. table.concat(item.blocked_by, ', '))
  end
  if item.at then
    table.insert(parts, item.at)
  end
  if item.error then
    table.insert(parts, 'failed: ' .. item.error)
  end
  return table.concat(parts, '  ')
end

-- What an item has beside its line stands behind it; clashes are diagnostics.
local function decorate(buf)
  local b, diagnostics, items, clashes = buffers[buf], {}, {}, {}
  for _, item in ipairs(b.base) do
    items[item.id] = item
  end
  for _, clash in ipairs(b.clashes) do
    clashes[clash.id] = clash.text
  end
  vim.api.nvim_buf_clear_namespace(buf, ns, 0, -1)
  for row, line in ipairs(lines_of(buf)) do
    local id = (text.parse(line) or {}).id or ''
    local remark = items[id] and remarks(items[id]) or ''
    if remark ~= '' then
      vim.api.nvim_buf_set_extmark(buf, ns, row - 1, 0, { virt_text = { { remark, items[id].error and 'BatchdTodoError' or 'BatchdTodoRemark' } } })
    end
    if clashes[id] then
      table.insert(diagnostics, { lnum = row - 1, col = 0, message = clashes[id], source = 'batchd', severity = vim.diagnostic.severity.WARN })
      clashes[id] = nil
    end
  end
  for _, remaining in pairs(clashes) do -- of lines that were deleted
    table.insert(diagnostics, { lnum = 0, col = 0, message = remaining, source = 'batchd', severity = vim.diagnostic.severity.WARN })
  end
  vim.diagnostic.set(ns, buf, diagnostics)
end

local function show(buf, list, lines, modified)
  local b = buffers[buf]
  b.base, b.rev, b.list = list.todos, list.rev, list.list
  set_lines(buf, lines)
  vim.bo[buf].modified = modified
  decorate(buf)
end

local function fill(buf, list)
  buffers[buf].clashes = {}
  local levels = vim.bo[buf].undolevels
  vim.bo[buf].undolevels = -1 -- what came from batchd is not to be undone
  show(buf, list, vim.tbl_map(text.render, list.todos), false)
  vim.bo[buf].undolevels = levels
end

local function merge(buf, list)
  local b = buffers[buf]
  local lines, clashes = text.merge(b.base, lines_of(buf), list.todos)
  local known = {}
  for _, clash in ipairs(clashes) do
    known[clash.id] = true
  end
  for _, clash in ipairs(b.clashes) do -- not settled by more changes
    if not known[clash.id] then
      table.insert(clashes, clash)
    end
  end
  b.clashes = clashes
  show(buf, list, lines, true)
end

-- A list has changed: its buffer follows.
local function follow(list)
  for buf, b in pairs(buffers) do
    if not vim.api.nvim_buf_is_valid(buf) then
      buffers[buf] = nil
    elseif b.list == list.list and b.rev and list.rev ~= b.rev and not b.writing then
      if vim.bo[buf].modified then
        merge(buf, list)
      else
        fill(buf, list)
      end
    end
  end
end

table.insert(live.on_todos, follow)

local function say(message, level)
  vim.notify('batchd: ' .. message, level or vim.log.levels.ERROR)
end

-- After E_CONFLICT: what is new is taken in, and where nothing clashes the write is done again.
local function write_again(buf, again, done)
  live.fetch({ list = buffers[buf].list }, function(err, list)
    if err then
      return done(err)
    end
    merge(buf, list)
    if #buffers[buf].clashes > 0 then
      return done(CLASH:format(#buffers[buf].clashes))
    end
    again()
  end)
end

local function write(buf, done, tries)
  local b = buffers[buf]
  local items, bad = text.to_write(b.base, lines_of(buf))
  if not items then
    return done(bad)
  end
  local tick = vim.api.nvim_buf_get_changedtick(buf)
  rpc.request('todo.write', { list = b.list, mode = 'replace', source = '*', base_rev = b.rev, todos = items }, function(err)
    if err and err:find('^E_CONFLICT') and tries > 0 then
      return write_again(buf, function()
        write(buf, done, tries - 1)
      end, done)
    elseif err then
      return done(err)
    end
    live.fetch({ list = b.list }, function(lost, list)
      if list and vim.api.nvim_buf_is_valid(buf) then
        if vim.api.nvim_buf_get_changedtick(buf) == tick then
          fill(buf, list)
        else
          merge(buf, list)
        end
      end
      done(lost)
    end)
  end)
end

---BufWriteCmd. The write itself is asynchronous; it is waited for, within bounds, since :wq wants to know.
function M.write(buf)
  local b = buffers[buf]
  if not (b and b.rev) then
    return say('the list is not there yet; nothing was written')
  end
  b.clashes = vim.v.cmdbang == 1 and {} or text.unsettled(b.clashes, b.base, lines_of(buf))
  decorate(buf)
  if #b.clashes > 0 then
    return say(CLASH:format(#b.clashes))
  elseif b.writing then
    return say('it is being written already')
  end
  local ended, failure
  b.writing = true
  write(buf, function(err)
    b.writing = false
    if ended == false then
      say(err or 'written', err and vim.log.levels.ERROR or vim.log.levels.INFO)
    end
    ended, failure = true, err
  end, 3)
  if not vim.wait(WRITE_MS, function()
    return ended
  end, 5) then
    ended = false
    say('no answer yet; the buffer stays modified until there is one', vim.log.levels.WARN)
  elseif failure then
    say(failure)
  end
end

---BufReadCmd
function M.read(buf)
  local name = vim.api.nvim_buf_get_name(buf):sub(#PREFIX + 1)
  for option, value in pairs({ buftype = 'acwrite', bufhidden = 'hide', swapfile = false, filetype = 'batchd-todos' }) do
    vim.bo[buf][option] = value
  end
  buffers[buf] = { list = name, base = {}, clashes = {} }
  live.begin()
  live.fetch({ list = name }, function(err, list)
    if err then
      say(err)
    elseif vim.api.nvim_buf_is_valid(buf) then
      fill(buf, list)
    end
  end)
end

---Sets the box of the items in these rows, as an edit: `x` done, `~` begun, ` ` open, `-` cancelled.
function M.mark(mark, first, last)
  for row = first, last do
    local line = vim.fn.getline(row)
    local same = line:match('^%s*%[' .. vim.pesc(mark) .. '%]')
    vim.fn.setline(row, (line:gsub('^(%s*)%[.?%]', '%1[' .. (same and ' ' or mark) .. ']', 1)))
  end
end

---Goes to where the item under the cursor stands.
function M.jump()
  local id = (text.parse(vim.api.nvim_get_current_line()) or {}).id
  for _, item in ipairs((buffers[vim.api.nvim_get_current_buf()] or { base = {} }).base) do
    if item.id == id then
      return anchors.open(item, buffers[vim.api.nvim_get_current_buf()].list)
    end
  end
  say('no item here', vim.log.levels.INFO)
end

---Opens the current list, or the one named.
function M.open(name, mods)
  local function edit(err, list)
    if err then
      return say(err)
    end
    vim.cmd(('%s split %s'):format(mods or '', vim.fn.fnameescape(PREFIX .. list.list)))
  end
  if name then
    return edit(nil, { list = name })
  end
  live.with_current(edit)
end

return M
