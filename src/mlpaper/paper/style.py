"""The one style of all figures: type, colours, markers, bands, direct labels, watermark, and the saving of files.

Nothing here knows what a figure shows. No figure uses pyplot, so that drawing one leaves no trace for the next.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox, ScaledTranslation, Transform
from numpy.typing import NDArray

from mlpaper.errors import RenderError
from mlpaper.files import atomic
from mlpaper.paper import svg
from mlpaper.study.stats import summarise

WIDTH = 6.5
"""Full text width in inches."""

INK = "#222222"
GREY = "#767676"
FAINT = "#DDDDDD"

PALETTE = ("#14213D", "#D55E00", "#0067A5", "#F0BC42", "#7B1E5B", "#3BB795", "#8C5A2B", "#B9A7E0")
"""Navy, vermilion, blue, amber, wine, teal: of CIE lightness 13, 54, 42, 79, 29, 67, so that a grey print tells them
apart. Neighbours in the order are far apart in lightness, and no two differ in red against green alone. Brown and lilac
follow for the rare figure of seven or eight runs, whose labels and markers must help in grey."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)), (0, (9, 2)))

TYPE = ("STIXGeneral", "DejaVu Sans")
"""STIX (a Times) comes with Matplotlib, so every machine draws the same bytes; its serifs tell 1, l and I apart. DejaVu
comes with it too, and has what STIX lacks."""
PLACEHOLDERS = frozenset({"Last Resort High-Efficiency"})
"""Fonts of boxes in place of characters; Matplotlib brings one."""
_SELECTORS = set(range(0xFE00, 0xFE10))
"""Characters that choose the look of the one before them."""

RC: dict[Any, Any] = {
    "font.family": TYPE[0],
    "mathtext.fontset": "stix",
    "font.size": 9.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 4.0,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "savefig.dpi": 300,  # of the rasterised parts only
    # Letters as paths: a browser without the font, and Typst, show what we saw. Each glyph is stored once.
    "svg.fonttype": "path",
    "svg.hashsalt": "mlpaper",
    # Letters as TrueType: text in the PDF can be searched and copied, and publishers refuse Type 3.
    "pdf.fonttype": 42,
}


@contextmanager
def applied() -> Iterator[None]:
    """Draw in this style, whatever the user's own matplotlib settings say; they come back afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def save(figure: Figure, stem: Path, title: str, watermark: str | None = None) -> None:
    """Write ``stem.svg`` and ``stem.pdf``. The same figure gives the same bytes: no date, no versions, fixed ids."""
    if watermark:
        _stamp(figure, watermark)
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Title": title, "Date": None, "Creator": None},
        "pdf": {"Title": title, "CreationDate": None, "Creator": None, "Producer": None},
    }
    FigureCanvasSVG(figure)
    figure.dpi = 72  # that of vector files
    lay_out(figure)
    with matplotlib.rc_context({"figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)  # both files are drawn once, in this layout
        for ending, entries in metadata.items():
            with atomic(stem.with_name(f"{stem.name}.{ending}")) as temporary:
                figure.savefig(temporary, format=ending, metadata=entries)
                if ending == "svg":
                    temporary.write_text(svg.compact(temporary.read_text(encoding="utf-8")), encoding="utf-8")


@dataclass(frozen=True)
class Link:
    """A part of a figure that leads somewhere; lengths in per cent of the figure, from its upper left corner."""

    target: str
    """Identifier in the document."""
    left: float
    top: float
    width: float
    height: float


def take_links(figure: Figure) -> list[Link]:
    """Where texts with an address (`Text.set_url`) are; they lose it, since a link within an image cannot be used."""
    found = []
    for text in figure.findobj(Text):
        if (target := text.get_url()) is not None:
            box = text.get_window_extent().transformed(figure.transFigure.inverted())
            shares = (100 * share for share in (box.x0, 1 - box.y1, box.width, box.height))
            found.append(Link(target, *(round(share, 2) for share in shares)))
            text.set_url(None)
    return found


def _stamp(figure: Figure, text: str) -> None:
    """Write ``text`` along the diagonal, so faint that the data show through."""
    width, height = figure.get_size_inches()
    size = min(34.0, 0.8 * math.hypot(width, height) * 72 / (0.48 * printed_width(text)))
    figure.text(
        0.5,
        0.5,
        text,
        size=size,
        rotation=math.degrees(math.atan2(height, width)),
        rotation_mode="anchor",
        ha="center",
        va="center",
        color=GREY,
        alpha=0.22,
        weight="bold",
        zorder=1000,
        in_layout=False,
        **plain_text(text),
    )


@dataclass(frozen=True)
class Look:
    """How one run is drawn throughout a figure."""

    colour: str
    marker: str
    dash: Any


def looks(names: Sequence[str]) -> dict[str, Look]:
    """A look for every name. Colours, markers and dashes have different periods, so many names stay distinct."""
    return {
        name: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
        for i, name in enumerate(names)
    }


def interval(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the 95 % interval of the mean; the mean twice for a single value."""
    summary = summarise(list(values))
    half = summary.half_width or 0.0
    return summary.mean - half, summary.mean + half


@dataclass(frozen=True)
class EndLabel:
    """A label for the end of a line, in the data coordinates of that end."""

    x: float
    y: float
    text: str
    colour: str


def label_ends(ax: Axes, labels: Sequence[EndLabel], size: float = 8.5, laid_out: bool = False) -> None:
    """Name lines at the right edge of ``ax``, moved apart where they would overlap, each tied to its line's end.

    Call it last: it needs the final limits of the axes, and their height, which names at their right do not change:
    of several panels in a figure only the first needs a layout, the others are `laid_out`.
    """
    if not labels:
        return
    figure = ax.get_figure(root=True)
    assert figure is not None
    if not laid_out:
        lay_out(figure)
    gap = 1.15 * size / 72 * figure.dpi / ax.bbox.height
    to_axes = ax.transData + ax.transAxes.inverted()
    ends = [to_axes.transform((label.x, label.y)) for label in labels]
    heights = spread([float(np.clip(y, 0, 1)) for _, y in ends], gap, 0.0, 1.0)
    for label, (x, y), height in zip(labels, ends, heights, strict=True):
        level = float(np.clip(y, 0, 1))
        frame: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
        ax.plot((x, 1.0, 1.035), (level, level, height), color=label.colour, linewidth=0.6, linestyle=":", **frame)
        ax.text(1.045, height, label.text, va="center", size=size, color=legible(label.colour), **frame)


def plain_text(text: str) -> dict[str, Any]:
    """How a user's text is drawn as it is written: no mathematics between its `$`, and type that has its characters.

    Raises
    ------
    RenderError
        No font of this machine has one of them.
    """
    names, missing = list(TYPE), {ord(character) for character in text if unicodedata.category(character) != "Cf"}
    for name in TYPE:
        missing -= get_font(font_manager.findfont(name)).get_charmap().keys()
    missing -= _SELECTORS
    for entry in font_manager.fontManager.ttflist if missing else ():
        found = missing & _drawable(entry.fname) if entry.name not in PLACEHOLDERS else frozenset()
        if found:
            names.append(entry.name)
            missing -= found
    if missing:
        signs = ", ".join(f"{chr(number)} (U+{number:04X})" for number in sorted(missing))
        raise RenderError(f"no font of this machine has {signs}, for figures")
    return {"parse_math": False, "fontfamily": names}


def printed_width(text: str) -> int:
    """Characters of a text, counting those twice that are as wide as they are high.

    >>> printed_width("ab"), printed_width("中文")
    (2, 4)
    """
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _drawable(file: str) -> Set[int]:
    """Characters of a font that Matplotlib can draw; none of fonts of coloured pictures."""
    try:
        font = get_font(file)
    except (OSError, RuntimeError):
        return frozenset()
    return font.get_charmap().keys() if font.scalable else frozenset()


def lay_out(figure: Figure) -> None:
    """Give the panels the places that they will have, without drawing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def label_points(
    ax: Axes,
    labels: Sequence[EndLabel],
    avoid: Sequence[tuple[float, float]] = (),
    first: Sequence[int] = (0, 180, 90, 270),
    size: float = 8.5,
    laid_out: bool = False,
) -> None:
    """Name points where there is room beside them, tied to them by a line where that is not near.

    Call it last: it needs the final limits of the axes. Labels that stand first have the first choice.

    Parameters
    ----------
    avoid
        Other points, in data coordinates, that no label should hide.
    first
        Directions from a point, in degrees, that are tried before all others.
    laid_out
        Whether `lay_out` was called since anything outside of the panels changed; labels of points are within them.
    """
    angles = [math.radians(degrees) for degrees in dict.fromkeys((*first, *_DIRECTIONS))]
    figure = ax.get_figure(root=True)
    assert figure is not None
    if not laid_out:
        lay_out(figure)
    point = figure.dpi / 72
    taken: list[Bbox] = []
    dots = (
        ax.transData.transform([(label.x, label.y) for label in labels] + list(avoid)) if labels else np.empty((0, 2))
    )
    for label, dot in zip(labels, dots, strict=False):
        text = ax.annotate(
            label.text,
            (label.x, label.y),
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            size=size,
            color=legible(label.colour),
        )
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / 2
        best: tuple[float, tuple[float, float], Bbox, int] | None = None
        for reach, angle in ((reach, angle) for reach in (4, 7, 13, 20, 28, 38) for angle in angles):
            way = np.array([math.cos(angle), math.sin(angle)])
            centre = dot + way * (reach * point + half * np.minimum(1, 1.45 * np.abs(way)))
            box = Bbox([centre - half, centre + half])
            hidden = box.padded(1.5 * point).count_contains(dots)
            clashes = box.count_overlaps(taken)
            outside = not (ax.bbox.contains(*box.p0) and ax.bbox.contains(*box.p1))
            cost = float(hidden + 3 * clashes + 5 * outside)
            if best is None or cost < best[0]:
                best = (cost, tuple((centre - dot) / point), box, reach)
            if not cost:
                break
        assert best is not None
        _, offset, box, reach = best
        text.set_position(offset)
        taken.append(box)
        if reach > 7:
            line = {"arrowstyle": "-", "linewidth": 0.5, "color": label.colour, "shrinkA": 0, "shrinkB": 2}
            nearest = (np.clip(dot, box.p0, box.p1) - dot) / point
            ax.annotate("", (label.x, label.y), tuple(nearest), textcoords="offset points", arrowprops=line, zorder=1)


_DIRECTIONS = (0, 180, 90, 270, 45, 135, 315, 225, 20, 160, 340, 200)
"""Directions in which a label may stand from its point, in degrees."""


def shifted(transform: Transform, figure: Figure, points: float) -> Transform:
    """The same places, so many points further right."""
    return transform + ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)


def logarithmic(ax: Axes, which: str) -> None:
    """A logarithmic axis whose numbers are written out: ``which`` is x or y. Call it when its limits are known."""
    ax.set(**{f"{which}scale": "log"})
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = axis.get_view_interval()
    decades = math.log10(high / low)
    axis.set_major_locator(LogLocator(subs=(1,) if decades > 3.2 else (1, 3) if decades > 1.5 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())


def typeset(text: str) -> str:
    """Text with what the figures' type lacks set as mathematics.

    >>> typeset("log₁₀ of the norm")
    'log$_{10}$ of the norm'
    """
    return text.replace("₁₀", "$_{10}$")


def plain(value: float) -> str:
    """A number along an axis, in full.

    >>> plain(1000.0), plain(0.25), plain(20000000.0)
    ('1,000', '0.25', '20,000,000')
    """
    return f"{value:,.0f}" if value >= 1 and float(value).is_integer() else f"{value:.12g}"


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Nearest positions (least squares) in the same order that are at least ``gap`` apart, within [low, high].

    With the sorted positions y_i and z_i = y_i - i gap, the condition is that z does not decrease: isotonic regression.
    Where the room is too small the gap shrinks.

    >>> spread([0.5, 0.5], 0.2, 0.0, 1.0)
    [0.4, 0.6]
    """
    n = len(positions)
    gap = min(gap, (high - low) / max(n - 1, 1))
    order = np.argsort(positions, kind="stable")
    ordered = np.asarray(positions, dtype=float)[order]
    if n and low <= ordered[0] and ordered[-1] <= high and (np.diff(ordered) >= gap).all():
        return [round(float(y), 6) for y in positions]
    steps = gap * np.arange(n)
    moved = np.clip(_not_decreasing(ordered - steps), low, high - steps[-1]) + steps
    result = np.empty(n)
    result[order] = moved
    return [round(float(y), 6) for y in result]


def _not_decreasing(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nearest values (least squares) that do not decrease: neighbours that do are pooled into their mean."""
    pools: list[tuple[float, int]] = []
    for value in values:
        mean, size = float(value), 1
        while pools and pools[-1][0] >= mean:
            before, count = pools.pop()
            mean, size = (count * before + size * mean) / (count + size), count + size
        pools.append((mean, size))
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools])


def unmanaged(height: float) -> Figure:
    """An empty figure whose parts are placed by hand."""
    figure = Figure(figsize=(WIDTH, height))
    figure.set_layout_engine("none")
    return figure


def message(text: str, height: float = 1.2) -> Figure:
    """A figure that says in words why there is nothing to draw."""
    figure = unmanaged(height)
    figure.text(0.5, 0.5, text, ha="center", va="center", style="italic", color=GREY)
    return figure


def class_tick_size(count: int, width: float) -> float:
    """Largest legible type for ``count`` class labels side by side on ``width`` inches."""
    return min(8.5, 0.86 * width * 72 / count)


def turned(names: Sequence[str]) -> Mapping[str, Any]:
    """Text properties of class labels under an axis: long names are turned, single characters are not."""
    return {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 2 else {}


def legible(colour: str) -> str:
    """The colour itself, darkened where text in it would be too pale on white."""
    red, green, blue = matplotlib.colors.to_rgb(colour)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    factor = min(1.0, 0.5 / max(luminance, 1e-6))
    return matplotlib.colors.to_hex((red * factor, green * factor, blue * factor))
