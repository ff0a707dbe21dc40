"""Randomness as a function: same arguments, same numbers; other arguments, other numbers; right distributions."""

import numpy as np
from scipy import stats

from mlpaper.engine import backend
from mlpaper.engine.random import Stream, normal, permutation

CPU = backend.select("cpu")


def test_every_seed_and_epoch_has_its_own_permutation() -> None:
    first = permutation(CPU, 1000, seed=3, step=4)
    for other in (permutation(CPU, 1000, seed=4, step=4), permutation(CPU, 1000, seed=3, step=5)):
        assert np.mean(first == other) < 0.01


def test_normal_numbers_are_normal_and_independent_between_streams() -> None:
    numbers = {stream: normal(40_000, seed=0, stream=stream, step=0) for stream in Stream}
    for drawn in numbers.values():
        assert stats.kstest(drawn, "norm").pvalue > 1e-3
    correlations = np.corrcoef(list(numbers.values()))
    assert np.abs(correlations - np.eye(len(Stream))).max() < 0.02
