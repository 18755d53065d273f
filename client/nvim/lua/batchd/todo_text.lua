-- Todo items as lines and back, and what happens when a list changes while its lines are being edited. No editor state in here.
--
--   [ ] !high Build the site ^build
--
-- The box is the status ([ ] [~] [x] [-]), `!high` and `!low` the priority, `^build` the item's id. A line without a box or id
-- is a new item. A newline within the content is shown as U+23CE, a blank within an id as %20.
local M = {}

local MARK = { pending = ' ', in_progress = '~', completed = 'x', cancelled = '-' }
local STATUS = { [' '] = 'pending', [''] = 'pending', ['~'] = 'in_progress', ['x'] = 'completed', ['X'] = 'completed', ['-'] = 'cancelled' }
local PRIORITY = { high = true, medium = true, low = true }
local FIELDS = { 'status', 'priority', 'content' }
local NEWLINE = '\226\143\142'

---@return string
function M.render(item)
  local content = item.content:gsub('\n', NEWLINE)
  local marked = PRIORITY[content:match('^!(%l+)') or ''] -- the content begins like a priority: that is said, then
  local priority = (marked or item.priority ~= 'medium') and '!' .. item.priority .. ' ' or ''
  local id = item.id:gsub('[%%%s^]', function(c)
    return ('%%%02x'):format(c:byte())
  end)
  return ('[%s] %s%s ^%s'):format(MARK[item.status], priority, content, id)
end

---@return table|nil item with what the line says: status, priority, content, id; nil for an empty line
function M.parse(line)
  local text = vim.trim(line)
  if text == '' then
    return nil
  end
  local item = { status = 'pending', priority = 'medium' }
  local mark, rest = text:gsub('^[-*+]%s+(%[.?%])', '%1'):match('^%[(.?)%]%s*(.*)$')
  if mark and STATUS[mark] then
    item.status, text = STATUS[mark], rest
  end
  local priority, behind = text:match('^!(%l+)%s+(.*)$')
  if PRIORITY[priority or ''] then
    item.priority, text = priority, behind
  end
  local before, id = (' ' .. text):match('^(.-)%s+%^([^%s^]+)$')
  if id then
    text = before
    item.id = id:gsub('%%(%x%x)', function(hex)
      return string.char(tonumber(hex, 16))
    end)
  end
  item.content = vim.trim(text):gsub(NEWLINE, '\n')
  return item
end

local function by_id(items)
  local map = {}
  for _, item in ipairs(items) do
    map[item.id] = item
  end
  return map
end

---@param base table items as they were when the lines were made of them
---@param lines table
---@return table|nil items for todo.write (replace, source "*"): what a line does not change is not said
---@return string|nil err
function M.to_write(base, lines)
  local known, seen, items = by_id(base), {}, {}
  for number, line in ipairs(lines) do
    local item = M.parse(line)
    if item then
      if item.content == '' then
        return nil, ('line %d: an item without content; delete the line to remove the item'):format(number)
      end
      if item.id and seen[item.id] then -- a copied line is a new item
        item.id = nil
      end
      local was = item.id and known[item.id]
      if was then
        seen[item.id] = true
        for _, field in ipairs(FIELDS) do
          if line == M.render(was) or item[field] == was[field] then
            item[field] = nil
          end
        end
      end
      table.insert(items, item)
    end
  end
  return items
end

-- One edited line against an item that changed elsewhere: field by field.
local function merge_line(line, was, now)
  local mine, clash = M.parse(line), false
  for _, field in ipairs(FIELDS) do
    if mine[field] == was[field] then
      mine[field] = now[field]
    elseif now[field] ~= was[field] and now[field] ~= mine[field] then
      clash = true
    end
  end
  return clash and line or M.render(mine), clash
end

---Lays what changed elsewhere under the lines that are being edited.
---@param base table items the lines were made of
---@param lines table
---@param now table items as they are
---@return table lines, to be seen against `now` from here on
---@return table clashes array of { id, text }: changed here and elsewhere
function M.merge(base, lines, now)
  local was, is, kept, clashes, seen = by_id(base), by_id(now), {}, {}, {}
  for _, line in ipairs(lines) do
    local item = M.parse(line) or {}
    local old, new = was[item.id], is[item.id]
    if not item.id or seen[item.id] or not old then
      table.insert(kept, line)
    elseif new then
      local text, clash = line == M.render(old) and M.render(new) or nil, false
      if not text then
        text, clash = merge_line(line, old, new)
      end
      table.insert(kept, text)
      if clash then
        table.insert(clashes, { id = item.id, text = 'elsewhere: ' .. M.render(new) })
      end
    elseif line ~= M.render(old) then
      table.insert(kept, line)
      table.insert(clashes, { id = item.id, text = 'elsewhere it was removed' })
    end
    seen[item.id or ''] = true
  end
  for _, new in ipairs(now) do
    local old = was[new.id]
    if not old and not seen[new.id] then
      table.insert(kept, M.render(new))
    elseif old and not seen[new.id] and M.render(old) ~= M.render(new) then
      table.insert(clashes, { id = new.id, text = 'removed here, elsewhere: ' .. M.render(new) })
    end
  end
  return kept, clashes
end

---@return table those clashes whose lines do not say what the list says
function M.unsettled(clashes, base, lines)
  local is, shown = by_id(base), {}
  for _, line in ipairs(lines) do
    shown[line] = true
  end
  return vim.tbl_filter(function(clash)
    local item = is[clash.id]
    return not (item and shown[M.render(item)])
  end, clashes)
end

return M
