"""What all rules of claims share: a claim, and what the runs say about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from mlpaper.spec import Flag, Model
from mlpaper.study import metrics
from mlpaper.study.schema.names import Name, Text

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements

RUN_FIELDS = (
    *("run", "minus", "first", "second", "beside", "fast", "slow"),
    *("larger", "smaller", "runs", "best", "wide", "narrow"),
)
"""Fields of claims that name runs."""

LISTED = 4
"""Runs that are named one by one; of more, only the first and the last."""

Kind = Literal["result", "explanation", "conclusion", "ours", "arithmetic"]
"""What a claim counts as: its origin, or `arithmetic` for numbers of parameters, which no training decides."""

Holds = NDArray[np.bool_]
"""Whether something holds, by draw."""
Array = NDArray[np.float64]


class Condition(NamedTuple):
    """A condition of a claim, by draw."""

    holds: Holds
    open: Holds
    """Whether it holds or cannot be told, as in a tie."""


ROUNDING = 1e-12
"""Numbers that differ by no more are equal."""


def above(drawn: Array, bound: float) -> Condition:
    """Above a bound; at the bound it is a tie."""
    return Condition(drawn > bound + ROUNDING, drawn >= bound - ROUNDING)


def below(drawn: Array, bound: float) -> Condition:
    """Below a bound; at the bound it is a tie."""
    return above(-drawn, -bound)


def at_least(drawn: Array, bound: float) -> Condition:
    """Not below a bound."""
    reached = drawn >= bound - ROUNDING
    return Condition(reached, reached)


def at_most(drawn: Array, bound: float) -> Condition:
    """Not above a bound."""
    return at_least(-drawn, -bound)


@dataclass(frozen=True)
class Evidence:
    """What the runs say about a claim: in which draws of their means it holds."""

    holds: Holds | None = None
    """Whether the claim holds; None where the runs say nothing."""
    parts: tuple[Holds, ...] = ()
    """Whether each of its conditions holds or is open. A claim is contradicted by one of them, not by their number:
    among many runs of equal means, any order is improbable."""
    seeds: int = 0
    value: float | None = None
    """Our difference, mean or factor, in the units of the metric; None for predicates over several means."""
    drawn: Array | None = None
    """Draws of that number."""
    remark: str = ""

    @property
    def tie(self) -> bool:
        """Whether no condition is missed and yet the claim never holds."""
        return self.holds is not None and not self.holds.any() and bool(np.all(self.parts))

    @classmethod
    def of(cls, *conditions: Condition, seeds: int, value: float | None = None, drawn: Array | None = None) -> Evidence:
        """Evidence on a claim that holds where all of its conditions do."""
        holds = np.logical_and.reduce([condition.holds for condition in conditions])
        return cls(holds, tuple(condition.open for condition in conditions), seeds, value, drawn)


class Claim(Model):
    """A statement of a source (or a question of ours about one), and the rule that decides it."""

    same_says_nothing: ClassVar[bool] = True
    """Whether nothing is said where two of the runs that are compared are one, as at a scale that cuts widths short."""
    normal: ClassVar[bool] = True
    """Whether it decides on values that are about normal. Of others a forecast repeats the seeds that there are."""

    rule: str
    id: Name
    """Its name within the study."""
    statement: Text
    """One sentence, paraphrased."""
    origin: Literal["result", "explanation", "conclusion", "ours"] = "result"
    """What the source reports, how it explains that, what it concludes from it, or what we ask besides."""
    place: Text | None = None
    """Where the source says so: a section, table or figure, with a paraphrase where that helps. None for `ours`."""
    tested_by: Literal["control", "measurement"] | None = None
    """How an explanation or a conclusion is tested: by a run in which the cause is taken away, or by measuring it."""
    level: Flag = False
    """Whether it is about a level that belongs to the source's data and settings, such as an accuracy: with others it
    is not comparable. The rule `value` always is."""
    as_coded: Flag = False
    """Whether the claim is also tested on the runs `<run>-as-coded`, wherever there are such."""

    @model_validator(mode="after")
    def _has_a_place(self) -> Claim:
        if self.origin == "ours" and self.place is not None:
            raise ValueError("`place` is for claims of the source; this one is `origin: ours`")
        if self.origin != "ours" and self.place is None:
            raise ValueError("needs `place`: the section, table or figure in which the source says so")
        return self

    @model_validator(mode="after")
    def _says_how_it_is_tested(self) -> Claim:
        if self.origin == "explanation" and self.tested_by is None:
            raise ValueError("an explanation needs `tested_by: control` or `tested_by: measurement`")
        if self.origin in ("result", "ours") and self.tested_by is not None:
            raise ValueError("`tested_by` is for explanations and conclusions")
        return self

    @property
    def kind(self) -> Kind:
        """What the claim counts as."""
        return "arithmetic" if self.metric_names == ("parameters",) else self.origin

    @property
    def named_runs(self) -> tuple[str, ...]:
        """Every run that it names."""
        values = (getattr(self, name, None) or () for name in RUN_FIELDS)
        return tuple(dict.fromkeys(run for value in values for run in ((value,) if isinstance(value, str) else value)))

    @property
    def kinds(self) -> tuple[float, ...]:
        """Where it counts outcomes, a value of each kind: a forecast may meet kinds that no seed has shown."""
        return ()

    @property
    def compared(self) -> Sequence[tuple[str, str]]:
        """Pairs of runs that it compares."""
        return list(combinations(self.named_runs, 2)) if self.same_says_nothing else []

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that decide it."""
        return (self.metric,) if hasattr(self, "metric") else ()

    def evidence(self, measured: Measurements) -> Evidence:
        """What the runs say."""
        raise NotImplementedError

    def published_value(self, measured: Measurements) -> float | None:
        """The published number that it is about: its own, or what follows from the study's published values."""
        own: float | str | None = getattr(self, "published", None)
        return own if isinstance(own, (int, float)) else None

    def asked(self, row: Row) -> str:
        """The rule in words: `test accuracy: M3b − M0 above 0`."""
        raise NotImplementedError

    def found(self, row: Row) -> str:
        """What was measured, with its unit; an en dash where nothing was."""
        raise NotImplementedError

    def region(self, published: float | None) -> tuple[float, float] | None:
        """The bounds between which its number must lie, or the means of its runs, where the rule has such bounds."""

    def subject(self) -> str:
        """What the metric was measured of."""
        return listed(self.named_runs)

    def here(self, row: Row) -> str:
        """What was measured, with the metric and the runs: `validation accuracy, M1b − M1a: +6.1 points`."""
        return f"{row.metric}, {self.subject()}: {row.ours}"


def listed(runs: Sequence[str]) -> str:
    """Runs in words."""
    return ", ".join(runs) if len(runs) <= LISTED else f"{runs[0]} to {runs[-1]} ({len(runs)} runs)"


def endless(low: float | None, high: float | None) -> tuple[float, float]:
    """Two bounds as numbers; one that is not there is infinite."""
    return -math.inf if low is None else low, math.inf if high is None else high


def between(row: Row, low: float | None, high: float | None) -> str:
    """One or two bounds of a metric in words: `between 95.50 % and 97.50 %`."""
    least, most = (None if bound is None else row.quantity(bound) for bound in (low, high))
    return f"between {least} and {most}" if least and most else f"at least {least}" if least else f"at most {most}"


def better(metric: str) -> Callable[[Array, Array], Array]:
    """By how much the first of two means is better than the second, by draw."""
    sign = -1.0 if metrics.get(metric).lower_is_better else 1.0
    return lambda first, second: sign * minus(first, second)


def minus(first: Array, second: Array) -> Array:
    """First minus second; zero where both are equal, infinite ones among them."""
    with np.errstate(invalid="ignore"):
        return np.where(first == second, 0.0, first - second)
