"""What is timed: networks of the studies as run specifications, and the data they are fed."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mlpaper.data.catalog import Catalog
from mlpaper.data.dataset import META, Dataset
from mlpaper.data.fetch import fetch_pool
from mlpaper.data.mirror import check_mirror, parse_mirror
from mlpaper.data.prepare import prepare
from mlpaper.data.transfer import Policy
from mlpaper.errors import DataError
from mlpaper.spec import PoolSpec, RunSpec

CONFIGURATION = Path(__file__).parents[1] / "config.yaml"
DATASETS = Catalog(CONFIGURATION.parent / "workflow" / "datasets")
DIGITS = PoolSpec(name="digits")
ADAM = {"name": "adam", "learning_rate": 1e-3}
MODERN = {"activation": "silu", "batch_norm": True, "dropout": 0.3}


def _row(dataset: str, hidden: list[int], batch_size: int | str, optimizer: dict[str, Any], **fields: Any) -> RunSpec:
    network = {"hidden": hidden, **fields.pop("network", {})}
    values = {"dataset": {"name": dataset, "parts": ["test"] if dataset == "emnist_bymerge" else ["train", "test"]}}
    return RunSpec.model_validate(
        values | {"network": network, "batch_size": batch_size, "optimizer": optimizer} | fields
    )


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


def provide(specs: Iterable[RunSpec], pools: Path, mirror: str | None) -> None:
    """Prepare the data of rows in `pools` where they are missing, as the pipeline does, or digits in their place.

    `mirror` is a folder or URL; None stands for that of config.yaml. The official addresses are tried once.
    """
    where, named = "--mirror", mirror
    if named is None:
        where, named = "config.yaml: mirror", yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))["mirror"] or ""
    place, missing = parse_mirror(named), []
    check_mirror(place, where)
    for pool in dict.fromkeys(spec.dataset for spec in specs):
        source, raw = DATASETS[pool.name], pools / "raw" / pool.name
        if (pools / pool.id / META).exists():
            continue
        try:
            fetch_pool(source, pool, raw, place, Policy(attempts=1, timeout=10))
            prepare(pool, source.content(), raw, pools / pool.id)
        except DataError:
            missing.append(pool.id)
    if missing:
        print(f"no mirror or official address gave {', '.join(missing)}: digits in their place", file=sys.stderr)
        if not (pools / DIGITS.id / META).exists():
            prepare(DIGITS, DATASETS[DIGITS.name].content(), pools, pools / DIGITS.id)


def data(spec: RunSpec, pools: Path) -> tuple[np.ndarray, np.ndarray, int, str]:
    """Images uint8 (M, 784), labels int64 (M,), number of classes, and their name; digits where others are absent."""
    name = spec.dataset.id if (pools / spec.dataset.id / META).exists() else DIGITS.id
    dataset = Dataset.open(pools / name)
    count = min(len(dataset), 60_000)
    return np.array(dataset.images[:count]), dataset.labels[:count], len(dataset.classes), name


def parameters(spec: RunSpec, classes: int) -> int:
    """Weights of the dense layers, for counting operations: 6 per weight and sample, forwards and backwards."""
    widths = (784, *spec.network.hidden, classes)
    return sum(a * b for a, b in itertools.pairwise(widths))
