from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pytest
from pydantic import TypeAdapter

from mlpaper.paper.jobs import ItemJob
from mlpaper.study.left_out import LeftOut
from mlpaper.study.schema.items import FigureSpec, TableSpec

PUBLISHED = {
    "M0.test_accuracy": 0.8745,
    "M0.noise_accuracy_0.0": 0.8745,
    "M0.noise_accuracy_0.1": 0.8004,
    "M0.noise_accuracy_0.2": 0.5221,
    "M1g.test_accuracy": 0.8858,
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """M0 (3 seeds), M1g (2 seeds, one stops early), M1d (diverges at once), M1a (1 of 3 diverges)."""
    root = tmp_path_factory.mktemp("runs")
    sgd = {"name": "sgd", "learning_rate": 1e-3, "momentum": 0.9}
    stopping = {"monitor": "validation_loss", "patience": 5, "min_delta": 1e-4, "restore_best": False}
    return {
        "M0": tuple(
            fakes.run(root, "M0", s, accuracy=a, optimizer=sgd, steps=400) for s, a in enumerate((0.86, 0.87, 0.88))
        ),
        "M1g": (
            fakes.run(root, "M1g", 0, accuracy=0.90, early_stopping=stopping),
            fakes.run(root, "M1g", 1, accuracy=0.92, epochs=31, early_stopping=stopping),
        ),
        "M1d": tuple(fakes.run(root, "M1d", s, diverged_after=0, decay=fakes.L2) for s in (0, 1)),
        "M1a": tuple(
            fakes.run(root, "M1a", s, accuracy=0.80 + s / 100, diverged_after=after)
            for s, after in enumerate((None, 12, None))
        ),
    }


@pytest.fixture
def make_job(runs: dict[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., ItemJob]:
    """Make the job of an item given as keywords; `classes` chooses the dataset behind it, unknown runs are left out."""

    def make(classes: tuple[str, ...] = fakes.BYMERGE, watermark: str | None = None, **item: Any) -> ItemJob:
        data, indices = fakes.dataset(classes)
        monkeypatch.setattr(ItemJob, "dataset", lambda self: data)
        monkeypatch.setattr(ItemJob, "indices", lambda self: indices)
        entries = item.pop("entries", ())
        more_published = item.pop("published", {})
        texts = {"name": item["kind"], "title": "A title", "caption": "A caption."}
        spec: Any = TypeAdapter(FigureSpec | TableSpec).validate_python(texts | item)
        shown = item.get("runs") or ([item["run"]] if "run" in item else runs if item["kind"] == "settings" else [])
        shown = [*shown, *([item["baseline"]] if item.get("baseline") else [])]
        needed = {name: runs.get(name, ()) for name in shown}
        absent = LeftOut(spec=fakes.TWIN, because="PyTorch is not installed")
        left_out = {name: absent for name in shown if name not in runs}
        about_data = {"pool": "pool", "split": "split"}
        return ItemJob(
            study="emnist-bymerge",
            item=spec,
            runs=needed,
            left_out=left_out,
            published=PUBLISHED | more_published,
            entries=entries,
            watermark=watermark,
            datasets={"digits": "digits", "emnist_bymerge": "EMNIST ByMerge", "mnist": "MNIST"},
            **about_data,
        )

    return make


@pytest.fixture
def stem(tmp_path: Path) -> Path:
    return tmp_path / "item"
