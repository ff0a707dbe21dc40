"""From an `.npz` or a table to a prepared pool, and to a trained network: images of any size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mlpaper.data.catalog import load
from mlpaper.data.dataset import Dataset
from mlpaper.data.fetch import fetch_pool
from mlpaper.data.prepare import prepare
from mlpaper.data.sources import Source
from mlpaper.data.split import make_split
from mlpaper.engine.train_job import train_run
from mlpaper.errors import ConfigurationError, DataError
from mlpaper.files import read_json, sha256
from mlpaper.spec import PoolSpec, PoolSplit, RunSpec

RANDOM = np.random.default_rng(0)
COUNT = 90
LABELS = np.arange(COUNT) % 3
COLOURS = (60 * LABELS[:, None, None, None] + RANDOM.integers(0, 60, (COUNT, 5, 7, 3))).astype(np.uint8)
POOL = PoolSpec(name="toy")
NPZ = """
name: toy
title: Toy
format: npz
shape: [5, 7, 3]
classes: [a, b, c]
file: {path: toy.npz}
parts: {train: {count: 60, arrays: {images: x, labels: y}}, test: {count: 30, arrays: {images: u, labels: v}}}
"""
CSV = """
name: toy
title: Toy
format: csv
shape: [5, 7]
classes: [a, b, c]
columns: {header: false, label: 0}
parts: {train: {count: 60, file: {path: train.csv}}, test: {count: 30, file: {path: test.csv}}}
"""


def source_of(folder: Path, text: str) -> Source:
    (folder / "workflow" / "datasets").mkdir(parents=True, exist_ok=True)
    path = folder / "workflow" / "datasets" / "toy.yaml"
    path.write_text(text)
    return load(path, folder)


def write_npz(folder: Path) -> None:
    np.savez(folder / "toy.npz", x=COLOURS[:60], y=LABELS[:60], u=COLOURS[60:], v=LABELS[60:])


def made(folder: Path, source: Source, pool: PoolSpec = POOL) -> Dataset:
    fetch_pool(source, pool, folder / "raw")
    prepare(pool, source.content(), folder / "raw", folder / pool.id)
    return Dataset.open(folder / pool.id)


def test_colour_images_of_an_archive(tmp_path: Path) -> None:
    write_npz(tmp_path)
    source = source_of(tmp_path, NPZ)
    data = made(tmp_path, source)
    np.testing.assert_array_equal(data.images, COLOURS.reshape(COUNT, -1))
    np.testing.assert_array_equal(data.labels, LABELS)
    assert (data.shape, data.part_ranges) == ((5, 7, 3), {"train": (0, 60), "test": (60, 90)})
    np.testing.assert_array_equal(data.picture(3), COLOURS[3])
    assert data.meta["sources"] == [{"file": "data.npz", "name": "toy.npz", "sha256": sha256(tmp_path / "toy.npz")}]
    receipt = read_json(tmp_path / "raw" / "data.npz.json")
    assert (receipt["from"], receipt["bytes"]) == (str(tmp_path / "toy.npz"), (tmp_path / "toy.npz").stat().st_size)
    test = made(tmp_path, source, PoolSpec(name="toy", parts=("test",)))
    np.testing.assert_array_equal(test.images, data.images[60:])


def test_tables_with_a_part_each(tmp_path: Path) -> None:
    grey = COLOURS[..., 0].reshape(COUNT, -1)
    for name, rows in (("train", slice(60)), ("test", slice(60, COUNT))):
        pairs = zip(LABELS[rows], grey[rows], strict=True)
        (tmp_path / f"{name}.csv").write_text("".join(f"{label},{','.join(map(str, row))}\n" for label, row in pairs))
    data = made(tmp_path, source_of(tmp_path, CSV))
    np.testing.assert_array_equal(data.images, grey)
    np.testing.assert_array_equal(data.labels, LABELS)
    assert [entry["file"] for entry in data.meta["sources"]] == ["train.csv", "test.csv"]


def test_one_part_is_the_whole_pool(tmp_path: Path) -> None:
    write_npz(tmp_path)
    text = NPZ.replace(", test: {count: 30, arrays: {images: u, labels: v}}", "")
    source = source_of(tmp_path, text)
    assert made(tmp_path, source).part_ranges == {"train": (0, 60)}
    with pytest.raises(ConfigurationError, match="toy has no official test part"):
        made(tmp_path, source, PoolSpec(name="toy", parts=("test",)))


def test_a_copy_that_is_not_that_of_its_receipt_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path)
    source = source_of(tmp_path, NPZ)
    made(tmp_path, source)
    taken = tmp_path / "raw" / "data.npz"
    taken.write_bytes(taken.read_bytes() + b"x")
    with pytest.raises(
        DataError, match=r"data\.npz: not the content of toy\.npz \(sha256 .*Delete it and fetch it again"
    ):
        prepare(POOL, source.content(), tmp_path / "raw", tmp_path / "toy")
    for receipt in ("[]", "{", "{}"):
        (tmp_path / "raw" / "data.npz.json").write_text(receipt)
        with pytest.raises(DataError, match="cannot be read"):
            prepare(POOL, source.content(), tmp_path / "raw", tmp_path / "toy")


def test_a_network_learns_images_that_are_not_square(tmp_path: Path) -> None:
    write_npz(tmp_path)
    data = made(tmp_path, source_of(tmp_path, NPZ))
    split = make_split(data.labels, PoolSplit(), data.part_ranges, data.classes)
    split.write(tmp_path / "split.npz")
    spec = {"dataset": {"name": "toy"}, "network": {"hidden": [8]}, "batch_size": 9, "epochs": 30}
    run = tmp_path / "run"

    def train(**more: object) -> None:
        made = RunSpec.model_validate(spec | more)
        train_run(made, data.folder, tmp_path / "split.npz", run, tmp_path / "saved.npz", "code")

    train()
    outcome = json.loads((run / "run.json").read_text())
    assert outcome["parameters"] == (105 * 8 + 8) + (8 * 3 + 3)
    assert np.load(run / "weights.npz")["0.weight"].shape == (105, 8)
    with pytest.raises(ConfigurationError, match=r"augmentation: is for square grey images; .* are \(5, 7, 3\)"):
        train(augmentation={"shift": 1})
