"""All claims of the paper on one page: the probability of each, its verdict, and the published value beside ours.

A claim with a second reading, as coded, has two marks in its row. Each id is a link to its claim in HTML.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from mlpaper.files import read_parquet
from mlpaper.paper import number_format as fmt
from mlpaper.paper import style
from mlpaper.paper.claim_text import Row
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.ledger import AS_CODED
from mlpaper.study.schema.items import VerdictsFigure
from mlpaper.study.stats import Summary

HEIGHT = 8.5
"""Inches that fit on a page above the caption."""
PITCH = 12.0
"""Points from row to row, where there is room."""
ROWS_OF_COLUMN = (40, 190)
"""Rows up to which one column is enough, and two; then there are three."""
TITLE, TALLY, SPACE = 1.15, 1.1, 0.9
"""Lines that a line of a title, the counts below it and the space above it take, in rows."""
NEAR = 8
"""Rows by which a column may be longer than another, so that a study is not cut."""
TOP, FOOT, GAP, SIDE = 0.42, 0.22, 0.22, 0.07
"""Inches above and below the rows, between columns, and beside ids and numbers."""
HEADS = ("here", "published")
THRESHOLDS = (0.05, 0.95)


@dataclass(frozen=True)
class Mark:
    """How a verdict is drawn."""

    colour: str
    marker: str
    hollow: bool = False
    size: float = 1.0

    @property
    def drawn(self) -> dict[str, Any]:
        """Properties of a line without a line."""
        face = "white" if self.hollow else self.colour
        edge = {"markeredgecolor": self.colour, "markeredgewidth": 0.7}
        return {"marker": self.marker, "linestyle": "none", "color": self.colour, "markerfacecolor": face, **edge}


FOR, AGAINST = style.PALETTE[2], style.PALETTE[1]
MARKS: Mapping[str, Mark] = {
    "supported": Mark(FOR, "o"),
    "reproduced": Mark(FOR, "D", size=0.85),
    "leaning for": Mark(FOR, "o", hollow=True),
    "inconclusive": Mark(style.GREY, "s", hollow=True),
    "leaning against": Mark(AGAINST, "X", hollow=True),
    "contradicted": Mark(AGAINST, "X"),
    "not reproduced": Mark(AGAINST, "v"),
}
"""Agreement is round or square and blue, disagreement pointed and vermilion, what is undecided hollow."""

OUTCOME_WORDS = {"held": "held", "failed": "did not hold", "open": "undecided", "not run": "not run"}


@dataclass(frozen=True)
class Line:
    """One row of a column: a claim with its readings, or a part of a heading."""

    height: float
    """In rows."""
    readings: tuple[Row, ...] = ()
    title: str = ""
    counts: str = ""


def draw(item: VerdictsFigure, job: ItemJob) -> Figure:
    """Rows in the order of the studies and their claims, in as few columns as a page allows."""
    assert job.claims is not None
    rows = [Row(facts) for facts in read_parquet(Path(job.claims)).to_pylist()]
    titles = {entry["study"]: entry["title"] for entry in job.entries}
    claims = [row for row in rows if row.kind != "as coded"]
    number = 1 + sum(len(claims) > most for most in ROWS_OF_COLUMN)
    columns = split([group(rows, study, title, 84 // number) for study, title in titles.items()], number)
    tallest = max(sum(line.height for line in column) for column in columns)
    look = _look(claims, (style.WIDTH - GAP * (number - 1)) / number, tallest)
    figure = style.unmanaged(TOP + FOOT + tallest * look.pitch / 72)
    for place, column in enumerate(columns):
        _draw_column(figure, column, place * (look.width + GAP), tallest, look)
    _add_key(figure, rows)
    return figure


def group(rows: Sequence[Row], study: str, title: str, wrap: int) -> list[Line]:
    """The lines of a study: its title, the counts of its claims, and a line per claim; none where it has no claims."""
    of_study = {row.facts["id"]: row for row in rows if row.facts["study"] == study}
    second = {name.removesuffix(AS_CODED): row for name, row in of_study.items() if row.kind == "as coded"}
    first = [row for row in of_study.values() if row.kind != "as coded"]
    if not first:
        return []
    counted = [(words, sum(row.outcome == word for row in first)) for word, words in OUTCOME_WORDS.items()]
    tally = ", ".join(f"{number} {words}" for words, number in counted if number)
    heading = [Line(TITLE, title=part) for part in textwrap.wrap(title, wrap)]
    pairs = ((row, second.get(row.facts["id"])) for row in first)
    claims = [Line(1.0, readings=tuple(row for row in pair if row is not None)) for pair in pairs]
    return [Line(SPACE), *heading, Line(TALLY, counts=tally), *claims]


def split(groups: Sequence[Sequence[Line]], number: int) -> list[list[Line]]:
    """The lines in so many columns of nearly equal height; between two studies where that is near."""
    lines = [line for group in groups for line in group]
    ends = [sum(map(len, groups[: place + 1])) for place in range(len(groups))]
    heights = [0.0]
    for line in lines:
        heights.append(heights[-1] + line.height)
    cuts = [0]
    for column in range(1, number):
        wanted = heights[-1] * column / number
        whole = min(ends, key=lambda end: abs(heights[end] - wanted))
        inside = min(range(len(heights)), key=lambda end: abs(heights[end] - wanted))
        cuts.append(whole if abs(heights[whole] - wanted) <= NEAR else _within(lines, inside))
    cuts.append(len(lines))
    return [_begun(lines, start, stop) for start, stop in itertools.pairwise(cuts)]


def _within(lines: Sequence[Line], cut: int) -> int:
    """A cut that leaves no heading alone at the foot of a column."""
    while cut < len(lines) and not lines[cut - 1].readings:
        cut += 1
    return cut


def _begun(lines: Sequence[Line], start: int, stop: int) -> list[Line]:
    """A column; where it begins within a study, its title is repeated."""
    column = list(lines[start:stop])
    if not column or not column[0].readings:
        return column
    head = start
    while not lines[head].counts:
        head -= 1
    titles = [line for line in lines[:head] if line.title]
    first = max((place for place in range(head) if not lines[place].title), default=-1) + 1
    title = " ".join(line.title for line in lines[first:head]) if titles else ""
    return [Line(SPACE), Line(TITLE, title=f"{textwrap.shorten(title, 40, placeholder='…')} (continued)"), *column]


@dataclass(frozen=True)
class Look:
    """Sizes that all columns share: type and rows in points, widths in inches."""

    size: float
    pitch: float
    width: float
    label: float
    numbers: tuple[float, ...]
    """Of our numbers and the published ones; none where nothing was published."""

    @property
    def panel(self) -> float:
        """Inches of the axis of probability."""
        return self.width - self.label - sum(self.numbers)

    @property
    def right(self) -> list[float]:
        """Where numbers end, in widths of the panel."""
        return [1 + sum(self.numbers[: place + 1]) / self.panel for place in range(len(self.numbers))]


def _look(claims: Sequence[Row], width: float, tallest: float) -> Look:
    """The largest type at which rows fit on the page, and ids and numbers leave a third of a column to the axis."""
    pitch = min(PITCH, (HEIGHT - TOP - FOOT) * 72 / tallest)
    pairs = [pair for row in claims if (pair := short_numbers(row))]
    texts = [
        [row.facts["id"] for row in claims],
        *([name, *column] for name, column in zip(HEADS, zip(*pairs, strict=True), strict=False)),
    ]
    widths = [_extent(column) for column in texts]
    size = min(8.0, 0.86 * pitch, 72 * 0.66 * width / sum(widths))
    label, *numbers = (size * each / 72 + SIDE for each in widths)
    return Look(size, pitch, width, label, tuple(numbers))


def _draw_column(figure: Figure, lines: Sequence[Line], left: float, tallest: float, look: Look) -> None:
    """A panel with ids at its left and numbers at its right; its vertical unit is a row."""
    wide, high = figure.get_size_inches()
    ax = figure.add_axes(((left + look.label) / wide, FOOT / high, look.panel / wide, tallest * look.pitch / 72 / high))
    ax.set(xlim=(-0.06, 1.06), ylim=(tallest, 0))
    ax.axis("off")
    at = -look.label / look.panel
    frame: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center_baseline", "clip_on": False}
    level = began = 0.0
    for place, line in enumerate(lines):
        middle, level = level + line.height / 2, level + line.height
        if line.title:
            text = {"size": look.size + 0.8, "weight": "bold", **style.plain_text(line.title)}
            ax.text(at, middle, line.title, **frame, **text)
        elif line.counts:
            ax.text(at, middle, line.counts, size=look.size, style="italic", color=style.GREY, **frame)
        elif line.readings:
            _draw_row(ax, line.readings, middle, look, frame)
        else:
            began = level
        if line.readings and (place + 1 == len(lines) or not lines[place + 1].readings):
            _draw_thresholds(ax, began, level)
        elif not line.readings:
            began = level
    _label_scale(ax, level, look)


def _draw_row(ax: Axes, readings: Sequence[Row], level: float, look: Look, frame: Mapping[str, Any]) -> None:
    first, several = readings[0], len(readings) > 1
    label = ax.text(-look.label / look.panel, level, first.facts["id"], size=look.size, **frame)
    label.set_url(first.anchor)
    ax.plot((-0.06, 1.06), (level, level), color=style.FAINT, linewidth=0.35, zorder=0)
    for place, row in enumerate(readings):
        mark, probability = MARKS.get(row.facts["verdict"]), row.facts["probability"]
        height = level + 0.17 * (2 * place - 1) * several
        if mark and probability is not None:
            size = 5.0 * min(1.0, look.pitch / 10) * (0.8 if several else 1.0)
            ax.plot((0.5, probability), (height, height), color=mark.colour, linewidth=0.7, alpha=0.5, zorder=2)
            ax.plot(probability, height, markersize=size * mark.size, zorder=3, clip_on=False, **mark.drawn)
    if all(row.facts["probability"] is None for row in readings):
        words = " / ".join(dict.fromkeys(row.facts["verdict"] for row in readings))
        told: dict[str, Any] = {"ha": "center", "va": "center_baseline", "color": style.GREY, "style": "italic"}
        told["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.3}
        ax.text(0.5, level, words, size=0.92 * look.size, **told)
    for right, text in zip(look.right, short_numbers(first) or (), strict=False):
        ax.text(right, level, text, size=look.size, ha="right", **frame)


def _draw_thresholds(ax: Axes, top: float, foot: float) -> None:
    """Where verdicts begin, behind the rows of a study."""
    for low, high in ((-0.06, THRESHOLDS[0]), (THRESHOLDS[1], 1.06)):
        ax.fill_between((low, high), top, foot, color="#F1F1F1", linewidth=0, zorder=-1)
    for threshold in THRESHOLDS:
        ax.plot((threshold, threshold), (top, foot), color=style.GREY, linewidth=0.5, linestyle=(0, (3, 2)), zorder=1)
    ax.plot((0.5, 0.5), (top, foot), color=style.GREY, linewidth=0.35, zorder=1)


def _label_scale(ax: Axes, foot: float, look: Look) -> None:
    """The numbers of the axis of probability, and what the columns of numbers hold."""
    grey: dict[str, Any] = {"size": 0.95 * look.size, "color": style.GREY, "clip_on": False}
    for values, level, side in (((*THRESHOLDS, 0.5), -0.1, "bottom"), ((0, 0.5, 1), foot + 0.25, "top")):
        for value in values:
            ax.text(value, level, f"{value:g}", ha="center", va=side, **grey)
    for name, right in zip(HEADS, look.right, strict=False):
        ax.text(right, -0.1, name, ha="right", va="bottom", transform=ax.get_yaxis_transform(), **grey)


def short_numbers(row: Row) -> tuple[str, str] | None:
    """Our number and the published one without units, where a value was published."""
    theirs, ours = row.facts["published"], row.facts["value"]
    if theirs is None:
        return None
    if row.facts["verdict"] == "not run":
        ours = None
    return _short(row, ours), _short(row, theirs)


def _short(row: Row, value: float | None) -> str:
    if value is None:
        return fmt.MISSING
    if row.facts["rule"] == "speed":
        return f"{value:.3g}"
    metric = row.facts["metric"]
    return fmt.difference(metric, Summary(value, None, 1)) if row.is_difference else fmt.number(metric, value)


def _extent(texts: Sequence[str]) -> float:
    """The widest of these texts, in ems."""
    longest = sorted(set(texts), key=len)[-8:]
    return max((float(TextPath((0, 0), text, size=1).get_extents().width) for text in longest), default=0.0)


def _add_key(figure: Figure, rows: Sequence[Row]) -> None:
    """The marks of the verdicts that occur, in the order from agreement to disagreement."""
    shown = {row.facts["verdict"] for row in rows if row.facts["probability"] is not None}
    handles = [
        Line2D([], [], markersize=5 * mark.size, label=word, **mark.drawn)
        for word, mark in MARKS.items()
        if word in shown
    ]
    if handles:
        options: dict[str, Any] = {"handletextpad": 0.1, "columnspacing": 1.0, "handlelength": 1.4, "borderpad": 0.0}
        figure.legend(
            handles=handles, loc="upper center", ncols=len(handles), fontsize=8, bbox_to_anchor=(0.5, 1.0), **options
        )
