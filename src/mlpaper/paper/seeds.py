"""The seeds of one run, seen together: which of them diverged, and what the others agree on."""

from __future__ import annotations

from collections.abc import Sequence

from mlpaper.paper import number_format as fmt
from mlpaper.study.metrics import ALWAYS_KNOWN
from mlpaper.study.results import RunFolder
from mlpaper.study.stats import Summary, paired, summarise


def converged(seeds: Sequence[RunFolder]) -> list[RunFolder]:
    """Those that did not diverge."""
    return [seed for seed in seeds if seed.converged]


def diverged(seeds: Sequence[RunFolder]) -> list[RunFolder]:
    """Those that diverged."""
    return [seed for seed in seeds if not seed.converged]


def remark(seeds: Sequence[RunFolder]) -> str:
    """`diverged`, `1 of 3 diverged`, or nothing."""
    count = len(diverged(seeds))
    if not count:
        return ""
    return "diverged" if count == len(seeds) else f"{count} of {len(seeds)} diverged"


def by_seed(seeds: Sequence[RunFolder], metric: str) -> dict[int, float]:
    """Values of a metric by seed. A diverged seed counts only where a metric does not depend on how training went."""
    counted = seeds if metric in ALWAYS_KNOWN else converged(seeds)
    found = {seed.seed: seed.metric(metric) for seed in counted}
    return {seed: value for seed, value in found.items() if value is not None}


def summary(seeds: Sequence[RunFolder], metric: str) -> Summary | None:
    """Mean and 95 % interval of a metric over the seeds that have it."""
    values = list(by_seed(seeds, metric).values())
    return summarise(values) if values else None


def cell(seeds: Sequence[RunFolder], metric: str) -> str:
    """A metric as a table shows it: mean and interval, with a remark where seeds diverged; `diverged` where all did.

    A run that is left out has no seeds: `not run`.
    """
    if not seeds:
        return fmt.NOT_RUN
    found = summary(seeds, metric)
    text = "" if metric in ALWAYS_KNOWN else remark(seeds)
    if found is None:
        return text or fmt.MISSING
    return f"{fmt.value(metric, found)} ({text})" if text else fmt.value(metric, found)


def paired_difference(seeds: Sequence[RunFolder], others: Sequence[RunFolder], metric: str) -> Summary | None:
    """Mean and 95 % interval of (seed - other) over the seeds that both have."""
    return paired(by_seed(seeds, metric), by_seed(others, metric))
