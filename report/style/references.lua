-- GitHub: the bibliography as plain paragraphs with anchors, instead of nested divisions; and two signs as they are
-- written, which pandoc leaves to chance: `&` where it looks like an entity, `\\` where it looks like an escape.
if not FORMAT:match("gfm") then
  return {}
end

local function entry(division)
  local blocks = pandoc.Blocks({})
  for _, block in ipairs(division.content) do
    local inlines = block.content or pandoc.Inlines({})
    inlines:insert(1, pandoc.RawInline("html", '<a id="' .. division.identifier .. '"></a>'))
    blocks:insert(pandoc.Para(inlines))
  end
  return blocks
end

local ESCAPED = { ["&"] = "&amp;", ["\\"] = "\\\\" }

function Str(str)
  if not str.text:find("[&\\]") then return nil end
  local pieces = pandoc.Inlines({})
  for plain, sign in str.text:gmatch("([^&\\]*)([&\\]?)") do
    if plain ~= "" then pieces:insert(pandoc.Str(plain)) end
    if sign ~= "" then pieces:insert(pandoc.RawInline("html", ESCAPED[sign])) end
  end
  return pieces
end

function Div(division)
  if division.identifier == "refs" then
    return division.content
  end
  if division.classes:includes("csl-entry") then
    return entry(division)
  end
  return nil
end
