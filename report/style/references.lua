-- GitHub: the bibliography as plain paragraphs with anchors, instead of nested divisions.
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

function Div(division)
  if division.identifier == "refs" then
    return division.content
  end
  if division.classes:includes("csl-entry") then
    return entry(division)
  end
  return nil
end
