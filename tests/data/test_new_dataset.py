"""`mlpaper new dataset`: a dataset file that is valid at once, or an error that says what is missing."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from toy_data import idx_images, idx_labels

from mlpaper import cli
from mlpaper.data.catalog import Catalog
from mlpaper.data.dataset import Dataset
from mlpaper.data.fetch import fetch_pool
from mlpaper.data.new_dataset import new_dataset
from mlpaper.data.prepare import prepare
from mlpaper.data.sources import Source
from mlpaper.errors import ConfigurationError, DataError
from mlpaper.spec import PoolSpec

GREY = np.random.default_rng(0).integers(0, 256, (12, 4, 4), dtype=np.uint8)
LABELS = np.arange(12) % 3
NAMES = np.array(["red", "green", "blue"])[LABELS]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "workflow" / "datasets").mkdir(parents=True)
    return tmp_path


def described(project: Path, file: Path, shape: str | None = None) -> tuple[Source, Dataset]:
    """The dataset file that is written, and the images as the pipeline reads them by it."""
    new_dataset("own", file, project, shape)
    source = Catalog(project / "workflow" / "datasets")["own"]
    fetch_pool(source, PoolSpec(name="own"), project / "raw")
    prepare(PoolSpec(name="own"), source.content(), project / "raw", project / "pool")
    return source, Dataset.open(project / "pool")


def saved(project: Path, **arrays: np.ndarray) -> Path:
    np.savez(project / "own.npz", **arrays)
    return project / "own.npz"


@pytest.mark.parametrize(
    ("arrays", "classes", "parts"),
    [
        ({"images": GREY, "labels": LABELS}, ("0", "1", "2"), {"train": 12}),
        ({"x_train": GREY[:9], "y_train": LABELS[:9], "x_test": GREY[9:], "y_test": LABELS[9:]}, ("0", "1", "2"),
         {"train": 9, "test": 3}),
        ({"arr_0": GREY.reshape(12, -1), "arr_1": NAMES}, ("blue", "green", "red"), {"train": 12}),
        ({"X": GREY[..., None], "y": 10 * LABELS}, ("0", "10", "20"), {"train": 12}),
        ({"x": GREY.astype(int), "y": LABELS[:, None] - 1}, ("-1", "0", "1"), {"train": 12}),
    ],
)  # fmt: skip
def test_archives(project: Path, arrays: dict, classes: tuple[str, ...], parts: dict) -> None:
    source, data = described(project, saved(project, **arrays))
    assert (source.shape, source.classes, source.counts()) == ((4, 4), classes, parts)
    np.testing.assert_array_equal(data.images, GREY.reshape(12, -1))
    names = np.concatenate([np.ravel(it) for key, it in arrays.items() if "y" in key or key in ("labels", "arr_1")])
    assert [classes[label] for label in data.labels] == [str(name) for name in names]
    assert source.file.path == str(project / "own.npz")
    assert 'path: "own.npz"' in (project / "workflow" / "datasets" / "own.yaml").read_text(), "the project may move"


def test_colours_and_real_numbers(project: Path) -> None:
    colours = np.random.default_rng(1).uniform(0, 1, (12, 4, 5, 3)).astype(np.float32)
    source, data = described(project, saved(project, images=colours, labels=LABELS))
    assert (source.shape, source.maximum) == ((4, 5, 3), 1.0)
    assert np.abs(data.images / 255 - colours.reshape(12, -1)).max() < 0.5 / 255 + 1e-6


def table(project: Path, head: str = "names,labels," + ",".join(map(str, range(16)))) -> Path:
    rows = zip(LABELS, GREY.reshape(12, -1), strict=True)
    lines = [f"font {label},{label},{','.join(map(str, row))}" for label, row in rows]
    path = project / "own.csv.gz"
    path.write_bytes(gzip.compress("\n".join([head, *lines]).encode()))
    return path


def test_tables(project: Path) -> None:
    source, data = described(project, table(project))
    assert (source.shape, source.classes, source.counts()) == ((4, 4), ("0", "1", "2"), {"train": 12})
    assert (source.columns.label, source.columns.ignore) == ("labels", ("names",))
    np.testing.assert_array_equal(data.images, GREY.reshape(12, -1))
    np.testing.assert_array_equal(data.labels, LABELS)


def test_a_table_without_a_header(project: Path) -> None:
    rows = zip(LABELS, GREY.reshape(12, -1), strict=True)
    (project / "t.csv").write_text("".join(f"{label},{','.join(map(str, row))}\n" for label, row in rows))
    source, data = described(project, project / "t.csv", "2x8")
    assert (source.shape, source.columns.header, source.columns.label) == ((2, 8), False, 0)
    np.testing.assert_array_equal(data.images, GREY.reshape(12, -1))


def test_idx_files_with_their_neighbours(project: Path) -> None:
    for name, data in (
        ("train-images-idx3-ubyte", idx_images(GREY[:9], shape=(4, 4))),
        ("train-labels-idx1-ubyte", idx_labels(LABELS[:9].astype(np.uint8))),
        ("t10k-images-idx3-ubyte", idx_images(GREY[9:], shape=(4, 4))),
        ("t10k-labels-idx1-ubyte", idx_labels(LABELS[9:].astype(np.uint8))),
    ):
        (project / f"{name}.gz").write_bytes(gzip.compress(data))
    source, data = described(project, project / "train-images-idx3-ubyte.gz")
    assert (source.shape, source.counts()) == ((4, 4), {"train": 9, "test": 3})
    np.testing.assert_array_equal(data.images, GREY.reshape(12, -1))
    np.testing.assert_array_equal(data.labels, LABELS)


def test_the_command_says_what_to_do_next(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    saved(project, images=GREY, labels=LABELS)
    done = CliRunner().invoke(cli.cli, ["new", "dataset", "own", "--from", "own.npz"])
    assert done.exit_code == 0, done.output
    assert "12 in train, 4 x 4, 3 classes" in done.output
    assert "`dataset: {name: own}` with `split: {scheme: pool}`" in done.output
    listed = CliRunner().invoke(cli.cli, ["datasets"])
    assert "own " in listed.output


def test_names_that_yaml_takes_for_something_else(project: Path) -> None:
    for name in ("null", "true", "on", "y"):
        new_dataset(name, saved(project, images=GREY, labels=LABELS), project)
        assert Catalog(project / "workflow" / "datasets")[name].title == name.capitalize()


def refused(project: Path, file: Path, name: str = "own", shape: str | None = None) -> str:
    before = sorted((project / "workflow" / "datasets").glob("*"))
    with pytest.raises((ConfigurationError, DataError)) as caught:
        new_dataset(name, file, project, shape)
    assert sorted((project / "workflow" / "datasets").glob("*")) == before, "nothing is written"
    return str(caught.value)


def test_nothing_is_overwritten(project: Path) -> None:
    file = saved(project, images=GREY, labels=LABELS)
    path = new_dataset("own", file, project)
    path.write_text("# mine")
    assert "own.yaml exists already: choose another name" in refused(project, file)
    assert path.read_text() == "# mine"


def test_what_cannot_be_described(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    good = saved(project, images=GREY, labels=LABELS)
    for name in ("Own", "my-own", "../own", "raw", ""):
        assert f"`{name}` cannot name a dataset" in refused(project, good, name)
    assert "`4` is not HEIGHTxWIDTH" in refused(project, good, shape="4")
    assert "there is no file" in refused(project, project / "missing.npz")
    with pytest.raises(ConfigurationError, match="call this in the project's folder"):
        new_dataset("own", good, tmp_path_factory.mktemp("elsewhere"))

    def archive(**arrays: np.ndarray) -> str:
        return refused(project, saved(project, **arrays))

    assert "which arrays are images and labels? It has a (12, 4, 4), b (12,)" in archive(a=GREY, b=LABELS)
    assert "its images are vectors of 14 values; say --shape" in archive(
        images=GREY.reshape(12, -1)[:, :14], labels=LABELS
    )
    assert "its colours come first" in archive(images=np.zeros((12, 3, 4, 4), np.uint8), labels=LABELS)
    assert "neither grey nor in three colours" in archive(images=np.zeros((12, 4, 4, 2), np.uint8), labels=LABELS)
    assert "but must be (12, 5, 5)" in refused(project, saved(project, images=GREY, labels=LABELS), shape="5x5")
    other = {"x_train": GREY, "y_train": LABELS, "x_test": GREY[:, :3], "y_test": LABELS}
    assert "array `x_test`: its shape is (12, 3, 4)" in archive(**other)
    assert "has 16 columns of pixels, no images of (5, 5)" in refused(project, table(project), shape="5x5")
    assert "the label 'a  b' cannot name a class" in archive(images=GREY, labels=np.array(["a  b", "c"] * 6))
    assert "only 1 different labels" in archive(images=GREY, labels=np.zeros(12, int))
    assert "holds Python objects" in archive(images=GREY, labels=np.array([None] * 12))
    assert "a pixel is 256" in archive(images=np.full(GREY.shape, 256), labels=LABELS)
    assert "nan is not from 0" in archive(images=np.full(GREY.shape, np.nan), labels=LABELS)
    assert "one label per image" in archive(images=GREY, labels=LABELS[:5])
    assert "which column has the labels?" in refused(project, table(project, "names,digit," + ",".join("x" * 16)))
    for name, data in (("data.bin", b"\0\0\x0b\x03" + bytes(20)), ("empty", b"")):
        (project / name).write_bytes(data)
        assert str(project / name) in refused(project, project / name)
    (project / "train-images").write_bytes(idx_images(GREY, shape=(4, 4)))
    assert "train-labels cannot be read" in refused(project, project / "train-images")
    (project / "digits").write_bytes(idx_images(GREY, shape=(4, 4)))
    assert "name the IDX file with the training images" in refused(project, project / "digits")


def test_too_many_classes_are_a_wrong_column(project: Path) -> None:
    (project / "t.csv").write_text("".join(f"{row},1,2,3,4\n" for row in range(1200)))
    assert "more than 1,000 different labels" in refused(project, project / "t.csv")
