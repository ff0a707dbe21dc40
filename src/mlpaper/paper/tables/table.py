"""A table as data, and its files: Markdown, LaTeX, HTML, and the numbers behind it. What tables say is not here."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlpaper import markup
from mlpaper.files import write_parquet, write_text

NO_BREAK_SPACE = "\u00a0"
WIDEST_LINE = 45
"""Characters from which on a column's cells are broken into lines in LaTeX."""
WIDEST_TABLE = 110
"""Characters that fit on a line of a page in LaTeX."""

SHORT = 12
"""Characters up to which a column of text is not broken into lines, however wide the table is."""

BETWEEN = 2
"""Characters that the space between two columns takes."""

PAGE_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1d2327; background: #fff; margin: 1.2rem; }
h1 { font-size: 1.15rem; } p { font-size: 0.85rem; color: #59626a; max-width: 60rem; }
table { border-collapse: collapse; border-block: 2px solid #1d2327; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; text-align: left; vertical-align: top; max-width: 30rem; }
th { border-bottom: 1px solid #1d2327; vertical-align: bottom; } tr + tr td { border-top: 1px solid #dedbd2; }
.number { text-align: right; white-space: nowrap; }
"""
"""The look of a table on a page of its own."""


@dataclass(frozen=True)
class Column:
    """One column: its heading, its cells as shown, and whether they are numbers (aligned right, never broken)."""

    title: str
    cells: tuple[str, ...]
    numeric: bool = False

    @property
    def shown(self) -> tuple[str, ...]:
        """Cells in which spaces of numbers do not break, except before a remark in brackets."""
        return tuple(re.sub(r" (?!\()", NO_BREAK_SPACE, cell) if self.numeric else cell for cell in self.cells)

    @property
    def longest(self) -> int:
        """Characters of the longest cell."""
        return max(map(len, self.cells), default=0)


@dataclass(frozen=True)
class Table:
    """Columns of text, the values behind them, and a note below."""

    columns: tuple[Column, ...]
    raw: Sequence[Mapping[str, Any]]
    """Rows of unrounded values; None, or no key, where there is none. Fractions stay fractions."""
    note: str = ""

    def write(self, stem: Path, title: str = "") -> None:
        """Write ``stem.md``, ``stem.tex`` (a tabular, without caption), ``stem.html`` (a page) and ``stem.parquet``."""
        write_text(stem.with_name(f"{stem.name}.html"), self.html(title))
        write_text(stem.with_name(f"{stem.name}.md"), self.markdown())
        write_text(stem.with_name(f"{stem.name}.tex"), self.latex())
        names = dict.fromkeys(name for row in self.raw for name in row)
        raw = {name: [row.get(name) for row in self.raw] for name in names}
        write_parquet(stem.with_name(f"{stem.name}.parquet"), raw)

    def markdown(self) -> str:
        """A pipe table as pandoc and GitHub read it."""
        columns = [
            [markup.markdown(cell, inside=True) for cell in (column.title, *column.shown)] for column in self.columns
        ]
        widths = [min(max(3, *map(len, texts)), WIDEST_LINE) for texts in columns]
        numeric = [column.numeric for column in self.columns]
        lines = [f"| {' | '.join(_padded(row, widths, numeric))} |" for row in zip(*columns, strict=True)]
        rules = [f"{'-' * (width + 1)}{':' if right else '-'}" for width, right in zip(widths, numeric, strict=True)]
        lines.insert(1, f"|{'|'.join(rules)}|")
        note = f"\n{markup.markdown(self.note)}\n" if self.note else ""
        return "\n".join(lines) + "\n" + note

    def html(self, title: str) -> str:
        """A page of its own, for Snakemake's report."""
        aligned = [' class="number"' if column.numeric else "" for column in self.columns]
        head = "".join(
            f"<th{place}>{html.escape(column.title)}</th>" for column, place in zip(self.columns, aligned, strict=True)
        )
        cells = (
            [f"<td{place}>{html.escape(cell)}</td>" for cell, place in zip(row, aligned, strict=True)]
            for row in zip(*(column.shown for column in self.columns), strict=True)
        )
        rows = "\n".join(f"<tr>{''.join(row)}</tr>" for row in cells)
        note = f"<p>{html.escape(self.note)}</p>\n" if self.note else ""
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
            f"<style>{PAGE_STYLE}</style>\n<h1>{html.escape(title)}</h1>\n"
            f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n{note}</html>\n"
        )

    def latex(self) -> str:
        """A tabular in the style of booktabs, with the note in small print below."""
        rows = [[markup.latex(cell) for cell in row] for row in zip(*(c.shown for c in self.columns), strict=True)]
        lines = [
            "% needs: \\usepackage{array, booktabs}",
            f"\\begin{{tabular}}{{{''.join(_latex_columns(self.columns))}}}",
            "\\toprule",
            " & ".join(markup.latex(column.title) for column in self.columns) + " \\\\",
            "\\midrule",
            *(" & ".join(row) + " \\\\" for row in rows),
            "\\bottomrule",
            "\\end{tabular}",
        ]
        if self.note:
            lines.append(f"\\par\\smallskip{{\\footnotesize {markup.latex(self.note)}}}")
        return "\n".join(lines) + "\n"


def _padded(row: Iterable[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    return [
        cell.rjust(width) if numeric else cell.ljust(width)
        for cell, width, numeric in zip(row, widths, right, strict=True)
    ]


def _latex_columns(columns: Sequence[Column]) -> list[str]:
    """`l` and `r`; in a table that is too wide, ragged columns share by their longest cells what short ones leave."""
    kept = ["r" if column.numeric else "l" for column in columns]
    total = sum(column.longest + BETWEEN for column in columns)
    if total <= WIDEST_TABLE and all(column.longest <= WIDEST_LINE for column in columns):
        return kept
    broken = [column.longest > SHORT and not column.numeric for column in columns]
    short = sum(column.longest + BETWEEN for column, long in zip(columns, broken, strict=True) if not long)
    room = max(0.95 - short / WIDEST_TABLE, 0.3)
    weights = [
        min(max(column.longest, WIDEST_LINE // 2), 3 * WIDEST_LINE) if long else 0
        for column, long in zip(columns, broken, strict=True)
    ]
    widths = [room * weight / max(sum(weights), 1) for weight in weights]
    return [
        f">{{\\raggedright\\arraybackslash}}p{{{width:.3f}\\linewidth}}" if long else letter
        for letter, width, long in zip(kept, widths, broken, strict=True)
    ]
