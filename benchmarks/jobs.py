"""What a training job costs besides its updates: start-up, memory, evaluation; and how the time of an epoch grows.

    python benchmarks/jobs.py [--pools data] [--write]

Every number is of a process of its own, on one thread, with compiled code in the cache. `--write` records the result
under `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve().parent
EMNIST = 814_255
"""Images of the whole of EMNIST ByMerge."""
M1G = [400, 240, 120]


def trainer(images: np.ndarray, labels: np.ndarray, hidden: list[int], batch_size: int = 512, **fields: object):  # type: ignore[no-untyped-def]
    """A `Trainer` on seven tenths of the images, with one tenth for validation."""
    from mlpaper.engine import backend
    from mlpaper.engine.train import Trainer
    from mlpaper.spec import RunSpec

    values = {"dataset": {"name": "mnist"}, "network": {"hidden": hidden}, "batch_size": batch_size} | fields
    train, rest = np.split(np.arange(len(images)), [len(images) * 7 // 10])
    validation = rest[: len(images) // 10]
    return Trainer(RunSpec.model_validate(values), backend.select("cpu"), images, labels, train, validation, 47)


def start_up(begun: float) -> dict[str, float]:
    """Seconds from the call of Python to the end of the first update, of M1g on a pool in a file."""
    import mlpaper.cli  # noqa: F401 - what a job imports

    images, labels = np.zeros((2000, 784), np.uint8), np.arange(2000) % 47
    it = trainer(images, labels, M1G)
    it.updates(it.train_index[:512], np.full(1, 1e-3), np.zeros(3))
    return {"seconds": time.time() - begun}


def memory(pool: Path) -> dict[str, float]:
    """Private megabytes after an epoch of M1g over a pool as large as EMNIST's, mapped from a file."""
    images = np.memmap(pool, np.uint8, "r", shape=(EMNIST, 784))
    it = trainer(images, np.arange(EMNIST, dtype=np.uint8) % 47, M1G)
    it.epoch()
    rollup = Path("/proc/self/smaps_rollup").read_text().split("\n")
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in rollup if line.endswith("kB")}
    return {"private": kilobytes["Anonymous"] / 1024, "mapped": (kilobytes["Rss"] - kilobytes["Anonymous"]) / 1024}


def evaluation(pools: Path) -> dict[str, float]:
    """Time of an epoch's evaluation (a seventh as many images) as a part of its training: M1g on real images."""
    images, labels = _real(pools, 60_000)
    it = trainer(images, labels, M1G)
    it.epoch()
    totals, index, rates = np.zeros(3), it.train_index, np.full(it.steps_per_epoch, 1e-3)
    times: dict[str, list[float]] = {"train": [], "evaluate": []}
    for _ in range(3):
        times["train"].append(_seconds(lambda: it.updates(index, rates, totals)))
        times["evaluate"].append(_seconds(lambda: it.evaluate(it.validation_index)))
    return {"part": median(times["evaluate"]) / median(times["train"])}


def growth(pools: Path) -> dict[str, dict[str, float]]:
    """Seconds per epoch against images, parameters and epochs done."""
    images, labels = _real(pools, 100_000)
    curve: dict[str, dict[str, float]] = {"images": {}, "parameters": {}, "epochs": {}}
    for count in (12_500, 25_000, 50_000, 100_000):
        it = trainer(images[:count], labels[:count], [128, 64])
        it.epoch()
        curve["images"][str(count)] = median(_seconds(it.epoch) for _ in range(3))
    for width in (64, 128, 256, 512, 1024):
        it = trainer(images[:25_000], labels[:25_000], [width, 64])
        it.epoch()
        curve["parameters"][str(it.network.parameters.layout.size)] = median(_seconds(it.epoch) for _ in range(3))
    it = trainer(images[:25_000], labels[:25_000], [128, 64], epochs=100)
    it.epoch()
    start, done = time.perf_counter(), 0
    for epochs in (2, 4, 8, 16):
        while done < epochs:
            it.epoch()
            done += 1
        curve["epochs"][str(epochs)] = time.perf_counter() - start
    return curve


def _real(pools: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    from mlpaper.data.dataset import Dataset

    for name in ("emnist_bymerge.test", "mnist", "digits"):
        if (pools / name / "meta.json").exists():
            dataset = Dataset.open(pools / name)
            repeated = np.resize(np.arange(len(dataset)), count)
            return np.array(dataset.images[repeated]), np.array(dataset.labels)[repeated]
    raise SystemExit(f"no data in {pools}")


def _seconds(call) -> float:  # type: ignore[no-untyped-def]
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_process(*arguments: str) -> dict:
    """The result of one measurement in a process of its own."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, env=os.environ | threads, text=True, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def report(results: dict) -> str:
    """The measurements as Markdown."""
    lines = [
        f"- start-up, from the call of Python to the end of the first update: {results['start-up']:.2f} s",
        f"- private memory of M1g on {EMNIST:,} images, after an epoch: {results['memory']['private']:.0f} MB "
        f"(and {results['memory']['mapped']:.0f} MB of files that jobs share)",
        f"- an epoch's evaluation (a seventh as many images) takes {results['evaluation']['part']:.3f} of its training",
        "",
        "| what grows | s | per 1,000 images, per 1,000 parameters, per epoch |",
        "|---|--:|--:|",
    ]
    for kind, points in results["growth"].items():
        unit = 1 if kind == "epochs" else 1000
        words = "all epochs so far, after" if kind == "epochs" else "an epoch, with"
        for x, seconds in points.items():
            lines.append(f"| {words} {int(x):,} {kind} | {seconds:.3f} | {1e3 * seconds * unit / int(x):.3g} ms |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and record where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=Path, default=HERE.parent / "data", help="folder of prepared datasets")
    parser.add_argument("--write", action="store_true", help="record under benchmarks/results/")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        kind, value = arguments.measure
        calls = {"start-up": lambda: start_up(float(value)), "memory": lambda: memory(Path(value)),
                 "evaluation": lambda: evaluation(Path(value)), "growth": lambda: growth(Path(value))}  # fmt: skip
        print(json.dumps(calls[kind]()))
        return
    pools = str(arguments.pools)
    in_process("start-up", str(time.time()))  # compiles, if nobody has
    results = {"start-up": median(in_process("start-up", str(time.time()))["seconds"] for _ in range(5))}
    with tempfile.NamedTemporaryFile() as file:
        block = np.random.default_rng(0).integers(0, 256, (1000, 784), dtype=np.uint8)
        block[:, np.random.default_rng(1).random(784) < 2 / 3] = 0
        for begin in range(0, EMNIST, 1000):
            file.write(block[: EMNIST - begin].tobytes())
        file.flush()
        results["memory"] = in_process("memory", file.name)
    results["evaluation"] = in_process("evaluation", pools)
    results["growth"] = in_process("growth", pools)
    text = report(results)
    print(text)
    if arguments.write:
        from mlpaper.machine import commit, machine, versions

        stamp = datetime.now(UTC)
        stem = HERE / "results" / f"jobs-{stamp:%Y-%m-%d}"
        record = {"date": stamp.isoformat(timespec="seconds"), "machine": machine(), "versions": versions()} | commit()
        stem.with_suffix(".json").write_text(json.dumps(record | results, indent=2) + "\n")
        heading = f"# Training jobs, {stamp:%Y-%m-%d}\n\n{record['machine']['processor']}, one thread"
        stem.with_suffix(".md").write_text(f"{heading}\n\n{text}\n")


if __name__ == "__main__":
    main()
