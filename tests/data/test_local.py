"""Files on this machine: taken in, missing, changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlpaper.data.catalog import Catalog, load
from mlpaper.data.fetch import fetch_file
from mlpaper.data.listing import table_of
from mlpaper.data.local import check_local, not_provided
from mlpaper.data.sources import Source
from mlpaper.errors import ConfigurationError, DataError
from mlpaper.files import read_json, sha256

TEXT = """
name: toy
title: Toy
format: npz
shape: [12, 12]
classes: [a, b, c]
file: {path: toy.npz}
parts: {train: {count: 9}}
"""


def source_of(folder: Path, text: str = TEXT) -> Source:
    (folder / "workflow" / "datasets").mkdir(parents=True, exist_ok=True)
    path = folder / "workflow" / "datasets" / "toy.yaml"
    path.write_text(text)
    return load(path, folder)


def put(folder: Path, content: bytes = b"first") -> Path:
    (folder / "toy.npz").write_bytes(content)
    return folder / "toy.npz"


def take(source: Source, folder: Path) -> Path:
    fetch_file(source, "data.npz", folder / "data" / "raw" / "toy")
    return folder / "data" / "raw" / "toy" / "data.npz"


def test_the_first_use_fixes_the_bytes(tmp_path: Path) -> None:
    source, path = source_of(tmp_path), put(tmp_path)
    check_local([source], tmp_path)
    taken = take(source, tmp_path)
    assert taken.read_bytes() == b"first"
    first = sha256(path)
    check_local([source], tmp_path)
    os.utime(path)  # touched: the same bytes
    check_local([source], tmp_path)
    put(tmp_path, b"other")
    with pytest.raises(ConfigurationError) as caught:
        check_local([source], tmp_path)
    receipt = Path(f"{taken}.json")
    for words in (str(path), first, sha256(path), f"To accept the new file, delete {receipt}"):
        assert words in str(caught.value)
    receipt.unlink()
    check_local([source], tmp_path)
    take(source, tmp_path)
    check_local([source], tmp_path)
    assert read_json(receipt)["sha256"] == sha256(path)


def test_a_file_with_the_length_and_time_of_its_receipt_is_not_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, path = source_of(tmp_path), put(tmp_path)
    taken = take(source, tmp_path)
    receipt = read_json(Path(f"{taken}.json"))
    assert (receipt["bytes"], receipt["modified"]) == (5, path.stat().st_mtime_ns)
    monkeypatch.setattr("mlpaper.data.local.sha256", None)
    check_local([source], tmp_path)
    os.utime(path)
    with pytest.raises(TypeError):
        check_local([source], tmp_path)


def test_a_published_hash_is_checked(tmp_path: Path) -> None:
    path = put(tmp_path)
    right = TEXT.replace("toy.npz}", f"toy.npz, bytes: 5, sha256: {sha256(path)}}}")
    taken = take(source_of(tmp_path, right), tmp_path)
    check_local([source_of(tmp_path, right)], tmp_path)
    put(tmp_path, b"other")
    with pytest.raises(ConfigurationError, match=r"To accept the new file, write its hash and length into toy\.yaml"):
        check_local([source_of(tmp_path, right)], tmp_path)
    assert taken.read_bytes() == b"first"
    for wrong, words in ((right, "sha256"), (right.replace("bytes: 5", "bytes: 6"), "has 5 bytes; toy.yaml says 6")):
        with pytest.raises(DataError, match=words):
            take(source_of(tmp_path, wrong), tmp_path)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    assert not_provided(source, tmp_path) is None, "a mistake, not a file to bring"
    with pytest.raises(ConfigurationError, match=r"Toy: there is no file .*toy\.npz\. Put it there, or mend `path`"):
        check_local([source], tmp_path)
    with pytest.raises(DataError, match="there is no file"):
        take(source, tmp_path)
    assert not (tmp_path / "data" / "raw" / "toy" / "data.npz").exists()
    put(tmp_path)
    take(source, tmp_path)
    (tmp_path / "toy.npz").unlink()
    check_local([source], tmp_path)  # the copy is enough


def test_a_file_that_its_user_must_bring(tmp_path: Path) -> None:
    source = source_of(tmp_path, TEXT + "instruction: Ask us for toy.npz.\n")
    check_local([source], tmp_path)
    assert not_provided(source, tmp_path).endswith("toy.npz. Ask us for toy.npz.")
    with pytest.raises(DataError, match=r"Ask us for toy\.npz"):
        take(source, tmp_path)
    put(tmp_path)
    assert not_provided(source, tmp_path) is None
    take(source, tmp_path)
    (tmp_path / "toy.npz").unlink()
    assert not_provided(source, tmp_path) is None, "the copy is enough"


def test_the_list_of_datasets_says_where_files_are(tmp_path: Path) -> None:
    def state() -> str:
        *_, line = table_of(Catalog(tmp_path / "workflow" / "datasets"), tmp_path)
        assert line.startswith("toy ")
        assert "12 x 12" in line
        return line.split("  ")[-1].strip()

    source = source_of(tmp_path)
    assert state() == f"missing: {tmp_path / 'toy.npz'}"
    put(tmp_path)
    assert state() == "on this machine"
    take(source, tmp_path)
    assert state() == f"in {tmp_path / 'data' / 'raw' / 'toy'}"
    project = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")
    lines = {line.split()[0]: line for line in table_of(project, tmp_path)}
    assert lines["digits"].endswith("with the packages")
    assert "60,000 + 10,000" in lines["kmnist"]
