"""Dataset files: those of the project, and what is said of a wrong one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlpaper.data.catalog import Catalog, load
from mlpaper.data.sources import Content, LocalFile, RemoteFile, fingerprint
from mlpaper.errors import ConfigurationError
from mlpaper.spec import PoolSpec, canonical_json

ROOT = Path(__file__).parents[2]
CATALOG = Catalog(ROOT / "workflow" / "datasets")
A, B = "a" * 64, "b" * 64
IDX = f"""
name: toy
title: Toy
format: idx
shape: [28, 28]
classes: [a, b, c]
bases: [https://example.org/]
parts:
  train:
    count: 9
    images: {{name: images.gz, bytes: 7, sha256: {A}}}
    labels: {{name: labels.gz, bytes: 7, sha256: {B}}}
"""
NPZ = """
name: toy
title: Toy
format: npz
shape: [12, 12]
classes: [a, b, c]
file: {path: toy.npz}
parts:
  train: {count: 9}
  test: {count: 3, arrays: {images: x, labels: y}}
"""
CSV = """
name: toy
title: Toy
format: csv
shape: [8, 8, 3]
classes: [a, b, c]
instruction: Fetch it.
columns: {label: class}
parts:
  train: {count: 9, file: {path: ~/toy.csv}}
"""
DIGITS = f"""
name: toy
title: Toy
format: sklearn-digits
shape: [28, 28]
classes: [a, b, c]
content_sha256: {A}
parts: {{train: {{count: 9}}}}
"""


def read(folder: Path, text: str) -> object:
    (folder / "workflow" / "datasets").mkdir(parents=True, exist_ok=True)
    path = folder / "workflow" / "datasets" / "toy.yaml"
    path.write_text(text)
    return load(path, folder)


def test_the_datasets_of_the_project() -> None:
    assert {"mnist", "fashion_mnist", "emnist_bymerge", "emnist_balanced", "kmnist", "digits"} < {*CATALOG.names}
    assert CATALOG["emnist_bymerge"].classes[46] == "t"
    assert sum(CATALOG["emnist_bymerge"].counts().values()) == 814_255
    sources = [CATALOG[name] for name in CATALOG.names]
    files = [file for source in sources for file in source.files().values() if isinstance(file, RemoteFile)]
    assert len(files) == 20
    assert len({file.sha256 for file in files}) == 20, "no hash stands in two places"
    assert [source.name for source in sources if not source.downloads] == ["digits"]
    known = re.findall(r"^@\w+\{([^,]+),", (ROOT / "report" / "references.bib").read_text(), re.MULTILINE)
    assert {source.citation for source in sources} - {None} <= {*known}


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"there is no dataset `fashion_mnis` .did you mean `fashion_mnist`"):
        CATALOG["fashion_mnis"]
    with pytest.raises(ConfigurationError, match=r"there is no dataset `\.\./mnist`"):
        CATALOG["../mnist"]
    for name in ("Mnist", "fashion-mnist", "../mnist", "", "raw", "1st", "a/b", "a\n", "x" * 41):
        with pytest.raises(ValueError, match="name"):
            PoolSpec(name=name)


def test_paths_are_relative_to_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert read(tmp_path, NPZ).file == LocalFile(path=str(tmp_path / "toy.npz"))
    assert read(tmp_path, CSV).parts.train.file == LocalFile(path="/home/me/toy.csv")
    assert read(tmp_path, NPZ.replace("toy.npz", "/data/toy.npz")).file == LocalFile(path="/data/toy.npz")


def test_the_home_of_somebody_who_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"toy\.yaml: `~no-such-user/toy\.csv`: this machine has no such user"):
        read(tmp_path, CSV.replace("~/toy.csv", "~no-such-user/toy.csv"))


def test_what_needs_no_download(tmp_path: Path) -> None:
    downloads = [read(tmp_path, text).downloads for text in (IDX, NPZ, CSV, DIGITS)]
    assert downloads == [True, False, True, False], "a file that its user must bring is like one to download"


def test_our_names_of_the_files(tmp_path: Path) -> None:
    assert list(read(tmp_path, IDX).files()) == ["train-labels.gz", "train-images.gz"]
    assert list(read(tmp_path, NPZ).files()) == ["data.npz"]
    assert list(read(tmp_path, CSV).files()) == ["train.csv"]
    assert list(read(tmp_path, CSV).files(["test"])) == []


def test_what_jobs_are_told_is_what_decides_their_results(tmp_path: Path) -> None:
    """A title, an address, or the folder of a local file makes nothing again; bytes, classes and formats do."""
    one, two = read(tmp_path / "one", NPZ), read(tmp_path / "two", NPZ.replace("title: Toy", "title: Other"))
    assert canonical_json(one.content()) == canonical_json(two.content())
    assert Content.model_validate_json(canonical_json(one.content())) == one.content()
    assert type(one).model_validate_json(canonical_json(one)) == one
    assert fingerprint(one.file) == fingerprint(two.file)
    other = read(tmp_path, NPZ.replace("[a, b, c]", "[a, b, d]"))
    assert canonical_json(other.content()) != canonical_json(one.content())
    remote = read(tmp_path, IDX)
    elsewhere = read(tmp_path, IDX.replace("example.org", "example.com"))
    assert canonical_json(remote.content()) == canonical_json(elsewhere.content())
    changed = read(tmp_path, IDX.replace(A, "c" * 64))
    names = "train-images.gz", "train-labels.gz"
    same = [fingerprint(remote.files()[name]) == fingerprint(changed.files()[name]) for name in names]
    assert same == [False, True]


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (IDX, "name: toy", "name: toys", ":2: `name`: must be `toy`, the file's name, not `toys`"),
        (
            IDX,
            "name: toy",
            "name: Toy",
            ":2: `name`: must be a-z, 0-9 and _, no more than 40 and first a letter (did you mean `toy`?), not 'Toy'",
        ),
        (IDX, "title: Toy\n", "", "`title`: is missing"),
        (IDX, "title", "titel", ":3: `titel`: unknown key (did you mean `title`?)"),
        (IDX, "format: idx", "format: idz", ":4: `format`: should be 'idx', 'npz', 'csv' or 'sklearn-digits'"),
        (IDX, "[28, 28]", "[784]", ":5: `shape`: must be [height, width], or [height, width, 3]"),
        (IDX, "[28, 28]", "[28, 28, 4]", ":5: `shape`: must be"),
        (IDX, "[28, 28]", "[2000, 2000]", ":5: `shape`: must be"),
        (IDX, "[28, 28]", "[0, 28]", ":5: `shape.0`"),
        (IDX, "[a, b, c]", "[a, a, b]", ":6: `classes`: must be a list of 2 to 1000 distinct names"),
        (IDX, "[a, b, c]", "[a]", ":6: `classes`: must be"),
        (IDX, "[a, b, c]", "[0, 1, 2]", ":6: `classes.0`: should be text, not 0 (put it in quotes)"),
        (IDX, "[https://example.org/]", "[https://example.org]", ":7: `bases`: each must end in `/`"),
        (IDX, "[https://example.org/]", "['file:///etc/']", ":7: `bases.0`"),
        (IDX, "bases: [https://example.org/]\n", "", "`bases`: is missing: the address"),
        (IDX, "name: images.gz", "name: ../images.gz", ":11: `parts.train.images.name`"),
        (IDX, "name: images.gz", "name: .images", ":11: `parts.train.images.name`"),
        (IDX, A, "a" * 63, ":11: `parts.train.images.sha256`"),
        (IDX, ", bytes: 7, sha256: " + A, ", bytes: 7", ":11: `parts.train.images.sha256`: is missing"),
        (IDX, "bytes: 7", "byte: 7", "`parts.train.images.byte`: unknown key (did you mean `bytes`?)"),
        (IDX, "count: 9", "count: 2", ":10: `parts.train.count`: has fewer images than the 3 classes"),
        (IDX, "    labels:", "    # labels:", ":9: `parts.train.labels`: is missing: the file of this part"),
        (IDX, "  train:", "  test:", "`parts.train`: is missing"),
        (IDX, "parts:", "file: {path: x}\nparts:", ":8: `file`: is for `npz` and `csv`; `idx` has none"),
        (IDX, "count: 9", "count: 9\n    file: {path: x}", "`parts.train.file`: is for `npz` and `csv`, not for `idx`"),
        (IDX, "count: 9", "count: 9\n    arrays: {images: x}", "`parts.train.arrays`: is for `npz`, not for `idx`"),
        (IDX, "parts:", "columns: {label: x}\nparts:", ":8: `columns`: is for `csv`, not for `idx`"),
        (IDX, "parts:", "maximum: 1.0\nparts:", ":8: `maximum`: is for `npz` and `csv`"),
        (IDX, "parts:", "instruction: Buy it.\nparts:", ":8: `instruction`: is for a file that its user brings"),
        (IDX, "parts:", f"content_sha256: {A}\nparts:", ":8: `content_sha256`: is for a dataset that a package"),
        (IDX, "parts:", "ink: 0\nparts:", ":8: `ink`"),
        (IDX, "parts:", "folder: a/b\nparts:", ":8: `folder`"),
        (IDX, "parts:", "system_folder: here\nparts:", ":8: `system_folder`"),
        (
            IDX,
            "parts:",
            f"archive: {{url: 'https://x.org/a.zip', bytes: 1, sha256: {A}, prefix: ../, cache: c}}\nparts:",
            ":8: `archive.prefix`",
        ),
        (NPZ, "file: {path: toy.npz}", "transposed: true\nfile: {path: toy.npz}", None),
        (NPZ, "shape: [12, 12]", "shape: [12, 8]\ntransposed: true", ":6: `transposed`: is for square grey images"),
        (NPZ, "file: {path: toy.npz}\n", "", "`parts.train.file`: is missing: give each part a `file`"),
        (NPZ, "{count: 9}", "{count: 9, file: {path: x}}", "`parts.train.file`: is missing: give each part"),
        (NPZ, "{count: 9}", "{count: 9, images: {path: x}}", "`parts.train.images`: is a file of `format: idx`"),
        (NPZ, "{images: x,", "{images: ../x,", ":10: `parts.test.arrays.images`"),
        (NPZ, "parts:", "bases: [https://example.org/]\nparts:", ":8: `bases`: is for files to download"),
        (NPZ, "parts:", "folder: x\nparts:", ":8: `folder`: is for files to download"),
        (NPZ, "{path: toy.npz}", "{path: toy.npz, name: x}", "`file.name`: unknown key"),
        (NPZ, "{path: toy.npz}", "{path: ''}", ":7: `file.path`: string should have at least 1 character"),
        (CSV, "{label: class}", "{label: -1}", ":8: `columns.label`"),
        (CSV, "{label: class}", "{header: false}", ":8: `columns.label`: needs the place of a column"),
        (CSV, "{label: class}", "{header: false, label: 0, ignore: [x]}", ":8: `columns.ignore`: needs the place"),
        (
            CSV,
            "parts:\n  train: {count: 9, file: {path: ~/toy.csv}}",
            "file: {path: x}\nparts: {train: {count: 9}, test: {count: 9}}",
            ":9: `file`: has no parts as a table",
        ),
        (DIGITS, f"content_sha256: {A}\n", "", "`content_sha256`: is missing"),
        (DIGITS, "[28, 28]", "[8, 8]", ":5: `shape`: must be [28, 28]: these digits are enlarged"),
    ],
)
def test_a_wrong_file_is_told_with_line_and_key(
    text: str, old: str, new: str, message: str | None, tmp_path: Path
) -> None:
    assert old in text
    read(tmp_path, text)
    if message is None:
        read(tmp_path, text.replace(old, new, 1))
        return
    with pytest.raises(
        ConfigurationError, match=r"toy\.yaml" + re.escape(message) if message[0] == ":" else None
    ) as it:
        read(tmp_path, text.replace(old, new, 1))
    assert message in str(it.value)
