"""What is timed: made-up images that are like real ones, and times that are about what training takes."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlpaper.data import PIXELS, SIDE
from mlpaper.data.dataset import Dataset
from mlpaper.data.sources import SOURCES
from mlpaper.data.split import Split
from mlpaper.engine.train import Trainer
from mlpaper.errors import MlpaperError
from mlpaper.spec import RunSpec
from mlpaper.study import timing
from mlpaper.study.estimate import forecast, probe
from mlpaper.study.timing import LOOKS, Machine, pretended, timed_rows


def _spec(**fields: object) -> RunSpec:
    return RunSpec.model_validate({"dataset": {"name": "digits"}} | fields)


# Images.


def _shares(images: np.ndarray) -> list[float]:
    """Pixels that are not background; that are not in any of six images; runs of six pixels of which any is not."""
    there = images != 0
    six = there[: len(there) // 6 * 6].reshape(-1, 6, PIXELS)
    runs = np.pad(there, ((0, 0), (0, -PIXELS % 6))).reshape(len(there), -1, 6)
    return [there.mean(), six.any(axis=1).mean(), runs.any(axis=2).mean()]


@pytest.mark.parametrize(
    ("dataset", "shares"),
    [
        ("mnist", [0.190, 0.435, 0.341]),
        ("fashion_mnist", [0.501, 0.841, 0.686]),
        ("emnist_bymerge", [0.334, 0.656, 0.512]),
        ("digits", [0.699, 0.860, 0.878]),
    ],
)
def test_made_up_images_have_the_background_of_real_ones(dataset: str, shares: list[float]) -> None:
    images = pretended(dataset, 3000)
    assert (images.shape, images.dtype) == ((3000, SIDE * SIDE), np.uint8)
    assert _shares(images) == pytest.approx(shares, abs=0.02)


def test_the_shares_are_those_of_real_images(digits: Path) -> None:
    rng = np.random.default_rng(0)
    assert _shares(rng.permutation(Dataset.open(digits).images)) == pytest.approx([0.699, 0.860, 0.878], abs=0.01)
    assert LOOKS.keys() == SOURCES.keys()


# The machine.


def test_large_updates_are_timed_on_part_of_their_images() -> None:
    assert timed_rows(512, [10, 10], 10_000) == 512
    assert timed_rows(570_000, [10, 10], 10_000) == 1 << 16
    assert timed_rows(54_000, [4192, 4192, 10], 21_000_000) < 1000
    assert timed_rows(54_000, [20_000] * 3, 10**9) == 512


SGD = {"name": "sgd", "learning_rate": 0.01}


@pytest.mark.parametrize(
    "fields",
    [
        {"network": {"hidden": [128, 64]}, "batch_size": 64, "epochs": 40},
        {"network": {"hidden": [16]}, "batch_size": "full", "epochs": 200, "optimizer": SGD},
        {"network": {"hidden": [64]}, "batch_size": 4, "epochs": 8, "optimizer": SGD | {"momentum": 0.9}},
    ],
)
def test_the_estimate_is_about_what_training_takes(fields: dict, digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_processor_time", lambda *arguments: 0.0)
    machine, spec, dataset = Machine(0.1), _spec(**fields), Dataset.open(digits)
    expected = forecast(spec, machine.cost(probe(spec)), 0.0, 0, machine)
    split = Split.read(digits / "split.npz")
    begun = time.process_time()
    Trainer(spec, machine.backend, dataset.images, dataset.labels, split.train, split.validation, 10).run()
    assert 1 / 3 < expected.training / (time.process_time() - begun) < 3


@pytest.mark.slow
def test_the_estimate_is_about_what_a_job_takes(digits: Path, tmp_path: Path) -> None:
    machine, spec, folder = Machine(), _spec(batch_size=32, epochs=100), tmp_path / "run"
    expected = forecast(spec, machine.cost(probe(spec)), 0.0, 0, machine)
    where = ("--pool", str(digits), "--split", str(digits / "split.npz"))
    train = ("--spec", spec.canonical(), "--folder", str(folder), "--checkpoint", str(tmp_path / "checkpoint"))
    assert 1 / 3 < expected.training / timing._processor_time("train", *train, *where) < 3
    assert 1 / 3 < expected.evaluation / timing._processor_time("evaluate", "--run", str(folder), *where) < 3
    with pytest.raises(MlpaperError, match=r"(?s)`mlpaper evaluate` failed while it was timed: .*Missing option"):
        timing._processor_time("evaluate")


@pytest.mark.parametrize(
    "fields",
    [
        {"augmentation": {"shift": 1}},
        {"network": {"hidden": []}, "batch_size": "full"},
        {"network": {"hidden": [8, 8, 8], "residual": 1, "batch_norm": True, "dropout": 0.5}},
        {"loss": {"name": "cross_entropy", "class_weights": [1.0] * 10}},
        pytest.param({"engine": "torch"}, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_run_can_be_timed(fields: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    if fields.get("engine") == "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed (pip install 'mlpaper[twin]')")
    monkeypatch.setattr(timing, "POOL", 2048)
    machine = Machine(0.001)
    kind = probe(_spec(**({"network": {"hidden": [8]}} | fields)))
    cost = machine.cost(kind)
    assert min(cost.build, cost.image, cost.evaluated) > 0
    assert machine.noisy(kind, 2) > 0


def test_a_machine_times_jobs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    timed: Callable[..., float] = lambda *arguments: calls.append(arguments[0]) or float(len(calls))  # noqa: E731
    monkeypatch.setattr(timing, "_processor_time", timed)
    machine = Machine()
    assert [machine.job("mlpaper"), machine.evaluation_job(), machine.job("mlpaper"), machine.job("torch")] == [
        1,
        2,
        1,
        3,
    ]
    assert calls == ["train", "evaluate", "train", "evaluate"]
