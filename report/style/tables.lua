-- Tables: columns without an alignment are set left. In LaTeX a table becomes a `tabular`, which can float and whose
-- columns may each be broken or not: `::: {.sized widths="0 30 50"}` gives widths in per cent of the line, 0 for as
-- wide as the cells. Inside `::: long` pandoc's longtable stays.
local LETTER = { AlignRight = "r", AlignCenter = "c" }
local RAGGED = { AlignRight = "\\raggedleft", AlignCenter = "\\centering" }

local function left(element)
  for index, column in ipairs(element.colspecs) do
    if column[1] == "AlignDefault" then
      element.colspecs[index] = { "AlignLeft", column[2] }
    end
  end
  return element
end

local function latex(blocks)
  local text = pandoc.write(pandoc.Pandoc(blocks), "latex", { wrap_text = "none" })
  return (text:gsub("%s+$", ""))
end

local function row(cells)
  local texts = {}
  for index, cell in ipairs(cells) do
    texts[index] = latex(cell.contents)
  end
  return texts
end

-- A title of several words over a narrow column, in lines no longer than the column's cells.
local function title(cell, widest, letter)
  local lines, line = {}, ""
  for word in pandoc.utils.stringify(cell.contents):gmatch("%S+") do
    widest = math.max(widest, utf8.len(word))
    if line ~= "" and utf8.len(line) + 1 + utf8.len(word) > widest then
      lines[#lines + 1], line = line, word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  lines[#lines + 1] = line
  for index, text in ipairs(lines) do
    lines[index] = latex(pandoc.Blocks({ pandoc.Plain({ pandoc.Str(text) }) }))
  end
  return "\\shortstack[" .. letter .. "]{" .. table.concat(lines, "\\\\") .. "}"
end

local function longest(rows, column)
  local width = 0
  for _, each in ipairs(rows) do
    width = math.max(width, utf8.len(pandoc.utils.stringify(each.cells[column].contents)) or 0)
  end
  return width
end

local function tabular(element, widths)
  local specs, titles, broken = {}, {}, false
  local body = element.bodies[1].body
  local head = element.head.rows[1]
  for index, column in ipairs(element.colspecs) do
    local letter = LETTER[column[1]] or "l"
    local share = widths[index] or 0
    if share > 0 then
      broken = true
      local ragged = RAGGED[column[1]] or "\\raggedright"
      specs[index] = string.format(">{%s\\arraybackslash}p{%.2f\\linewidth}", ragged, share / 100)
      titles[index] = head and latex(head.cells[index].contents) or ""
    else
      specs[index] = letter
      titles[index] = head and title(head.cells[index], longest(body, index), letter) or ""
    end
  end
  local lines = { "\\begin{tabular}{@{}" .. table.concat(specs) .. "@{}}", "\\toprule" }
  lines[#lines + 1] = table.concat(titles, " & ") .. " \\\\"
  lines[#lines + 1] = "\\midrule"
  for _, each in ipairs(body) do
    lines[#lines + 1] = table.concat(row(each.cells), " & ") .. " \\\\" .. (broken and "\\addlinespace[2pt]" or "")
  end
  lines[#lines + 1] = "\\bottomrule"
  lines[#lines + 1] = "\\end{tabular}"
  return pandoc.RawBlock("latex", table.concat(lines, "\n"))
end

local function sized(division)
  local widths = {}
  for width in (division.attributes.widths or ""):gmatch("%S+") do
    widths[#widths + 1] = tonumber(width)
  end
  return division.content:walk({ Table = function(element) return tabular(element, widths) end })
end

return {
  { Table = left },
  {
    traverse = "topdown",
    Div = function(division)
      if FORMAT ~= "latex" then return nil end
      if division.classes:includes("sized") then return sized(division), false end
      if division.classes:includes("long") then return division.content, false end
      return nil
    end,
    Table = function(element)
      if FORMAT ~= "latex" then return nil end
      return tabular(element, {})
    end,
  },
}
