"""Randomness as a function: same arguments, same numbers; other arguments, other numbers; right distributions."""

import itertools

import numpy as np
from scipy import stats

from mlpaper.engine import backend
from mlpaper.engine.augment import Augmenter
from mlpaper.engine.layers import Dropout
from mlpaper.engine.ops import kernels
from mlpaper.engine.ops.reference import philox
from mlpaper.engine.rng import Stream, normal, permutation
from mlpaper.spec import AugmentationSpec, InputSpec

CPU = backend.select("cpu")


def test_compiled_random_words_are_those_of_the_equations() -> None:
    counters = np.random.default_rng(0).integers(0, 2**32, (100, 4), dtype=np.uint64)
    keys = np.random.default_rng(1).integers(0, 2**32, (100, 2), dtype=np.uint64)
    for counter, key in zip(counters, keys, strict=True):
        assert kernels.philox(*counter, *key) == philox(tuple(counter), tuple(key))


def test_every_seed_and_epoch_has_its_own_permutation() -> None:
    first = permutation(CPU, 1000, seed=3, step=4)
    for other in (permutation(CPU, 1000, seed=4, step=4), permutation(CPU, 1000, seed=3, step=5)):
        assert np.mean(first == other) < 0.01


def test_dropout_masks_depend_on_seed_layer_update_and_place_alone() -> None:
    masks = {}
    for seed, number, step in ((3, 0, 1), (4, 0, 1), (3, 1, 1), (3, 0, 2)):
        layer = Dropout(CPU, 0.5, seed, number, rows=50, width=30)
        masks[seed, number, step] = layer.forward(np.ones((50, 30), np.float32), step).copy()
        np.testing.assert_array_equal(layer.forward(np.ones((9, 30), np.float32), step), masks[seed, number, step][:9])
    for first, second in itertools.combinations(masks.values(), 2):
        assert 0.4 < np.mean(first == second) < 0.6


def test_deformations_depend_on_seed_update_and_place_alone() -> None:
    """An image is shifted otherwise in every update, by any whole number of pixels up to the largest."""
    options, images = AugmentationSpec(shift=2), np.tile(np.arange(1, 50), (300, 1)).astype(np.float64)
    float64 = backend.select("cpu", np.float64)
    first, again, later, other = (
        Augmenter(float64, options, InputSpec(), 49, seed)(images, step)
        for seed, step in ((3, 1), (3, 1), (3, 2), (4, 1))
    )
    np.testing.assert_array_equal(first, again)
    for different in (later, other):
        assert np.mean((first == different).all(axis=1)) < 0.1  # 1 in 25 by chance
    centres = first[:, 24].astype(int) - 1  # the pixel that came to the centre, which tells the shift
    assert set(centres // 7) == set(centres % 7) == {1, 2, 3, 4, 5}
    fewer = Augmenter(float64, options, InputSpec(), 49, 3)(images[:10], 1)
    np.testing.assert_array_equal(fewer, first[:10])


def test_deformations_bring_in_black_and_turn_by_up_to_the_largest_angle() -> None:
    float64, pixels = backend.select("cpu", np.float64), InputSpec(mean=0.25, std=0.5)
    black = np.full((300, 441), -0.5)  # pixels of 0, standardised
    np.testing.assert_allclose(Augmenter(float64, AugmentationSpec(shift=3), pixels, 441, 0)(black, 1), -0.5)
    images = np.zeros((300, 21, 21))
    images[:, 10, 18] = 1  # 8 places right of the centre
    turned = Augmenter(float64, AugmentationSpec(rotation=15), InputSpec(), 441, 0)(images.reshape(300, 441), 1)
    rows, columns = (turned.reshape(300, 21, 21).sum(axis=axis) @ (np.arange(21) - 10) for axis in (2, 1))
    angles = np.degrees(np.arctan2(rows, columns))
    assert 13 < -angles.min() < 16
    assert 13 < angles.max() < 16


def test_normal_numbers_are_normal_and_independent_between_streams() -> None:
    numbers = {stream: normal(40_000, seed=0, stream=stream, step=0) for stream in Stream}
    for drawn in numbers.values():
        assert stats.kstest(drawn, "norm").pvalue > 1e-3
    correlations = np.corrcoef(list(numbers.values()))
    assert np.abs(correlations - np.eye(len(Stream))).max() < 0.02
