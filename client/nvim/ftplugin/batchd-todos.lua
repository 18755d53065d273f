if vim.b.did_ftplugin then
  return
end
vim.b.did_ftplugin = 1

vim.opt_local.wrap = false
vim.opt_local.commentstring = ''

if vim.g.batchd_no_maps then
  return
end
local function map(modes, key, plug)
  vim.keymap.set(modes, key, ('<Plug>(batchd-todo-%s)'):format(plug), { buffer = true, remap = true, desc = 'batchd: ' .. plug })
end
map('n', '<CR>', 'jump')
map({ 'n', 'x' }, '<LocalLeader>x', 'done')
map({ 'n', 'x' }, '<LocalLeader>s', 'start')
map({ 'n', 'x' }, '<LocalLeader>o', 'open')
map({ 'n', 'x' }, '<LocalLeader>c', 'cancel')
