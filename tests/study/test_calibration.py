"""The counts that the paper shows are those of the code as it is."""

import sys
from pathlib import Path

import pandas as pd
import pytest

from mlpaper.study.calibration import FILE, KINDS, counted

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import calibration


def test_every_kind_of_seeds_was_simulated_with_every_number() -> None:
    found = {(row["kind"], row["seeds"]) for row in counted()}
    simulated = {(kind, seeds) for kind in KINDS if kind != "real" for seeds in calibration.SEEDS}
    assert found >= simulated - {("seen", 1)}, "one seed shows no difference"


@pytest.mark.parametrize(("kind", "rule", "seeds"), [("equal", "difference", 3), ("unequal", "value", 5)])
def test_the_stored_counts_come_out_again(kind: str, rule: str, seeds: int) -> None:
    table = pd.read_csv(FILE)
    row = table[(table["kind"] == kind) & (table["name"] == rule) & (table["seeds"] == seeds)].iloc[0]
    counts = calibration._counts(outcome for _, outcome in calibration._outcomes(rule, kind, seeds))
    assert counts == {name: row[name] for name in ("tried", "decided", "wrong")}


def test_few_seeds_seldom_decide_wrongly_unless_wild_ones_hide() -> None:
    """At most 5 % in all, and nothing from one seed."""
    for row in counted():
        if row["seeds"] == 1:
            assert row["decided"] == 0
        elif row["kind"] in ("equal", "unequal"):
            assert row["wrong"] <= 0.05 * int(row["decided"])


def test_the_documentation_shows_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "explanation" / "verdicts.md").read_text()
    assert table() in page, table()


def table() -> str:
    """A row per number of seeds, a column per kind: the share of wrong verdicts (the share of decided claims)."""
    found = {(row["kind"], row["seeds"]): row for row in counted()}
    lines = [f"| seeds | {' | '.join(KINDS.values())} |", "|--:|" + "--:|" * len(KINDS)]
    for seeds in sorted({number for _, number in found if number != 1}):
        cells = (_cell(found.get((kind, seeds))) for kind in KINDS)
        lines.append(f"| {seeds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict | None) -> str:
    if row is None:
        return "–"
    return f"{100 * row['wrong'] / row['decided']:.1f} % ({100 * row['decided'] / row['tried']:.0f} %)"
