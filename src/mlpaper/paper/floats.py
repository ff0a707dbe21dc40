"""Figures and tables as the templates place them: numbers in the order of the text, captions, links.

How they look in a target is decided by `report/style/{figure,table}.<target>.j2`, not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from mlpaper import markup
from mlpaper.errors import RenderError, nearest
from mlpaper.files import read_json

PAGE_CHARACTERS = 128
"""Characters of a table's smallest type that fit on one line of a page."""
SMALL = 0.72
"""Share of its size to which a small figure is drawn: type of 9.5 points then has 7."""
BEFORE_FIGURES = ("settings", "open-choices", "differences", "split")
"""Tables that say how the runs were made."""
LONG_CELL = 18
"""Characters from which on a column may be broken into lines, where a table does not fit."""
WIDEST_CELL = 90
"""Characters beyond which a column claims no more of the page."""
ESCAPED = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "%#&'\n\r\t"})
"""Signs of an SVG that end an address, or an HTML attribute between `'`, or are lost in either. Base64 is longer."""
FIRST_WORD = re.compile(r"(?<=^\| )[\w-]+", re.MULTILINE)
"""The name that a row of a table begins with."""
KINDS: tuple[Literal["figure", "table"], ...] = ("figure", "table")


@dataclass(frozen=True)
class Item:
    """A figure or a table as its template in `report/style` sees it."""

    id: str
    kind: Literal["figure", "table"]
    number: int
    facts: Mapping[str, Any]
    """The provenance that lies beside the file."""
    folder: Path
    """`results`."""
    small: bool = False
    """Whether a figure is made smaller in a PDF, as in an appendix."""
    rows_named: Mapping[str, str] = field(default_factory=dict)
    """What is written for names at the beginning of rows, such as links."""

    @property
    def label(self) -> str:
        """`Figure 3`."""
        return f"{self.kind.capitalize()} {self.number}"

    @property
    def anchor(self) -> str:
        """Identifier in the document."""
        return f"{self.kind}-{self.id}"

    @property
    def alt(self) -> str:
        """What the figure shows, for those who do not see it; plain text."""
        return str(self.facts.get("alt") or self.facts["title"])

    @property
    def caption(self) -> str:
        """The caption as Markdown, on one line."""
        return markup.prose_markdown(self.facts["caption"])

    @property
    def links(self) -> list[Mapping[str, Any]]:
        """Parts of the figure that lead somewhere (`mlpaper.paper.style.Link`)."""
        return list(self.facts.get("links", ()))

    @property
    def highest(self) -> float:
        """Height in a PDF beyond which a figure is made smaller, in centimetres; that of the whole paper fills one."""
        return 21.8 if self.facts.get("study", "") is None else 17.0

    @property
    def share(self) -> float:
        """Its size in a PDF, of that in which it is drawn."""
        return SMALL if self.small else 1.0

    def path(self, suffix: str) -> str:
        """The file, relative to the folder of the paper."""
        return f"{self.kind}s/{self.id}.{suffix}"

    def data_uri(self) -> str:
        """The SVG as an address that needs no other file, for an HTML attribute between `'`."""
        return "data:image/svg+xml," + self._svg.translate(ESCAPED)

    @property
    def size(self) -> str:
        """Width and height of the SVG as HTML attributes, which keep its room free until it is drawn."""
        found = re.search(r'width="([\d.]+)(?:pt)?" height="([\d.]+)', self._svg)
        return f'width="{float(found[1]):.0f}" height="{float(found[2]):.0f}"' if found else ""

    @cached_property
    def _svg(self) -> str:
        return (self.folder / self.path("svg")).read_text(encoding="utf-8")

    @property
    def body(self) -> str:
        """The table itself, a Markdown pipe table (with notes below it, where it has some)."""
        text = (self.folder / self.path("md")).read_text(encoding="utf-8").strip()
        return FIRST_WORD.sub(lambda found: self.rows_named.get(found[0], found[0]), text)

    @property
    def pipes(self) -> str:
        """The rows of the table, without its notes."""
        return "\n".join(_lines(self.body))

    @property
    def notes(self) -> str:
        """What stands around the rows."""
        return "\n".join(line for line in self.body.splitlines() if not line.startswith("|")).strip()

    @property
    def rows(self) -> int:
        """Rows of the table, without its head."""
        return len(self.pipes.splitlines()) - 2

    @property
    def width(self) -> int:
        """Characters of the widest line, with what stands between columns; titles may be broken between words."""
        return sum(width + 3 for width in self._widths())

    @property
    def shares(self) -> list[int]:
        """Per cent of a page's width for the columns that must be broken into lines; 0 for those that need not."""
        widths = self._widths()
        if self.width <= PAGE_CHARACTERS:
            return [0] * len(widths)
        broken = [width if width > LONG_CELL else 0 for width in widths]
        kept = sum(width + 3 for width, long in zip(widths, broken, strict=True) if not long)
        room = max(PAGE_CHARACTERS - kept - 3 * sum(map(bool, broken)), PAGE_CHARACTERS // 4)
        weights = [min(width, WIDEST_CELL) for width in broken]
        return [100 * room * weight // (PAGE_CHARACTERS * max(1, sum(weights))) for weight in weights]

    def _widths(self) -> list[int]:
        """Characters of every column: its longest cell, or the longest word of its title."""
        return [
            max([len(cell) for cell in cells] + [len(word) for word in title.split()] + [1])
            for title, *cells in self._columns()
        ]

    def _columns(self) -> list[list[str]]:
        """Every column as its title and its cells, without markup."""
        head, _, *body = [[_visible(cell) for cell in _cells(line)] for line in self.pipes.splitlines()]
        return [list(column) for column in zip(head, *body, strict=True)]


def _lines(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith("|")]


def _filled(table: str) -> bool:
    return any(cell not in ("", "–") for row in _lines(table)[2:] for cell in _cells(row))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))]


def _visible(cell: str) -> str:
    return re.sub(r"\\(?=\W)|[*`]|\]\([^)]*\)", "", cell)


@dataclass
class Items:
    """Numbers figures and tables in the order of the text, and resolves links to them.

    A template is rendered twice: the first pass finds the order, the second knows all numbers.
    """

    results: Path
    studies: Mapping[str, Mapping[str, Any]]
    figures: Sequence[str]
    """Figures of the whole paper."""
    draw: Callable[[Item], str]
    """Markup of a figure or a table in the target."""
    link: Callable[[Item], str]
    """Markup of a link to one."""
    known: dict[str, Item] | None = None
    """What the first pass placed; None during the first pass."""
    placed: dict[str, Item] = field(default_factory=dict)

    def macros(self) -> dict[str, Callable[..., Any]]:
        """The functions that templates see, by name."""
        names = "figure table ref has items unplaced"
        return {name: getattr(self, name) for name in names.split()}

    def has(self, name: str, kind: str | None = None) -> bool:
        """Whether there is such a figure or table."""
        return any(name in self._ids(each) for each in KINDS if kind in (None, each))

    def figure(self, name: str, small: bool = False) -> str:
        """A figure with number, caption and provenance."""
        return self._place(name, "figure", small=small)

    def table(self, name: str, rows_named: Mapping[str, str] | None = None) -> str:
        """A table with number, caption and provenance; `rows_named` replaces names at the beginning of its rows."""
        return self._place(name, "table", rows_named=rows_named or {})

    def unplaced(self, study: str) -> list[tuple[str, str]]:
        """Kinds and names of a study's figures and tables that the text has not placed, tables of settings first."""
        found = [(kind, name) for kind in KINDS for name in self._of_study(study, kind)]
        left = [(kind, name) for kind, name in found if f"{kind}-{name}" not in self.placed]
        return sorted(left, key=lambda item: item[1].removeprefix(f"{study}-") not in BEFORE_FIGURES)

    def ref(self, name: str, kind: str | None = None) -> str:
        """`Figure 3`, linked; it may come later in the text. ``kind`` tells a figure from a table of the same name."""
        if self.known is None:
            return name
        found = [item for item in self.known.values() if item.id == name and kind in (None, item.kind)]
        if not found:
            known = [item.id for item in self.known.values()]
            raise RenderError(f"`{name}` is referred to, but placed nowhere{nearest(name, known)}")
        if len(found) > 1:
            raise RenderError(f"`{name}` is a figure and a table: write `ref({name!r}, 'figure')` or `'table'`")
        return self.link(found[0])

    def items(self) -> list[Item]:
        """All figures and tables of the paper in their order (empty during the first pass)."""
        return list((self.known or {}).values())

    def _ids(self, kind: str) -> list[str]:
        whole = self.figures if kind == "figure" else ()
        return [*whole, *(name for study in self.studies for name in self._of_study(study, kind))]

    def _of_study(self, study: str, kind: str) -> list[str]:
        names = self.studies[study].get(f"{kind}s", ())
        return [name for name in names if kind == "figure" or name not in self._empty]

    @cached_property
    def _empty(self) -> set[str]:
        """Tables without any number or word, since nothing was measured: the paper leaves them out."""
        names = (name for study in self.studies.values() for name in study.get("tables", ()))
        paths = (self.results / "tables" / f"{name}.md" for name in names)
        return {path.stem for path in paths if path.exists() and not _filled(path.read_text(encoding="utf-8"))}

    def _place(self, name: str, kind: Literal["figure", "table"], **how: Any) -> str:
        if name not in (allowed := self._ids(kind)):
            raise RenderError(f"there is no {kind} `{name}`{nearest(name, allowed)}")
        if f"{kind}-{name}" in self.placed:
            raise RenderError(f"{kind} `{name}` is placed twice")
        sidecar = self.results / f"{kind}s" / f"{name}.json"
        if not sidecar.exists():
            raise RenderError(f"{kind} `{name}` was not made: {sidecar} is missing")
        number = 1 + sum(item.kind == kind for item in self.placed.values())
        item = Item(name, kind, number, read_json(sidecar), self.results, **how)
        self.placed[item.anchor] = item
        return self.draw(item)
