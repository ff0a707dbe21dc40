"""Hostile, damaged and other runs' files in a run's folder are refused, by name, before memory is taken."""

import io
import json
import os
import pickle
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlpaper.errors import DamagedError
from mlpaper.evaluate.measure import confusion_of_run, evaluate_run
from mlpaper.files import MOST_JSON, read_json, read_npz, read_parquet, write_json, write_npz, write_parquet
from mlpaper.run_files import COLUMNS, OUTCOME, TRAINED, facts_of, origin_of, read_spec
from mlpaper.study.results import Results

MEASURED = {"gradients", "robustness"}
Harm = Callable[[Path], None]


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / trained.name))


def read_all(run: Path) -> None:
    """Everything that is read of a run's folder."""
    folder = Results({"M": [run]}).runs["M"][0]
    folder.metrics(MEASURED)
    folder.history(), folder.steps(), folder.predictions(), folder.calibration(), folder.confusion()
    origin_of(run), read_npz(run / "weights.npz")


def npz(header: bytes, body: bytes = b"", **more: Any) -> bytes:
    """An archive with one array of which the header may lie."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **more) as archive:
        archive.writestr("matrix.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)
    return stream.getvalue()


def npy_header(descr: str, shape: str) -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def claiming(archive: bytes, size: int) -> bytes:
    """An archive whose table of contents says that its member is so long."""
    entry = archive.rindex(b"PK\x01\x02")
    return archive[: entry + 20] + struct.pack("<II", size, size) + archive[entry + 28 :]


class Attack:
    """What unpickling would do."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (Path("attacked"), "attacked")


def many_rows(path: Path) -> None:
    """A few kilobytes that unpack to 30 million rows."""
    table = pa.table({name: pa.array([0.5]) for name in COLUMNS["robustness"]})
    longer = pa.concat_tables([table] * 30_000).combine_chunks()
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(1000):
            writer.write_table(longer)


def pipe(path: Path) -> None:
    """What never ends."""
    path.unlink()
    os.mkfifo(path)


HARMS: dict[str, tuple[str, Harm, str]] = {
    "truncated": ("confusion.npz", lambda it: it.write_bytes(it.read_bytes()[:-60]), "not a zip file"),
    "no archive": ("confusion.npz", lambda it: it.write_bytes(b"PK"), "not a zip file"),
    "pickled": (
        "confusion.npz",
        lambda it: it.write_bytes(npz(npy_header("'|O'", "(1,)"), pickle.dumps(Attack()))),
        "pickled objects, which could run code",
    ),
    "huge shape": (
        "confusion.npz",
        lambda it: it.write_bytes(npz(npy_header("'<i8'", "(10000000000, 100)"), b"12345678")),
        "not as many bytes as it has",
    ),
    "overflowing shape": (
        "confusion.npz",
        lambda it: it.write_bytes(npz(npy_header("'<i8'", "(4294967296, 4294967296, -1)"))),
        "not as many bytes as it has",
    ),
    "huge header": (
        "confusion.npz",
        lambda it: it.write_bytes(npz(npy_header("'<i8'", f"({'1, ' * 15_000})"))),
        "damaged",
    ),
    "code in the header": (
        "confusion.npz",
        lambda it: it.write_bytes(npz(b"__import__('os').system('touch attacked')\n")),
        "damaged",
    ),
    "zip bomb": (
        "confusion.npz",
        lambda it: it.write_bytes(npz(b"", bytes(50_000_000), compression=zipfile.ZIP_DEFLATED)),
        "a member is compressed",
    ),
    "more than the file has": (
        "confusion.npz",
        lambda it: it.write_bytes(claiming(npz(npy_header("'<i8'", "(250000000,)")), 2_000_000_000)),
        "its members claim more bytes than the file has",
    ),
    "wrong shape": (
        "confusion.npz",
        lambda it: write_npz(it, {"matrix": np.zeros((9, 10), int)}),
        r"its matrix is int64 \(9, 10\), not whole numbers \(10, 10\)",
    ),
    "another run's matrix": (
        "confusion.npz",
        lambda it: write_npz(it, read_npz(it) | {"run": np.array("digits-9-adam-s0-00000000")}),
        "belongs to another run",
    ),
    "a flipped bit": (
        "weights.npz",
        lambda it: it.write_bytes(flipped(it.read_bytes())),
        "size and hash are not those",
    ),
    "no Parquet": ("robustness.parquet", lambda it: it.write_bytes(b"PAR1" * 9), "damaged"),
    "empty": ("calibration.parquet", lambda it: it.write_bytes(b""), "damaged"),
    "too many rows": ("robustness.parquet", many_rows, "claims 30,000,000 rows; none has more than 20,000,000"),
    "too many columns": (
        "robustness.parquet",
        lambda it: write_parquet(it, {f"c{i}": [1] for i in range(300)}),
        "claims 300 columns",
    ),
    "no such column": ("robustness.parquet", lambda it: write_parquet(it, {"a": [1]}), "no column `sigma`"),
    "text for numbers": (
        "robustness.parquet",
        lambda it: write_parquet(it, {name: ["a"] for name in COLUMNS["robustness"]}),
        "its column `sigma` holds string, not numbers",
    ),
    "another run's noise": (
        "robustness.parquet",
        lambda it: write_parquet(it, read_parquet(it), {"run": "digits-9-adam-s0-00000000"}),
        "belongs to another run",
    ),
    "another run's history": (
        "history.parquet",
        lambda it: write_parquet(it, {name: [0.5] for name in COLUMNS["history"]}),
        "size and hash are not those in run.json",
    ),
    "no JSON": ("evaluation.json", lambda it: it.write_text('{"test": '), "not JSON"),
    "not UTF-8": ("evaluation.json", lambda it: it.write_bytes(b'{"\xff": 1}'), "not JSON"),
    "NaN": ("evaluation.json", lambda it: it.write_text('{"test": NaN}'), "NaN is not JSON"),
    "nested": ("evaluation.json", lambda it: it.write_text("[" * 100_000), "not JSON"),
    "a long number": ("evaluation.json", lambda it: it.write_text("9" * 100_000), "not JSON"),
    "huge": ("evaluation.json", lambda it: os.truncate(it, MOST_JSON + 1), "more than 67,108,864"),
    "a list": ("evaluation.json", lambda it: it.write_text("[]"), "not hold a mapping"),
    "a wrong type": (
        "evaluation.json",
        lambda it: write_json(it, read_json(it) | {"test": {"accuracy": "0.9"}}),
        r"`test\.accuracy`: Input should be a valid number",
    ),
    "a pipe": ("evaluation.json", pipe, "not a regular file"),
    "no classes": (
        "evaluation.json",
        lambda it: write_json(it, read_json(it) | {"per_class": []}),
        "it has no classes",
    ),
    "another run": (
        OUTCOME,
        lambda it: write_json(it, read_json(it) | {"id": "digits-9-adam-s0-00000000"}),
        "belongs to the run `digits-9-adam-s0-00000000`",
    ),
    "an epoch that is not there": (
        OUTCOME,
        lambda it: write_json(it, read_json(it) | {"kept_epoch": 2}),
        "its number of epochs is not that of history.parquet",
    ),
    "no hashes": (OUTCOME, lambda it: it.write_text(json.dumps(without(read_json(it), "files"))), "`files`: Field req"),
    "a missing fact": (
        OUTCOME,
        lambda it: it.write_text(json.dumps(without(read_json(it), "seconds"))),
        "`seconds`: Field required",
    ),
    "no specification": ("spec.json", lambda it: it.write_text('{"dataset": 1}'), "size and hash are not those"),
    "another specification": (
        "spec.json",
        lambda it: write_json(it, read_json(it) | {"seed": 7}),
        "size and hash are not those in run.json",
    ),
}


def flipped(content: bytes) -> bytes:
    """One bit of the middle is another."""
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def without(values: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != key}


def test_a_sound_run_is_read(run: Path) -> None:
    read_all(run)


@pytest.mark.parametrize("harm", HARMS)
def test_a_hostile_file_is_refused_by_its_name(run: Path, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, do, reason = HARMS[harm]
    monkeypatch.chdir(run)
    do(run / name)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match=reason) as caught:
            read_all(run)
        assert tracemalloc.get_traced_memory()[1] < 5e7
    finally:
        tracemalloc.stop()
    assert str(run / name) in str(caught.value)
    assert "Remove" in str(caught.value)
    assert "run again" in str(caught.value)
    assert not (run / "attacked").exists()


def test_an_edited_specification_never_comes_into_a_table(run: Path) -> None:
    write_json(run / "spec.json", read_json(run / "spec.json") | {"epochs": 200})
    with pytest.raises(DamagedError, match=r"spec.json: its size and hash are not those in run.json"):
        Results({"M": [run]})
    (run / "spec.json").write_text('{"dataset": 1}')
    with pytest.raises(DamagedError, match=r"spec.json: not a specification: `dataset`"):
        read_spec(run)


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_with_another_runs_file_is_not_evaluated(run: Path, digits: Path, name: str) -> None:
    """A file that is sound in itself is known by its hash."""
    path = run / name
    if name.endswith(".npz"):
        write_npz(path, {key: array + 1 for key, array in read_npz(path).items()})
    elif name.endswith(".parquet"):
        write_parquet(path, {column: [0.5] for column in COLUMNS[path.stem]})
    else:
        write_json(path, read_json(path) | {"seed": 3})
    with pytest.raises(DamagedError, match=rf"{name}: its size and hash are not those in run.json"):
        evaluate_run(run, digits, digits / "split.npz")
    write_json(run / OUTCOME, read_json(run / OUTCOME) | {"files": facts_of(run)})
    if name == "spec.json":
        with pytest.raises(DamagedError, match=r"it belongs to the run .* but spec.json to"):
            evaluate_run(run, digits, digits / "split.npz")


def test_predictions_of_no_class_are_not_counted(run: Path) -> None:
    table = read_parquet(run / "predictions.parquet").to_pydict()
    write_parquet(run / "predictions.parquet", table | {"prediction": [2**40] * len(table["label"])})
    with pytest.raises(DamagedError, match=r"predictions\.parquet: it has classes outside of 0 to 9"):
        confusion_of_run(run, 10)


def test_weights_of_another_network_are_refused(run: Path, digits: Path) -> None:
    for arrays, reason in (
        ({"0.weight": np.zeros((3, 3), np.float32)}, "does not fit the network"),
        ({name: it.astype("U9") for name, it in read_npz(run / "weights.npz").items()}, "else than real numbers"),
    ):
        write_npz(run / "weights.npz", arrays)
        write_json(run / OUTCOME, read_json(run / OUTCOME) | {"files": facts_of(run)})
        with pytest.raises(Exception, match=rf"weights\.npz.*{reason}"):
            evaluate_run(run, digits, digits / "split.npz")
