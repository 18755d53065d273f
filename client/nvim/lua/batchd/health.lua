-- :checkhealth batchd
local M = {}

local h = vim.health or require('health')
local start, ok = h.start or h.report_start, h.ok or h.report_ok
local warn, bad, note = h.warn or h.report_warn, h.error or h.report_error, h.info or h.report_info

local WAIT_MS = 2000

local function ask(method)
  local err, result, done
  require('batchd.rpc').request(method, {}, function(e, r)
    err, result, done = e, r, true
  end)
  if not vim.wait(WAIT_MS, function()
    return done
  end, 10) then
    return 'no answer within 2 s'
  end
  return err, result
end

local function check_programs()
  if vim.fn.executable('batchctl') == 0 then
    return warn('batchctl is not in PATH', { '`:Batch submit` and starting batchd need it; the rest does not' })
  end
  ok(vim.trim(vim.fn.system({ 'batchctl', '--version' })) .. ': ' .. vim.fn.exepath('batchctl'))
end

local function check_daemon()
  local path = require('batchd.rpc').path()
  local err, status = ask('daemon.status')
  if err then
    return warn(('batchd does not answer at %s: %s'):format(path, err), { '`:Batch start` starts it, `batchctl doctor` looks for the cause' })
  end
  ok(('batchd %s answers at %s (pid %d)'):format(status.version, path, status.pid))
  for _, trouble in ipairs(status.troubles or {}) do
    bad(trouble)
  end
  local hello_err, hello = ask('rpc.hello')
  if hello_err or hello.protocol ~= 1 then
    return bad('this plugin speaks protocol 1: ' .. (hello_err or 'batchd speaks ' .. hello.protocol))
  end
  note(('%d runs have not ended, %d ops run'):format(status.live_runs, status.running_ops))
end

function M.check()
  start('batchd: this editor')
  if vim.fn.has('nvim-0.7') == 1 then
    ok('Neovim is 0.7 or newer')
  else
    bad('Neovim 0.7 or newer is needed')
  end
  if vim.mpack and vim.mpack.Unpacker then
    ok('vim.mpack is there')
  else
    bad('this Neovim has no vim.mpack')
  end
  check_programs()
  start('batchd: the daemon')
  check_daemon()
end

return M
