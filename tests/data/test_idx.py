from __future__ import annotations

import gzip
import math
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from toy_data import Toy, idx_images, idx_labels

from mlpaper.data.idx import iter_images, read_labels
from mlpaper.errors import DataError

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 784), dtype=np.uint8)
LABELS = np.array([2, 0, 1], dtype=np.uint8)
SHAPE = (28, 28)


def read_images(path: Path, expected: int | None = None, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    empty = np.empty((0, math.prod(shape)), np.uint8)
    return np.concatenate([empty, *(block.copy() for block in iter_images(path, shape, expected))])


def put(path: Path, raw: bytes) -> Path:
    path.write_bytes(gzip.compress(raw))
    return path


def test_round_trip(toy: Toy, tmp_path: Path) -> None:
    for name, data in toy.files.items():
        (tmp_path / name).write_bytes(data)
    images = read_images(tmp_path / "train-images-idx.gz", 300)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, toy.images["train"])
    np.testing.assert_array_equal(read_labels(tmp_path / "test-labels-idx.gz"), toy.labels["test"])
    chunks = [block.copy() for block in iter_images(tmp_path / "train-images-idx.gz", SHAPE, chunk=7)]
    assert {len(block) for block in chunks} == {7, 300 % 7}
    np.testing.assert_array_equal(np.concatenate(chunks), images)
    assert read_images(put(tmp_path / "none.gz", idx_images(PICTURES[:0]))).shape == (0, 784)
    (tmp_path / "plain").write_bytes(idx_images(PICTURES))
    np.testing.assert_array_equal(read_images(tmp_path / "plain", 3), PICTURES)


def test_images_of_other_shapes(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (3, 5 * 4 * 3), dtype=np.uint8)
    raw = struct.pack(">IIIII", 2052, 3, 5, 4, 3) + colours.tobytes()
    np.testing.assert_array_equal(read_images(put(tmp_path / "colours.gz", raw), 3, (5, 4, 3)), colours)
    with pytest.raises(DataError, match=r"images are 5x4x3, but must be 4x5x3"):
        read_images(tmp_path / "colours.gz", 3, (4, 5, 3))
    small = np.arange(3 * 6, dtype=np.uint8).reshape(3, 6)
    path = put(tmp_path / "small.gz", idx_images(small, shape=(2, 3)))
    np.testing.assert_array_equal(read_images(path, 3, (2, 3)), small)


@pytest.mark.parametrize(
    ("raw", "expected", "words"),
    [
        (idx_labels(LABELS), None, ["magic number is 2049 (labels)", "must be 2051 (images)"]),
        (idx_images(PICTURES, magic=1), None, ["magic number is 1,", "2051"]),
        (idx_images(PICTURES), 5, ["says 3 images", "must be 5"]),
        (idx_images(PICTURES, shape=(32, 32)), None, ["32x32", "28x28"]),
        (idx_images(PICTURES, magic=2052), None, ["2052 (colour images)", "2051"]),
        (idx_images(PICTURES, count=4), None, ["ends before the 4 images"]),
        (idx_images(PICTURES) + b"x", None, ["goes on after the 3 images"]),
        (idx_images(PICTURES, count=2**32 - 1), None, ["4,294,967,295 images", "cannot be"]),
        (b"\0\0\10", None, ["ends within its header", "3 bytes"]),
        (b"", None, ["ends within its header"]),
    ],
)
def test_bad_content(tmp_path: Path, raw: bytes, expected: int | None, words: list[str]) -> None:
    path = put(tmp_path / "bad.gz", raw)
    with pytest.raises(DataError) as caught:
        read_images(path, expected)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_bad_labels(tmp_path: Path) -> None:
    for raw, words in [
        (idx_labels(LABELS, count=9), "ends before the 9 labels"),
        (idx_labels(LABELS) + b"x", "goes on after the 3 labels"),
        (idx_images(PICTURES), "must be 2049"),
    ]:
        with pytest.raises(DataError, match=words):
            read_labels(put(tmp_path / "bad.gz", raw))


def test_bad_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(idx_images(PICTURES))
    path = tmp_path / "bad.gz"
    for data, words in [
        (whole[:-400], "truncated"),
        (whole[:-4], "truncated"),
        (whole[:60] + bytes(40) + whole[100:], "not a sound gzip"),
        (whole[:-8] + bytes(4) + whole[-4:], "not a sound gzip"),  # wrong checksum
        (b"<!DOCTYPE html>", "its magic number is 1008813135"),  # no gzip at all is read as it is
    ]:
        path.write_bytes(data)
        with pytest.raises(DataError, match=words) as caught:
            read_images(path)
        assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_images(tmp_path / "missing.gz")


def test_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = put(tmp_path / "bomb.gz", struct.pack(">IIII", 2051, 1, 28, 28) + bytes(64 << 20))
    tracemalloc.start()
    with pytest.raises(DataError, match="goes on after"):
        read_images(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
