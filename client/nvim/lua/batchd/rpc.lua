-- The connection to batchd: MessagePack-RPC on its Unix socket, as proto/PROTOCOL.md has it.
--
-- Nothing here waits. Requests are written to a libuv pipe and their callbacks run on the main loop. A pipe rather than
-- sockconnect(): a channel does not tell when the other side goes, and connecting one blocks.
--
-- When batchd goes, what was asked fails, `on_lost` is called, and the connection comes back by itself: the folder
-- of the socket is watched, and for 30 s after a loss it is tried again in growing steps (a socket is there a moment before
-- somebody listens at it).
local uv = vim.loop

local M = {
  state = 'off', -- off, dialing, ready
  on_ready = function() end, -- main loop: connected
  on_lost = function() end, -- main loop: the connection is gone
  on_event = {}, -- type of event -> function(event), main loop
  skip = function() end, -- called with each event as it comes, off the main loop; true drops it
}

local FIRST_RETRY_MS, LAST_RETRY_MS, RETRY_FOR_MS = 50, 2000, 30000

local conn -- the pipe, its unpacker and what was asked: { pipe, unpack, id, pending = { [id] = callback } }
local waiting = {} -- { method, params, callback } asked before there was a connection
local later = {} -- likewise, but these wait until there is one
local wanted = false -- whether a lost connection is to come back
local timer, watcher
local retry_ms, retry_until = FIRST_RETRY_MS, 0

---@return string path of the socket, as batchctl finds it
function M.path()
  if vim.env.BATCHD_SOCKET and vim.env.BATCHD_SOCKET ~= '' then
    return vim.env.BATCHD_SOCKET
  end
  local runtime = vim.env.XDG_RUNTIME_DIR
  return (runtime and runtime ~= '' and runtime .. '/batchd' or '/tmp/batchd-' .. uv.getuid()) .. '/socket'
end

local function fail_all(requests, text)
  for _, callback in pairs(requests) do
    vim.schedule(function()
      callback(text)
    end)
  end
end

local function stop_watching()
  if watcher then
    watcher:close()
    watcher = nil
  end
  if timer then
    timer:stop()
  end
end

local dial

local function dial_soon(path)
  if M.state == 'off' then
    dial(path)
  end
end

-- Off the main loop. The nearest folder that is there is watched: the socket's own goes with the runtime folder.
local function watch(path)
  if watcher then
    watcher:close()
  end
  local folder = path
  repeat
    folder = folder:match('^(.*)/[^/]*$') or ''
    folder = folder == '' and '/' or folder
  until folder == '/' or uv.fs_stat(folder)
  watcher = uv.new_fs_event()
  watcher:start(folder, {}, function()
    retry_ms, retry_until = FIRST_RETRY_MS, uv.now() + RETRY_FOR_MS / 10
    dial_soon(path)
  end)
end

local function retry_later(path)
  if uv.now() >= retry_until then
    return
  end
  timer = timer or uv.new_timer()
  timer:start(retry_ms, 0, function()
    dial_soon(path)
  end)
  retry_ms = math.min(retry_ms * 2, LAST_RETRY_MS)
end

-- Off the main loop: this connection is over.
local function lost(path, c, text)
  if conn ~= c then
    return
  end
  conn, M.state = nil, 'off'
  c.pipe:close()
  fail_all(c.pending, text)
  retry_ms, retry_until = FIRST_RETRY_MS, uv.now() + RETRY_FOR_MS
  vim.schedule(function()
    M.on_lost()
  end)
  if wanted then
    dial(path)
  end
end

local function on_message(c, m)
  if type(m) ~= 'table' then
    error('not a message')
  elseif m[1] == 1 then
    local callback = c.pending[m[2]]
    c.pending[m[2]] = nil
    if callback then
      local err = m[3] ~= vim.NIL and m[3][2] or nil
      vim.schedule(function()
        callback(err, m[4])
      end)
    end
  elseif m[1] == 2 and m[2] == 'batchd.event' and not M.skip(m[3][1]) then
    vim.schedule(function()
      local handler = M.on_event[m[3][1].type]
      if handler then
        handler(m[3][1])
      end
    end)
  end
end

local function feed(c, data)
  local pos = 1
  while pos <= #data do
    local message
    message, pos = c.unpack(data, pos)
    if message == nil then
      return
    end
    on_message(c, message)
  end
end

local function send(c, method, params, callback)
  c.id = c.id % 0x7fffffff + 1
  c.pending[c.id] = callback or function() end
  c.pipe:write(vim.mpack.encode({ 0, c.id, method, { params or {} } }))
end

local function connected(path, c)
  stop_watching()
  conn, M.state = c, 'ready'
  c.pipe:read_start(function(err, data)
    if err or not data then
      lost(path, c, 'batchd went away before it answered')
    elseif not pcall(feed, c, data) then
      lost(path, c, 'what came from ' .. path .. ' is not batchd\'s')
    end
  end)
  vim.schedule(function()
    if conn == c then
      send(c, 'rpc.hello', { client = 'nvim', omit_nil = true })
      M.on_ready()
      local asked = vim.list_extend(waiting, later)
      waiting, later = {}, {}
      for _, w in ipairs(asked) do
        M.request(w[1], w[2], w[3])
      end
    end
  end)
end

-- The folder is watched before the socket is tried: one that appears in between is not missed.
function dial(path)
  M.state = 'dialing'
  if wanted then
    watch(path)
  end
  local pipe = uv.new_pipe(false)
  pipe:connect(path, function(err)
    if not err then
      return connected(path, { pipe = pipe, unpack = vim.mpack.Unpacker(), id = 0, pending = {} })
    end
    pipe:close()
    M.state = 'off'
    fail_all(vim.tbl_map(function(w)
      return w[3]
    end, waiting), ('no batchd at %s (%s); `:Batch start` or `batchctl daemon start` starts one'):format(path, err))
    waiting = {}
    if wanted then
      retry_later(path)
    end
  end)
end

---Connects, and stays connected whenever there is a batchd. Says nothing where there is none.
function M.keep()
  if not wanted then
    wanted = true
    retry_until = uv.now()
    dial_soon(M.path())
  end
end

---Ends the connection; M.keep or M.request begin it anew, at the socket that then is set.
function M.close()
  wanted = false
  stop_watching()
  if conn then
    lost(nil, conn, 'closed')
  end
end

---@param method string
---@param params table|nil
---@param callback fun(err: string|nil, result: table|nil)|nil on the main loop
function M.request(method, params, callback)
  if M.state == 'ready' then
    return send(conn, method, params, callback)
  end
  table.insert(waiting, { method, params, callback or function() end })
  dial_soon(M.path())
end

---As M.request, but without a batchd it waits until there is one.
function M.when_ready(method, params, callback)
  if M.state == 'ready' then
    return send(conn, method, params, callback)
  end
  table.insert(later, { method, params, callback })
end

local starting

---Starts batchd where none is, and calls back when it can be asked.
---@param callback fun(err: string|nil)
function M.start(callback)
  M.request('daemon.status', {}, function(err)
    if not (err and err:find('^no batchd at')) then
      return callback()
    elseif vim.fn.executable('batchctl') == 0 then
      return callback(err)
    elseif starting then
      table.insert(starting, callback)
      return
    end
    starting = { callback }
    local said = {}
    vim.fn.jobstart({ 'batchctl', 'daemon', 'start' }, {
      on_stderr = function(_, lines)
        vim.list_extend(said, lines)
      end,
      on_exit = function(_, status)
        local callbacks = starting
        starting = nil
        for _, each in ipairs(callbacks) do
          each(status ~= 0 and vim.trim(table.concat(said, ' ')) or nil)
        end
      end,
    })
  end)
end

return M
