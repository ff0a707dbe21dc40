"""How often verdicts are wrong: what `benchmarks/calibration.py` counted, in `calibration.csv` beside this module.

Columns: the `kind` of seeds, the `name` of a rule or a study, the number of `seeds`, and how many claims were `tried`,
`decided`, and decided `wrong`.
"""

from __future__ import annotations

import csv
from collections import Counter
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_suffix(".csv")
KINDS = {
    "equal": "seeds vary alike in all runs",
    "unequal": "seeds vary more in some runs",
    "seen": "wild seeds, and they show it",
    "hidden": "wild seeds, and none shows it",
    "real": "real runs",
}
"""Kinds of seeds in words. Of wild runs, one seed in three ends far away."""


@cache
def counted() -> tuple[dict[str, str | int], ...]:
    """Claims that were tried, decided, and decided wrongly, by kind and number of seeds, over all rules and studies."""
    sums: dict[tuple[str, int], Counter[str]] = {}
    with FILE.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            found = sums.setdefault((row["kind"], int(row["seeds"])), Counter())
            found.update({name: int(row[name]) for name in ("tried", "decided", "wrong")})
    return tuple({"kind": kind, "seeds": seeds, **sums[kind, seeds]} for kind, seeds in sorted(sums) if kind in KINDS)
