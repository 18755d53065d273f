-- What a configuration may call; `:help batchd`. Works without setup().
local M = {}

---For 'statusline': `2 runs, todos 3/7`, or nothing. Answered from memory; its first call has the editor follow batchd.
---@return string
function M.statusline()
  local live = package.loaded['batchd.live']
  if not live then
    live = require('batchd.live')
    vim.schedule(live.begin)
  end
  return live.text
end

---@return table `pending`, `in_progress`, `completed`, `cancelled`, `total` of the current list; `running` runs. No I/O.
function M.counts()
  return require('batchd.live').counts()
end

---@return table items of the current list, as far as they are known. No I/O.
function M.todos()
  return vim.deepcopy((require('batchd.live').current() or { todos = {} }).todos)
end

---Any method of batchd; see proto/PROTOCOL.md.
---@param method string
---@param params table|nil
---@param callback fun(err: string|nil, result: table|nil)|nil
function M.request(method, params, callback)
  require('batchd.rpc').request(method, params, callback)
end

---@param batch table
---@param callback fun(run: number)|nil
function M.submit(batch, callback)
  require('batchd.runs').submit(batch, callback)
end

return M
