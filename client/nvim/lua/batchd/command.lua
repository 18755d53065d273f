-- `:Batch SUB ARGS`: one row a sub-command, and the completion that is answered from memory.
local anchors = require('batchd.anchors')
local live = require('batchd.live')
local overview = require('batchd.overview')
local rpc = require('batchd.rpc')
local runs = require('batchd.runs')

local M = {}

local function say(message, level)
  vim.notify('batchd: ' .. message, level or vim.log.levels.ERROR)
end

local function info(message)
  say(message, vim.log.levels.INFO)
end

-- The folder that runs are listed by, as batchd finds it.
local function project()
  local cwd = vim.fn.getcwd()
  local folder = cwd
  while true do
    for _, mark in ipairs({ '.batchd', '.git', '.jj', '.hg' }) do
      if vim.loop.fs_stat(folder .. '/' .. mark) then
        return folder
      end
    end
    local parent = vim.fn.fnamemodify(folder, ':h')
    if parent == folder then
      return cwd
    end
    folder = parent
  end
end

-- RUN[.OP], NAME[.OP], `last` or nothing (the same): callback(id, op or nil).
local function with_run(arg, callback)
  local name, op = (arg or 'last'):match('^([^.]*)%.?(.*)$')
  op = op ~= '' and op or nil
  if tonumber(name) then
    return callback(tonumber(name), op)
  end
  local query = name == 'last' and { project = project(), limit = 1 } or { name = name, limit = 1 }
  rpc.request('run.list', query, function(err, result)
    if err or not result.runs[1] then
      return say(err or (name == 'last' and 'no run in this project yet' or ('no run named %q'):format(name)))
    end
    callback(result.runs[1].run, op)
  end)
end

local function run_ids(lead)
  local ids = { 'last' }
  for id, run in pairs(live.runs) do
    table.insert(ids, tostring(id))
    if run.name then
      table.insert(ids, run.name)
    end
  end
  table.sort(ids)
  return vim.tbl_filter(function(id)
    return vim.startswith(id, lead)
  end, ids)
end

local function todo_ids(lead)
  local ids = {}
  for _, item in ipairs((live.current() or { todos = {} }).todos) do
    if vim.startswith(item.id, lead) then
      table.insert(ids, item.id)
    end
  end
  return ids
end

local function files(lead)
  return vim.fn.getcompletion(lead, 'file')
end

-- On a run: METHOD with it, then what is said.
local function on_run(method, params, said)
  return function(args)
    with_run(args[1], function(id, op)
      local all = vim.tbl_extend('force', { run = id }, params)
      if op then
        all.op = tonumber(op) or op
      end
      rpc.request(method, all, function(err, result)
        if err then
          return say(err)
        end
        info(said:format(id, result.run))
      end)
    end)
  end
end

local function change_todo(method, params)
  rpc.request(method, vim.tbl_extend('force', live.selector(), params), function(err)
    if err then
      say(err)
    end
  end)
end

local function add_todo(content, at)
  if content == '' then
    return say('what is to be done? `:Batch todo add TEXT`')
  end
  rpc.start(function(failed)
    if failed then
      return say(failed)
    end
    live.begin()
    change_todo('todo.write', { mode = 'merge', todos = { { content = content, at = at } } })
  end)
end

-- This line, as seen from the folder of the list.
local function here()
  local list = live.current()
  local base = (list and list.list:sub(1, 1) == '/' and list.list or vim.fn.getcwd()) .. '/'
  local file = vim.fn.expand('%:p')
  if file == '' or vim.bo.buftype ~= '' then
    return nil
  end
  return (vim.startswith(file, base) and file:sub(#base + 1) or file) .. ':' .. vim.fn.line('.')
end

local todo_subs = {
  list = function(_, o)
    require('batchd.todo_buffer').open(nil, o.mods)
  end,
  add = function(args)
    add_todo(table.concat(args, ' '))
  end,
  here = function(args)
    local at = here()
    if not at then
      return say('this buffer is no file')
    end
    add_todo(table.concat(args, ' '), at)
  end,
  places = anchors.todos,
}
for name, status in pairs({ start = 'in_progress', done = 'completed', open = 'pending', cancel = 'cancelled' }) do
  todo_subs[name] = function(args)
    if #args == 0 then
      return say(('which? `:Batch todo %s ID`'):format(name))
    end
    for _, id in ipairs(args) do
      change_todo('todo.update', { id = id, status = status })
    end
  end
end
todo_subs.rm = function(args)
  for _, id in ipairs(args) do
    change_todo('todo.remove', { id = id })
  end
end

local function todo(args, o)
  local sub = todo_subs[args[1] or 'list']
  if not sub then
    return say(('no such command: todo %s'):format(args[1]))
  end
  sub(vim.list_slice(args, 2), o)
end

local function complete_todo(lead, args)
  if #args <= 1 then
    local names = vim.tbl_filter(function(n)
      return vim.startswith(n, lead)
    end, vim.tbl_keys(todo_subs))
    table.sort(names)
    return names
  end
  return vim.tbl_contains({ 'start', 'done', 'open', 'cancel', 'rm' }, args[1]) and todo_ids(lead) or {}
end

local function submit(args, o)
  local function opened(run)
    if o.bang then
      runs.open_log(run, o.mods)
    end
  end
  local file = args[1] and vim.fn.fnamemodify(vim.fn.expand(args[1]), ':p') or vim.fn.expand('%:p')
  if not args[1] then
    local first, last = o.range > 0 and o.line1 or 1, o.range > 0 and o.line2 or vim.fn.line('$')
    return runs.submit_text(vim.fn.getline(first, last), file, first, opened)
  elseif vim.fn.filereadable(file) == 0 then
    return say('cannot read ' .. file)
  end
  runs.submit_text(vim.fn.readfile(file), file, 1, opened)
end

local function run(args, o)
  local command = o.args:match('^%s*%S+%s+(.*)$')
  if not command then
    return say('what? `:Batch run COMMAND`')
  end
  runs.submit({ messages = { { ops = { { kind = 'bash', command = command } } } } }, function(id)
    if o.bang then
      runs.open_log(id, o.mods)
    end
  end)
end

local function status()
  overview.show(project(), say)
end

local SUBS = {
  status = { run = status },
  submit = { run = submit, complete = files },
  run = { run = run, complete = files },
  log = {
    run = function(args, o)
      with_run(args[1], function(id, op)
        runs.open_log(id .. (op and '.' .. op or ''), o.mods)
      end)
    end,
    complete = run_ids,
  },
  errors = {
    run = function(args)
      with_run(args[1], anchors.errors)
    end,
    complete = run_ids,
  },
  cancel = { run = on_run('run.cancel', {}, 'cancelled run %d'), complete = run_ids },
  pause = { run = on_run('run.pause', {}, 'paused run %d'), complete = run_ids },
  resume = { run = on_run('run.resume', {}, 'run %d goes on'), complete = run_ids },
  retry = { run = on_run('run.restart', { failed = true }, 'what failed of run %d is done again as run %d'), complete = run_ids },
  restart = { run = on_run('run.restart', {}, 'run %d is done again as run %d'), complete = run_ids },
  todo = { run = todo, complete = complete_todo },
  start = {
    run = function()
      rpc.start(function(err)
        live.begin()
        if err then
          say(err)
        else
          info('batchd is there')
        end
      end)
    end,
  },
}

---@param o table as nvim_create_user_command gives it
function M.run(o)
  local args = vim.deepcopy(o.fargs)
  local name = table.remove(args, 1) or 'status'
  local sub = SUBS[name]
  if not sub then
    local known = vim.tbl_keys(SUBS)
    table.sort(known)
    return say(('no such command: %s; there are %s'):format(name, table.concat(known, ', ')))
  end
  if name ~= 'start' then
    live.begin()
  end
  sub.run(args, o)
end

---Completion of :Batch.
function M.complete(lead, line, cursor)
  local words = vim.split(line:sub(1, cursor):match('Batch!?%s+(.*)$') or '', '%s+')
  if #words <= 1 then
    local names = vim.tbl_filter(function(n)
      return vim.startswith(n, lead)
    end, vim.tbl_keys(SUBS))
    table.sort(names)
    return names
  end
  live.begin()
  local sub = SUBS[words[1]]
  return sub and sub.complete and sub.complete(lead, vim.list_slice(words, 2)) or {}
end

return M
