"""Claims of a study: the rules that may decide one, and what each rule needs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlpaper.spec import Flag, Model, NonNegativeReal, Positive, PositiveReal, Real
from mlpaper.study.schema.names import Metric, Name, RunName, RunPattern, Text

RUN_FIELDS = ("run", "first", "second", "beside", "fast", "slow", "runs", "best", "wide", "narrow")
"""Fields of claims that name runs."""


class Claim(Model):
    """A statement of a source (or a question of ours about one), and the rule that decides it."""

    id: Name
    statement: Text
    """One sentence, paraphrased."""
    origin: Literal["result", "explanation", "ours"] = "result"
    """What the source reports, how it explains what it reports, or what we ask besides."""
    as_coded: Flag = False
    """Whether the claim is also tested on the runs `<run>-as-coded`, wherever there are such."""

    @property
    def named_runs(self) -> tuple[str, ...]:
        """Every run that it names."""
        values = (getattr(self, name, ()) for name in RUN_FIELDS)
        return tuple(dict.fromkeys(run for value in values for run in ((value,) if isinstance(value, str) else value)))

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that decide it."""
        return (self.metric,) if hasattr(self, "metric") else ()


class DifferenceClaim(Claim):
    """`first` minus `second`, paired by seed: above the margin, below minus it, or (`equal`) between the two."""

    rule: Literal["difference"]
    first: RunName
    second: RunName
    metric: Metric
    direction: Literal["above", "below", "equal"] = "above"
    margin: NonNegativeReal = 0.0
    published: Real | None = None
    """The published difference; that of the published values where there are two."""

    @model_validator(mode="after")
    def _equal_needs_a_margin(self) -> DifferenceClaim:
        if self.direction == "equal" and not self.margin:
            raise ValueError("`direction: equal` needs a margin above 0")
        return self


class ValueClaim(Claim):
    """A published value within `tolerance` of our mean."""

    rule: Literal["value"]
    run: RunName
    metric: Metric
    tolerance: PositiveReal = 0.005
    published: Real | None = None
    """That of the study's `published` where none is given."""


class RangeClaim(Claim):
    """The means of all `runs` lie between `low` and `high`, both included."""

    rule: Literal["range"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    low: Real | None = None
    high: Real | None = None

    @model_validator(mode="after")
    def _a_bound(self) -> RangeClaim:
        if self.low is None and self.high is None:
            raise ValueError("needs `low`, `high` or both")
        return self


class BestClaim(Claim):
    """The best mean of `runs` is that of one of `best`, or one of them is within `tolerance` of it."""

    rule: Literal["best"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    best: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    tolerance: NonNegativeReal = 0.0


class OrderClaim(Claim):
    """The means of `runs` stand in this order, best first; neighbours may be out of it by `tolerance`."""

    rule: Literal["order"]
    runs: tuple[RunName, ...] = Field(min_length=2)
    metric: Metric
    tolerance: NonNegativeReal = 0.0


class PlateauClaim(Claim):
    """The largest mean of `runs` is at most `tolerance` above the smallest."""

    rule: Literal["plateau"]
    runs: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric
    tolerance: PositiveReal


class SpreadClaim(Claim):
    """The means of `wide` are further apart (largest minus smallest) than those of `narrow`."""

    rule: Literal["spread"]
    wide: tuple[RunPattern, ...] = Field(min_length=1)
    narrow: tuple[RunPattern, ...] = Field(min_length=1)
    metric: Metric


class UnstableClaim(Claim):
    """`run` diverges with any seed, or its validation accuracy changes more between epochs than that of `beside`."""

    rule: Literal["unstable"]
    run: RunName
    beside: RunName

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("validation_jitter",)


class SpeedClaim(Claim):
    """`fast` reaches the final validation accuracy of `slow` in fewer epochs, by a factor of `published`."""

    rule: Literal["speed"]
    fast: RunName
    slow: RunName
    published: PositiveReal
    tolerance: PositiveReal
    """Of the factor."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("validation_accuracy",)


class TurningClaim(Claim):
    """The validation loss of `run` is lowest between two epochs, then rises (means over seeds)."""

    rule: Literal["turning"]
    run: RunName
    earliest: Positive
    latest: Positive

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that it needs."""
        return ("best_epoch", "loss_rise")


ClaimSpec = Annotated[
    DifferenceClaim
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
