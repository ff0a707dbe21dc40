"""Images from tables: what is read, and which line and column an error names."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mlpaper.data import csv_file
from mlpaper.data.sources import Columns
from mlpaper.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6), dtype=np.uint8)
LABELS = ["7", "1", "3", "3", "1"]
CLASSES = ("1", "3", "7")
NAMED = Columns(label="labels", ignore=("names",))
TABLE = "names,labels,1,2,3,4,5,6\n" + "".join(
    f'"A, ""{row}""",{label},{",".join(map(str, PIXELS[row]))}\n' for row, label in enumerate(LABELS)
)


def put(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def images_of(path: Path, columns: Columns = NAMED, pixels: int = 6, maximum: float = 255.0) -> np.ndarray:
    return np.concatenate([block.copy() for block in csv_file.iter_images(path, columns, pixels, 5, maximum)])


def test_a_table_as_of_typeface_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpaper.data.BLOCK", 2 * 6)  # blocks of two images
    path = put(tmp_path / "t.csv", TABLE)
    for _ in range(2):
        np.testing.assert_array_equal(images_of(path), PIXELS)
        assert csv_file.read_labels(path, NAMED, 6, 5, CLASSES).tolist() == [2, 0, 1, 1, 0]
        path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + TABLE.encode().replace(b"\n", b"\r\n") + b"\n\n"))


def test_without_a_header_columns_go_by_their_places(tmp_path: Path) -> None:
    lines = "".join(f"{label},{','.join(map(str, row))}\n" for label, row in zip("abcab", PIXELS, strict=True))
    path, columns = put(tmp_path / "t.csv", lines), Columns(header=False, label=0)
    np.testing.assert_array_equal(images_of(path, columns), PIXELS)
    assert csv_file.read_labels(path, columns, 6, 5, ("a", "b", "c")).tolist() == [0, 1, 2, 0, 1]
    assert images_of(path, Columns(header=False, label=0, ignore=(6, 1)), 4).shape == (5, 4)


def test_labels_may_be_the_numbers_of_classes_that_have_other_names(tmp_path: Path) -> None:
    text = TABLE
    for name, number in (("7", "2"), ("1", "0"), ("3", "1")):
        text = text.replace(f'""",{name},', f'""",{number},')
    path = put(tmp_path / "t.csv", text)
    assert csv_file.read_labels(path, NAMED, 6, 5, ("one", "three", "seven")).tolist() == [2, 0, 1, 1, 0]


def test_real_numbers_are_scaled(tmp_path: Path) -> None:
    halves = "".join(f"1,{','.join(f'{value / 255:.6f}' for value in row)}\n" for row in PIXELS)
    path = put(tmp_path / "t.csv", halves)
    np.testing.assert_array_equal(images_of(path, Columns(header=False, label=0), maximum=1.0), PIXELS)
    path = put(tmp_path / "t.csv", TABLE.replace(f",{PIXELS[2, 3]},", f",{PIXELS[2, 3]}.4,"))
    np.testing.assert_array_equal(images_of(path), PIXELS)


LAST = f",{PIXELS[4, 5]}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (
            TABLE.replace("labels", "label"),
            "has no column `labels` (did you mean `label`?); it begins with names, label",
        ),
        (TABLE.replace("names,labels", "labels,labels"), "has more than one column `labels`"),
        (TABLE.replace("names", "name"), "has no column `names`"),
        (TABLE.replace(",6\n", ",6,7\n"), "has 7 columns of pixels (9 less label and ignored ones), but images have 6"),
        (TABLE.replace(LAST, "\n"), "line 6: has 7 columns, but the first line has 8"),
        (TABLE.replace(LAST, ",256\n"), "line 6, column `6`: `256` is not a number from 0 to 255"),
        (TABLE.replace(LAST, ",-1\n"), "line 6, column `6`: `-1` is not"),
        (TABLE.replace(LAST, ",nan\n"), "line 6, column `6`: `nan` is not"),
        (TABLE.replace(LAST, ",inf\n"), "line 6, column `6`: `inf` is not"),
        (TABLE.replace(LAST, ",\n"), "line 6, column `6`: `` is not"),
        (TABLE.replace(LAST, ",dark\n"), "line 6, column `6`: `dark` is not"),
        (TABLE.rsplit('"A', 1)[0], "ends after 4 images, but there must be 5"),
        (TABLE + TABLE.splitlines()[-1], "line 7: goes on after the 5 images"),
        (TABLE.replace('"A, ""4"""', '"A, ""4'), "not a sound line of a table"),
        (TABLE.replace(LAST, "," + "1" * 5000 + "\n"), "line 6: is longer than 4,288 bytes"),
    ],
)
def test_tables_that_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = put(tmp_path / "t.csv", text)
    with pytest.raises(DataError) as caught:
        images_of(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_label_that_is_no_class(tmp_path: Path) -> None:
    path = put(tmp_path / "t.csv", TABLE)
    for classes, words in ((("1", "3"), "label 0 is `7`"), (("a", "b", "c"), "label 0 is 7; the 3 classes")):
        with pytest.raises(DataError, match=f"column `labels`: {words}"):
            csv_file.read_labels(path, NAMED, 6, 5, classes)
    with pytest.raises(DataError, match="ends after 5 images, but there must be 6"):
        csv_file.read_labels(path, NAMED, 6, 6, CLASSES)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for data, words in (
        (b"\xff\xfe", "line 1: is not UTF-8 text"),
        (gzip.compress(TABLE.encode())[:-20], "the gzip file is truncated"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataError, match=words):
            images_of(path)
    with pytest.raises(DataError, match="cannot be read"):
        images_of(tmp_path / "missing.csv")
    with pytest.raises(DataError, match="has no column 9; its 8 columns count from 0"):
        images_of(put(path, TABLE), Columns(label=9))


@pytest.mark.parametrize("bomb", [b"x" * (64 << 20), b"\n".join([b"1,2"] * (8 << 20))])
def test_a_bomb_is_not_unpacked(tmp_path: Path, bomb: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(gzip.compress(bomb, 1))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"is longer than|columns of pixels"):
        images_of(path, Columns(header=False, label=0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
