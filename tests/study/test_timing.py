"""What is timed: made-up images that cost what real ones do, and times that are about what training takes."""

import math
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mlpaper.data.catalog import Catalog
from mlpaper.data.dataset import Dataset
from mlpaper.data.split import Split
from mlpaper.engine import backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.ops.tiling import ROWS
from mlpaper.engine.train import Trainer
from mlpaper.errors import MlpaperError
from mlpaper.spec import RunSpec
from mlpaper.study import timing
from mlpaper.study.estimate import run_seconds
from mlpaper.study.timing import made_up

DATASETS = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")
SGD = {"name": "sgd", "learning_rate": 0.01}


def _spec(**fields: object) -> RunSpec:
    return RunSpec.model_validate({"dataset": {"name": "digits"}} | fields)


# Images.


def test_the_shares_of_ink_are_those_of_real_images(digits: Path) -> None:
    there = np.random.default_rng(0).permutation(Dataset.open(digits).images) != 0
    images = there[: len(there) // ROWS * ROWS].reshape(-1, ROWS, there.shape[1]).any(axis=1).mean()
    neighbours = np.pad(there, ((0, 0), (0, -there.shape[1] % ROWS))).reshape(len(there), -1, ROWS).any(axis=2).mean()
    assert DATASETS["digits"].ink == pytest.approx((images + neighbours) / 2, abs=0.01)


@pytest.mark.parametrize("shape", [(28, 28), (20, 32), (32, 32, 3)])
@pytest.mark.parametrize("ink", [0.34, 0.7, 1.0])
def test_made_up_images_have_as_much_ink(ink: float, shape: tuple[int, ...]) -> None:
    images = made_up(ink, 10, shape)
    assert (images.shape, images.dtype) == ((10, math.prod(shape)), np.uint8)
    assert (images != 0).mean(axis=1) == pytest.approx(np.full(10, ink), abs=0.02)


# The machine.


@pytest.mark.parametrize(
    "fields",
    [
        {"network": {"hidden": [128, 64]}, "batch_size": 64, "epochs": 40},
        {"network": {"hidden": [16]}, "batch_size": "full", "epochs": 200, "optimizer": SGD},
        {"network": {"hidden": [64]}, "batch_size": 4, "epochs": 8, "optimizer": SGD | {"momentum": 0.9}},
    ],
)
def test_the_estimate_is_about_what_training_takes(fields: dict, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "job", lambda name: 0.0)
    spec, dataset, split = _spec(**fields), Dataset.open(digits), Split.read(digits / "split.npz")
    *_, expected = run_seconds(spec, DATASETS["digits"], 0, 0, 1.0)
    begun = time.process_time()
    pool = Pool(dataset.images, dataset.labels, 10)
    Trainer(spec, executor_for(spec, backend.select("cpu"), pool, split.train), split.train, split.validation).run()
    assert 1 / 2 < expected / (time.process_time() - begun) < 2


@pytest.mark.slow
def test_the_estimate_is_about_what_jobs_take(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, where = _spec(batch_size=32, epochs=100), ("--pool", str(digits), "--split", str(digits / "split.npz"))
    *_, expected = run_seconds(spec, DATASETS["digits"], 0, 0, 1.0)
    (tmp_path / "spec.json").write_text(spec.canonical())
    train = ("train", "--spec", "spec.json", "--folder", "run", "--checkpoint", "saved.npz", *where)
    monkeypatch.chdir(tmp_path)
    taken = timing._each(*train) + timing._each("evaluate", "--run", "run", *where)
    assert 1 / 2 < expected / taken < 2
    assert timing.job("figure") > timing.job("other") > 0


def test_a_job_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MlpaperError, match=r"(?s)`mlpaper evaluate` failed while it was timed: .*Missing option"):
        timing._served([("evaluate",)])


@pytest.mark.parametrize(
    "fields",
    [
        {"augmentation": {"shift": 1}},
        {"network": {"hidden": []}},
        {"network": {"hidden": [8, 8, 8], "residual": 1, "batch_norm": True, "dropout": 0.5}},
        {"loss": {"name": "cross_entropy", "class_weights": [1.0] * 10}},
        pytest.param({"engine": "torch"}, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_run_can_be_timed(fields: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    if fields.get("engine") == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed (make twin)")
    monkeypatch.setattr(timing, "POOL", 2048)
    assert min(timing.cost(_spec(**({"network": {"hidden": [8]}} | fields)), 64, DATASETS["digits"])) > 0


def test_large_updates_are_timed_on_part_of_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "POOL", 2048)
    monkeypatch.setattr(timing, "OPERATIONS", 0.0)
    part, whole = (
        timing.cost(_spec(network={"hidden": [32]}), batch, DATASETS["digits"]).update for batch in (512, 1 << 40)
    )
    assert whole == pytest.approx(part * 2**31, rel=0.5)


def test_jobs_are_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(timing, "_each", lambda command, *arguments: calls.append(command) or float(len(calls)))
    monkeypatch.setattr(timing, "_served", lambda jobs: 0.0)
    monkeypatch.setattr(timing, "_jobs", cache(timing._jobs.__wrapped__))
    assert [timing.job(name) for name in ("train", "other", "figure", "train", "train-torch")] == [1, 2, 3, 1, 4]
    assert calls == ["train", "evaluate", "figure", "train"]


def test_kinds_are_timed_once() -> None:
    first = timing.cost(_spec(network={"hidden": [4]}), 64, DATASETS["digits"])
    assert timing.cost(_spec(network={"hidden": [4]}, seed=1, epochs=3), 64, DATASETS["digits"]) is first
