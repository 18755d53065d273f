-- What the editor knows of batchd, kept by two subscriptions: todo lists, and runs that have not ended. Nothing is polled, and
-- whoever asks here is answered from memory.
local rpc = require('batchd.rpc')

local M = {
  lists = {}, -- name -> { list, rev, todos }
  runs = {}, -- id -> run that has not ended
  text = '', -- what the status line shows
  run_sub = nil, -- the subscription to all runs
  listening = {}, -- sub -> function(event): op.* and run.state of one run
  ops_wanted = 0, -- how many wait for op.* events
  on_todos = {}, -- functions(list), called after a list has changed
  watched = {}, -- runs of this editor: their end is told
}

local names = {} -- folder -> name of its list
local fetching = {} -- what is being asked -> 'asked', or 'again' when it changed meanwhile
local begun = false
local ENDED = { succeeded = true, failed = true, cancelled = true, interrupted = true }

local function user_event(name)
  vim.api.nvim_exec_autocmds('User', { pattern = name, modeline = false })
end

---@return string folder whose todo list is shown
local function folder()
  return vim.fn.getcwd()
end

---How the list is named to batchd: by name where one is set, else by the folder.
---@return table
function M.selector()
  local list = vim.g.batchd_list or vim.env.BATCHD_LIST
  return list and list ~= '' and { list = list } or { cwd = folder() }
end

---@return table|nil the current list, as far as it is known
function M.current()
  local s = M.selector()
  return M.lists[s.list or names[s.cwd]]
end

---@return table how many items of the current list are `pending`, `in_progress`, `completed`; `total`; and `running` runs
function M.counts()
  local n = { pending = 0, in_progress = 0, completed = 0, cancelled = 0, total = 0, running = vim.tbl_count(M.runs) }
  for _, item in ipairs((M.current() or { todos = {} }).todos) do
    n[item.status] = n[item.status] + 1
    n.total = n.total + 1
  end
  return n
end

local function show()
  local n = M.counts()
  local parts = {}
  if n.running > 0 then
    table.insert(parts, n.running == 1 and '1 run' or n.running .. ' runs')
  end
  if n.total - n.cancelled > 0 then
    table.insert(parts, ('todos %d/%d'):format(n.completed, n.total - n.cancelled))
  end
  M.text = rpc.state == 'ready' and table.concat(parts, ', ') or ''
  vim.cmd('redrawstatus!')
end

local function took(list)
  M.lists[list.list] = list
  show()
  for _, f in ipairs(M.on_todos) do
    f(list)
  end
  user_event('BatchdTodosChanged')
end

-- All pages of a list at one revision; they are more than one only beyond 4 MiB.
local function fetch_pages(params, got, callback)
  rpc.request('todo.list', params, function(err, page)
    if err then
      return callback(err)
    end
    got = got and vim.list_extend(got, page.todos) or page.todos
    if page.next then
      params = { list = page.list, rev = page.rev, offset = #got }
      return fetch_pages(params, got, callback)
    end
    callback(nil, { list = page.list, rev = page.rev, todos = got })
  end)
end

---Asks for a list; of changes that come while it is being asked for one more look takes all in.
---@param selector table { list = } or { cwd = }
---@param callback fun(err: string|nil, list: table|nil)|nil
function M.fetch(selector, callback)
  local key = selector.list or selector.cwd
  if fetching[key] and not callback then
    fetching[key] = 'again'
    return
  end
  fetching[key] = 'asked'
  fetch_pages(selector, nil, function(err, list)
    local again = fetching[key] == 'again'
    fetching[key] = nil
    if list then
      if selector.cwd then
        names[selector.cwd] = list.list
      end
      took(list)
    end
    if callback then
      callback(err, list)
    end
    if again then
      M.fetch(selector)
    end
  end)
end

---The list of this folder, from memory where it is known.
function M.with_current(callback)
  M.begin()
  local list = M.current()
  if list and rpc.state == 'ready' then
    return callback(nil, list)
  end
  M.fetch(M.selector(), callback)
end

local function run_changed(run)
  M.runs[run.run] = not ENDED[run.state] and run or nil
  show()
  user_event('BatchdRunsChanged')
  if ENDED[run.state] and M.watched[run.run] then
    M.watched[run.run] = nil
    local s = run.summary
    local level = run.state == 'succeeded' and vim.log.levels.INFO or vim.log.levels.WARN
    vim.notify(('batchd: run %d %s: %d of %d ops well%s'):format(run.run, run.state, s.succeeded, s.ops,
      run.state == 'failed' and '; :Batch errors ' .. run.run or ''), level)
  end
end

local function subscribe_runs()
  rpc.request('run.subscribe', {}, function(err, snapshot)
    if err then
      return
    end
    M.run_sub, M.runs = snapshot.sub, {}
    for _, run in ipairs(snapshot.runs) do
      M.runs[run.run] = run
    end
    for id in pairs(M.watched) do -- ended while nobody was connected
      if not M.runs[id] then
        rpc.request('run.get', { run = id, ops = 'none' }, function(_, run)
          if run then
            run_changed(run)
          end
        end)
      end
    end
    show()
    user_event('BatchdRunsChanged')
  end)
end

-- Everything is asked for anew: after connecting, and where batchd says that events were dropped.
local function refresh()
  rpc.request('todo.subscribe', {})
  subscribe_runs()
  local known = M.lists
  M.fetch(M.selector())
  for name in pairs(known) do
    M.fetch({ list = name })
  end
end

function rpc.on_ready()
  if begun then
    refresh()
  end
end

function rpc.on_lost()
  M.runs, M.run_sub = {}, nil
  local was = M.listening
  M.listening, M.ops_wanted = {}, 0
  show()
  for sub, f in pairs(was) do
    f({ type = 'lost', sub = sub })
  end
end

-- A run of a million ops sends as many events: those that nobody looks at are dropped where they come in.
function rpc.skip(event)
  local t = event.type
  return (t == 'op.state' or t == 'op.output') and (M.ops_wanted == 0 or event.sub == M.run_sub)
end

rpc.on_event['todo.changed'] = function(event)
  if M.lists[event.list] then
    M.fetch({ list = event.list })
  end
end

rpc.on_event['run.state'] = function(event)
  if event.sub == M.run_sub then
    run_changed(event)
  elseif M.listening[event.sub] then
    M.listening[event.sub](event)
  end
end

local function to_listener(event)
  if M.listening[event.sub] then
    M.listening[event.sub](event)
  end
end

rpc.on_event['op.state'] = to_listener
rpc.on_event['op.output'] = to_listener
rpc.on_event['resync'] = function(event)
  if M.listening[event.sub] then
    return to_listener(event)
  end
  rpc.request('rpc.unsubscribe', { sub = event.sub })
  if event.sub == M.run_sub then
    subscribe_runs()
  else
    rpc.request('todo.subscribe', {})
    for name in pairs(M.lists) do
      M.fetch({ list = name })
    end
  end
end

---Called when another folder is the current one.
function M.moved()
  if begun then
    if not M.current() and rpc.state == 'ready' then
      M.fetch(M.selector())
    end
    show()
  end
end

---From here on the editor follows batchd.
function M.begin()
  if not begun then
    begun = true
    require('batchd.anchors').setup_signs()
    local group = vim.api.nvim_create_augroup('batchd_live', {})
    vim.api.nvim_create_autocmd('DirChanged', { group = group, callback = M.moved })
    if rpc.state == 'ready' then
      refresh()
    end
    rpc.keep()
  end
end

return M
