"""What is timed: networks of the studies as run specifications, and the data they are fed."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from mlpaper.data.dataset import Dataset
from mlpaper.spec import RunSpec

ADAM = {"name": "adam", "learning_rate": 1e-3}


def _row(dataset: str, hidden: list[int], batch_size: int | str, optimizer: dict, **fields: object) -> RunSpec:
    network = {"hidden": hidden, **fields.pop("network", {})}  # type: ignore[dict-item]
    values = {"dataset": {"name": dataset, "parts": ["test"] if dataset == "emnist_bymerge" else ["train", "test"]}}
    return RunSpec.model_validate(
        values | {"network": network, "batch_size": batch_size, "optimizer": optimizer} | fields
    )


MODERN = {"activation": "silu", "batch_norm": True, "dropout": 0.3}

ROWS: dict[str, RunSpec] = {
    "M1b: 784-128-64-47, batch 512": _row("emnist_bymerge", [128, 64], 512, ADAM),
    "M1g: 784-400-240-120-47, batch 512": _row("emnist_bymerge", [400, 240, 120], 512, ADAM),
    "M3b: 784-400-400-47, batch norm, dropout, batch 512": _row(
        "emnist_bymerge", [400, 400], 512, ADAM, network=MODERN, decay={"l2": 1e-4, "parameters": "all"}
    ),
    "residual, 30 layers of 32, batch 256": _row("mnist", [32] * 30, 256, ADAM, network={"residual": 1}),
    "784-128-10, batch 16": _row("mnist", [128], 16, {"name": "sgd", "learning_rate": 0.1}),
    "784-128-10, batch 1": _row("mnist", [128], 1, {"name": "sgd", "learning_rate": 0.01}),
    "784-10-10-10, full batch": _row("mnist", [10, 10], "full", {"name": "sgd", "learning_rate": 0.01}),
    "784-4192-4192-10, batch 512": _row("fashion_mnist", [4192, 4192], 512, ADAM),
}


def data(spec: RunSpec, pools: Path) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Images uint8 (M, 784), labels int64 (M,), number of classes, and their name; digits where others are absent."""
    for name in (spec.dataset.id, "digits"):
        if (pools / name / "meta.json").exists():
            dataset = Dataset.open(pools / name)
            count = min(len(dataset), 60_000)
            return np.array(dataset.images[:count]), dataset.labels[:count], len(dataset.classes), name
    raise SystemExit(
        f"no data in {pools}: run the pipeline first, at least `snakemake --cores 1 data/digits/meta.json`"
    )


def parameters(spec: RunSpec, classes: int) -> int:
    """Weights of the dense layers, for counting operations: 6 per weight and sample, forwards and backwards."""
    widths = (784, *spec.network.hidden, classes)
    return sum(a * b for a, b in itertools.pairwise(widths))
