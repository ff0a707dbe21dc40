"""Runs that a plan leaves out, and why."""

from __future__ import annotations

from collections.abc import Iterable

from mlpaper.spec import Model, RunSpec


class LeftOut(Model):
    """A run that is not made."""

    spec: RunSpec
    """Of its first seed."""
    because: str


def by_reason(left_out: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Reason to the names of the runs that it leaves out, of pairs of a run and its reason.

    >>> by_reason([("M2", "no PyTorch"), ("M4", "too heavy"), ("M2b", "no PyTorch")])
    {'no PyTorch': 'M2, M2b', 'too heavy': 'M4'}
    """
    found: dict[str, dict[str, None]] = {}
    for run, because in left_out:
        found.setdefault(because, {})[run] = None
    return {because: ", ".join(runs) for because, runs in found.items()}
