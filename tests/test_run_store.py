"""The store of runs: what shares an entry, what never does, and what becomes of entries that are damaged."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mlpaper import run_store
from mlpaper.cli import cli
from mlpaper.errors import DataError, StorageError
from mlpaper.files import read_json, sha256, write_json
from mlpaper.run_files import OUTCOME, origin_of, read_spec
from mlpaper.run_store import ENTRY, FILES, VARIABLE, Made, check_arrays, check_shared, offer, put, take
from mlpaper.spec import RunSpec

BASE = {"dataset": {"name": "digits"}, "network": {"hidden": [8]}, "epochs": 2}
CHANGES = {
    "dataset": st.just({"name": "digits", "parts": ["train"]}),
    "split": st.fixed_dictionaries({"scheme": st.just("pool"), "train": st.sampled_from([0.5, 0.6])}),
    "input": st.just({"scale": "standardize"}),
    "augmentation": st.fixed_dictionaries({"shift": st.integers(1, 3)}),
    "network": st.fixed_dictionaries({"hidden": st.lists(st.integers(1, 9), max_size=2)}),
    "loss": st.fixed_dictionaries({"label_smoothing": st.sampled_from([0.1, 0.2])}),
    "optimizer": st.fixed_dictionaries(
        {"name": st.sampled_from(["sgd", "adam"]), "learning_rate": st.floats(1e-6, 0.1)}
    ),
    "schedule": st.fixed_dictionaries({"name": st.just("exponential"), "gamma": st.floats(0.1, 0.9)}),
    "decay": st.fixed_dictionaries({"l2": st.floats(1e-6, 0.1)}),
    "clip_norm": st.floats(0.1, 9),
    "batch_size": st.integers(1, 99) | st.just("full"),
    "epochs": st.integers(1, 9),
    "updates": st.integers(1, 9),
    "early_stopping": st.fixed_dictionaries({"patience": st.integers(1, 9)}),
    "record_steps": st.booleans(),
    "seed": st.integers(0, 9),
    "engine": st.sampled_from(["mlpaper", "torch"]),
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared store, empty; the working folder is another one."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "it's a störe"))
    return tmp_path / "it's a störe"


def bring(trained: Path, digits: Path, folder: Path, code: str = "test") -> Path | None:
    """What the rule `train` asks for first."""
    return take(read_spec(trained), code, digits, digits / "split.npz", folder)


def content(folder: Path) -> dict[str, str]:
    return {name: sha256(folder / name) for name in FILES}


def only_entry(store: Path) -> Path:
    (entry,) = store.iterdir()
    return entry


def test_a_run_that_was_stored_is_taken_and_is_the_same(
    trained: Path, digits: Path, store: Path, tmp_path: Path
) -> None:
    assert bring(trained, digits, tmp_path / "new") is None
    offer(trained)
    assert bring(trained, digits, tmp_path / "new") == store
    assert content(tmp_path / "new") == content(trained)
    assert not any(path.is_symlink() for path in (tmp_path / "new").iterdir()), "the store may go"
    first = only_entry(store).stat().st_ino
    offer(trained)
    assert only_entry(store).stat().st_ino == first, "what is there stays"


def test_other_code_and_other_data_never_meet_an_entry(
    trained: Path, digits: Path, store: Path, tmp_path: Path
) -> None:
    offer(trained)
    assert bring(trained, digits, tmp_path / "new", code="edited") is None
    other = Path(shutil.copytree(digits, tmp_path / "digits"))
    for key, value in (("arrays", {"images.npy": {"sha256": "0" * 64}}), ("classes", ["a"])):
        write_json(other / "meta.json", read_json(digits / "meta.json") | {key: value})
        assert bring(trained, other, tmp_path / "new") is None
    write_json(other / "meta.json", read_json(digits / "meta.json") | {"sources": ["another mirror"]})
    assert bring(trained, other, tmp_path / "new") == store, "the same images, wherever they came from"
    (other / "split.npz").write_bytes(b"another split")
    assert bring(trained, other, tmp_path / "newer") is None
    assert not (tmp_path / "newer").exists()


def test_every_field_of_a_run_is_changed_below() -> None:
    assert CHANGES.keys() == RunSpec.model_fields.keys()


@given(
    first=st.fixed_dictionaries({}, optional=CHANGES),
    field=st.sampled_from(sorted(CHANGES)),
    data=st.data(),
)
def test_runs_that_differ_in_one_field_never_share_an_entry(first: dict, field: str, data: st.DataObject) -> None:
    try:
        one = RunSpec.model_validate(BASE | first)
        other = RunSpec.model_validate(BASE | first | {field: data.draw(CHANGES[field])})
    except ValueError:
        return
    assert RunSpec.model_validate_json(one.canonical()) == one, "the key is made of every field"
    made = [Made(spec.canonical(), "code", "data", "split") for spec in (one, other)]
    assert (made[0].name == made[1].name) == (one == other)
    for name in ("code", "data", "split"):
        assert replace(made[0], **{name: "edited"}).name != made[0].name


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda it: os.truncate(it / "weights.npz", 100),
    "a flipped bit": lambda it: (it / "weights.npz").write_bytes((it / "weights.npz").read_bytes()[:-1] + b"?"),
    "grown": lambda it: (it / "weights.npz").write_bytes((it / "weights.npz").read_bytes() + b"?"),
    "a missing file": lambda it: (it / OUTCOME).unlink(),
    "a number in run.json": lambda it: (it / OUTCOME).write_text((it / OUTCOME).read_text().replace("6370", "6371")),
    "a link": lambda it: ((it / "weights.npz").rename(it / "real"), (it / "weights.npz").symlink_to(it / "real")),
    "no hashes": lambda it: (it / ENTRY).unlink(),
    "no JSON": lambda it: (it / ENTRY).write_text("{"),
    "a list": lambda it: (it / ENTRY).write_text("[]"),
    "another key": lambda it: write_json(it / ENTRY, read_json(it / ENTRY) | {"key": "0" * 64}),
    "no folder of files": lambda it: [path.unlink() for path in it.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_found_removed_and_made_again(
    trained: Path, digits: Path, store: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    offer(trained)
    DAMAGE[damage](only_entry(store))
    assert bring(trained, digits, tmp_path / "new") is None
    assert "cannot be used, and the run is trained" in caplog.text
    assert list(store.iterdir()) == []
    assert not (tmp_path / "new").exists() or list((tmp_path / "new").iterdir()) == []
    offer(trained)
    assert bring(trained, digits, tmp_path / "new") == store


def test_an_entry_of_another_run_is_foreign_wherever_it_lies(
    trained: Path, digits: Path, store: Path, tmp_path: Path
) -> None:
    """Moved to the place of another key; and with a list of hashes that was made to fit."""
    wanted = Made.of(read_spec(trained).model_copy(update={"seed": 1}), "test", digits, digits / "split.npz")
    for forged in (False, True):
        offer(trained)
        entry = store / wanted.name
        (store / Made.told_by(trained).name).rename(entry)
        if forged:
            write_json(entry / ENTRY, read_json(entry / ENTRY) | {"key": wanted.key})
        spec = RunSpec.model_validate_json(wanted.spec)
        assert take(spec, "test", digits, digits / "split.npz", tmp_path / "new") is None
        assert not entry.exists()


def test_many_that_fill_a_store_at_once_leave_one_whole_entry(
    trained: Path, digits: Path, store: Path, tmp_path: Path
) -> None:
    """Of the same run, which took a different time for each: nobody ever takes a mixture."""
    copies = []
    for number in range(6):
        copy = Path(shutil.copytree(trained, tmp_path / str(number) / trained.name))
        (copy / OUTCOME).write_text(json.dumps(read_json(copy / OUTCOME) | {"seconds": number}))
        copies.append(copy)
    start, taken = threading.Barrier(12), []

    def fill(copy: Path) -> None:
        start.wait()
        put(Made.told_by(copy), copy, store)

    def use(number: int) -> None:
        start.wait()
        folder, deadline = tmp_path / f"taken-{number}", time.monotonic() + 20
        for _ in range(5):
            while not bring(trained, digits, folder) and time.monotonic() < deadline:
                pass
            origin_of(folder)
            taken.append(content(folder))
            shutil.rmtree(folder)

    with ThreadPoolExecutor(12) as pool:
        jobs = [pool.submit(fill, copy) for copy in copies] + [pool.submit(use, number) for number in range(6)]
    for job in jobs:
        job.result()
    assert len(taken) == 30
    assert all(it == taken[0] for it in taken)
    assert taken[0] in [content(copy) for copy in copies]
    assert only_entry(store)


def test_a_store_that_cannot_be_written_to_costs_a_line(
    trained: Path, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (store.parent / "file").write_text("")
    monkeypatch.setenv(VARIABLE, str(store.parent / "file"))
    offer(trained)
    assert "the run is not stored in" in caplog.text
    monkeypatch.delenv(VARIABLE)
    assert run_store.shared() is None
    offer(trained)


@pytest.mark.parametrize(
    ("named", "told"),
    [("file", "file is not a folder"), ("link", "link is not a folder"), ("~nobody-here/x", "no such user")],
)
def test_a_store_that_is_no_folder_is_told_before_any_job(
    named: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("link").symlink_to("nowhere")
    for sound in ("", ".", "not there yet"):
        monkeypatch.setenv(VARIABLE, sound)
        check_shared()
    monkeypatch.setenv(VARIABLE, named)
    with pytest.raises(StorageError, match=f"{VARIABLE}: .*{told}"):
        check_shared()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda it: it.unlink(), "meta.json is missing"),
        (lambda it: it.write_text("[]"), "meta.json does not describe a prepared dataset"),
        (lambda it: it.write_text('{"arrays": {"images.npy": 1}, "classes": []}'), "not describe a prepared dataset"),
        (lambda it: (it.parent / "labels.npy").unlink(), "labels.npy is missing"),
    ],
)
def test_half_a_dataset_is_told(harm: Callable[[Path], object], told: str, digits: Path, tmp_path: Path) -> None:
    """As where another clone, whose `data` links to the same folder, makes it at the moment."""
    pool = Path(shutil.copytree(digits, tmp_path / "pool"))
    harm(pool / "meta.json")
    with pytest.raises(DataError, match=f"{told}.*. Remove the folder and run again"):
        check_arrays(pool)


@pytest.mark.parametrize("array", ["images.npy", "labels.npy"])
@pytest.mark.parametrize("command", ["train", "evaluate", "robustness", "gradients"])
def test_a_damaged_dataset_is_neither_trained_on_nor_measured(
    command: str, array: str, trained: Path, digits: Path, store: Path
) -> None:
    """One bit, which no header shows; nor does Snakemake look at the time of an array."""
    pool, run = Path(shutil.copytree(digits, "pool")), Path(shutil.copytree(trained, trained.name))
    before = content(run)
    check_arrays(pool)
    path = pool / array
    spoilt = bytearray(path.read_bytes())
    spoilt[-1] ^= 1
    path.write_bytes(spoilt)
    more = {
        "train": ["--spec", f"{run}/spec.json", "--folder", f"{run}", "--checkpoint", "saved.npz"],
        "robustness": ["--run", f"{run}", "--sigmas", "0.1", "--noise-seeds", "1"],
    }
    arguments = more.get(command, ["--run", f"{run}"])
    done = CliRunner().invoke(cli, [command, *arguments, "--pool", f"{pool}", "--split", f"{pool}/split.npz"])
    assert isinstance(done.exception, DataError)
    assert str(done.exception).startswith(f"{path} is damaged: its SHA-256 is not that in meta.json. Remove {path}")
    assert content(run) == before
    assert not store.exists()
