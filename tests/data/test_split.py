from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_data import need

from mlpaper.data.catalog import Catalog
from mlpaper.data.idx import read_labels
from mlpaper.data.split import Split, make_split
from mlpaper.errors import ConfigurationError, DataError
from mlpaper.files import sha256, write_npz
from mlpaper.spec import OfficialSplit, PoolSplit

STUDY = PoolSplit(withhold_per_class=100)


def labelled(sizes: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))


def sizes_of(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.validation), len(split.test)


def check(split: Split, n: int) -> np.ndarray:
    """Sorted, int64, disjoint, within the pool; returns all rows."""
    for rows in (split.train, split.validation, split.test):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
    together = np.concatenate([split.train, split.validation, split.test])
    assert len(np.unique(together)) == len(together)
    assert together.min() >= 0
    assert together.max() < n
    return together


def test_study_1_sizes() -> None:
    """The published totals, on class sizes with the published extremes.

    The other 45 sizes are not published; these have the last digits (38 times 5, 4 times 3, 3 times 6) for which the
    rounding per class adds up to the published totals.
    """
    digits = [5] * 38 + [3] * 4 + [6] * 3
    others = [16_930 + digit for digit in digits]
    others[0] += 20
    kept = [44_604, 2_861, *others]
    assert (len(kept), sum(kept)) == (47, 809_555)
    labels = labelled([size + 100 for size in kept])
    split = make_split(labels, STUDY, {})
    assert len(check(split, len(labels))) == 809_555
    assert sizes_of(split) == (566_667, 80_933, 161_955)
    per_class = np.stack([np.bincount(labels[rows]) for rows in (split.train, split.validation, split.test)])
    assert per_class[:, 0].tolist() == [31_222, 4_460, 8_922]
    assert per_class[:, 1].tolist() == [2_002, 286, 573]


@given(
    sizes=st.lists(st.integers(10, 300), min_size=1, max_size=8),
    train=st.integers(20, 70),
    validation=st.integers(10, 25),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_pool_floors_are_exact(sizes: list[int], train: int, validation: int, seed: int) -> None:
    labels = labelled(sizes, 1)
    spec = PoolSplit(train=train / 100, validation=validation / 100, seed=seed)
    split = make_split(labels, spec, {})
    assert len(check(split, len(labels))) == len(labels)
    for label, size in enumerate(sizes):
        assert (labels[split.train] == label).sum() == train * size // 100
        assert (labels[split.validation] == label).sum() == validation * size // 100


@given(
    sizes=st.lists(st.integers(20, 300), min_size=1, max_size=8),
    share=st.fractions(Fraction(1, 2), 1),
    held=st.one_of(st.just(0.1), st.fractions(Fraction(1, 8), Fraction(1, 2))),
)
@settings(max_examples=60, deadline=None)
def test_official(sizes: list[int], share: Fraction, held: Fraction | float) -> None:
    train, test = labelled(sizes, 1), labelled([2] * len(sizes), 2)
    labels = np.concatenate([train, test])
    ranges = {"train": (0, len(train)), "test": (len(train), len(labels))}
    subset = int(share * len(train))
    validation = held if isinstance(held, float) else int(held * subset)
    split = make_split(labels, OfficialSplit(subset=subset, validation=validation), ranges)
    check(split, len(labels))
    np.testing.assert_array_equal(split.test, np.arange(len(train), len(labels)))
    assert len(split.train) + len(split.validation) == subset
    taken = np.bincount(labels[np.concatenate([split.train, split.validation])], minlength=len(sizes))
    for label, size in enumerate(sizes):
        assert abs(taken[label] - Fraction(subset * size, len(train))) < 1
        if isinstance(validation, float):
            assert (labels[split.validation] == label).sum() == taken[label] // 10
    if not isinstance(validation, float):
        assert len(split.validation) == validation


def test_small_labels_of_any_type_and_withholding() -> None:
    labels = labelled([30, 40])
    whole = make_split(labels, PoolSplit(), {})
    same = make_split(labels.astype(np.uint8), PoolSplit(), {}, ["x", "y"])
    np.testing.assert_array_equal(whole.train, same.train)
    kept = make_split(labels, PoolSplit(withhold_per_class=10), {})
    assert sizes_of(kept) == (14 + 21, 2 + 3, 4 + 6)
    other = make_split(labels, PoolSplit(seed=1), {})
    assert set(other.test) != set(whole.test)


def test_the_split_never_changes(tmp_path: Path) -> None:
    """Published results stand on it: a change of these rows is a change of the results."""
    labels = np.arange(500) % 5
    split = make_split(labels, PoolSplit(seed=7), {})
    found = hashlib.sha256(split.train.tobytes() + split.test.tobytes()).hexdigest()
    assert found.startswith("49aea91e9234b1e2")
    ranges = {"train": (0, 400), "test": (400, 500)}
    official = make_split(labels, OfficialSplit(seed=7, subset=333, validation=50), ranges)
    found = hashlib.sha256(official.train.tobytes() + official.validation.tobytes()).hexdigest()
    assert found.startswith("68385e6cbd3ca1cb")
    for name in ("split.npz", "again.npz"):
        split.write(tmp_path / name)
    assert sha256(tmp_path / "again.npz") == sha256(tmp_path / "split.npz")
    back = Split.read(tmp_path / "split.npz")
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(back, name), getattr(split, name))


def test_damaged_split_files(tmp_path: Path) -> None:
    path = tmp_path / "split.npz"
    rows = np.arange(3)
    good = {"train": rows, "validation": rows + 3, "test": rows + 6}
    for bad in (
        good | {"test": rows},
        good | {"train": rows[::-1].copy()},
        good | {"train": rows.astype(np.int32)},
        good | {"train": rows - 1},
        {"train": rows},
    ):
        write_npz(path, bad)
        with pytest.raises(DataError, match="Delete it and run again"):
            Split.read(path)
    write_npz(path, good)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="Delete it and run again"):
        Split.read(path)
    path.unlink()
    with pytest.raises(DataError, match="Delete it and run again"):
        Split.read(path)


def test_impossible_splits() -> None:
    labels = labelled([50, 9])
    with pytest.raises(DataError, match=r"class `rare` is too small.*its 9 images.*validation set"):
        make_split(labels, PoolSplit(), {}, ["common", "rare"])
    with pytest.raises(DataError, match="class `rare`"):
        make_split(labels, PoolSplit(withhold_per_class=9), {}, ["common", "rare"])
    with pytest.raises(DataError, match="class `absent`"):
        make_split(labelled([50, 50]), PoolSplit(), {}, ["a", "b", "absent"])
    with pytest.raises(DataError, match="labels must lie in"):
        make_split(labels, PoolSplit(), {}, ["only"])
    for ranges, words in [({"test": (0, 59)}, "train part.*only: test"), ({"train": (0, 59)}, "official test part")]:
        with pytest.raises(ConfigurationError, match=words):
            make_split(labels, OfficialSplit(), ranges)
    both = {"train": (0, 40), "test": (40, 59)}
    for spec in (OfficialSplit(subset=41), OfficialSplit(validation=41), OfficialSplit(subset=20, validation=21)):
        with pytest.raises(ConfigurationError, match="more images than"):
            make_split(labels, spec, both)
    with pytest.raises(DataError, match="none is left for the train set"):
        make_split(labels, OfficialSplit(validation=40), both)


def test_real_emnist_part(mirror: Path) -> None:
    """Per class the study's floors, on the official test part as the pool."""
    source = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")["emnist_bymerge"]
    part = source.official["test"]
    need(mirror, f"emnist/{part.labels.name}")
    labels = read_labels(mirror / "emnist" / part.labels.name, part.count)
    counts = np.bincount(labels)
    split = make_split(labels, PoolSplit(), {"test": (0, part.count)}, source.classes)
    assert len(check(split, part.count)) == 116_323
    np.testing.assert_array_equal(np.bincount(labels[split.train]), 7 * counts // 10)
    np.testing.assert_array_equal(np.bincount(labels[split.validation]), counts // 10)
    withheld = make_split(labels, STUDY, {})
    assert len(check(withheld, part.count)) == 116_323 - 4_700
    np.testing.assert_array_equal(np.bincount(labels[withheld.train]), 7 * (counts - 100) // 10)
