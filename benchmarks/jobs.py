"""What a training job costs besides its updates: start-up, memory, evaluation; and how the time of an epoch grows.

    python benchmarks/jobs.py [--isa avx2] [--write]

Every number is of a process of its own, on one thread, with compiled code in the cache. `--write` records the result
under `benchmarks/results/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlpaper.engine.train import Trainer

EMNIST = 814_255
"""Images of the whole of EMNIST ByMerge."""
M1G = [400, 240, 120]
PIXELS = "M1b: 784-128-64-47, batch 512"
"""The row whose data are used, where real images are."""


def trainer(
    images: np.ndarray, labels: np.ndarray, hidden: list[int], classes: int = 47, **fields: object
) -> Trainer:  # fmt: skip
    """A `Trainer` on seven tenths of the images, with one tenth for validation."""
    from mlpaper.engine import backend
    from mlpaper.engine.executor import Pool, executor_for
    from mlpaper.engine.train import Trainer
    from mlpaper.spec import RunSpec

    values = {"dataset": {"name": "mnist"}, "network": {"hidden": hidden}, "batch_size": 512} | fields
    train, rest = np.split(np.arange(len(images)), [len(images) * 7 // 10])
    validation = rest[: len(images) // 10]
    spec = RunSpec.model_validate(values)
    executor = executor_for(spec, backend.select("cpu"), Pool(images, labels, classes), train)
    return Trainer(spec, executor, train, validation)


def start_up(begun: float) -> dict[str, float]:
    """Seconds from the call of Python to the end of the first update, of M1g on a pool in a file."""
    import mlpaper.cli  # noqa: F401 - what a job imports

    images, labels = np.zeros((2000, 784), np.uint8), np.arange(2000) % 47
    it = trainer(images, labels, M1G)
    it.executor.train(it.train_index[:512], np.full(1, 1e-3), 0, 0)
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
    images, labels, classes = _real(pools, 60_000)
    it = trainer(images, labels, M1G, classes)
    it.epoch()
    index, rates = it.train_index, np.full(it.steps_per_epoch, 1e-3)
    times: dict[str, list[float]] = {"train": [], "evaluate": []}
    for _ in range(3):
        times["train"].append(_seconds(lambda: it.executor.train(index, rates, 0, 0)))
        times["evaluate"].append(_seconds(lambda: it.executor.evaluate(it.validation_index)))
    return {"part": median(times["evaluate"]) / median(times["train"])}


def growth(pools: Path) -> dict[str, dict[str, float]]:
    """Seconds per epoch against images, parameters and epochs done."""
    images, labels, classes = _real(pools, 100_000)
    curve: dict[str, dict[str, float]] = {"images": {}, "parameters": {}, "epochs": {}}
    for count in (12_500, 25_000, 50_000, 100_000):
        it = trainer(images[:count], labels[:count], [128, 64], classes)
        it.epoch()
        curve["images"][str(count)] = median(_seconds(it.epoch) for _ in range(3))
    for width in (64, 128, 256, 512, 1024):
        it = trainer(images[:25_000], labels[:25_000], [width, 64], classes)
        it.epoch()
        curve["parameters"][str(it.executor.network.layout.size)] = median(_seconds(it.epoch) for _ in range(3))
    it = trainer(images[:25_000], labels[:25_000], [128, 64], classes, epochs=100)
    it.epoch()
    start, done = time.perf_counter(), 0
    for epochs in (2, 4, 8, 16):
        while done < epochs:
            it.epoch()
            done += 1
        curve["epochs"][str(epochs)] = time.perf_counter() - start
    return curve


def _real(pools: Path, count: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Images, labels and number of classes of the row `PIXELS`, repeated or cut to `count`."""
    from rows import ROWS, data

    images, labels, classes, _ = data(ROWS[PIXELS], pools)
    repeated = np.resize(np.arange(len(images)), count)
    return images[repeated], labels[repeated], classes


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_process(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """The result of one measurement in a process of its own."""
    command = [sys.executable, __file__, "--measure", *arguments]
    done = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise SystemExit(f"{arguments[0]}: failed, see above")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def report(results: dict[str, Any]) -> str:
    """The measurements as Markdown."""
    lines = [
        f"- start-up, from the call of Python to the end of the first update: {results['start-up']:.2f} s",
        f"- private memory of M1g on {EMNIST:,} images, after an epoch: {results['memory']['private']:.0f} MB "
        f"(and {results['memory']['mapped']:.0f} MB of files that jobs share)",
        f"- an epoch's evaluation (a seventh as many images) takes {results['evaluation']['part']:.3f} of its training",
        f"- images, where real ones matter: {results['data']}, repeated where more are needed",
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
    if sys.argv[1:2] == ["--measure"]:
        kind, value = sys.argv[2:]
        calls: dict[str, Callable[[], object]] = {
            "start-up": lambda: start_up(float(value)), "memory": lambda: memory(Path(value)),
            "evaluation": lambda: evaluation(Path(value)), "growth": lambda: growth(Path(value)),
        }  # fmt: skip
        print(json.dumps(calls[kind]()))
        return
    import isa
    import record
    from rows import ROWS, data, provide

    arguments = record.parser(__doc__).parse_args()
    isa.check(arguments.isa)
    provide([ROWS[PIXELS]], arguments.pools, arguments.mirror)
    pools, environment = str(arguments.pools), isa.environment(arguments.isa)
    in_process(environment, "start-up", str(time.time()))  # compiles, if nobody has
    starts = [in_process(environment, "start-up", str(time.time()))["seconds"] for _ in range(5)]
    results: dict[str, Any] = {"start-up": median(starts), "data": data(ROWS[PIXELS], arguments.pools)[3]}
    with tempfile.NamedTemporaryFile() as file:
        block = np.random.default_rng(0).integers(0, 256, (1000, 784), dtype=np.uint8)
        block[:, np.random.default_rng(1).random(784) < 2 / 3] = 0
        for begin in range(0, EMNIST, 1000):
            file.write(block[: EMNIST - begin].tobytes())
        file.flush()
        results["memory"] = in_process(environment, "memory", file.name)
    results["evaluation"] = in_process(environment, "evaluation", pools)
    results["growth"] = in_process(environment, "growth", pools)
    text = report(results)
    print(text)
    if arguments.write:
        reported = isa.ask("mlpaper", arguments.isa)
        results |= {"isa": arguments.isa or "all", "reported": reported}
        record.write(record.named("jobs", arguments.isa), "Training jobs", f"{reported}\n\n{text}", results)


if __name__ == "__main__":
    from mlpaper.errors import MlpaperError

    try:
        main()
    except MlpaperError as error:
        raise SystemExit(str(error)) from None
