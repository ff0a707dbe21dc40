"""`mlpaper new dataset`: a dataset file written from what a file of images holds."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from mlpaper.data import csv_file, idx, npz
from mlpaper.data.catalog import load
from mlpaper.data.sources import Columns
from mlpaper.data.values import is_whole
from mlpaper.errors import ConfigurationError, DataError
from mlpaper.files import sha256, write_text
from mlpaper.spec import DatasetName, Part
from mlpaper.study.yaml_file import modeline, scalar

ARRAYS = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("images", "labels", "test_images", "test_labels"),
    ("x", "y", "x_test", "y_test"),
    ("X", "y", "X_test", "y_test"),
    ("data", "target", "", ""),
    ("arr_0", "arr_1", "arr_2", "arr_3"),
)
"""Names that images and labels of the training part, and of the test part if there is one, go by in `npz` files."""
LABEL_NAMES = ("label", "labels", "class", "target", "y")
MOST_CLASSES = 1000


@dataclass
class Found:
    """What a file holds."""

    format: str
    shape: tuple[int, ...]
    counts: dict[Part, int]
    labels: set[str]
    largest: float | None = None
    """The largest value of a pixel, where these are not bytes."""
    lines: dict[Part, list[str]] = field(default_factory=dict)
    """Lines of a part in the dataset file, besides its count."""
    general: list[str] = field(default_factory=list)
    """Lines at the top level."""


def new_dataset(name: str, file: Path, project: Path, shape: str | None = None) -> Path:
    """Write `workflow/datasets/<name>.yaml` of the project, and return its path.

    Parameters
    ----------
    file
        An `.npz`, a table (`.csv`, or `.csv.gz`), or the training images of an IDX dataset, with its labels beside it.
    shape
        Of an image, such as `20x30`, where the file has vectors and they are not those of a square.

    Raises
    ------
    ConfigurationError
        The file exists already, the name is not right, or what the file holds cannot be told.
    DataError
        The file is not sound.
    """
    folder = project / "workflow" / "datasets"
    path = folder / f"{name}.yaml"
    try:
        TypeAdapter(DatasetName).validate_python(name)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigurationError(f"`{name}` cannot name a dataset: it {reason}") from None
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}: call this in the project's folder")
    if path.exists():
        raise ConfigurationError(f"{path} exists already: choose another name, or remove it first")
    if not file.is_file():
        raise ConfigurationError(f"there is no file {file}")
    found = _read(file, project, _asked(shape))
    text = _text(name, file, found)
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / path.name
        draft.write_text(text, encoding="utf-8")
        classes = load(draft, project).classes
    if changed := found.labels - set(classes):
        label = min(changed)
        raise DataError(
            f"{file}: the label {label!r} cannot name a class: it has spaces or accents that texts have not"
        )
    write_text(path, text)
    return path


def _read(file: Path, project: Path, shape: tuple[int, ...] | None) -> Found:
    with file.open("rb") as stream:
        start = stream.read(4)
    if start[:2] == b"PK":
        return _npz(file, project, shape)
    if start[:2] == b"\x1f\x8b":
        with idx.sound(file), idx.opened(file) as content:
            start = content.read(4)
    if start[:3] == b"\0\0\x08":
        return _idx(file, project, start[3] - 1)
    return _csv(file, project, shape)


def _asked(shape: str | None) -> tuple[int, ...] | None:
    if shape is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}(x3)?", shape):
        raise ConfigurationError(f"--shape: `{shape}` is not HEIGHTxWIDTH, such as 20x30, or 32x32x3 for colour")
    return tuple(map(int, shape.split("x")))


def told(path: Path) -> Iterator[str]:
    """What to do next with a dataset file that was written."""
    source = load(path, path.parents[2])
    images = " and ".join(f"{count:,} in {part}" for part, count in source.counts().items())
    yield f"{path}: {images}, {' x '.join(map(str, source.shape))}, {len(source.classes)} classes."
    yield "Complete its title, the names of its classes, its licence and citation."
    split = "official" if "test" in source.official else "pool"
    yield f"A study uses it by `dataset: {{name: {source.name}}}` with `split: {{scheme: {split}}}`."


# --- formats


def _npz(file: Path, project: Path, shape: tuple[int, ...] | None) -> Found:
    headers = npz.headers(file)
    names = next((it for it in ARRAYS if it[0] in headers and it[1] in headers), None)
    if names is None:
        there = ", ".join(f"{name} {header.shape}" for name, header in headers.items()) or "none"
        raise ConfigurationError(
            f"{file}: which arrays are images and labels? It has {there}. Save them as x_train, y_train and, "
            "for a test part, x_test, y_test"
        )
    pairs: dict[Part, tuple[str, str]] = {"train": names[:2]}
    if names[2] in headers and names[3] in headers:
        pairs["test"] = names[2:]
    first = headers[pairs["train"][0]]
    shape = _shape(file, first.shape[1:], shape)
    found = Found("npz", shape, {}, set(), general=_file_lines(file, project))
    for part, (images, labels) in pairs.items():
        count = headers[images].shape[0] if headers[images].shape else 0
        found.counts[part] = count
        found.lines[part] = [f"arrays: {{images: {images}, labels: {labels}}}"]
        raw = npz.raw_labels(file, labels, count)
        found.labels |= set(map(str, raw.tolist() if isinstance(raw, np.ndarray) else raw))
        largest = npz.largest(file, images, shape, count)  # reads, and so checks, all images
        if headers[images].dtype != np.uint8:
            found.largest = max(found.largest or 0, largest)
    return found


def _csv(file: Path, project: Path, shape: tuple[int, ...] | None) -> Found:
    with csv_file.table(file, Columns(header=False, label=0)) as rows:
        first, second = rows.next() or [], rows.next() or []
    header = not all(map(_is_number, first))
    columns = _columns(file, first, second) if header else Columns(header=False, label=0)
    with csv_file.table(file, columns) as rows:
        shape = _shape(file, (len(rows.places),), shape)
        if math.prod(shape) != len(rows.places):
            raise ConfigurationError(f"{file}: has {len(rows.places):,} columns of pixels, no images of {shape}")
        count, labels, largest = 0, set[str](), 0.0
        while (fields := rows.next()) is not None:
            count += 1
            labels.add(fields[rows.label].strip())
            largest = max(largest, rows.largest(fields))
            if len(labels) > MOST_CLASSES:
                break
    told = [f"header: {str(header).lower()}"] if not header else []
    told += [
        f"label: {json.dumps(columns.label)}",
        *([f"ignore: {json.dumps(columns.ignore)}"] if columns.ignore else []),
    ]
    general = ["columns:", *(f"  {line}" for line in told), *_file_lines(file, project)]
    return Found("csv", shape, {"train": count}, labels, largest, general=general)


def _columns(file: Path, names: Sequence[str], values: Sequence[str]) -> Columns:
    """Which column has the labels, and which are no pixels: those of text."""
    names = [name.strip() for name in names]
    label = next((name for name in names if name.lower() in LABEL_NAMES), None)
    if label is None:
        raise ConfigurationError(
            f"{file}: which column has the labels? It begins with {', '.join(names[:6])}. Call it `label`"
        )
    pairs = zip(names, values, strict=False)
    return Columns(label=label, ignore=tuple(name for name, it in pairs if name != label and not _is_number(it)))


def _idx(file: Path, project: Path, dimensions: int) -> Found:
    if dimensions not in (2, 3) or "images" not in file.name:
        raise ConfigurationError(
            f"{file}: name the IDX file with the training images, such as train-images-idx3-ubyte.gz"
        )
    found = Found("idx", idx.shape_of(file), {}, set())
    parts: tuple[tuple[Part, Sequence[str]], ...] = (("train", ("train",)), ("test", ("t10k", "test")))
    for part, words in parts:
        candidates = [file.with_name(file.name.replace("train", word)) for word in words]
        images = next((path for path in candidates if path.is_file() and (part == "train" or path != file)), None)
        if images is None:
            continue
        labels = images.with_name(
            images.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
        )
        values = idx.read_labels(labels)
        found.counts[part] = len(values)
        found.labels |= set(map(str, range(int(values.max(initial=0)) + 1)))
        for role, path in (("images", images), ("labels", labels)):
            found.lines.setdefault(part, []).extend(_file_lines(path, project, role))
    return found


# --- what they have in common


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shape(file: Path, size: tuple[int, ...], asked: tuple[int, ...] | None) -> tuple[int, ...]:
    """The shape of an image from that of an entry: as it is, or of a vector that of a square."""
    if asked is not None:
        return asked
    if len(size) == 1:
        for channels in (1, 3):
            side = math.isqrt(size[0] // channels)
            if side and channels * side**2 == size[0]:
                return (side, side) if channels == 1 else (side, side, 3)
        raise ConfigurationError(f"{file}: its images are vectors of {size[0]} values; say --shape HEIGHTxWIDTH")
    if len(size) == 3 and size[2] == 1:
        return size[:2]
    if len(size) == 2 or (len(size) == 3 and size[2] == 3):
        return size
    first = "; its colours come first: save np.moveaxis(images, 1, -1)" if len(size) == 3 and size[0] in (1, 3) else ""
    raise ConfigurationError(f"{file}: an image of shape {size} is neither grey nor in three colours{first}")


def _file_lines(file: Path, project: Path, key: str = "file") -> list[str]:
    """A local file, by a path in the project where it lies there."""
    whole, root = file.absolute(), project.absolute()
    path = whole.relative_to(root) if whole.is_relative_to(root) else whole
    values: dict[str, Any] = {"path": json.dumps(str(path), ensure_ascii=False), "bytes": file.stat().st_size}
    return [f"{key}:", *(f"  {name}: {value}" for name, value in (values | {"sha256": sha256(file)}).items())]


def _classes(labels: set[str], file: Path) -> list[str]:
    if not 2 <= len(labels) <= MOST_CLASSES:
        many = "more than" if len(labels) > MOST_CLASSES else "only"
        count = min(len(labels), MOST_CLASSES)
        raise DataError(f"{file}: {many} {count:,} different labels; a dataset has 2 to {MOST_CLASSES:,} classes")
    order: Callable[[str], Any] = int if all(map(is_whole, labels)) else str
    return sorted(labels, key=order)


def _maximum(found: Found, file: Path) -> Iterator[str]:
    if found.largest is None:
        return
    if found.largest > 255:
        raise DataError(f"{file}: a pixel is {found.largest:g}; values must be from 0 to 255, or from 0 to 1")
    maximum = "1.0" if found.largest <= 1 else "255.0"
    yield f"# The value of a full pixel, which becomes 255. The largest in the file is {found.largest:g}."
    yield f"maximum: {maximum}"


def _plain(text: str) -> str:
    """A text in YAML: in quotes where it would be something else without."""
    return text if scalar(text) == text else json.dumps(text)


def _text(name: str, file: Path, found: Found) -> str:
    classes = [json.dumps(label, ensure_ascii=False) for label in _classes(found.labels, file)]
    lines = [
        modeline("dataset", "../../").rstrip(),
        f"# Written by `mlpaper new dataset` from {json.dumps(file.name)}.",
        "# Complete: title, names of classes, licence, homepage, citation.",
        f"name: {_plain(name)}",
        f"title: {_plain(name.replace('_', ' ').capitalize())}    # what tables and sentences call it",
        f"format: {found.format}",
        f"shape: {json.dumps(found.shape)}    # of an image: height, width, and 3 for colour",
        "# The labels in the file, in order. Numbers that count from 0 may get names here; others must stay.",
        f"classes: [{', '.join(classes)}]",
        "licence: not stated    # such as CC BY 4.0",
        "# homepage: https://...",
        "# citation: key2025    # of report/references.bib",
        *_maximum(found, file),
        *found.general,
        "parts:",
    ]
    for part, count in found.counts.items():
        lines += [f"  {part}:", f"    count: {count}", *(f"    {line}" for line in found.lines.get(part, ()))]
    if "test" not in found.counts:
        lines += ["  # No official test part: studies need `split: {scheme: pool}`."]
    return "\n".join(lines) + "\n"
