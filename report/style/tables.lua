-- Columns without an alignment are set left. Divisions `::: {.sized widths="20 30 50"}` give the table inside them relative column widths (per cent).
function Table(element)
  for index, column in ipairs(element.colspecs) do
    if column[1] == pandoc.AlignDefault then
      element.colspecs[index] = { pandoc.AlignLeft, column[2] }
    end
  end
  return element
end

function Div(division)
  if not division.classes:includes("sized") then
    return nil
  end
  local widths = {}
  for width in (division.attributes.widths or ""):gmatch("%S+") do
    widths[#widths + 1] = tonumber(width) / 100
  end
  local content = division.content:walk({
    Table = function(element)
      for index, column in ipairs(element.colspecs) do
        element.colspecs[index] = { column[1], widths[index] }
      end
      return element
    end,
  })
  return content
end
