"""Randomness as a function: same arguments, same numbers; other arguments, other numbers; right distributions."""

import numpy as np
from scipy import stats

from mlpaper.engine import backend
from mlpaper.engine.ops import cpu
from mlpaper.engine.random import Stream, normal, permutation

CPU = backend.select("cpu")


def test_permutations_permute_and_depend_on_seed_and_epoch_alone() -> None:
    for count in (1, 2, 5, 1001):
        assert sorted(permutation(CPU, count, seed=3, step=4)) == list(range(count))
    first = permutation(CPU, 1000, seed=3, step=4)
    np.testing.assert_array_equal(first, permutation(backend.select("reference"), 1000, seed=3, step=4))
    for other in (permutation(CPU, 1000, seed=4, step=4), permutation(CPU, 1000, seed=3, step=5)):
        assert np.mean(first == other) < 0.01


def test_normal_numbers_are_normal_and_independent_between_streams() -> None:
    numbers = {stream: normal(40_000, seed=0, stream=stream, step=0) for stream in Stream}
    for drawn in numbers.values():
        assert stats.kstest(drawn, "norm").pvalue > 1e-3
    correlations = np.corrcoef(list(numbers.values()))
    assert np.abs(correlations - np.eye(len(Stream))).max() < 0.02


def test_noise_of_an_image_does_not_depend_on_its_batch() -> None:
    rows = np.arange(10, dtype=np.uint64)
    together, alone = np.empty((10, 784), np.float32), np.empty((1, 784), np.float32)
    cpu.normal_rows(together, 1, Stream.NOISE, rows)
    cpu.normal_rows(alone, 1, Stream.NOISE, rows[7:8])
    np.testing.assert_array_equal(together[7], alone[0])
