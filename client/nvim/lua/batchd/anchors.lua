-- Places in files: where todo items stand (`at`), what failed ops printed as `file:line:`, where ops stand in a batch file.
local live = require('batchd.live')
local rpc = require('batchd.rpc')

local M = {}

local GROUP = 'batchd'
local TAIL_BYTES = 256 * 1024 -- of an op's output that is looked through
local MAX_OPS = 100
local LAST_LINES = 10 -- shown of a failed op that names no place
local SIGNS = {
  BatchdInProgress = { text = '>>', texthl = 'BatchdTodoActive' },
  BatchdPending = { text = '[]', texthl = 'BatchdTodoOpen' },
  BatchdFailed = { text = '!!', texthl = 'BatchdTodoError' },
}

local function say(message, level)
  vim.notify('batchd: ' .. message, level or vim.log.levels.ERROR)
end

---@param at string|nil `file:line` or `file:line:column`
---@param base string folder that relative names are seen from
---@return table|nil { filename, lnum, col }
function M.place(at, base)
  local file, rest = (at or ''):match('^(.-):(%d+.*)$')
  if not file or file == '' then
    return nil
  end
  local lnum, col = rest:match('^(%d+):?(%d*)')
  if file:sub(1, 1) ~= '/' then
    file = base .. '/' .. file
  end
  return { filename = file, lnum = tonumber(lnum), col = tonumber(col) }
end

-- A project's list is named by its folder; `at` is seen from there.
local function base_of(list)
  return list:sub(1, 1) == '/' and list or vim.fn.getcwd()
end

---Opens the file at the item's place.
function M.open(item, list)
  local place = M.place(item.at, base_of(list))
  if not place then
    return say('this item has no place; `:Batch todo here TEXT` makes one that has', vim.log.levels.INFO)
  end
  vim.cmd('edit ' .. vim.fn.fnameescape(place.filename))
  pcall(vim.api.nvim_win_set_cursor, 0, { place.lnum, math.max((place.col or 1) - 1, 0) })
end

local function to_quickfix(title, items)
  if #items == 0 then
    return say(title .. ': nothing', vim.log.levels.INFO)
  end
  vim.fn.setqflist({}, ' ', { title = title, items = items })
  vim.cmd('botright copen | wincmd p')
end

---The places of the list's open items, as the quickfix list.
function M.todos()
  live.with_current(function(err, list)
    if err then
      return say(err)
    end
    local items = {}
    for _, item in ipairs(list.todos) do
      local place = M.place(item.at, base_of(list.list))
      if place and item.status ~= 'completed' and item.status ~= 'cancelled' then
        table.insert(items, vim.tbl_extend('error', place, { text = item.content, type = item.error and 'E' or 'I' }))
      end
    end
    to_quickfix('batchd todos', items)
  end)
end

-- What 'errorformat' finds in an op's output, names seen from the run's folder; only places whose files are there.
local function places_in(output, cwd)
  local lines = vim.split(output, '\r?\n')
  table.insert(lines, 1, 'batchd: in ' .. cwd)
  local found = vim.fn.getqflist({ lines = lines, efm = '%Dbatchd: in %f,' .. vim.o.errorformat })
  return vim.tbl_filter(function(e)
    return e.valid == 1 and e.bufnr > 0 and vim.fn.filereadable(vim.api.nvim_buf_get_name(e.bufnr)) == 1
  end, found.items)
end

local function last_lines(output)
  local lines = vim.split(vim.trim(output), '\r?\n')
  local items = {}
  for i = math.max(1, #lines - LAST_LINES + 1), #lines do
    table.insert(items, { text = lines[i] })
  end
  return items
end

-- First the op itself, at its place in the batch file where that is known, then what it printed.
local function entries_of(run, op, output)
  local why = op.state == 'succeeded' and 'ok' or op.state .. (op.exit and (' (exit %d)'):format(op.exit) or op.cause and (' (%s)'):format(op.cause) or '')
  local head = M.place((op.meta or {}).at, run.cwd) or {}
  head.text = ('op %d.%d %s: %s'):format(run.run, op.index, why, op.text)
  head.type = op.state == 'failed' and 'E' or 'I'
  local places = places_in(output, run.cwd)
  if #places == 0 and op.state ~= 'succeeded' and vim.trim(output) ~= '' then
    places = last_lines(output)
  end
  if #places == 0 and op.state == 'succeeded' then
    return {}
  end
  return vim.list_extend({ head }, places)
end

local function collect(run, ops, i, items)
  local op = ops[i]
  if not op or i > MAX_OPS then
    return to_quickfix(('batchd run %d: %s'):format(run.run, run.state), items)
  end
  rpc.request('run.output', { run = run.run, op = op.index, tail = TAIL_BYTES }, function(_, out)
    vim.list_extend(items, entries_of(run, op, out and out.data or ''))
    collect(run, ops, i + 1, items)
  end)
end

---The failed ops of a run (of one that succeeded: all) and the places that they printed, as the quickfix list.
---@param id number
---@param op string|nil index or id: this op alone
function M.errors(id, op)
  rpc.request('run.get', { run = id, ops = op and 'all' or 'failed' }, function(err, run)
    if err then
      return say(err)
    end
    local function go(ops)
      if op then
        ops = vim.tbl_filter(function(o)
          return tostring(o.index) == op or o.id == op
        end, ops)
      end
      if op and #ops == 0 then
        return say(('run %d has no op %s'):format(id, op))
      end
      collect(run, ops, 1, {})
    end
    if op or #run.ops > 0 then
      return go(run.ops)
    end
    rpc.request('run.get', { run = id }, function(_, whole)
      go(whole and whole.ops or {})
    end)
  end)
end

-- Signs -----------------------------------------------------------------------------------------------------------------------------

local function sign_of(item)
  if item.status == 'in_progress' then
    return 'BatchdInProgress'
  elseif item.status == 'pending' then
    return item.error and 'BatchdFailed' or 'BatchdPending'
  end
end

---Puts the signs of the current list's open items into the buffers that are loaded.
function M.place_signs()
  local list = live.current()
  vim.fn.sign_unplace(GROUP)
  for _, item in ipairs(vim.g.batchd_signs ~= false and list and list.todos or {}) do
    local sign, place = sign_of(item), M.place(item.at, base_of(list.list))
    local buf = sign and place and vim.fn.bufnr('^' .. vim.fn.escape(place.filename, '*?[]{},\\^$') .. '$') or -1
    if buf > 0 and vim.api.nvim_buf_is_loaded(buf) then
      vim.fn.sign_place(0, GROUP, sign, buf, { lnum = place.lnum, priority = 9 })
    end
  end
end

---Defines the signs; a sign of that name that the user has made stays.
function M.setup_signs()
  for name, sign in pairs(SIGNS) do
    if #vim.fn.sign_getdefined(name) == 0 then
      vim.fn.sign_define(name, sign)
    end
  end
  local group = vim.api.nvim_create_augroup('batchd_signs', {})
  vim.api.nvim_create_autocmd('BufReadPost', { group = group, callback = M.place_signs })
  vim.api.nvim_create_autocmd('DirChanged', { group = group, callback = M.place_signs })
  table.insert(live.on_todos, M.place_signs)
end

return M
