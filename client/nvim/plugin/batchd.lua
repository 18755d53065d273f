-- Defines :Batch and the buffers; everything else is loaded when it is first used.
if vim.g.loaded_batchd or vim.fn.has('nvim-0.7') == 0 then
  return
end
vim.g.loaded_batchd = 1

vim.api.nvim_create_user_command('Batch', function(o)
  require('batchd.command').run(o)
end, {
  nargs = '*',
  bang = true,
  range = true,
  desc = 'batchd: run batches and keep todos',
  complete = function(lead, line, cursor)
    return require('batchd.command').complete(lead, line, cursor)
  end,
})

local group = vim.api.nvim_create_augroup('batchd', {})
for pattern, call in pairs({ ['batchd://todos/*'] = { 'batchd.todo_buffer', 'read' }, ['batchd://run/*'] = { 'batchd.runs', 'read_log' } }) do
  vim.api.nvim_create_autocmd('BufReadCmd', {
    group = group,
    pattern = pattern,
    callback = function(o)
      require(call[1])[call[2]](o.buf)
    end,
  })
end
vim.api.nvim_create_autocmd('BufWriteCmd', {
  group = group,
  pattern = 'batchd://todos/*',
  callback = function(o)
    require('batchd.todo_buffer').write(o.buf)
  end,
})

local function links()
  for name, to in pairs({
    BatchdTodoOpen = 'Normal', BatchdTodoActive = 'DiagnosticInfo', BatchdTodoDone = 'Comment', BatchdTodoError = 'DiagnosticError',
    BatchdTodoPriority = 'DiagnosticWarn', BatchdTodoId = 'Identifier', BatchdTodoRemark = 'Comment', BatchdLogEnd = 'Comment',
  }) do
    vim.cmd(('highlight default link %s %s'):format(name, to))
  end
end
links()
vim.api.nvim_create_autocmd('ColorScheme', { group = group, callback = links })

local plug = vim.keymap.set
plug('n', '<Plug>(batchd-todos)', '<Cmd>Batch todo<CR>')
plug('n', '<Plug>(batchd-errors)', '<Cmd>Batch errors<CR>')
plug('n', '<Plug>(batchd-log)', '<Cmd>Batch log<CR>')
plug('n', '<Plug>(batchd-submit)', '<Cmd>Batch submit<CR>')
plug('x', '<Plug>(batchd-submit)', ':Batch submit<CR>')
plug('n', '<Plug>(batchd-todo-jump)', function()
  require('batchd.todo_buffer').jump()
end)
for name, mark in pairs({ done = 'x', start = '~', open = ' ', cancel = '-' }) do
  local function set()
    local first, last = vim.fn.line('v'), vim.fn.line('.')
    require('batchd.todo_buffer').mark(mark, math.min(first, last), math.max(first, last))
  end
  plug({ 'n', 'x' }, ('<Plug>(batchd-todo-%s)'):format(name), set)
end
