-- Tables: columns without an alignment are set left. In LaTeX a table becomes a `tabular`, which can float and whose
-- columns may each be broken or not: `::: {.sized widths="0 30 50"}` gives widths in per cent of the line, 0 for as
-- wide as the cells. Inside `::: long` pandoc's longtable stays; `::: parts` cuts a table into several that float.
-- With two columns of text, formulas are broken or shrunk to the width of one.
local LETTER = { AlignRight = "r", AlignCenter = "c" }
local PAGE_CHARACTERS = 128 -- of a table's smallest type on one line
local RAGGED = { AlignRight = "\\raggedleft", AlignCenter = "\\centering" }

-- HTML: cells of more than a few words may be broken into lines, no narrower than the style says.
local function prose(element)
  for _, body in ipairs(element.bodies) do
    for _, each in ipairs(body.body) do
      for _, cell in ipairs(each.cells) do
        if (utf8.len(pandoc.utils.stringify(cell.contents)) or 0) > 24 then
          cell.attr.classes:insert("prose")
        end
      end
    end
  end
end

local function left(element)
  if FORMAT:match("html") then prose(element) end
  for index, column in ipairs(element.colspecs) do
    if column[1] == "AlignDefault" then
      element.colspecs[index] = { "AlignLeft", column[2] }
    end
  end
  return element
end

-- Text as it is written, where pandoc leaves what LaTeX or Typst would make another sign of: a backtick, two commas or angle
-- brackets, three full stops, a hyphen before a digit.
local LITERAL = {
  latex = {
    find = { "`", ",,", "<<", ">>" },
    ["`"] = "\\textasciigrave{}", [","] = ",{}", ["<"] = "\\textless{}", [">"] = "\\textgreater{}",
  },
  typst = { find = { "%.%.%.", "%-%d" }, ["."] = "\\.", ["-"] = "\\-" },
}

local function literally(str)
  local signs, found = LITERAL[FORMAT], false
  for _, pattern in ipairs(signs and signs.find or {}) do found = found or str.text:find(pattern) end
  if not found then return nil end
  local pieces, plain = pandoc.Inlines({}), ""
  for _, code in utf8.codes(str.text .. "\n") do
    local sign = utf8.char(code)
    if sign == "\n" or signs[sign] then
      if plain ~= "" then pieces:insert(pandoc.Str(plain)) end
      if signs[sign] then pieces:insert(pandoc.RawInline(FORMAT, signs[sign])) end
      plain = ""
    else
      plain = plain .. sign
    end
  end
  return pieces
end

local function latex(blocks)
  local literal = pandoc.Blocks(blocks):walk({ Str = literally })
  local text = pandoc.write(pandoc.Pandoc(literal), "latex", { wrap_text = "none" })
  return (text:gsub("%s+$", ""))
end

local function row(cells)
  local texts = {}
  for index, cell in ipairs(cells) do
    texts[index] = latex(cell.contents):gsub("^%*", "{}*") -- which would belong to the line break before it
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

-- The longest part of a column's cells at which no line can be broken: a word, or between hyphens.
local function unbreakable(rows, column, pattern)
  local width = 0
  for _, each in ipairs(rows) do
    for word in pandoc.utils.stringify(each.cells[column].contents):gmatch(pattern or "[^%s%-]+%-?") do
      width = math.max(width, utf8.len(word) or 0)
    end
  end
  return width
end

local function tabular(element, widths, body)
  local specs, titles, broken = {}, {}, false
  body = body or element.bodies[1].body
  local head = element.head.rows[1]
  for index, column in ipairs(element.colspecs) do
    local letter = LETTER[column[1]] or "l"
    local share = widths[index] or 0
    if share > 0 then
      broken = true
      local ragged = RAGGED[column[1]] or "\\raggedright"
      share = math.max(share, 100 * (unbreakable(body, index) + 1) / PAGE_CHARACTERS)
      specs[index] = string.format(">{%s\\arraybackslash}p{%.3f\\linewidth}", ragged, share / 100)
      titles[index] = head and latex(head.cells[index].contents) or ""
    else
      specs[index] = letter
      titles[index] = head and title(head.cells[index], longest(body, index), letter) or ""
    end
  end
  local lines = { "\\begin{fitted}", "\\begin{tabular}{@{}" .. table.concat(specs) .. "@{}}", "\\toprule" }
  lines[#lines + 1] = table.concat(titles, " & ") .. " \\\\"
  lines[#lines + 1] = "\\midrule"
  for _, each in ipairs(body) do
    lines[#lines + 1] = table.concat(row(each.cells), " & ") .. " \\\\" .. (broken and "\\addlinespace[2pt]" or "")
  end
  lines[#lines + 1] = "\\bottomrule"
  lines[#lines + 1] = "\\end{tabular}"
  lines[#lines + 1] = "\\end{fitted}"
  return pandoc.RawBlock("latex", table.concat(lines, "\n"))
end

local function asked(division)
  local widths = {}
  for width in (division.attributes.widths or ""):gmatch("%S+") do
    widths[#widths + 1] = tonumber(width)
  end
  return widths
end

local function sized(division)
  local widths = asked(division)
  return division.content:walk({ Table = function(element) return tabular(element, widths) end })
end

-- Typst: short cells, and the words in names of rows, stay on one line.
local NAME, SHORT = 24, 12

local function mean(rows, column)
  local total = 0
  for _, each in ipairs(rows) do
    total = total + (utf8.len(pandoc.utils.stringify(each.cells[column].contents)) or 0)
  end
  return total / math.max(#rows, 1)
end

-- The least width of a column, the width at which most cells take few lines, and that at which none is broken.
local function needs(element, column)
  local body = element.bodies[1].body
  local title = 1.15 * unbreakable(element.head.rows, column) -- which is bold
  local least, most = math.max(unbreakable(body, column), title), longest(body, column)
  local name = column == 1 and unbreakable(body, column, "%S+") or 0
  if name <= NAME then least = math.max(least, name) end
  if most <= (column == 1 and NAME or SHORT) then least = math.max(least, most) end
  return least, math.max(least, math.min(most, 1.3 * mean(body, column))), math.max(least, most)
end

-- Typst: a table that is wider than the line gets widths in per cent: for each column its longest word, and of what is
-- left, shares by how long its cells are.
local function columns(element, characters)
  local least, wanted, gap = {}, {}, 2
  local shortest, ample, widest = 0, 0, 0
  for index = 1, #element.colspecs do
    local low, usual, high = needs(element, index)
    least[index], wanted[index] = low, usual
    shortest, ample, widest = shortest + low + gap, ample + usual + gap, widest + high + gap
  end
  local room = math.max(characters - shortest, 0) / math.max(ample - shortest, 1)
  local line = math.max(characters, shortest)
  for index, column in ipairs(element.colspecs) do
    local width = (least[index] + gap + room * (wanted[index] - least[index])) / line
    element.colspecs[index] = { column[1], widest > characters and width or nil }
  end
  return element
end

local LINE = 106 -- characters of a table in running text, in Typst

-- Rows `first` to `last` as a float of its own; those after the first repeat number and title.
local function part(element, division, first, last, notes)
  local caption = latex(element.caption.long)
  local lines = { "\\begin{" .. division.attributes.float .. "}[tp]" }
  if first == 1 then
    lines[2] = "\\caption{" .. caption .. "}\\label{" .. division.attributes.label .. "}"
  else
    lines[2] = "\\ContinuedFloat\\caption[]{(continued)}"
  end
  lines[3] = "\\" .. division.attributes.size .. "\\setlength{\\tabcolsep}{4pt}\\raggedright"
  local rows = table.move(element.bodies[1].body, first, last, 1, {})
  lines[4] = tabular(element, asked(division), rows).text
  lines[5] = notes
  lines[#lines + 1] = "\\end{" .. division.attributes.float .. "}"
  return table.concat(lines, "\n")
end

local function parts(division)
  local element, notes = division.content[1], division.content:clone()
  notes:remove(1)
  local count, size = #element.bodies[1].body, tonumber(division.attributes.rows)
  local blocks = pandoc.Blocks({})
  for first = 1, count, size do
    local last = math.min(first + size - 1, count)
    local after = last == count and "\\smallskip{}" .. latex(notes) or nil
    blocks:insert(pandoc.RawBlock("latex", part(element, division, first, last, after)))
  end
  return blocks
end

-- Commands are broken between words where a line ends.
local function wrapped(block)
  local lines = {}
  for line in (block.text .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = latex(pandoc.Blocks({ pandoc.Plain({ pandoc.Code(line) }) }))
  end
  return pandoc.RawBlock("latex", "\\begin{flushleft}\\small\n" .. table.concat(lines, "\\\\\n") .. "\n\\end{flushleft}")
end

-- What pandoc calls signs that Typst has renamed since.
local RENAMED = { ["dot.circle"] = "dot.o", ["times.circle"] = "times.o", ["plus.circle"] = "plus.o" }

local function renamed(formula)
  if FORMAT ~= "typst" then return nil end
  local written = pandoc.write(pandoc.Pandoc({ pandoc.Plain({ formula }) }), "typst"):gsub("%s+$", "")
  for old, new in pairs(RENAMED) do written = written:gsub(old:gsub("%.", "%%."), new) end
  return pandoc.RawInline("typst", written)
end

-- A displayed formula in a narrow column. Where it does not fit, what stands side by side is set line by line.
local function narrow(formula)
  if FORMAT ~= "latex" or formula.mathtype ~= "DisplayMath" or not PANDOC_WRITER_OPTIONS.variables.twocolumn then
    return nil
  end
  local lines = formula.text:gsub("&%s*\\qquad%s*", "\\\\ ")
  return pandoc.RawInline("latex", "\\fitmath{" .. formula.text .. "}{" .. lines .. "}")
end

return {
  { Table = left, Math = function(formula) return narrow(formula) or renamed(formula) end },
  {
    traverse = "topdown",
    Div = function(division)
      if FORMAT == "typst" and division.classes:includes("fitted") then
        local characters = tonumber(division.attributes.characters)
        return division.content:walk({ Table = function(element) return columns(element, characters) end }), false
      end
      if FORMAT ~= "latex" then return nil end
      if division.classes:includes("parts") then return parts(division), false end
      if division.classes:includes("sized") then return sized(division), false end
      if division.classes:includes("long") then return division.content, false end
      return nil
    end,
    CodeBlock = function(block)
      if FORMAT ~= "latex" then return nil end
      return wrapped(block)
    end,
    Table = function(element)
      if FORMAT == "typst" then return columns(element, LINE) end
      if FORMAT ~= "latex" then return nil end
      return tabular(element, {})
    end,
  },
  { Str = literally },
}
