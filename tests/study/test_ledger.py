"""Each rule of the ledger on small measurements: what supports, contradicts or leaves open a claim."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from mlpaper import run_files
from mlpaper.files import write_json, write_parquet
from mlpaper.study.ledger import COLUMNS, VERDICTS, ClaimsJob, as_table, judge, ledger, ledger_of
from mlpaper.study.measurements import Measurements
from mlpaper.study.rules import ClaimSpec
from mlpaper.study.sampling import NO_SAMPLING

CLAIM: TypeAdapter[ClaimSpec] = TypeAdapter(ClaimSpec)
Values = Mapping[str, Sequence[float | None]]


def claim(**values: Any) -> ClaimSpec:
    return CLAIM.validate_python({"id": "a-claim", "statement": "A claim.", "place": "table 1"} | values)


def table(values: Values, metric: str = "test_accuracy", ids: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Run to its values by seed; None is a diverged seed, which has only its parameters."""
    rows = []
    for run, by_seed in values.items():
        for seed, value in enumerate(by_seed):
            outcome = "diverged" if value is None else "finished"
            row = {"run": run, "seed": seed, "run_id": f"{(ids or {}).get(run, run)}-{seed}", "outcome": outcome}
            rows.append(row | {"metric": "parameters", "value": 7.0})
            if value is not None:
                rows.append(row | {"metric": metric, "value": value})
    return pd.DataFrame(rows)


def measured(values: Values, *, metric: str = "test_accuracy", ids: Any = None, **options: Any) -> Measurements:
    rest = {"left_out": {}, "published": {}} | options
    return Measurements(table(values, metric, ids), **rest)


def thrice(means: Mapping[str, float | None]) -> Values:
    return {run: (mean,) * 3 for run, mean in means.items()}


DIFFERENCE = {"rule": "difference", "first": "A", "second": "B", "metric": "test_accuracy"}


@pytest.mark.parametrize(
    ("first", "direction", "margin", "verdict"),
    [
        ((0.93, 0.93, 0.94), "above", 0.0, "supported"),
        ((0.87, 0.87, 0.86), "above", 0.0, "contradicted"),
        ((0.87, 0.97, 0.90), "above", 0.0, "inconclusive"),
        ((0.92, 0.93, 0.94), "above", 0.1, "contradicted"),
        ((0.87, 0.87, 0.86), "below", 0.0, "supported"),
        ((0.93, 0.93, 0.94), "below", 0.0, "contradicted"),
        ((0.899, 0.899, 0.899), "below", 0.01, "contradicted"),
        ((0.901, 0.902, 0.901), "equal", 0.005, "supported"),
        ((0.93, 0.93, 0.925), "equal", 0.005, "contradicted"),
        ((0.901, 0.907, 0.899), "equal", 0.005, "inconclusive"),
        ((0.88, 0.87, 0.88), "not above", 0.005, "supported"),  # a fourth layer is worse: it brings next to nothing
        ((0.92, 0.93, 0.92), "not above", 0.005, "contradicted"),
        ((0.92, 0.93, 0.92), "not below", 0.005, "supported"),
        ((0.88, 0.87, 0.88), "not below", 0.005, "contradicted"),
    ],
)
def test_a_difference_is_decided_by_its_draws(first: Any, direction: str, margin: float, verdict: str) -> None:
    entry = claim(**DIFFERENCE, direction=direction, margin=margin)
    values = measured({"A": first, "B": (0.9, 0.9, 0.9)})
    found = judge(entry, values)
    assert found.verdict == verdict
    assert found.value == pytest.approx(sum(first) / 3 - 0.9)
    prior = values.prior("test_accuracy")
    freedom = prior.freedom + 2
    variance = (2 * prior.freedom * prior.variance + 2 * np.var(first, ddof=1)) / freedom
    width = stats.t.ppf(0.975, freedom) * math.sqrt(variance / 3)
    assert found.half_width == pytest.approx(width, rel=0.06, abs=1e-12), "Student's, of a moderated variance"
    low, high = entry.region()
    if variance:
        below = stats.t.cdf([(bound - found.value) / math.sqrt(variance / 3) for bound in (low, high)], freedom)
        assert found.probability == pytest.approx(below[1] - below[0], abs=0.03)


def test_pairs_that_vary_together_are_told_apart_sooner() -> None:
    pairs, strangers = (
        measured({"A": (0.5, 0.7, 0.9), "B": second} | {f"C{k}": (0.5, 0.6, 0.8) for k in range(6)})
        for second in ((0.46, 0.66, 0.86), (0.66, 0.86, 0.46))
    )
    widths = [judge(claim(**DIFFERENCE), values).half_width for values in (pairs, strangers)]
    assert widths[0] < 0.75 * widths[1]


def test_one_seed_only_leans() -> None:
    found = judge(claim(**DIFFERENCE), measured({"A": (0.91,), "B": (0.90,)}))
    assert (found.verdict, found.half_width, found.probability) == ("leaning for", None, 1.0)
    assert found.remark == "one seed, so by the test images alone"
    siblings = {f"C{k}": (0.5, 0.501, 0.502) for k in range(6)}
    assert judge(claim(**DIFFERENCE), measured({"A": (0.91,), "B": (0.90,)} | siblings)).remark == "one seed"
    against = judge(claim(**DIFFERENCE | {"direction": "below"}), measured({"A": (0.91,), "B": (0.90,)}))
    assert (against.verdict, against.probability) == ("leaning against", 0.0)


def test_one_seed_borrows_the_variance_of_its_siblings() -> None:
    siblings = {f"C{k}": (0.5, 0.6, 0.7) for k in range(6)}
    near, far = (judge(claim(**DIFFERENCE), measured({"A": (a,), "B": (0.2,)} | siblings)) for a in (0.3, 0.9))
    assert (near.verdict, far.verdict) == ("inconclusive", "leaning for")
    assert 0.6 < near.probability < 0.9


def test_two_seeds_must_be_surer_than_three() -> None:
    found = {}
    for seeds in (2, 3):
        siblings = {f"C{k}": (0.50, 0.52, 0.51)[:seeds] for k in range(8)}
        values = measured({"A": (0.55, 0.56, 0.555)[:seeds], "B": (0.50, 0.52, 0.51)[:seeds]} | siblings)
        found[seeds] = judge(claim(**DIFFERENCE), values)
    assert 0.95 < found[2].probability < 0.98
    assert (found[2].verdict, found[3].verdict) == ("inconclusive", "supported")


def test_draws_depend_on_the_claim_alone() -> None:
    values = {"A": (0.91, 0.93, 0.92), "B": (0.90, 0.92, 0.93)}
    alone = judge(claim(**DIFFERENCE), measured(values))
    after = measured(values)
    for k in range(3):
        judge(claim(**DIFFERENCE | {"id": f"other-{k}"}), after)
    assert judge(claim(**DIFFERENCE), after) == alone
    assert judge(claim(**DIFFERENCE | {"id": "other"}), after).probability != alone.probability


def test_a_diverged_seed_is_the_worst_outcome_and_is_named() -> None:
    some = judge(claim(**DIFFERENCE), measured({"A": (0.95, None, 0.95), "B": (0.90, 0.2, 0.91)}))
    assert (some.verdict, some.seeds, some.remark) == ("inconclusive", 3, "A: 1 of 3 seeds diverged")
    assert some.value == pytest.approx((0.05 - 0.2 + 0.04) / 3)
    always = judge(claim(**DIFFERENCE), measured({"A": (None, None), "B": (0.9, 0.9)}))
    assert (always.verdict, dict(always.means), always.remark) == ("contradicted", {"A": None, "B": 0.9}, "A diverged")
    both = judge(claim(**DIFFERENCE), measured({"A": (None, None), "B": (None, None)}))
    assert (both.verdict, both.value) == ("inconclusive", 0.0)


@pytest.mark.parametrize(
    ("first", "verdict"), [((None, None), "contradicted"), ((0.3, None), "inconclusive"), ((0.3, 0.3), "supported")]
)
def test_a_diverged_loss_is_infinite_and_none_of_the_ledger_is(first: Sequence[float | None], verdict: str) -> None:
    entry = claim(**DIFFERENCE | {"metric": "test_cross_entropy", "direction": "below"})
    values = measured({"A": first, "B": (0.4, 0.4)}, metric="test_cross_entropy")
    assert judge(entry, values).verdict == verdict
    (row,) = ledger("s", [entry], ["A", "B"], values)
    assert all(value is None or math.isfinite(value) for value in (row["value"], *json.loads(row["means"]).values()))


def test_what_has_no_worst_value_is_left_open_where_a_seed_diverged() -> None:
    """The gap between training and validation accuracy, for one: a diverged run has none, good or bad."""
    entry = claim(**DIFFERENCE | {"metric": "accuracy_gap"})
    found = judge(entry, measured({"A": (0.05, None), "B": (0.01, 0.01)}, metric="accuracy_gap"))
    assert (found.verdict, found.value, found.remark) == ("inconclusive", None, "A: 1 of 2 seeds diverged")


def test_a_difference_may_have_an_upper_bound() -> None:
    entry = claim(**DIFFERENCE, margin=0.005, most=0.01)
    verdicts = [
        judge(entry, measured({"A": (0.9 + gain,) * 3, "B": (0.9,) * 3})).verdict for gain in (0.002, 0.0075, 0.02)
    ]
    assert verdicts == ["contradicted", "supported", "contradicted"]


def test_two_names_of_one_run_say_nothing_of_each_other() -> None:
    """Where a scale cuts batches short, runs of several sizes are one run."""
    same = measured({"A": (0.9, 0.8), "B": (0.9, 0.8)}, ids={"B": "A"})
    for rule in (DIFFERENCE | {"direction": "equal", "margin": 0.01}, PLATEAU):
        found = judge(claim(**rule), same)
        assert (found.verdict, found.remark) == ("inconclusive", "A and B are the same run at this scale")


def test_a_contrast_compares_two_differences_by_seed() -> None:
    entry = claim(rule="contrast", larger=["A", "B"], smaller=["B", "C"], metric="test_accuracy")
    published = {"A.test_accuracy": 0.8851, "B.test_accuracy": 0.8752, "C.test_accuracy": 0.8141}
    more = judge(entry, measured(thrice({"A": 0.9, "B": 0.8, "C": 0.79}), published=published))
    assert (more.verdict, more.value, more.published) == ("supported", pytest.approx(0.09), pytest.approx(-0.0512))
    less = judge(entry, measured(thrice({"A": 0.9, "B": 0.89, "C": 0.6})))
    assert (less.verdict, less.published) == ("contradicted", None)


def test_implementations_differ_only_beyond_seeds() -> None:
    entry = claim(rule="beyond-seeds", first="A", second="B", metric="test_accuracy")
    seeds = (0.4, 0.5, 0.6, 0.45, 0.55, 0.5)
    for shift, verdict in ((0.01, "contradicted"), (0.4, "supported"), (0.1, "inconclusive")):
        other = tuple(value + shift for value in seeds)
        assert judge(entry, measured({"A": seeds, "B": other})).verdict == verdict
    assert judge(entry, measured({"A": (0.4,), "B": (0.1,)})).remark == "needs two seeds or more; one seed"


def test_what_looks_decisive_and_is_not_says_why() -> None:
    two = judge(claim(**DIFFERENCE), measured({"A": (0.90, 0.93), "B": (0.85, 0.81)}))
    assert (two.verdict, two.remark) == ("inconclusive", "two seeds must be surer: 0.98 or 0.02")
    many = {f"C{k}": (0.89, 0.90, 0.91) for k in range(8)}
    order = judge(claim(rule="order", runs=[*many], metric="test_accuracy"), measured(many))
    assert (order.verdict, order.remark) == ("inconclusive", "no condition by itself is improbable enough")
    assert judge(claim(**DIFFERENCE), measured({"A": (0.9, 0.8, 0.7), "B": (0.7, 0.8, 0.85)})).remark == ""


def test_published_differences_follow_from_published_values() -> None:
    values = {"A": (0.92, 0.92), "B": (0.90, 0.90)}
    published = {"A.test_accuracy": 0.95, "B.test_accuracy": 0.89}
    assert judge(claim(**DIFFERENCE), measured(values, published=published)).published == pytest.approx(0.06)
    assert judge(claim(**DIFFERENCE, published=0.5), measured(values, published=published)).published == 0.5
    assert judge(claim(**DIFFERENCE), measured(values)).published is None
    assert judge(claim(**DIFFERENCE, published="none"), measured(values, published=published)).published is None


@pytest.mark.parametrize(("published", "verdict"), [(0.905, "reproduced"), (0.9051, "not reproduced")])
def test_a_value_is_reproduced_within_its_tolerance(published: float, verdict: str) -> None:
    entry = claim(rule="value", run="A", metric="test_accuracy", published=published)
    assert judge(entry, measured({"A": (0.9, 0.9, 0.9)})).verdict == verdict


def test_a_value_is_compared_with_what_one_more_run_would_give() -> None:
    """The mean of many seeds is known well; the published run is one seed, and may be far from it."""
    values = measured({"A": tuple(0.9 + 0.01 * math.sin(k) for k in range(40))})
    found = judge(claim(rule="value", run="A", metric="test_accuracy", published=0.9), values)
    assert (found.verdict, found.half_width < 0.003) == ("inconclusive", True)
    assert 0.4 < found.probability < 0.6
    far = judge(claim(rule="value", run="A", metric="test_accuracy", published=0.94), values)
    assert far.verdict == "not reproduced"


def test_a_value_of_other_data_is_not_comparable_and_a_number_of_parameters_may_be() -> None:
    values = measured({"A": (0.9, 0.9)}, not_comparable={"A": "published on EMNIST, measured on digits"})
    found = judge(claim(rule="value", run="A", metric="test_accuracy", published=0.9), values)
    assert (found.verdict, found.probability, found.value) == ("not comparable", None, pytest.approx(0.9))
    assert found.remark == "published on EMNIST, measured on digits"
    assert judge(claim(rule="value", run="A", metric="parameters", published=7), values).verdict == "reproduced"
    assert judge(claim(**RANGE | {"runs": ["A"]}), values).verdict == "supported"
    assert judge(claim(**RANGE | {"runs": ["A"], "level": True}), values).verdict == "not comparable"


def test_the_size_of_a_difference_is_a_value() -> None:
    """That Adam beats momentum is one claim, that it does so by six points another: +0.57 is not six points."""
    entry = claim(rule="value", run="A", minus="B", metric="test_accuracy")
    published = {"A.test_accuracy": 0.8752, "B.test_accuracy": 0.8141}
    small = judge(entry, measured(thrice({"A": 0.8057, "B": 0.80}), published=published))
    assert (small.verdict, small.value, small.published) == (
        "not reproduced",
        pytest.approx(0.0057),
        pytest.approx(0.0611),
    )
    assert judge(entry, measured(thrice({"A": 0.862, "B": 0.80}), published=published)).verdict == "reproduced"
    assert judge(claim(**DIFFERENCE), measured(thrice({"A": 0.8057, "B": 0.80}))).verdict == "supported"


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
        (RANGE, {"A": None, "B": 0.85}, "contradicted"),
        (RANGE | {"low": None}, {"A": None, "B": 0.85}, "supported"),
        (BEST, {"A": 0.8, "B": 0.9, "C": 0.7}, "supported"),
        (BEST, {"A": 0.91, "B": 0.9, "C": 0.7}, "contradicted"),
        (BEST, {"A": 0.9, "B": 0.9, "C": 0.7}, "inconclusive"),
        (BEST | {"tolerance": 0.01}, {"A": 0.91, "B": 0.9, "C": 0.7}, "supported"),
        (BEST | {"tolerance": 0.01}, {"A": 0.9, "B": 0.9, "C": 0.7}, "supported"),
        (BEST | {"best": ["B", "C"]}, {"A": 0.8, "B": 0.9, "C": 0.7}, "supported"),
        (BEST, {"A": None, "B": 0.1, "C": None}, "supported"),
        (BEST, {"A": None, "B": None, "C": None}, "inconclusive"),
        (ORDER, {"A": 0.9, "B": 0.8, "C": 0.7}, "supported"),
        (ORDER, {"A": 0.9, "B": 0.8, "C": 0.81}, "contradicted"),
        (ORDER, {"A": 0.9, "B": 0.8, "C": 0.8}, "inconclusive"),
        (ORDER, {"A": 0.8, "B": 0.8, "C": 0.9}, "contradicted"),
        (ORDER, {"A": 0.9, "B": 0.8, "C": None}, "supported"),
        (ORDER, {"A": None, "B": 0.8, "C": 0.7}, "contradicted"),
        (PLATEAU, {"A": 0.9, "B": 0.91}, "supported"),
        (PLATEAU, {"A": 0.9, "B": 0.92}, "contradicted"),
        (PLATEAU, {"A": 0.9, "B": 0.7}, "supported"),
        (SPREAD, {"A": 0.9, "B": 0.8, "C": 0.85, "D": 0.86}, "supported"),
        (SPREAD, {"A": 0.9, "B": 0.89, "C": 0.8, "D": 0.86}, "contradicted"),
        (SPREAD, {"A": 0.9, "B": 0.8, "C": 0.75, "D": 0.85}, "inconclusive"),
        (SPREAD, {"A": 0.9, "B": None, "C": 0.8, "D": 0.86}, "supported"),
    ],
)
def test_predicates_over_means(rule: dict, means: dict[str, float | None], verdict: str) -> None:
    found = judge(claim(**rule), measured(thrice(means)))
    assert (found.verdict, dict(found.means)) == (verdict, pytest.approx(means))
    assert ("a tie" in found.remark) == (verdict == "inconclusive")


def test_means_are_over_the_seeds_that_all_runs_share() -> None:
    """A was made with one seed. With that seed B is behind it; with all its seeds B would be ahead."""
    values = measured({"A": (0.85,), "B": (0.80, 0.80, 0.80), "C": (0.7, 0.7, 0.7)})
    for rule in (ORDER, BEST | {"best": ["A"]}):
        found = judge(claim(**rule), values)
        assert (found.verdict, found.seeds) == ("leaning for", 1)
        assert dict(found.means) == {"A": 0.85, "B": 0.80, "C": 0.7}
    assert judge(claim(**PLATEAU), measured({"A": (0.85,), "B": (0.80, 0.99)})).means["B"] == 0.80


def test_a_run_that_diverged_with_one_seed_is_not_averaged_over_the_others() -> None:
    values = measured({"A": (0.9, 0.9, 0.9), "B": (0.95, None, 0.95), "C": (0.5, 0.5, 0.5)})
    found = judge(claim(**BEST), values)
    assert found.means["B"] == pytest.approx(1.9 / 3)
    assert (found.verdict, found.remark) == ("inconclusive", "B: 1 of 3 seeds diverged")
    assert found.probability < 0.2


def test_less_is_better_where_the_metric_says_so() -> None:
    entry = claim(rule="best", runs=["A", "B"], best=["B"], metric="calibration_error")
    values = measured(thrice({"A": 0.05, "B": 0.02}), metric="calibration_error")
    assert judge(entry, values).verdict == "supported"


UNSTABLE = {"rule": "unstable", "run": "A", "beside": "B"}


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        ((0.05, None), (0.05, 0.05), "supported"),
        ((0.06, 0.061), (0.02, 0.021), "supported"),
        ((0.03, 0.030), (0.02, 0.021), "contradicted"),  # more, and not twice as much
        ((0.01, 0.011), (0.1, 0.101), "contradicted"),
        ((0.0, 0.0), (0.0, 0.0), "inconclusive"),
    ],
)
def test_instability_is_divergence_or_twice_the_jitter(own: Any, other: Any, verdict: str) -> None:
    assert judge(claim(**UNSTABLE), measured({"A": own, "B": other}, metric="validation_jitter")).verdict == verdict


@pytest.mark.parametrize(("end", "verdict"), [(0.1, "supported"), (0.149, "supported"), (0.6, "contradicted")])
def test_a_network_that_dies_is_unstable_although_it_no_longer_moves(end: float, verdict: str) -> None:
    curves = {"A": {0: [0.5, 0.6], 1: [0.3, end]}}
    still = measured({"A": (0.0, 0.0), "B": (0.1, 0.1)}, metric="validation_jitter", guess=0.1, accuracies=curves.get)
    found = judge(claim(**UNSTABLE), still)
    assert (found.verdict, "near guessing" in found.remark) == (verdict, verdict == "supported")


def speed(fast: dict[int, list[float]], slow: dict[int, list[float]], **changes: Any) -> Any:
    curves = {"fast": fast, "slow": slow}
    seeds = sorted(fast.keys() | slow.keys())
    ends = {run: tuple(curves[run][seed][-1] if seed in curves[run] else None for seed in seeds) for run in curves}
    entry = claim(**{"rule": "speed", "fast": "fast", "slow": "slow"} | changes)
    return judge(entry, measured(ends, metric="validation_accuracy", accuracies=curves.get, guess=0.1))


def test_speed_counts_epochs_to_a_common_accuracy() -> None:
    slow, fast = {0: [0.5, 0.7, 0.8, 0.9], 1: [0.5, 0.6, 0.7, 0.7]}, {0: [0.6, 0.9, 0.95, 0.9], 1: [0.2, 0.7, 0.7, 0.7]}
    found = speed(fast, slow, published=2)
    assert (found.verdict, found.value, found.published) == ("inconclusive", (4 / 2 + 3 / 2) / 2, 2)
    thrice_as_slow = {seed: [0.5] * 8 + [0.9] for seed in range(3)}
    given = speed({seed: [0.7, 0.7, 0.9] for seed in range(3)}, thrice_as_slow, target=0.9, least=1.5)
    assert (given.verdict, given.value) == ("supported", 3), "three times is fast as well"
    level = speed(thrice_as_slow, thrice_as_slow, target=0.9)
    assert (level.verdict, level.value) == ("inconclusive", 1), "equally fast"
    assert speed({0: [0.9]}, {0: [0.5] * 20 + [0.9]}).verdict == "leaning for", "one seed"
    early = speed({0: [0.9]}, {0: [0.5, 0.9]}, target=0.9, least=1.5)
    assert (early.verdict, early.value) == ("inconclusive", 2), "epochs are whole numbers: 1 may be 0.6"


def test_a_network_stuck_at_guessing_is_not_fast() -> None:
    """It reaches 90 % of its own final accuracy in its first epoch."""
    stuck, learns = {s: [0.1] * 3 for s in range(3)}, {s: [0.5, 0.8, 0.93] for s in range(3)}
    slowest = speed(stuck, learns, target=0.9)
    assert (slowest.verdict, slowest.value) == ("contradicted", 0.0)
    assert speed(learns, stuck, target=0.9).verdict == "supported"
    for both in (speed(stuck, stuck, target=0.9), speed(learns, stuck)):
        assert (both.verdict, both.value) == ("inconclusive", None)


def test_one_seed_that_does_not_arrive_does_not_decide_alone() -> None:
    slow = {seed: [0.5, 0.7, 0.8, 0.9] for seed in range(3)}
    arrives, never = [0.7, 0.9, 0.9, 0.9], [0.5, 0.6, 0.7, 0.8]
    found = speed({0: arrives, 1: arrives, 2: never}, slow)
    assert (found.verdict, found.value) == ("inconclusive", 4 / 3)
    assert speed(dict.fromkeys(range(3), never), slow).verdict == "contradicted"
    assert speed({0: arrives}, slow | {1: never}, target=0.9).remark == "fast: 2 of 3 seeds diverged"


def test_turning_needs_the_place_and_a_rise_that_counts() -> None:
    entry = claim(rule="turning", run="A", earliest=20, latest=40)
    cases = ((30.0, 0.1, "supported"), (50.0, 0.1, "contradicted"), (10.0, 0.1, "contradicted"))
    for epoch, rise, verdict in (*cases, (30.0, 0.0001, "contradicted"), (None, None, "inconclusive")):
        rows = pd.concat([table({"A": (epoch,) * 3}, "best_epoch"), table({"A": (rise,) * 3}, "loss_rise")])
        assert judge(entry, Measurements(rows, {}, {})).verdict == verdict


@pytest.mark.parametrize(
    "rule",
    [
        DIFFERENCE,
        RANGE,
        BEST,
        PLATEAU,
        SPREAD,
        UNSTABLE,
        {"rule": "value", "run": "B", "minus": "A", "metric": "macro_f1"},
    ],
)
def test_a_run_that_is_left_out_leaves_its_claim_not_run(rule: dict) -> None:
    values = dict.fromkeys("BCD", (0.9,))
    found = judge(claim(**rule), measured(values, left_out={"A": "PyTorch is not installed"}))
    assert (found.verdict, found.remark) == ("not run", "A: PyTorch is not installed")


def test_as_coded_is_a_reading_of_its_own() -> None:
    values = thrice({"A": 0.91, "B": 0.9, "A-as-coded": 0.8})
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
        write_json(folder / "spec.json", {"dataset": {"name": "digits"}})
        counts = dict.fromkeys(("epochs", "kept_epoch", "steps", "parameters", "seconds", "peak_memory_bytes"), 1)
        write_json(
            folder / "run.json", counts | {"outcome": "finished", "device": "cpu", "machine": {"processor": "any"}}
        )
        columns = {name: [0.5, 0.5] for name in run_files.COLUMNS["history"]}
        write_parquet(folder / "history.parquet", columns | {"epoch": [1, 2], "validation_accuracy": accuracies})
        folders[run] = (str(folder),)
    values = table({"fast": (0.9,), "slow": (0.9,)}, "validation_accuracy")
    write_parquet(tmp_path / "runs.parquet", {name: values[name].tolist() for name in values})
    entry = claim(rule="speed", fast="fast", slow="slow", least=1.5)
    facts = {"study": "s", "runs": ("fast", "slow"), "classes": 10, "sampling": str(tmp_path / "sampling.npz")}
    NO_SAMPLING.write(tmp_path / "sampling.npz")
    job = ClaimsJob(claims=(entry,), table=str(tmp_path / "runs.parquet"), histories=folders, **facts)
    (row,) = ledger_of(job)
    assert (row["verdict"], row["value"], row["place"]) == ("inconclusive", 2.0, "table 1")


@pytest.mark.parametrize(
    "wrong",
    [
        RANGE | {"low": None, "high": None},
        DIFFERENCE | {"direction": "equal"},
        DIFFERENCE | {"margin": -1},
        DIFFERENCE | {"margin": 0.1, "most": 0.05},
        DIFFERENCE | {"direction": "below", "most": 0.05},
        DIFFERENCE | {"place": None},
        DIFFERENCE | {"origin": "ours"},
        DIFFERENCE | {"origin": "explanation"},
        DIFFERENCE | {"tested_by": "control"},
    ],
)
def test_a_claim_that_cannot_be_decided_is_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        claim(**wrong)
