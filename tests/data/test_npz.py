"""Arrays from `.npz`: what is read, and what is refused before memory is taken."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpaper.data import npz
from mlpaper.errors import DataError

SHAPE, COUNT, CLASSES = (3, 4), 5, ("a", "b", "c")
BYTES = np.random.default_rng(0).integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
LABELS = np.array([2, 0, 1, 1, 0])


def put(folder: Path, images: Any = BYTES, labels: Any = LABELS, **more: Any) -> Path:
    path = folder / "data.npz"
    np.savez_compressed(path, images=images, labels=labels, **more)
    return path


def images_of(path: Path, shape: tuple[int, ...] = SHAPE, maximum: float = 255.0) -> np.ndarray:
    return np.concatenate(list(npz.iter_images(path, "images", shape, COUNT, maximum)))


def labels_of(path: Path, classes: tuple[str, ...] = CLASSES) -> list[int]:
    return npz.read_labels(path, "labels", classes, COUNT).tolist()


FLAT = BYTES.reshape(COUNT, -1)
ONE = np.zeros(BYTES.shape, bool)
ONE[3, 1, 0] = True


@pytest.mark.parametrize(
    ("images", "maximum"),
    [
        (BYTES, 255),
        (FLAT, 255),
        (BYTES[..., None], 255),
        (BYTES.astype(np.int64), 255),
        (BYTES.astype(">i4"), 255),
        (BYTES.astype(np.float32), 255),
        (BYTES / 255, 1.0),
        ((BYTES / 255).astype(">f4"), 1.0),
    ],
)
def test_images_of_every_type_become_the_same_bytes(
    images: np.ndarray, maximum: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpaper.data.BLOCK", 2 * FLAT.shape[1])  # blocks of two images
    np.testing.assert_array_equal(images_of(put(tmp_path, images), maximum=maximum), FLAT)


def test_colour_images(tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (COUNT, 3, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(images_of(put(tmp_path, colours), (3, 4, 3)), colours.reshape(COUNT, -1))


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (LABELS, CLASSES, [2, 0, 1, 1, 0]),
        (LABELS.astype(">u2")[:, None], CLASSES, [2, 0, 1, 1, 0]),
        (np.array(["c", "a", "b", "b", "a"]), CLASSES, [2, 0, 1, 1, 0]),
        (np.array([b"c", b"a", b"b", b"b", b"a"]), CLASSES, [2, 0, 1, 1, 0]),
        (np.array([8, 3, 5, 5, 3]), ("3", "5", "8"), [2, 0, 1, 1, 0]),
        (np.array(["2", "0", "1", "1", "0"]), CLASSES, [2, 0, 1, 1, 0]),
        (np.array(["08", "03", "05", "05", "03"]), ("03", "05", "08"), [2, 0, 1, 1, 0]),
    ],
)
def test_labels_are_numbers_or_names(
    labels: np.ndarray, classes: tuple[str, ...], expected: list[int], tmp_path: Path
) -> None:
    assert labels_of(put(tmp_path, labels=labels), classes) == expected


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (BYTES[:4], "its shape is (4, 3, 4), but must be (5, 3, 4) or (5, 12)"),
        (BYTES.transpose(0, 2, 1), "its shape is (5, 4, 3)"),
        (np.asfortranarray(BYTES), "is in Fortran order"),
        (np.full(BYTES.shape, None), "holds Python objects"),
        (BYTES.astype(complex), "images must be numbers, not complex128"),
        (BYTES > 9, "images must be numbers, not bool"),
        (BYTES.astype("U3"), "images must be numbers, not <U3"),
        (np.where(ONE, -1, BYTES.astype(int)), "image 3, pixel 4: -1 is not from 0 to 255"),
        (np.where(ONE, np.nan, BYTES), "image 3, pixel 4: nan is not from 0 to 255"),
        (np.where(ONE, 255.5, BYTES), "image 3, pixel 4: 255.5 is not from 0 to 255"),
        (np.zeros(BYTES.shape, [("x", "u1")]), "images must be numbers"),
    ],
)
def test_images_that_are_refused(
    images: np.ndarray, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpaper.data.BLOCK", 2 * FLAT.shape[1])
    path = put(tmp_path, images)
    with pytest.raises(DataError) as caught:
        images_of(path)
    assert f"{path}: array `images`" in str(caught.value)
    assert words in str(caught.value)


def test_colours_that_come_first_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"its colours come first: save np\.moveaxis"):
        images_of(put(tmp_path, np.zeros((COUNT, 3, 4, 6), np.uint8)), (4, 6, 3))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (LABELS + 1, "label 0 is 3; the 3 classes have numbers from 0"),
        (-LABELS, "label 0 is -2"),
        (LABELS.astype(float), "labels must be whole numbers or text, not float64"),
        (np.eye(3, dtype=int)[LABELS], "of one-hot labels, save labels.argmax(axis=1)"),
        (LABELS[:3], "its shape is (3,), but must be (5,)"),
        (np.array(["c", "a", "B", "b", "a"]), "label 2 is `B`, which is no class"),
        (np.array([b"c", b"a", b"\xff", b"b", b"a"]), "is not UTF-8 text"),
        (np.array(["c" * 999, "a", "b", "b", "a"]), "labels must be whole numbers or text"),
        (np.array(["c", None, "b", "b", "a"]), "holds Python objects"),
    ],
)
def test_labels_that_are_refused(labels: np.ndarray, words: str, tmp_path: Path) -> None:
    path = put(tmp_path, labels=labels)
    with pytest.raises(DataError) as caught:
        labels_of(path)
    assert f"{path}: array `labels`" in str(caught.value)
    assert words in str(caught.value)


def zipped(path: Path, member: bytes, name: str = "images.npy", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, member)
    return path


def header(shape: object, descr: object = "|u1", fortran: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (header((COUNT, *SHAPE)) + bytes(59), "has 187 bytes, but its header needs 188"),
        (header((COUNT, *SHAPE)) + bytes(61), "has 189 bytes, but its header needs 188"),
        (header((2**40, *SHAPE)), "but its header needs 13,194,139,533,440"),
        (b"not an array", "has no sound header"),
        (header((COUNT, *SHAPE)).replace(b"\x01\x00", b"\x09\x00", 1), "its format (9, 0) is not known"),
        (header((COUNT, *SHAPE)).replace(b"|u1", b"|V!"), "has no sound header"),
        (header((-1, *SHAPE)), "has no sound header"),
        (b"", "has no sound header"),
    ],
)
def test_headers_that_lie(member: bytes, words: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "data.npz", member)
    with pytest.raises(DataError) as caught:
        images_of(path)
    assert f"{path}: array `images`" in str(caught.value)
    assert words in str(caught.value)


def test_a_name_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, image=BYTES, labels=LABELS)
    with pytest.raises(DataError, match=r"has no array `images` \(did you mean `image`\?\); it has image, labels"):
        images_of(path)
    with pytest.raises(DataError, match="has no array `images`"):
        images_of(zipped(path, header((COUNT, *SHAPE)) + bytes(60), "images"))


def test_archives_that_are_not_sound(tmp_path: Path) -> None:
    path = put(tmp_path)
    whole = path.read_bytes()
    at = whole.index(b"images.npy") + 40
    for data in (b"no zip", whole[:-20], whole[:at] + bytes(20) + whole[at + 20 :]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"data\.npz: not a sound npz file"):
            images_of(path)
    encrypted = bytearray(whole)
    encrypted[whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"images.npy")) + 8] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(DataError, match=r"not a sound npz file.*password"):
        images_of(path)
    with pytest.raises(DataError, match="is compressed by a method other than deflate"):
        images_of(zipped(path, header((COUNT, *SHAPE)) + bytes(60), method=zipfile.ZIP_LZMA))
    with pytest.raises(DataError, match="cannot be read"):
        images_of(tmp_path / "missing.npz")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """The table of contents, which could be asked how long a member is, says what the header says."""
    start = header((COUNT, *SHAPE))
    path = zipped(tmp_path / "data.npz", start + bytes(64 << 20))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", len(start) + 60)
    path.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(DataError):
        images_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_an_array_that_is_shorter_than_the_table_of_contents_says(tmp_path: Path) -> None:
    start = header((COUNT, *SHAPE))
    path = zipped(tmp_path / "data.npz", start + bytes(59))
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", len(start) + 60)
    path.write_bytes(data)
    with pytest.raises(DataError, match="array `images`: ends before the values that its header announces"):
        images_of(path)


def test_headers_name_the_arrays(tmp_path: Path) -> None:
    found = npz.headers(put(tmp_path))
    assert {name: (header.shape, header.dtype) for name, header in found.items()} == {
        "images": ((COUNT, *SHAPE), np.uint8), "labels": ((COUNT,), np.int64),
    }  # fmt: skip
    assert npz.largest(put(tmp_path, BYTES / 2), "images", SHAPE, COUNT) == BYTES.max() / 2
