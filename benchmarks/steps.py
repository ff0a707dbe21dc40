"""Training steps per second of the engine and of others, on one thread each or on a GPU, in alternation.

    python benchmarks/steps.py [--device gpu] [--rows TEXT] [--contenders TEXT] [--rounds 5] [--write]

One process per contender and row holds everything in memory; the processes are timed in turn, round after round. A
ratio is the median over the rounds of another's time by the engine's in the same round, since a machine may be faster
in one round than in the next. Ratios above 1 say that the engine is faster. `--write` records the table with machine,
versions and date under `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import geometric_mean, median

HERE = Path(__file__).resolve().parent
SECONDS = 0.6
"""Length of one timing."""


def worker(contender: str, row: str, device: str, pools: Path) -> None:
    """Prepare, then time as many updates as standard input asks for, line by line."""
    from contenders import CONTENDERS, ON_GPU, Absent
    from rows import ROWS, data

    spec = ROWS[row]
    images, labels, classes, name = data(spec, pools)
    try:
        steps = (ON_GPU if device == "gpu" else CONTENDERS)[contender](spec, images, labels, classes)
        steps(1)
    except Absent as absent:
        print(json.dumps({"absent": str(absent)}), flush=True)
        return
    print(json.dumps({"data": name, "classes": classes, "images": len(images)}), flush=True)
    for line in sys.stdin:
        count = int(line)
        start = time.perf_counter()
        done = steps(count)
        print(json.dumps((time.perf_counter() - start) * count / done), flush=True)


@dataclass
class Worker:
    """A contender in a process of its own."""

    process: subprocess.Popen[str]
    about: dict[str, object]
    count: int = 1

    @classmethod
    def start(cls, contender: str, row: str, device: str, pools: Path) -> Worker:
        """Start the process, on one core where it is that which is timed, and wait until it is ready."""
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA")}
        flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker", contender, row, "--device", device, "--pools", str(pools)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | threads | flags,
            preexec_fn=None if device == "gpu" else lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
        )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        return cls(process, json.loads(line) if line else {"absent": "failed, see above"})

    def time(self, count: int) -> float:
        """Seconds for `count` updates."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return float(json.loads(self.process.stdout.readline()))

    def calibrate(self) -> None:
        """Find how many updates fill a timing; what is compiled is compiled here."""
        self.time(1)
        seconds = self.time(1)
        for _ in range(3):
            self.count = max(1, min(4000, round(self.count * SECONDS / max(seconds, 1e-6))))
            self.time(self.count)
            seconds = self.time(self.count)


def measure(row: str, contenders: list[str], rounds: int, device: str, pools: Path) -> dict[str, list[float] | str]:
    """Milliseconds per update of every contender, round by round, or why there are none."""
    workers = {name: Worker.start(name, row, device, pools) for name in contenders}
    running = {name: it for name, it in workers.items() if "absent" not in it.about}
    for it in running.values():
        it.calibrate()
    times: dict[str, list[float]] = {name: [] for name in running}
    for _ in range(rounds):
        for name, it in running.items():
            times[name].append(1e3 * it.time(it.count) / it.count)
    for it in workers.values():
        it.process.kill()
    results: dict[str, list[float] | str] = {name: str(it.about.get("absent")) for name, it in workers.items()}
    results |= times
    about = next(iter(running.values())).about
    return results | {"data": f"{about['data']}, {about['images']:,} images", "classes": str(about["classes"])}


def table(results: dict[str, dict[str, list[float] | str]], contenders: list[str]) -> str:
    """Markdown: milliseconds of the engine, its arithmetic, and everyone else's time divided by it."""
    from rows import ROWS, parameters

    others = [name for name in contenders if name != "mlpaper"]
    lines = [
        f"| row | data | mlpaper, ms | GFLOP/s | {' | '.join(others)} |",
        f"|---|---|--:|--:|{'--:|' * len(others)}",
    ]
    ratios: list[float] = []
    for row, times in results.items():
        mine, spec = times["mlpaper"], ROWS[row]
        assert isinstance(mine, list)
        ours = median(mine)
        images = int(str(times["data"]).split(", ")[1].split()[0].replace(",", ""))
        size = images if spec.batch_size == "full" else spec.batch_size
        rate = 6 * parameters(spec, int(times["classes"])) * size / ours / 1e6
        cells = []
        for name in others:
            theirs = times[name]
            if isinstance(theirs, str):
                cells.append("–")
                continue
            ratios.append(median(other / own for other, own in zip(theirs, mine, strict=True)))
            cells.append(f"{ratios[-1]:.2f}")
        lines.append(f"| {row} | {times['data']} | {ours:.3g} | {rate:.0f} | {' | '.join(cells)} |")
    lines.append("")
    mean = geometric_mean(ratios)
    lines.append(f"Geometric mean of all ratios: {mean:.2f}. Ratio: their time / ours in the same round, medians.")
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and record it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="", help="only rows that hold this text")
    parser.add_argument("--contenders", default="", help="only these, separated by semicolons")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pools", type=Path, default=HERE.parent / "data", help="folder of prepared datasets")
    parser.add_argument("--write", action="store_true", help="record under benchmarks/results/")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        worker(*arguments.worker, arguments.device, arguments.pools)
        return
    from contenders import CONTENDERS, ON_GPU
    from rows import ROWS

    from mlpaper.machine import commit, machine, versions

    on_gpu = arguments.device == "gpu"
    known = [*(ON_GPU if on_gpu else CONTENDERS)]
    contenders = [name.strip() for name in arguments.contenders.split(";")] if arguments.contenders else known
    contenders = ["mlpaper", *(name for name in contenders if name != "mlpaper")]
    results = {}
    for row in (row for row in ROWS if arguments.rows in row):
        results[row] = measure(row, contenders, arguments.rounds, arguments.device, arguments.pools)
        print(json.dumps({row: results[row]}), file=sys.stderr, flush=True)
    text = table(results, contenders)
    print(text)
    if arguments.write:
        stamp = datetime.now(UTC)
        extra = {}
        for package in ("torch", "jax", *(["cupy-cuda12x", "cupy-cuda13x"] if on_gpu else ["scikit-learn", "numba"])):
            try:
                extra[package] = version(package)
            except PackageNotFoundError:
                extra[package] = "not installed"
        about = {"date": stamp.isoformat(timespec="seconds"), "rounds": arguments.rounds}
        record = about | {"machine": machine(), "versions": versions() | extra} | commit() | {"milliseconds": results}
        if on_gpu:
            from mlpaper.engine.cuda import Cuda

            record["machine"] |= Cuda().description()
        stem = HERE / "results" / f"{'gpu-' * on_gpu}steps-{stamp:%Y-%m-%d}"
        stem.parent.mkdir(exist_ok=True)
        stem.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
        where = f"{record['machine']['gpu']}" if on_gpu else f"{record['machine']['processor']}, one thread"
        facts = f"{where}; " + ", ".join(f"{k} {v}" for k, v in extra.items())
        stem.with_suffix(".md").write_text(f"# Training steps, {stamp:%Y-%m-%d}\n\n{facts}\n\n{text}\n")


if __name__ == "__main__":
    main()
