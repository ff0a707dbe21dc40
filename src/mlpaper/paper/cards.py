"""What a claim's card in the HTML page shows: every seed of its runs, what was drawn, and the command for its runs.

How a card looks is decided by `report/style/card.html.j2`. Texts are plain; the template escapes them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlpaper.paper import number_format as fmt
from mlpaper.paper.claim_text import Row
from mlpaper.paper.provenance import braced
from mlpaper.paths import study_claims
from mlpaper.study import metrics

ROOM = 6.0
"""Pixels that dots may stand above or below the axis."""
EDGE = 3.0
"""Per cent of an axis that stay free at either end."""
MOST_RUNS = 12
"""Runs that a command names one by one."""
TARGETS = {
    "outcome": "run.json",
    "history": "run.json",
    "evaluation": "evaluation.json",
    "robustness": "robustness.parquet",
    "gradients": "gradients.parquet",
}
"""The file of a run that Snakemake is asked for, by where a metric comes from."""


@dataclass(frozen=True)
class Strip:
    """One line of a panel: the seeds of a run, or the draws of the claim's number."""

    label: str
    is_run: bool
    said: str
    """Its number, or why there is none."""
    title: str = ""
    """The values of all seeds."""
    dots: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()

    @property
    def stacked(self) -> Iterator[tuple[float, float]]:
        """Dots with their height in pixels: those at one place stand one above the other, as far as there is room.

        >>> list(Strip("M0", True, "", dots=(3.0, 97.0, 3.0)).stacked)
        [(3.0, -1.5), (97.0, 0.0), (3.0, 1.5)]
        """
        number, below = Counter(self.dots), Counter[float]()
        for place in self.dots:
            step = min(3.0, 2 * ROOM / max(number[place] - 1, 1))
            yield place, round(step * (below[place] - (number[place] - 1) / 2), 1)
            below[place] += 1


@dataclass(frozen=True)
class Panel:
    """Strips on one axis."""

    title: str
    strips: tuple[Strip, ...]
    ends: tuple[str, str]
    """The numbers at the ends of the axis."""
    region: tuple[float, float] | None
    """Where the claim wants the numbers: begin and width."""
    published: float | None


@dataclass(frozen=True)
class Axis:
    """From numbers to places, in per cent of a strip's width."""

    low: float
    high: float

    @classmethod
    def over(cls, numbers: Iterable[float | None]) -> Axis:
        """An axis that holds all of these numbers that are finite."""
        known = [number for number in numbers if number is not None and math.isfinite(number)] or [0.0]
        low, high = min(known), max(known)
        return cls(low, high) if low < high else cls(low - (abs(low) or 1) / 20, high + (abs(high) or 1) / 20)

    def place(self, number: float) -> float:
        """Where a number is; one beyond an end is at the end."""
        share = (min(max(number, self.low), self.high) - self.low) / (self.high - self.low)
        return round(EDGE + (100 - 2 * EDGE) * share, 1)

    def places(self, numbers: Iterable[float]) -> tuple[float, ...]:
        """Where numbers are."""
        return tuple(map(self.place, numbers))

    def panel(
        self,
        title: str,
        strips: Sequence[Strip],
        write: Callable[[float], str],
        bounds: tuple[float, float] | None,
        published: float | None,
    ) -> Panel:
        """Strips on this axis. Bounds may be infinite."""
        region = None
        if bounds is not None:
            begin = 0.0 if bounds[0] == -math.inf else self.place(bounds[0])
            end = 100.0 if bounds[1] == math.inf else self.place(bounds[1])
            region = begin, round(end - begin, 1)
        mark = None if published is None else self.place(published)
        return Panel(title, tuple(strips), (write(self.low), write(self.high)), region, mark)


@dataclass(frozen=True)
class Card:
    """A claim with all that its card shows."""

    row: Row
    panels: tuple[Panel, ...]
    command: str
    """Makes its runs; empty where none was made."""
    told: bool
    """Whether the text tells it, so that the card can link there."""

    @property
    def statement(self) -> str:
        """The claim, on one line."""
        return " ".join(self.row.facts["statement"].split())

    @property
    def remark(self) -> str:
        """What else to know, on one line, as a sentence; or nothing."""
        remark = " ".join(self.row.facts["remark"].split())
        return f"{remark[0].upper()}{remark[1:]}." if remark else ""


class Cards:
    """The cards of a paper.

    Parameters
    ----------
    document
        The content of `results/numbers.json`.
    told
        Claims that the text has printed: `<study>.<id>`.
    """

    def __init__(self, document: Mapping[str, Any], told: set[str]) -> None:
        self.rows = [Row(facts) for facts in document["claims"]]
        self.numbers: Mapping[str, Mapping[str, Any]] = document["numbers"]
        self.command: str = document["provenance"]["command"]
        self.told = told

    def cards(self, study: str) -> list[Card]:
        """The cards of a study, in the order of its file."""
        return [self._card(row) for row in self.rows if row.facts["study"] == study]

    def _card(self, row: Row) -> Card:
        told = f"{row.facts['study']}.{row.facts['id']}" in self.told
        return Card(row, tuple(self._panels(row)), self._command(row), told)

    def _panels(self, row: Row) -> Iterable[Panel]:
        """One axis for the runs and, where the claim's number is another quantity, such as a difference, a second."""
        published, drawn = row.facts["published"], tuple(row.facts["drawn"] or ())
        region, values = row.claim.region(published), {run: self._values(row, run) for run in row.claim.named_runs}
        if row.claim.kind == "arithmetic":  # nothing is drawn
            drawn, region = (), None
        apart = row.is_apart
        if any(values.values()):
            shown = [value for by_seed in values.values() for value in by_seed.values()]
            bounds, mark, ours = (None, None, ()) if apart else (region, published, drawn)
            axis = Axis.over([*shown, *ours, *(bounds or ()), mark])
            strips = [self._strip(row, run, by_seed, axis) for run, by_seed in values.items()]
            strips += [Strip("draws of the mean", False, row.ours, quantiles=axis.places(ours))] if ours else []
            yield axis.panel(row.metric, strips, row.quantity, bounds, mark)
        if apart and drawn:
            axis = Axis.over([*drawn, *(region or ()), published])
            strips = [Strip("draws", False, row.ours, quantiles=axis.places(drawn))]
            yield axis.panel(row.here.removesuffix(f": {row.ours}"), strips, row.amount, region, published)

    def _values(self, row: Row, run: str) -> dict[int, float]:
        """A run's values by seed."""
        entry = self.numbers.get(f"{row.facts['study']}.{run}.{row.facts['metric']}", {})
        return dict(zip(entry.get("seeds", ()), entry.get("values", ()), strict=True))

    def _strip(self, row: Row, run: str, values: Mapping[int, float], axis: Axis) -> Strip:
        key = f"{row.facts['study']}.{run}"
        entry = self.numbers.get(f"{key}.{row.facts['metric']}", {"mean": None})
        made, lost = len(self._folders(key)), entry.get("diverged", 0)
        said = row.quantity(entry["mean"]) if values else "" if lost else "not measured" if made else fmt.NOT_RUN
        said = ", ".join(filter(None, [said, f"{lost} of {lost + len(values)} diverged" if lost else ""]))
        title = ", ".join(f"{row.number(value)} (seed {seed})" for seed, value in values.items())
        return Strip(run, True, said, title, axis.places(values.values()))

    def _folders(self, key: str) -> list[str]:
        """The folders of a run's seeds: those behind a metric that every run has."""
        folders: list[str] = self.numbers.get(f"{key}.epochs", {}).get("runs", [])
        return folders

    def _command(self, row: Row) -> str:
        """The call of Snakemake that makes the runs of a claim, or, if these are many, all of its study.

        Braces are bash's and zsh's.
        """
        runs = [run for name in row.claim.named_runs for run in self._folders(f"{row.facts['study']}.{name}")]
        if not runs:
            return ""
        runs = list(dict.fromkeys(runs))
        if len(runs) > MOST_RUNS:
            targets = study_claims(row.facts["study"])
        else:
            folders = braced(runs)
            folders = "{" + folders.replace(" ", ",") + "}" if " " in folders else folders
            files = dict.fromkeys(TARGETS[metrics.get(metric).file] for metric in row.claim.metric_names)
            targets = " ".join(f"results/runs/{folders}/{file}" for file in files)
        return re.sub(r"^(snakemake --cores \S+)", rf"\1 {targets}", self.command)
