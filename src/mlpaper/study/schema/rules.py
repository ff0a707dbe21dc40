"""Claims of a study: the rules that may decide one, and what each rule needs."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlpaper.spec import Flag, Model, NonNegativeReal, Positive, PositiveReal, Real
from mlpaper.study.schema.names import Metric, Name, RunName, RunPattern, Text

RUN_FIELDS = (
    *("run", "minus", "first", "second", "beside", "fast", "slow"),
    *("larger", "smaller", "runs", "best", "wide", "narrow"),
)
"""Fields of claims that name runs."""

Kind = Literal["result", "explanation", "conclusion", "ours", "arithmetic"]
"""What a claim counts as: its origin, or `arithmetic` for numbers of parameters, which no training decides."""


class Claim(Model):
    """A statement of a source (or a question of ours about one), and the rule that decides it."""

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
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that decide it."""
        return (self.metric,) if hasattr(self, "metric") else ()


class DifferenceClaim(Claim):
    """`first` minus `second`, paired by seed, lies between two bounds.

    Above the margin; below minus the margin; between minus and plus the margin (`equal`); at most the margin above
    zero (`not above`); or at most the margin below zero (`not below`). `most` adds an upper bound to `above`.
    """

    rule: Literal["difference"]
    first: RunName
    second: RunName
    metric: Metric
    direction: Literal["above", "below", "equal", "not above", "not below"] = "above"
    """Where `first` is claimed to lie, against `second`."""
    margin: NonNegativeReal = 0.0
    """By how much; a fraction for accuracies, so that 0.01 is one point."""
    most: PositiveReal | None = None
    """With `above`, the largest difference that the claim allows."""
    published: Real | Literal["none"] | None = None
    """The published difference; that of the published values where there are two, unless it says `none`."""

    @model_validator(mode="after")
    def _bounds_are_apart(self) -> DifferenceClaim:
        if self.direction == "equal" and not self.margin:
            raise ValueError("`direction: equal` needs a margin above 0")
        if self.most is not None and (self.direction != "above" or self.most <= self.margin):
            raise ValueError("`most` is for `direction: above`, and larger than the margin")
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """The differences that the claim allows lie between these two."""
        most = math.inf if self.most is None else self.most
        return {
            "above": (self.margin, most),
            "below": (-math.inf, -self.margin),
            "equal": (-self.margin, self.margin),
            "not above": (-math.inf, self.margin),
            "not below": (-self.margin, math.inf),
        }[self.direction]


class ContrastClaim(Claim):
    """The difference of two runs, `larger`, is above that of two others, `smaller`: first minus second, by seed."""

    rule: Literal["contrast"]
    larger: tuple[RunName, RunName]
    smaller: tuple[RunName, RunName]
    metric: Metric


class BeyondSeedsClaim(Claim):
    """`first` and `second` differ more with equal seeds than each of them does between unlike seeds."""

    rule: Literal["beyond-seeds"]
    first: RunName
    second: RunName
    metric: Metric


class ValueClaim(Claim):
    """A published value within `tolerance` of our mean; with `minus`, of the mean difference to that run."""

    rule: Literal["value"]
    run: RunName
    minus: RunName | None = None
    """The value is that of `run` minus that of this run."""
    metric: Metric
    tolerance: PositiveReal = 0.005
    """How far our mean may be from the published value."""
    published: Real | None = None
    """What follows from the study's `published` where none is given."""


class RangeClaim(Claim):
    """The means of all `runs` lie between `low` and `high`, both included."""

    rule: Literal["range"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    low: Real | None = None
    """The least value that the claim allows."""
    high: Real | None = None
    """The largest."""

    @model_validator(mode="after")
    def _a_bound(self) -> RangeClaim:
        if self.low is None and self.high is None:
            raise ValueError("needs `low`, `high` or both")
        return self


class BestClaim(Claim):
    """The best mean of `runs` is that of one of `best`, or one of them is within `tolerance` of it. A tie is open."""

    rule: Literal["best"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    best: tuple[RunPattern, ...] = Field(min_length=1)
    """Those that are claimed to be the best."""
    metric: Metric
    tolerance: NonNegativeReal = 0.0
    """How far one of them may be behind."""


class OrderClaim(Claim):
    """The means of `runs` fall in this order, best first. A tie of neighbours is open."""

    rule: Literal["order"]
    runs: tuple[RunName, ...] = Field(min_length=2)
    metric: Metric


class PlateauClaim(Claim):
    """None of `runs` has a mean better than that of the first by more than `tolerance`."""

    rule: Literal["plateau"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    tolerance: PositiveReal
    """How much better than the first a run may be."""


class SpreadClaim(Claim):
    """The means of `wide` are further apart (largest minus smallest) than those of `narrow`."""

    rule: Literal["spread"]
    wide: tuple[RunPattern, ...] = Field(min_length=1)
    narrow: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric


class UnstableClaim(Claim):
    """With any seed, `run` diverges or ends near guessing; or its validation accuracy changes much between epochs.

    Near guessing is less than five points above it; much is at least `factor` times the change of `beside`.
    """

    rule: Literal["unstable"]
    run: RunName
    beside: RunName
    """The run whose changes between epochs it is compared with."""
    factor: PositiveReal = 2.0
    """How many times as large its own must be."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("validation_jitter",)


class SpeedClaim(Claim):
    """`slow` takes more than `least` times the epochs of `fast` to a common validation accuracy.

    That is `target`, or the final accuracy of `slow` where none is given. A run that does not reach it is last.
    """

    rule: Literal["speed"]
    fast: RunName
    slow: RunName
    target: PositiveReal | None = None
    """The validation accuracy to reach, as a fraction."""
    least: PositiveReal = 1.0
    """The factor that the claim asks for at least."""
    published: PositiveReal | None = None
    """The published factor, which decides nothing."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("validation_accuracy",)


class TurningClaim(Claim):
    """The validation loss of `run` is lowest between two epochs, then rises by more than `rise` nats (means)."""

    rule: Literal["turning"]
    run: RunName
    earliest: Positive
    """The first epoch at which the loss may be lowest."""
    latest: Positive
    """The last one."""
    rise: PositiveReal = 0.005
    """How much it must rise from there to the end, in nats."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("best_epoch", "loss_rise")


ClaimSpec = Annotated[
    DifferenceClaim
    | ContrastClaim
    | BeyondSeedsClaim
    | ValueClaim
    | RangeClaim
    | BestClaim
    | OrderClaim
    | PlateauClaim
    | SpreadClaim
    | UnstableClaim
    | SpeedClaim
    | TurningClaim,
    Field(discriminator="rule"),
]
