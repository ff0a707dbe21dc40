"""How many verdicts are wrong, and how many claims are decided, against the number of seeds."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import binomtest

from mlpaper.paper import style
from mlpaper.paper.jobs import ItemJob
from mlpaper.study.calibration import KINDS
from mlpaper.study.schema.items import CalibrationFigure

ALLOWED = 5.0
"""Per cent of decided verdicts that may be wrong."""
FEWEST = 10
"""Decided verdicts below which no share of wrong ones is shown."""


def draw(item: CalibrationFigure, job: ItemJob) -> Figure:
    """One line per kind of seeds in both panels."""
    figure = Figure(figsize=(style.WIDTH, 2.7))
    wrong, decided = figure.subplots(1, 2)
    looks = style.looks(list(KINDS))
    seeds = sorted({row["seeds"] for row in job.entries if row["seeds"] > 1})
    for number, (kind, words) in enumerate(KINDS.items()):
        rows = [row for row in job.entries if row["kind"] == kind and row["seeds"] > 1]
        if rows:
            place = (number - (len(KINDS) - 1) / 2) * 0.09
            look = {"color": looks[kind].colour, "marker": looks[kind].marker, "label": words}
            known = [row for row in rows if row["decided"] >= FEWEST]
            _shares(wrong, known, seeds, place, ("wrong", "decided"), look)
            _shares(decided, rows, seeds, place, ("decided", "tried"), look)
    wrong.axhline(ALLOWED, color=style.GREY, linewidth=0.8, linestyle=(0, (4, 2)))
    wrong.set_ylabel("wrong, of decided verdicts (%)")
    decided.set_ylabel("decided, of all claims (%)")
    for axes in (wrong, decided):
        axes.set_xticks(range(len(seeds)), [str(number) for number in seeds])
        axes.set_xlabel("seeds")
        axes.set_ylim(bottom=0)
    handles, labels = decided.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _shares(
    axes: Axes, rows: list[dict[str, int]], seeds: list[int], place: float, of: tuple[str, str], look: dict[str, str]
) -> None:
    """Shares in per cent with Clopper and Pearson's 95 % intervals, side by side where seeds are alike."""
    part, whole = of
    shares = [100 * row[part] / row[whole] for row in rows]
    bounds = [binomtest(row[part], row[whole]).proportion_ci() for row in rows]
    low = [share - 100 * bound.low for share, bound in zip(shares, bounds, strict=True)]
    high = [100 * bound.high - share for share, bound in zip(shares, bounds, strict=True)]
    places = [seeds.index(row["seeds"]) + place for row in rows]
    axes.errorbar(places, shares, yerr=[low, high], linewidth=1, markersize=4, capsize=0, **look)  # type: ignore[arg-type]
