"""Each rule of the ledger on small measurements: what supports, contradicts or leaves open a claim."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from mlpaper.files import write_json, write_parquet
from mlpaper.study.ledger import COLUMNS, VERDICTS, ClaimsJob, Measurements, as_table, judge, ledger, ledger_of
from mlpaper.study.schema.rules import ClaimSpec

CLAIM: TypeAdapter[ClaimSpec] = TypeAdapter(ClaimSpec)


def claim(**values: Any) -> ClaimSpec:
    return CLAIM.validate_python({"id": "a-claim", "statement": "A claim."} | values)


def table(values: dict[str, Sequence[float | None]], metric: str = "test_accuracy") -> pd.DataFrame:
    """Run to its values by seed; None is a diverged seed, which has only its parameters."""
    rows = []
    for run, by_seed in values.items():
        for seed, value in enumerate(by_seed):
            outcome = "diverged" if value is None else "finished"
            row = {"run": run, "seed": seed, "run_id": f"{run}-{seed}", "outcome": outcome}
            rows.append(row | {"metric": "parameters", "value": 7.0})
            if value is not None:
                rows.append(row | {"metric": metric, "value": value})
    return pd.DataFrame(rows)


def measured(values: dict[str, Sequence[float | None]], **options: Any) -> Measurements:
    metric = options.pop("metric", "test_accuracy")
    return Measurements(table(values, metric), options.pop("left_out", {}), options.pop("published", {}), **options)


DIFFERENCE = {"rule": "difference", "first": "A", "second": "B", "metric": "test_accuracy"}


@pytest.mark.parametrize(
    ("first", "direction", "margin", "verdict"),
    [
        ((0.92, 0.93, 0.94), "above", 0.0, "supported"),
        ((0.88, 0.87, 0.86), "above", 0.0, "contradicted"),
        ((0.89, 0.95, 0.92), "above", 0.0, "inconclusive"),
        ((0.92, 0.93, 0.94), "above", 0.1, "contradicted"),
        ((0.88, 0.87, 0.86), "below", 0.0, "supported"),
        ((0.92, 0.93, 0.94), "below", 0.0, "contradicted"),
        ((0.899, 0.899, 0.899), "below", 0.01, "contradicted"),
        ((0.901, 0.902, 0.901), "equal", 0.005, "supported"),
        ((0.92, 0.93, 0.925), "equal", 0.005, "contradicted"),
        ((0.901, 0.907, 0.899), "equal", 0.005, "inconclusive"),
    ],
)
def test_a_difference_is_decided_by_its_interval(first: Any, direction: str, margin: float, verdict: str) -> None:
    entry = claim(**DIFFERENCE, direction=direction, margin=margin)
    found = judge(entry, measured({"A": first, "B": (0.9, 0.9, 0.9)}))
    assert found.verdict == verdict
    low, high = stats.t.interval(0.95, 2, loc=found.value, scale=stats.sem(first)) if len(set(first)) > 1 else (0, 0)
    assert found.half_width == pytest.approx((high - low) / 2, abs=1e-9)
    assert found.value == pytest.approx(sum(first) / 3 - 0.9)


def test_a_difference_is_paired_by_seed() -> None:
    """Seeds that differ much from one another, and little from their partners."""
    found = judge(claim(**DIFFERENCE), measured({"A": (0.51, 0.71, 0.91), "B": (0.50, 0.70, 0.90)}))
    assert (found.verdict, found.seeds) == ("supported", 3)
    assert found.half_width == pytest.approx(0, abs=1e-9)


def test_one_seed_decides_without_an_interval_and_says_so() -> None:
    found = judge(claim(**DIFFERENCE), measured({"A": (0.91,), "B": (0.90,)}))
    assert (found.verdict, found.half_width, found.remark) == ("supported", None, "one seed, no interval")


def test_diverged_seeds_are_left_out_and_named() -> None:
    found = judge(claim(**DIFFERENCE), measured({"A": (0.95, None, 0.95), "B": (0.90, 0.2, 0.91)}))
    assert (found.verdict, found.seeds, found.remark) == ("inconclusive", 2, "A: 1 of 3 seeds diverged")
    nothing = judge(claim(**DIFFERENCE), measured({"A": (None, None), "B": (0.9, 0.9)}))
    assert (nothing.verdict, nothing.value, nothing.remark) == ("inconclusive", None, "A diverged")


def test_published_differences_follow_from_published_values() -> None:
    values = {"A": (0.92, 0.92), "B": (0.90, 0.90)}
    published = {"A.test_accuracy": 0.95, "B.test_accuracy": 0.89}
    assert judge(claim(**DIFFERENCE), measured(values, published=published)).published == pytest.approx(0.06)
    assert judge(claim(**DIFFERENCE, published=0.5), measured(values, published=published)).published == 0.5
    assert judge(claim(**DIFFERENCE), measured(values)).published is None


@pytest.mark.parametrize(("published", "verdict"), [(0.905, "reproduced"), (0.9051, "not reproduced")])
def test_a_value_is_reproduced_within_its_tolerance(published: float, verdict: str) -> None:
    entry = claim(rule="value", run="A", metric="test_accuracy", published=published)
    assert judge(entry, measured({"A": (0.89, 0.91)})).verdict == verdict


RANGE = {"rule": "range", "runs": ["A", "B"], "metric": "test_accuracy", "low": 0.8, "high": 0.9}
BEST = {"rule": "best", "runs": ["A", "B", "C"], "best": ["B"], "metric": "test_accuracy"}
ORDER = {"rule": "order", "runs": ["A", "B", "C"], "metric": "test_accuracy"}
PLATEAU = {"rule": "plateau", "runs": ["A", "B"], "metric": "test_accuracy", "tolerance": 0.01}
SPREAD = {"rule": "spread", "wide": ["A", "B"], "narrow": ["C", "D"], "metric": "test_accuracy"}


@pytest.mark.parametrize(
    ("rule", "means", "verdict"),
    [
        (RANGE, {"A": 0.8, "B": 0.9}, "supported"),
        (RANGE, {"A": 0.79, "B": 0.85}, "contradicted"),
        (RANGE, {"A": None, "B": 0.85}, "inconclusive"),
        (RANGE, {"A": None, "B": 0.95}, "contradicted"),
        (BEST, {"A": 0.8, "B": 0.9, "C": 0.7}, "supported"),
        (BEST, {"A": 0.91, "B": 0.9, "C": 0.7}, "contradicted"),
        (BEST | {"tolerance": 0.01}, {"A": 0.91, "B": 0.9, "C": 0.7}, "supported"),
        (BEST, {"A": None, "B": 0.1, "C": None}, "supported"),
        (BEST, {"A": None, "B": None, "C": None}, "inconclusive"),
        (ORDER, {"A": 0.9, "B": 0.8, "C": 0.7}, "supported"),
        (ORDER, {"A": 0.9, "B": 0.8, "C": 0.81}, "contradicted"),
        (ORDER | {"tolerance": 0.02}, {"A": 0.9, "B": 0.8, "C": 0.81}, "supported"),
        (ORDER, {"A": 0.9, "B": 0.8, "C": None}, "supported"),
        (ORDER, {"A": None, "B": 0.8, "C": 0.7}, "contradicted"),
        (PLATEAU, {"A": 0.9, "B": 0.91}, "supported"),
        (PLATEAU, {"A": 0.9, "B": 0.92}, "contradicted"),
        (SPREAD, {"A": 0.9, "B": 0.8, "C": 0.85, "D": 0.86}, "supported"),
        (SPREAD, {"A": 0.9, "B": 0.89, "C": 0.8, "D": 0.86}, "contradicted"),
        (SPREAD, {"A": 0.9, "B": None, "C": 0.8, "D": 0.86}, "inconclusive"),
    ],
)
def test_predicates_over_means(rule: dict, means: dict[str, float | None], verdict: str) -> None:
    found = judge(claim(**rule), measured({run: (mean, mean) for run, mean in means.items()}))
    assert (found.verdict, dict(found.means)) == (verdict, means)


def test_less_is_better_where_the_metric_says_so() -> None:
    entry = claim(rule="best", runs=["A", "B"], best=["B"], metric="calibration_error")
    assert judge(entry, measured({"A": (0.05,), "B": (0.02,)}, metric="calibration_error")).verdict == "supported"


def test_instability_is_divergence_or_jitter() -> None:
    entry = claim(rule="unstable", run="A", beside="B")
    assert (
        judge(entry, measured({"A": (0.1, None), "B": (0.1, 0.1)}, metric="validation_jitter")).verdict == "supported"
    )
    still = measured({"A": (0.01, 0.011), "B": (0.1, 0.101)}, metric="validation_jitter")
    assert judge(entry, still).verdict == "contradicted"


def test_speed_counts_epochs_to_the_slower_ones_final_accuracy() -> None:
    slow, fast = {0: [0.5, 0.7, 0.8, 0.9], 1: [0.5, 0.6, 0.7, 0.7]}, {0: [0.6, 0.9, 0.95, 0.9], 1: [0.2, 0.7, 0.7, 0.7]}
    both = measured({"fast": (0.9, 0.7), "slow": (0.9, 0.7)}, accuracies={"fast": fast, "slow": slow}.__getitem__)
    entry = claim(rule="speed", fast="fast", slow="slow", published=2, tolerance=0.3)
    found = judge(entry, both)
    assert (found.verdict, found.value) == ("reproduced", (4 / 2 + 3 / 2) / 2)
    never = measured({"fast": (0.9,), "slow": (0.9,)}, accuracies={"fast": {0: [0.1]}, "slow": slow}.__getitem__)
    assert (judge(entry, never).verdict, judge(entry, never).remark) == ("contradicted", "fast does not get there")


def test_turning_needs_the_place_and_the_rise() -> None:
    entry = claim(rule="turning", run="A", earliest=20, latest=40)
    for epoch, rise, verdict in ((30.0, 0.1, "supported"), (50.0, 0.0, "contradicted"), (10.0, 0.1, "contradicted")):
        rows = pd.concat([table({"A": (epoch,)}, "best_epoch"), table({"A": (rise,)}, "loss_rise")])
        assert judge(entry, Measurements(rows, {}, {})).verdict == verdict


@pytest.mark.parametrize(
    "rule", [DIFFERENCE, RANGE, BEST, PLATEAU, SPREAD, {"rule": "unstable", "run": "A", "beside": "B"}]
)
def test_a_run_that_is_left_out_leaves_its_claim_not_run(rule: dict) -> None:
    values = dict.fromkeys("BCD", (0.9,))
    found = judge(claim(**rule), measured(values, left_out={"A": "PyTorch is not installed"}))
    assert (found.verdict, found.remark) == ("not run", "A: PyTorch is not installed")


def test_as_coded_is_a_reading_of_its_own() -> None:
    values = {"A": (0.91,), "B": (0.9,), "A-as-coded": (0.8,)}
    rows = ledger("s", [claim(**DIFFERENCE, as_coded=True)], list(values), measured(values))
    assert [(row["id"], row["reading"], row["verdict"], row["runs"]) for row in rows] == [
        ("a-claim", "as written", "supported", ["A", "B"]),
        ("a-claim-as-coded", "as coded", "contradicted", ["A-as-coded", "B"]),
    ]
    assert {row["verdict"] for row in rows} <= set(VERDICTS)
    assert as_table(rows).column_names == list(COLUMNS)
    assert json.loads(rows[0]["means"]) == {"A": 0.91, "B": 0.9}


def test_a_study_without_claims_has_an_empty_ledger_of_the_same_types() -> None:
    assert (
        as_table([]).schema
        == as_table(ledger("s", [claim(**RANGE)], ["A"], measured({"A": (0.85,), "B": (0.8,)}))).schema
    )


def test_the_job_reads_tables_and_histories(tmp_path: Path) -> None:
    folders = {}
    for run, accuracies in (("fast", [0.9, 0.9]), ("slow", [0.5, 0.9])):
        folder = tmp_path / run
        write_json(folder / "spec.json", {"seed": 0})
        write_json(folder / "run.json", {"outcome": "finished"})
        write_parquet(folder / "history.parquet", {"epoch": [1, 2], "validation_accuracy": accuracies})
        folders[run] = (str(folder),)
    values = table({"fast": (0.9,), "slow": (0.9,)}, "validation_accuracy")
    write_parquet(tmp_path / "runs.parquet", {name: values[name].tolist() for name in values})
    entry = claim(rule="speed", fast="fast", slow="slow", published=2, tolerance=0.1)
    job = ClaimsJob(
        study="s", claims=(entry,), runs=("fast", "slow"), table=str(tmp_path / "runs.parquet"), histories=folders
    )
    assert [(row["verdict"], row["value"]) for row in ledger_of(job)] == [("reproduced", 2.0)]


@pytest.mark.parametrize(
    "wrong", [RANGE | {"low": None, "high": None}, DIFFERENCE | {"direction": "equal"}, DIFFERENCE | {"margin": -1}]
)
def test_a_claim_that_cannot_be_decided_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        claim(**wrong)
