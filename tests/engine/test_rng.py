"""Randomness as a function: same arguments, same numbers; other arguments, other numbers; right distributions."""

import itertools

import numba
import numpy as np
from scipy import stats
from small_runs import spec_of

from mlpaper.engine import backend
from mlpaper.engine.augment import Augmenter
from mlpaper.engine.ops import kernels
from mlpaper.engine.ops.reference import philox
from mlpaper.engine.rng import Stream, normal, permutation
from mlpaper.spec import AugmentationSpec

CPU = backend.select("cpu")


compiled = numba.njit(lambda *words: kernels.philox(*words))


def test_compiled_random_words_are_those_of_the_equations() -> None:
    counters = np.random.default_rng(0).integers(0, 2**32, (100, 4), dtype=np.uint32)
    keys = np.random.default_rng(1).integers(0, 2**32, (100, 2), dtype=np.uint32)
    for counter, key in zip(counters, keys, strict=True):
        assert compiled(*counter, *key) == philox(tuple(map(np.uint64, counter)), tuple(map(int, key)))


def test_every_seed_and_epoch_has_its_own_permutation() -> None:
    first = permutation(CPU, 1000, seed=3, step=4)
    for other in (permutation(CPU, 1000, seed=4, step=4), permutation(CPU, 1000, seed=3, step=5)):
        assert np.mean(first == other) < 0.01


def _mask(count: int, seed: int, number: int, step: int) -> np.ndarray:
    x = np.ones((count, 30))
    mask, stream = np.empty_like(x), Stream.DROPOUT + Stream.OF_LAYER * number
    CPU.ops.dropout(x, 0.5, seed, stream, np.array([step], np.uint64), mask, x)
    return mask


def test_dropout_masks_depend_on_seed_layer_update_and_place_alone() -> None:
    masks = {}
    for seed, number, step in ((3, 0, 1), (4, 0, 1), (3, 1, 1), (3, 0, 2)):
        masks[seed, number, step] = _mask(50, seed, number, step)
        np.testing.assert_array_equal(_mask(9, seed, number, step), masks[seed, number, step][:9])
    for first, second in itertools.combinations(masks.values(), 2):
        assert 0.4 < np.mean(first == second) < 0.6


def _deformed(images: np.ndarray, options: AugmentationSpec, seed: int, epoch: int, first: int = 0) -> np.ndarray:
    out = np.empty_like(images)
    spec = spec_of(augmentation=options, seed=seed)
    Augmenter(CPU, spec, images.shape[1])(images, np.arange(len(images)), epoch, first, out)
    return out


def test_deformations_depend_on_seed_epoch_and_place_alone() -> None:
    """An image is shifted otherwise in every epoch, by any whole number of pixels up to the largest."""
    options, images = AugmentationSpec(shift=2), np.tile(np.arange(1, 50, dtype=np.uint8), (300, 1))
    first, again, later, other = (
        _deformed(images, options, seed, epoch) for seed, epoch in ((3, 1), (3, 1), (3, 2), (4, 1))
    )
    np.testing.assert_array_equal(first, again)
    for different in (later, other):
        assert np.mean((first == different).all(axis=1)) < 0.1  # 1 in 25 by chance
    centres = first[:, 24].astype(int) - 1  # the pixel that came to the centre, which tells the shift
    assert set(centres // 7) == set(centres % 7) == {1, 2, 3, 4, 5}
    np.testing.assert_array_equal(_deformed(images[:10], options, 3, 1), first[:10])
    np.testing.assert_array_equal(_deformed(images[:10], options, 3, 1, first=40), first[40:50])


def test_deformations_bring_in_black_and_turn_by_up_to_the_largest_angle() -> None:
    white = np.full((300, 441), 255, np.uint8)
    corners = _deformed(white, AugmentationSpec(shift=3), 0, 1).reshape(300, 21, 21)[:, ::20, ::20]
    assert set(np.unique(corners)) == {0, 255}
    images = np.zeros((300, 21, 21), np.uint8)
    images[:, 10, 18] = 255  # 8 places right of the centre
    turned = _deformed(images.reshape(300, 441), AugmentationSpec(rotation=15), 0, 1).reshape(300, 21, 21).astype(float)
    rows, columns = (turned.sum(axis=axis) @ (np.arange(21) - 10) for axis in (2, 1))
    angles = np.degrees(np.arctan2(rows, columns))
    assert 13 < -angles.min() < 16
    assert 13 < angles.max() < 16


def test_normal_numbers_are_normal_and_independent_between_streams() -> None:
    numbers = {stream: normal(40_000, seed=0, stream=stream, step=0) for stream in Stream}
    for drawn in numbers.values():
        assert stats.kstest(drawn, "norm").pvalue > 1e-3
    correlations = np.corrcoef(list(numbers.values()))
    assert np.abs(correlations - np.eye(len(Stream))).max() < 0.02
