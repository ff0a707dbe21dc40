"""A GPU by itself: its ceilings, an epoch of M1g over as many images as the whole EMNIST, graphs and placements.

    python benchmarks/gpu.py [--write]

What an epoch achieves stands beside what the device does at best: the rate of a large product in single precision, and
that of a large copy. Images are made up; their number and sizes are those of EMNIST ByMerge. `--write` records the
table with device, driver, versions and date under `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import record
from rows import ROWS, parameters

from mlpaper.engine import backend
from mlpaper.engine.cuda import Cuda
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.graphed import GraphedExecutor
from mlpaper.engine.placement import PLACEMENTS
from mlpaper.engine.train import Trainer
from mlpaper.errors import MlpaperError
from mlpaper.evaluate.placements import BATCH_SIZES, EPOCHS, timed_epoch
from mlpaper.spec import RunSpec

M1G = ROWS["M1g: 784-400-240-120-47, batch 512"]
Results = dict[str, Any]
IMAGES, CLASSES, PIXELS = 566_667, 47, 784
LARGE = 8192
"""Rows and columns of the product whose rate is the ceiling; the array that is copied has eight times the rows."""


def seconds(work: Callable[[], None], wait: Callable[[], object], rounds: int = 5) -> float:
    """Median time of `work`, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - begun)
    return median(times[1:])


def ceilings(cuda: Cuda, size: int = LARGE) -> dict[str, float]:
    """Best rates: 10^9 operations a second of a product, 10^9 bytes a second read and written by a copy."""
    ones = cuda.xp.zeros((16 * size, size), np.float32)
    a, b, out = ones[:size], ones[size : 2 * size], ones[2 * size : 3 * size]
    last = out[-1:, -1]
    wait = lambda: cuda.to_host(last)  # noqa: E731
    product = seconds(lambda: cuda.product(a, b, out), wait)
    half = 8 * size

    def copy() -> None:
        ones[:half] = ones[half:]

    return {"GFLOP/s": 2e-9 * size**3 / product, "GB/s": 2e-9 * ones[:half].nbytes / seconds(copy, wait)}


def epoch(
    cuda: Cuda,
    spec: RunSpec,
    images: np.ndarray,
    labels: np.ndarray,
    placement: str = "resident",
    captured: bool = True,
) -> dict[str, float | str | int]:
    """Seconds of an epoch of updates, without validation, and what the device holds for it."""
    cuda.release()
    index = np.arange(len(images))
    executor = executor_for(spec, backend.on(cuda), Pool(images, labels, CLASSES), index, placement=placement)
    assert isinstance(executor, GraphedExecutor)
    executor.captured = captured
    trainer = Trainer(spec, executor, index, index[:10])
    timed_epoch(trainer)
    passed = median(timed_epoch(trainer) for _ in range(EPOCHS))
    return {
        "placement": placement,
        "graph": "yes" if captured else "no",
        "batch": executor.batch_size,
        "seconds": passed,
        "GFLOP/s": 6e-9 * parameters(spec, CLASSES) * len(images) / passed,
        "device, MiB": cuda.reserved() / 2**20,
    }


def measure(cuda: Cuda, count: int = IMAGES, batches: tuple[int, ...] = BATCH_SIZES, size: int = LARGE) -> Results:
    """All of it."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, PIXELS), dtype=np.uint8)
    images[rng.random(images.shape) < 0.8] = 0
    labels = rng.integers(0, CLASSES, count)
    cells = [("resident", True, 512), ("resident", False, 512)]
    cells += [(placement, True, batch) for placement in PLACEMENTS for batch in batches]
    rows = []
    for placement, captured, batch in dict.fromkeys(cells):
        spec = M1G.model_copy(update={"batch_size": batch})
        rows.append(epoch(cuda, spec, images, labels, placement, captured))
        print(json.dumps(rows[-1]), flush=True)
    return {"ceilings": ceilings(cuda, size), "images": count, "epochs": rows}


def table(measured: Results) -> str:
    """Markdown."""
    best = measured["ceilings"]
    lines = [
        f"An epoch of M1g over {measured['images']:,} images. Ceilings of the device, measured: "
        f"{best['GFLOP/s']:,.0f} GFLOP/s (product, single precision), "
        f"{best['GB/s']:,.0f} GB/s (copy, read and written).",
        "",
        "| placement | graph | batch | epoch, s | GFLOP/s | of the ceiling | device, MiB |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in measured["epochs"]:
        share = row["GFLOP/s"] / best["GFLOP/s"]
        lines.append(
            f"| {row['placement']} | {row['graph']} | {row['batch']} | {row['seconds']:.3f} | {row['GFLOP/s']:,.0f} |"
            f" {share:.0%} | {row['device, MiB']:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="record under benchmarks/results/")
    arguments = parser.parse_args()
    try:
        cuda = Cuda()
    except MlpaperError as error:
        raise SystemExit(str(error)) from None
    measured = measure(cuda)
    print(table(measured))
    if arguments.write:
        record.write("gpu", "A GPU by itself", table(measured), measured, **cuda.description())


if __name__ == "__main__":
    main()
