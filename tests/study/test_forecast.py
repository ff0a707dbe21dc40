"""How many seeds would decide a claim: forecasts against what happens in simulated studies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from mlpaper.study.forecast import FIRST, MOST, Forecast, forecast
from mlpaper.study.ledger import DECIDED, judge
from mlpaper.study.measurements import Measurements
from mlpaper.study.posterior import generator
from mlpaper.study.rules import ClaimSpec
from mlpaper.study.sampling import NO_SAMPLING, Sampling

CLAIM: TypeAdapter[ClaimSpec] = TypeAdapter(ClaimSpec)
RUNS = [f"r{k}" for k in range(20)]
METRIC = "test_accuracy"


def claim(**values: Any) -> ClaimSpec:
    return CLAIM.validate_python({"id": "a-claim", "statement": "A claim.", "origin": "ours"} | values)


def measured(
    values: Mapping[str, Sequence[float]],
    left_out: Mapping[str, str] | None = None,
    metric: str = METRIC,
    **options: Any,
) -> Measurements:
    """Run to its values by seed."""
    rows = [
        (run, seed, f"{run}-{seed}", "finished", metric, float(value))
        for run, column in values.items()
        for seed, value in enumerate(column)
    ]
    table = pd.DataFrame(rows, columns=["run", "seed", "run_id", "outcome", "metric", "value"])
    return Measurements(table, left_out or {}, {}, **options)


def siblings(seeds: int) -> dict[str, np.ndarray]:
    """Runs whose means are far apart, and whose values vary by 0.01 between seeds."""
    random = generator("siblings")
    return dict(
        zip(RUNS, 0.5 + 0.1 * random.normal(size=(20, 1)) + 0.01 * random.normal(size=(20, seeds)), strict=True)
    )


DIFFERENCE = {"rule": "difference", "first": "A", "second": "B", "metric": METRIC}


def test_the_seeds_that_are_forecast_mostly_decide() -> None:
    """Studies whose true means nobody knows; each is continued to the number of seeds that was forecast."""
    random, outcomes, counts = generator("studies"), [], []
    for number in range(400):
        values = 2.5 * random.normal(size=(20, 1)) + random.normal(size=(20, MOST))
        if not 1.2 < abs(values[0, :3].mean() - values[1, :3].mean()) < 2:
            continue  # decided or close to the margin, most likely
        entry = claim(**DIFFERENCE | {"first": "r0", "second": "r1"}).model_copy(update={"id": f"claim-{number}"})
        found = forecast(entry, measured(dict(zip(RUNS, values[:, :3], strict=True))))
        if found is None or found.hope != "seeds":
            continue
        later = measured(dict(zip(RUNS, values[:, : found.seeds], strict=True)))
        outcomes.append(judge(entry, later).verdict in DECIDED)
        counts.append(found.seeds)
    assert len(outcomes) > 15
    assert 0.65 < np.mean(outcomes) < 0.95, "0.8 is wanted"
    assert 4 <= min(counts) < 8 < max(counts) <= MOST


def test_means_that_stand_out_by_chance_are_moved_to_the_others() -> None:
    """Of runs that are all alike, two differ with three seeds; with more they will not."""
    spread = 0.01 * np.array([[-1.0, 0.2, 0.8], [0.9, -1.0, 0.1]])
    alike = dict(zip(RUNS, 0.5 + 0.01 * generator("alike").normal(size=(20, 3)), strict=True))
    hopes = []
    for others in (siblings(3), alike):
        found = forecast(claim(**DIFFERENCE), measured(others | {"A": 0.512 + spread[0], "B": 0.5 + spread[1]}))
        hopes.append(None if found is None else found.hope)
    assert hopes == ["seeds", "margin"]


def test_a_forecast_is_the_same_every_time_and_larger_for_smaller_differences() -> None:
    def seeds(difference: float) -> int:
        base = 0.01 * np.array([[-1.0, 0.2, 0.8], [0.9, -1.0, 0.1]])
        values = measured(siblings(3) | {"A": 0.5 + difference + base[0], "B": 0.5 + base[1]})
        found = [forecast(claim(**DIFFERENCE), values) for _ in range(2)]
        assert found[0] == found[1]
        assert found[0] is not None
        assert found[0].hope == "seeds"
        return found[0].seeds

    assert 3 < seeds(0.014) < seeds(0.012) < seeds(0.01) <= MOST


@pytest.mark.parametrize(
    ("entry", "values", "left_out", "expected"),
    [
        (DIFFERENCE, {"A": (0.9, 0.9, 0.9), "B": (0.5, 0.51, 0.5)}, {}, None),
        (DIFFERENCE, {"A": (0.9, 0.9), "B": (0.5, 0.5)}, {"A": "too heavy"}, None),
        (DIFFERENCE, {"A": (0.9,), "B": (0.5,)}, {}, Forecast("first seeds", 1, FIRST)),
        (DIFFERENCE, {"A": (0.5,), "B": (0.5,)}, {}, Forecast("first seeds", 1, FIRST)),
        (DIFFERENCE, {"A": (0.5, 0.5), "B": (0.5, 0.5)}, {}, Forecast("other", 2, remark="a tie")),
        (
            DIFFERENCE | {"metric": "macro_f1"},
            {"A": (0.5, 0.6), "B": (0.5, 0.5)},
            {},
            Forecast("other", 2, remark="not measured"),
        ),
        (DIFFERENCE, {"A": (0.6, *[0.4, 0.6] * 15), "B": (0.5, *[0.6, 0.4] * 15)}, {}, Forecast("margin", 31)),
    ],
    ids=["decided", "not run", "one seed", "one seed, a tie", "tie", "not measured", "31 seeds"],
)
def test_what_needs_no_simulation(entry: dict, values: dict, left_out: dict, expected: Forecast | None) -> None:
    assert forecast(claim(**entry), measured(values, left_out)) == expected


def test_one_seed_borrows_the_variance_of_its_siblings() -> None:
    found = forecast(claim(**DIFFERENCE), measured(siblings(5) | {"A": (0.55,), "B": (0.5,)}))
    assert found is not None
    assert (found.hope, found.now, found.seeds) == ("seeds", 1, 2)


def test_few_test_images_and_small_differences_are_told_apart() -> None:
    """What seeds cannot decide: scores of few images, however many seeds; and means that lie at the margin."""
    first, second = 0.5 + 0.01 * np.array([[-1.0, 0.5, 0.0, -0.5, 1.0], [0.3, -1.0, 1.0, -0.5, 0.2]])
    others = siblings(5)
    names = (*others, "A", "B")
    few = Sampling(names, {METRIC: 0.01**2 * np.eye(len(names))}, dict.fromkeys(names, 100))

    def found(difference: float, sampling: Sampling) -> Forecast | None:
        return forecast(
            claim(**DIFFERENCE), measured(others | {"A": first + difference, "B": second}, sampling=sampling)
        )

    cases = [found(0.012, NO_SAMPLING), found(0.012, few), found(0.0, NO_SAMPLING)]
    assert [None if case is None else case.hope for case in cases] == [None, "images", "margin"]
    assert [case.chance for case in cases if case] == pytest.approx([0.05, 0.5], abs=0.1)


def test_outcomes_of_two_kinds_are_repeated() -> None:
    """Networks that collapse with some seeds: more seeds do or do not, and none ends between."""
    share = claim(rule="share", run="A", metric=METRIC, high=0.15, share=0.5)
    always, mostly = (forecast(share, measured({"A": column})) for column in ((0.1, 0.1, 0.1), (0.1, 0.1, 0.9)))
    assert always is not None
    assert mostly is not None
    assert (always.hope, mostly.hope) == ("seeds", "margin")
    assert 5 < always.seeds < 15, "five that collapse decide, but not all of them may"


def test_curves_are_repeated() -> None:
    """A speed is decided from the epochs of every seed, which the new seeds repeat, both runs' of one seed together."""
    target = 0.9
    curves = {
        "fast": {seed: [0.5] * epochs + [target] for seed, epochs in enumerate((1, 2, 3))},
        "slow": {seed: [0.5] * epochs + [target] for seed, epochs in enumerate((3, 9, 6))},
    }
    ends = dict.fromkeys(curves, (target,) * 3)
    speed = claim(rule="speed", fast="fast", slow="slow", target=target, least=1.3)
    found = forecast(speed, measured(ends, metric="validation_accuracy", accuracies=curves.__getitem__))
    assert found is not None
    assert found.hope == "seeds"
    assert 3 < found.seeds <= MOST
