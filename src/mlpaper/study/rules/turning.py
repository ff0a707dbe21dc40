"""The rule `turning`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mlpaper.spec import Positive, PositiveReal
from mlpaper.study.rules.base import Claim, Evidence, above, at_least, at_most
from mlpaper.study.schema.names import RunName

if TYPE_CHECKING:
    from mlpaper.paper.claim_text import Row
    from mlpaper.study.measurements import Measurements


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

    def evidence(self, measured: Measurements) -> Evidence:
        """The epoch is late and early enough, and the loss rises."""
        epochs, rises = (measured.draw(self, metric) for metric in self.metric_names)
        if epochs is None or rises is None:
            return Evidence()
        epoch, rise = epochs[self.run], rises[self.run]
        value = measured.mean(self.run, "best_epoch", epochs.seeds)
        conditions = (at_least(epoch, self.earliest), at_most(epoch, self.latest), above(rise, self.rise))
        return Evidence.of(*conditions, seeds=len(epochs.seeds), value=value, drawn=epoch)

    def region(self, published: float | None) -> tuple[float, float]:
        """Between the two epochs."""
        return self.earliest, self.latest

    def asked(self, row: Row) -> str:
        """Between which epochs, and by how much."""
        between = f"between epochs {self.earliest} and {self.latest}"
        return f"validation loss of {self.run} lowest {between}, then rising by more than {self.rise:g} nats"

    def found(self, row: Row) -> str:
        """The epoch."""
        return row.missing if row.summary is None else f"epoch {row.value(row.summary)}"

    def here(self, row: Row) -> str:
        """The epoch, and of what."""
        return f"lowest validation loss of {self.run}: {row.ours}"
