-- Runs: submitting them, and watching what they print.
local live = require('batchd.live')
local rpc = require('batchd.rpc')

local M = {}

local LOG_LINES = 10000 -- kept of a log buffer, the last ones; g:batchd_log_lines says otherwise
local ENDED = { succeeded = true, failed = true, cancelled = true, interrupted = true }

local function say(message, level)
  vim.notify('batchd: ' .. message, level or vim.log.levels.ERROR)
end

-- What the bytes {"$bin": base64} in JSON stand for.
local function from_base64(text)
  local alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
  local bits, count, out = 0, 0, {}
  for c in text:gmatch('[%w+/]') do
    bits, count = bits * 64 + alphabet:find(c, 1, true) - 1, count + 6
    if count >= 8 then
      count = count - 8
      table.insert(out, string.char(math.floor(bits / 2 ^ count)))
      bits = bits % 2 ^ count
    end
  end
  return table.concat(out)
end

local function bytes(value)
  if type(value) ~= 'table' then
    return value
  elseif value['$bin'] then
    return from_base64(value['$bin'])
  end
  return setmetatable(vim.tbl_map(bytes, value), getmetatable(value))
end

-- Where ops stand: their first line is looked for from the op before on. Not found is no harm: such an op has no place.
local function find_ops(batch, lines, file)
  local row = 1
  for _, message in ipairs(batch.messages) do
    for _, op in ipairs(message.ops) do
      local text = op.command or op.path or type(op.argv) == 'table' and op.argv[1]
      text = type(text) == 'string' and text:match('[^\n]+') or nil
      for r = row, text and #lines or 0 do
        if lines[r]:find(text, 1, true) or lines[r]:find((text:gsub('[\\"]', '\\%0')), 1, true) then
          op.meta = vim.tbl_extend('keep', op.meta or {}, { at = file .. ':' .. r })
          row = r
          break
        end
      end
    end
  end
end

---Submits a batch, starting batchd if need be.
---@param batch table as in proto/PROTOCOL.md; `cwd` and the environment are filled in
---@param callback fun(run: number)|nil
function M.submit(batch, callback)
  batch.cwd = batch.cwd or vim.fn.getcwd()
  batch.env_base = batch.env_base or vim.fn.environ()
  local selector = live.selector()
  batch.list = batch.list or selector.list
  rpc.start(function(failed)
    if failed then
      return say(failed)
    end
    live.begin()
    rpc.request('batch.submit', { batch = batch }, function(err, result)
      if err then
        return say(err)
      end
      live.watched[result.run] = true
      say('run ' .. result.run, vim.log.levels.INFO)
      for _, warning in ipairs(result.warnings or {}) do
        say(warning, vim.log.levels.WARN)
      end
      if callback then
        callback(result.run)
      end
    end)
  end)
end

-- batchctl names a fault of a batch by file:line:column.
local function show_faults(said, file)
  local items = {}
  for _, line in ipairs(said) do
    local _, lnum, col, message = line:match('^batchctl parse: (.-):(%d+):(%d+): (.*)$')
    if lnum then
      table.insert(items, { filename = file, lnum = tonumber(lnum), col = tonumber(col), text = message, type = 'E' })
    end
  end
  if #items > 0 then
    vim.fn.setqflist({}, ' ', { title = 'batchd: not submitted', items = items })
  end
  say(vim.trim(table.concat(said, ' ')))
end

---Submits the batch that the lines hold, in any form that batchctl reads.
---@param lines table
---@param file string where they are from
---@param first number the line of the file that lines[1] is
function M.submit_text(lines, file, first, callback)
  if vim.fn.executable('batchctl') == 0 then
    return say('batchctl is not in PATH; it reads the batch')
  end
  local padding = {} -- so that everything is told with the file's own line numbers
  for i = 1, first - 1 do
    padding[i] = ''
  end
  lines = vim.list_extend(padding, lines)
  local out, said = {}, {}
  local job = vim.fn.jobstart({ 'batchctl', 'parse', '-' }, {
    stdout_buffered = true,
    stderr_buffered = true,
    on_stdout = function(_, data)
      out = data
    end,
    on_stderr = function(_, data)
      said = data
    end,
    on_exit = function(_, status)
      if status ~= 0 then
        return show_faults(said, file)
      end
      local batch = bytes(vim.json.decode(table.concat(out, '\n')))
      find_ops(batch, lines, file)
      M.submit(batch, callback)
    end,
  })
  vim.fn.chansend(job, table.concat(lines, '\n') .. '\n')
  vim.fn.chanclose(job, 'stdin')
end

-- Log buffers -----------------------------------------------------------------------------------------------------------------------

local function clean(line)
  return (line:gsub('\r$', ''):gsub('^.*\r', ''):gsub('\27%[[%d;:?]*[A-Za-z]', ''))
end

local function append(buf, lines)
  if #lines == 0 or not vim.api.nvim_buf_is_loaded(buf) then
    return
  end
  local bo = vim.bo[buf]
  bo.modifiable = true
  local count = vim.api.nvim_buf_line_count(buf)
  local empty = count == 1 and vim.api.nvim_buf_get_lines(buf, 0, 1, false)[1] == ''
  vim.api.nvim_buf_set_lines(buf, empty and 0 or count, -1, false, lines)
  local now = vim.api.nvim_buf_line_count(buf)
  local keep = tonumber(vim.g.batchd_log_lines) or LOG_LINES
  if now > keep then
    vim.api.nvim_buf_set_lines(buf, 0, now - keep, false, {})
  end
  bo.modifiable = false
  for _, win in ipairs(vim.fn.win_findbuf(buf)) do -- a cursor that was at the end stays there
    if vim.api.nvim_win_get_cursor(win)[1] >= math.min(count, keep) then
      vim.api.nvim_win_set_cursor(win, { vim.api.nvim_buf_line_count(buf), 0 })
    end
  end
end

-- One look at a run: what is shown of it, and the last, not yet ended line of each stream.
local function on_output(log, event)
  if log.op and log.op ~= event.op then
    return
  end
  local key = event.op .. event.stream
  local lines = vim.split((log.partial[key] or '') .. event.data, '\n')
  log.partial[key] = table.remove(lines)
  local prefix = log.single and '' or event.op .. ': '
  append(log.buf, vim.tbl_map(function(line)
    return prefix .. clean(line)
  end, lines))
end

local function flush(log, op)
  for _, stream in ipairs({ 'stdout', 'stderr' }) do
    if (log.partial[op .. stream] or '') ~= '' then
      append(log.buf, { (log.single and '' or op .. ': ') .. clean(log.partial[op .. stream]) })
    end
    log.partial[op .. stream] = nil
  end
end

local function ended_line(run)
  local s = run.summary
  return ('-- run %d %s: %d of %d ops well, %.1f s'):format(run.run, run.state, s.succeeded, s.ops, s.wall_ms / 1000)
end

local follow

local function stop(log)
  if log.sub and live.listening[log.sub] then
    live.listening[log.sub] = nil
    live.ops_wanted = math.max(0, live.ops_wanted - 1)
    rpc.request('rpc.unsubscribe', { sub = log.sub })
  end
  log.sub = nil
end

local function on_event(log, event)
  if not vim.api.nvim_buf_is_loaded(log.buf) then
    return stop(log)
  elseif event.type == 'op.output' then
    on_output(log, event)
  elseif event.type == 'op.state' and event.ended then
    flush(log, event.op)
  elseif event.type == 'run.state' and ENDED[event.state] then
    append(log.buf, { ended_line(event) })
    stop(log)
  elseif event.type == 'resync' then
    stop(log)
    follow(log)
  elseif event.type == 'lost' then
    log.sub = nil
    follow(log) -- asked when batchd is there again
  end
end

-- Index of an op that is named by index or id; of very many ops only the first ones' ids are known.
local function find_op(run, name)
  local index = tonumber(name)
  if index and index >= 1 and index <= run.ops_total then
    return index
  end
  for _, op in ipairs(run.ops) do
    if op.id and op.id == name then
      return op.index
    end
  end
end

function follow(log)
  log.partial = {}
  live.ops_wanted = live.ops_wanted + 1
  rpc.when_ready('run.subscribe', { run = log.run, output = 'data' }, function(err, snapshot)
    if err then
      live.ops_wanted = math.max(0, live.ops_wanted - 1)
      return append(log.buf, { '-- ' .. err })
    end
    log.sub = snapshot.sub
    live.listening[log.sub] = function(event)
      on_event(log, event)
    end
    log.op = find_op(snapshot, log.name)
    if not vim.api.nvim_buf_is_loaded(log.buf) or log.name and not log.op then
      append(log.buf, { ('-- run %d has no op %s'):format(log.run, log.name) })
      return stop(log)
    end
    vim.bo[log.buf].modifiable = true
    vim.api.nvim_buf_set_lines(log.buf, 0, -1, false, {})
    vim.bo[log.buf].modifiable = false
    log.single = log.op ~= nil or snapshot.ops_total == 1
  end)
end

---BufReadCmd of `batchd://run/RUN[.OP]`: shows what the run printed, and goes on as it prints.
function M.read_log(buf)
  local run, op = vim.api.nvim_buf_get_name(buf):match('^batchd://run/(%d+)%.?(.*)$')
  for option, value in pairs({ buftype = 'nofile', bufhidden = 'wipe', swapfile = false, modifiable = false, filetype = 'batchd-log' }) do
    vim.bo[buf][option] = value
  end
  if not run then
    return say('a log is named batchd://run/RUN or batchd://run/RUN.OP')
  end
  live.begin()
  follow({ buf = buf, run = tonumber(run), name = op ~= '' and op or nil })
end

function M.open_log(name, mods)
  vim.cmd(('%s split %s'):format(mods or '', vim.fn.fnameescape('batchd://run/' .. name)))
end

return M
