"""Killing a run, and what becomes of it."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mlpaper.engine import checkpoint
from mlpaper.engine.train_job import train_run
from mlpaper.errors import CheckpointError
from mlpaper.files import read_json, read_npz, write_npz
from mlpaper.spec import PoolSpec, RunSpec

SPEC = RunSpec(
    dataset=PoolSpec(name="digits"),
    batch_size=32,
    epochs=120,
    early_stopping={"patience": 119, "restore_best": True},
)


def _command(digits: Path, folder: Path) -> list[str]:
    told = folder.parent / "spec.json"
    told.write_text(SPEC.canonical())
    options = {
        "--spec": told,
        "--pool": digits,
        "--split": digits / "split.npz",
        "--folder": folder,
        "--checkpoint": folder / "checkpoint.npz",
        "--checkpoint-seconds": 0,
        "--code": "test",
    }
    return [sys.executable, "-m", "mlpaper", "train", *(str(word) for pair in options.items() for word in pair)]


@pytest.mark.slow
def test_a_run_that_is_killed_many_times_ends_bit_identical(digits: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = subprocess.run(_command(digits, whole), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rng, kills, continued, saved = random.Random(0), 0, 0, killed / "checkpoint.npz"
    while not (killed / "run.json").exists():
        before = saved.stat().st_mtime_ns if saved.exists() else 0
        process = subprocess.Popen(_command(digits, killed), stdout=subprocess.PIPE, text=True)
        while kills < 6 and process.poll() is None:
            if saved.exists() and saved.stat().st_mtime_ns != before:
                time.sleep(rng.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.001)
        output, _ = process.communicate(timeout=300)
        kills += process.returncode == -signal.SIGKILL
        continued += "continuing after epoch" in output
    assert kills >= 2, "the run was too short to be killed"
    assert continued >= 1
    assert (killed / "weights.npz").read_bytes() == (whole / "weights.npz").read_bytes()
    columns = [name for name in pq.read_schema(whole / "history.parquet").names if name != "seconds"]
    tables = [pq.read_table(folder / "history.parquet", columns=columns) for folder in (whole, killed)]
    assert tables[0].equals(tables[1])
    assert not (killed / "checkpoint.npz").exists()
    assert read_json(killed / "run.json")["epochs"] == 120


def test_a_run_is_saved_between_epochs_and_not_continued_on_other_data(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    saved, folder, path = [], tmp_path / "run", tmp_path / "c.npz"
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *arguments: (saved.append(arguments), save(*arguments)))
    spec = SPEC.model_copy(update={"epochs": 3})
    train_run(spec, digits, digits / "split.npz", folder, path, "test", checkpoint_seconds=0)
    assert len(saved) == 2, "after every epoch but the last"
    save(*saved[0])
    assert path.exists()
    other = tmp_path / "digits"
    shutil.copytree(digits, other)
    (other / "meta.json").write_text((other / "meta.json").read_text() + "\n")
    train_run(spec, other, digits / "split.npz", folder, path, "test", checkpoint_seconds=0)
    assert "to other data" in caplog.text


def test_a_resumed_trainer_is_where_it_was(trainer_of, tmp_path: Path) -> None:
    fields = {"epochs": 6, "early_stopping": {"patience": 3, "restore_best": True}}
    whole = trainer_of(**fields)
    whole.run()
    first = trainer_of(**fields)
    for _ in range(3):
        first.epoch()
    first.best_state = first.best_state + 1  # told apart from the weights themselves
    checkpoint.save(tmp_path / "c.npz", first, "run code")
    second = trainer_of(**fields)
    loss_before = first.executor.evaluate(np.arange(600))
    assert checkpoint.resume(tmp_path / "c.npz", second, "run code")
    assert second.executor.evaluate(np.arange(600)) == loss_before
    np.testing.assert_array_equal(second.best_state, first.best_state)
    second.run()
    np.testing.assert_array_equal(second.executor.model.parameters, whole.executor.model.parameters)


def test_bad_checkpoints_are_refused_and_set_aside(trainer_of, tmp_path: Path, caplog) -> None:
    trainer, path = trainer_of(), tmp_path / "c.npz"
    trainer.epoch()
    checkpoint.save(path, trainer, "run code")
    good, bytes_ = read_npz(path), path.read_bytes()

    def truncated() -> None:
        path.write_bytes(bytes_[: len(bytes_) // 2])

    def damaged() -> None:
        middle = len(bytes_) // 2
        path.write_bytes(bytes_[:middle] + bytes(8) + bytes_[middle + 8 :])

    def foreign() -> None:
        write_npz(path, good | {"identity": np.array("other run")})

    def misfit() -> None:
        write_npz(path, good | {"network": good["network"][:-1]})

    def pickled() -> None:
        np.savez(path, **(good | {"progress": np.array({"a": 1}, dtype=object)}))

    def empty() -> None:
        path.write_bytes(b"")

    for harm in (truncated, damaged, foreign, misfit, pickled, empty):
        harm()
        fresh = trainer_of()
        before = np.copy(fresh.executor.model.parameters)
        with pytest.raises(CheckpointError, match=r"c\.npz"):
            checkpoint.load(path, fresh, "run code")
        assert not checkpoint.resume(path, fresh, "run code"), harm.__name__
        assert not path.exists()
        assert path.with_suffix(".refused").exists()
        assert "training starts again" in caplog.text
        np.testing.assert_array_equal(fresh.executor.model.parameters, before)
        assert fresh.progress.history == []
