from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_data import Toy, need

from mlpaper.data.catalog import Catalog
from mlpaper.data.dataset import Dataset
from mlpaper.data.fetch import fetch_pool
from mlpaper.data.prepare import enlarge, prepare
from mlpaper.errors import DataError, StorageError
from mlpaper.files import sha256, write_json
from mlpaper.spec import PoolSpec

MNIST = PoolSpec(name="mnist")
CATALOG = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")


@pytest.fixture
def raw(toy: Toy, tmp_path: Path) -> Path:
    mirror = toy.put(tmp_path / "mirror" / "toys").parent
    fetch_pool(toy.source(), MNIST, tmp_path / "raw", str(mirror))
    return tmp_path / "raw"


@pytest.mark.parametrize("transposed", [False, True])
def test_prepare_and_open(toy: Toy, raw: Path, tmp_path: Path, transposed: bool) -> None:
    content = toy.source(transposed=transposed).content()
    prepare(MNIST, content, raw, tmp_path / "out")
    data = Dataset.open(tmp_path / "out")
    stored = np.concatenate([toy.images["train"], toy.images["test"]]).reshape(-1, 28, 28)
    upright = np.stack([image.T for image in stored]) if transposed else stored
    np.testing.assert_array_equal(data.images, upright.reshape(-1, 784))
    np.testing.assert_array_equal(data.labels, np.concatenate([toy.labels["train"], toy.labels["test"]]))
    assert isinstance(data.images, np.memmap)
    assert not data.images.flags.writeable
    assert not data.labels.flags.writeable
    assert data.labels.dtype == np.int64
    assert len(data) == 360
    assert data.classes == ("a", "b", "c")
    assert (data.part_range("train"), data.part_range("test")) == ((0, 300), (300, 360))
    counts = np.bincount(data.labels)
    assert data.meta["counts"] == counts.tolist()
    assert data.meta["imbalance"] == counts.max() / counts.min()
    assert data.meta["arrays"]["images.npy"]["sha256"] == sha256(tmp_path / "out" / "images.npy")
    assert {entry["file"] for entry in data.meta["sources"]} == {
        f"{part}-{role}.gz" for part in ("train", "test") for role in ("images", "labels")
    }
    # Again, elsewhere: the same bytes.
    prepare(MNIST, content, raw, tmp_path / "again")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["images.npy", "labels.npy", "meta.json"]
    assert all((tmp_path / "out" / n).read_bytes() == (tmp_path / "again" / n).read_bytes() for n in names)


def test_one_part_alone(toy: Toy, raw: Path, tmp_path: Path) -> None:
    (raw / "train-images.gz").unlink()
    prepare(PoolSpec(name="mnist", parts=("test",)), toy.source().content(), raw, tmp_path / "out")
    data = Dataset.open(tmp_path / "out")
    assert data.part_ranges == {"test": (0, 60)}
    np.testing.assert_array_equal(data.images, toy.images["test"])
    with pytest.raises(DataError, match=r"mnist\.test has no official train part"):
        data.part_range("train")


def test_changed_raw_files_are_noticed(toy: Toy, raw: Path, tmp_path: Path) -> None:
    path = raw / "test-images.gz"
    shutil.copy(raw / "train-images.gz", path)
    with pytest.raises(DataError, match="not the content of test-images"):
        prepare(MNIST, toy.source().content(), raw, tmp_path / "out")
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        prepare(MNIST, toy.source().content(), raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_must_be_the_classes(toy: Toy, raw: Path, tmp_path: Path) -> None:
    for classes, words in [(("a", "b"), "a label is 2"), (("a", "b", "c", "d"), "no image of class `d`")]:
        with pytest.raises(DataError, match=words):
            prepare(MNIST, toy.source(classes=classes).content(), raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_full_disk(toy: Toy, raw: Path, tiny_disk: Path) -> None:
    with pytest.raises(StorageError, match="full"):
        prepare(MNIST, toy.source().content(), raw, tiny_disk / "out")
    assert list((tiny_disk / "out").iterdir()) == []


def test_damaged_folders_are_refused(toy: Toy, raw: Path, tmp_path: Path) -> None:
    prepare(MNIST, toy.source().content(), raw, tmp_path / "sound")
    meta = json.loads((tmp_path / "sound" / "meta.json").read_text())

    def truncated(folder: Path) -> None:
        data = (folder / "images.npy").read_bytes()
        (folder / "images.npy").write_bytes(data[:-1])

    for number, damage in enumerate(
        [
            lambda folder: (folder / "images.npy").unlink(),
            lambda folder: (folder / "meta.json").unlink(),
            truncated,
            lambda folder: (folder / "meta.json").write_text('{"count": '),
            lambda folder: (folder / "meta.json").write_text("[]"),
            lambda folder: write_json(folder / "meta.json", meta | {"count": 359}),
            lambda folder: write_json(folder / "meta.json", meta | {"classes": ["a"]}),
            lambda folder: write_json(folder / "meta.json", meta | {"parts": {"train": [0, 999]}}),
            lambda folder: np.save(folder / "labels.npy", np.zeros(360, dtype=np.float32)),
            lambda folder: np.save(folder / "labels.npy", np.array([{}] * 360), allow_pickle=True),
        ]
    ):
        folder = tmp_path / f"damaged-{number}"
        shutil.copytree(tmp_path / "sound", folder)
        damage(folder)
        with pytest.raises(DataError, match="Delete the folder and run again") as caught:
            Dataset.open(folder)
        assert str(folder) in str(caught.value)


def test_digits(tmp_path: Path) -> None:
    content = CATALOG["digits"].content()
    prepare(PoolSpec(name="digits"), content, tmp_path, tmp_path / "all")
    prepare(PoolSpec(name="digits", parts=("test",)), content, tmp_path, tmp_path / "test")
    data, test = Dataset.open(tmp_path / "all"), Dataset.open(tmp_path / "test")
    assert data.part_ranges == {"train": (0, 1437), "test": (1437, 1797)}
    assert data.images.max() == 255
    np.testing.assert_array_equal(data.images[1437:], test.images)
    np.testing.assert_array_equal(data.labels[1437:], test.labels)
    # The bytes are the same everywhere.
    assert hashlib.sha256(np.ascontiguousarray(data.images)).hexdigest().startswith("28e94d53a2698536df9e8e4e8d9be89f")


def test_digits_that_are_not_the_known_ones_are_refused(tmp_path: Path) -> None:
    content, pool = CATALOG["digits"].content(), PoolSpec(name="digits")
    with pytest.raises(DataError, match=r"digits are not the known ones .* that the lock file names"):
        prepare(pool, content.model_copy(update={"content_sha256": "0" * 64}), tmp_path, tmp_path)
    train = content.parts.train.model_copy(update={"count": 1436})
    parts = content.parts.model_copy(update={"train": train})
    with pytest.raises(DataError, match=r"its parts have 1,796 images, but scikit-learn has 1,797 digits"):
        prepare(pool, content.model_copy(update={"parts": parts}), tmp_path, tmp_path)


def test_enlarging_is_bilinear() -> None:
    from scipy.ndimage import map_coordinates

    small = np.random.default_rng(3).integers(0, 17, (5, 8, 8)).astype(np.uint8)
    position = (np.arange(28) + 0.5) * 8 / 28 - 0.5
    grid = np.meshgrid(position, position, indexing="ij")
    reference = np.stack([map_coordinates(image.astype(float), grid, order=1, mode="nearest") for image in small])
    assert np.abs(enlarge(small) - reference * 255 / 16).max() <= 0.5 + 1e-9
    assert (enlarge(np.full((1, 8, 8), 16, dtype=np.uint8)) == 255).all()


def test_real_emnist_part(mirror: Path, tmp_path: Path) -> None:
    source, pool = CATALOG["emnist_bymerge"], PoolSpec(name="emnist_bymerge", parts=("test",))
    need(mirror, f"emnist/{source.official['test'].images.name}")
    fetch_pool(source, pool, tmp_path / "raw", str(mirror))
    prepare(pool, source.content(), tmp_path / "raw", tmp_path / "out")
    data = Dataset.open(tmp_path / "out")
    assert len(data) == 116_323
    assert data.classes[int(np.argmax(data.meta["counts"]))] == "1"
    assert round(data.meta["imbalance"], 2) == 15.42
    # Upright: an L has its bar at the bottom, a T at the top, a 7 too.
    for name, heavier in (("L", slice(14, 28)), ("T", slice(0, 14)), ("7", slice(0, 14))):
        mean = data.images[data.labels == data.classes.index(name)].mean(axis=0).reshape(28, 28)
        assert mean[heavier].sum() > 0.55 * mean.sum(), name
