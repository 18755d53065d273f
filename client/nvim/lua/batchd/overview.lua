-- `:Batch status`: the newest runs of a project, shown once all that is shown of them is there.
local rpc = require('batchd.rpc')

local M = {}

local RUNS = 20
local BEFORE_TITLE = 32 -- cells; and one that nvim keeps at the end of a line

-- A run's name, or those of its messages; '' where it has neither.
local function name(run)
  local names = {}
  for _, message in ipairs(run.messages) do
    table.insert(names, message.name)
  end
  return run.name or table.concat(names, ', ')
end

-- What each run is known by, its first op where it has no name: callback(titles), in the order of runs. The ops are asked
-- for all at once; one that cannot be had leaves its title empty.
local function with_titles(runs, callback)
  local titles = vim.tbl_map(name, runs)
  local left = 1
  local function answered()
    left = left - 1
    if left == 0 then
      callback(titles)
    end
  end
  for i, run in ipairs(runs) do
    if titles[i] == '' then
      left = left + 1
      rpc.request('run.get', { run = run.run, limit = 1 }, function(_, got)
        titles[i] = got and got.ops[1] and got.ops[1].text or ''
        answered()
      end)
    end
  end
  answered()
end

local function line(run, title)
  local s = run.summary
  local done = s.succeeded + s.failed + s.skipped + s.cancelled + s.interrupted
  local head = ('%6d  %-11s  %7s  '):format(run.run, run.state, done .. '/' .. s.ops)
  local room = math.max(20, vim.o.columns - BEFORE_TITLE)
  return { head .. vim.fn.strcharpart(title, 0, room) .. '\n', run.state == 'failed' and 'WarningMsg' or 'None' }
end

---@param project string folder
---@param say fun(text: string) says what went wrong
function M.show(project, say)
  rpc.request('run.list', { project = project, limit = RUNS }, function(err, result)
    if err then
      return say(err)
    end
    with_titles(result.runs, function(titles)
      local lines = {}
      for i, run in ipairs(result.runs) do
        table.insert(lines, line(run, titles[i]))
      end
      vim.api.nvim_echo(#lines > 0 and lines or { { 'no runs in this project yet' } }, false, {})
    end)
  end)
end

return M
