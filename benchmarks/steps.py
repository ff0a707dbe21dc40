"""Training steps per second of the engine and of others, on one thread each or on a GPU, in alternation.

    python benchmarks/steps.py [--isa avx2] [--device gpu] [--rows TEXT] [--contenders TEXT] [--rounds 7] [--write]

One process per contender and row holds everything in memory; the processes are timed in turn, round after round. A
ratio is the median over the rounds of another's time by the engine's in the same round, since a machine may be faster
in one round than in the next. Ratios above 1 say that the engine is faster. `--isa` restricts all contenders to an
instruction set. `--write` records the table with machine, versions and date under `benchmarks/results/`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median
from typing import IO

import isa
import record
from contenders import CONTENDERS, ON_GPU, Absent
from rows import ROWS, data, parameters, provide

from mlpaper.errors import MlpaperError, nearest

Times = dict[str, list[float] | str]
"""Milliseconds per update of each contender, or why it has none; and what is known of the data."""


def worker(contender: str, row: str, device: str, pools: Path) -> None:
    """Prepare, then time as many updates as standard input asks for, line by line."""
    spec = ROWS[row]
    images, labels, classes, name = data(spec, pools)
    try:
        steps = (ON_GPU if device == "gpu" else CONTENDERS)[contender](spec, images, labels, classes)
        steps(1)
    except Absent as absent:
        print(json.dumps({"absent": str(absent)}), flush=True)
        return
    except ModuleNotFoundError as error:
        print(json.dumps({"absent": f"{error.name} is not installed"}), flush=True)
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

    name: str
    process: subprocess.Popen[str]
    errors: IO[str]
    count: int = 1

    @classmethod
    def start(cls, contender: str, row: str, device: str, pools: Path, only: str) -> Worker:
        """Start the process, on one core where it is that which is timed."""
        pinned = device == "cpu" and hasattr(os, "sched_setaffinity")
        errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        process = subprocess.Popen(
            [sys.executable, __file__, "--worker", contender, row, "--device", device, "--pools", str(pools)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=isa.environment(only),
            preexec_fn=(lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})) if pinned else None,
        )  # fmt: skip
        return cls(contender, process, errors)

    def answer(self) -> str:
        """The next line of the process; `Absent`, after what it has said, where it has died."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return line
        self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().strip() or f"exit code {self.process.returncode}"
        print("\n".join(f"{self.name}: {it}" for it in said.splitlines()), file=sys.stderr, flush=True)
        raise Absent(f"failed: {said.splitlines()[-1]}")

    def ready(self, seconds: float) -> dict[str, str | int]:
        """Wait until it may be timed, and what it says of its data; `Absent` where it cannot run the row."""
        about: dict[str, str | int] = json.loads(self.answer())
        if "absent" in about:
            raise Absent(about["absent"])
        self.calibrate(seconds)
        return about

    def time(self, count: int) -> float:
        """Seconds for `count` updates."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return float(json.loads(self.answer()))

    def calibrate(self, seconds: float) -> None:
        """Find how many updates fill a timing; what is compiled is compiled here."""
        self.time(1)
        passed = self.time(1)
        for _ in range(3):
            self.count = max(1, min(4000, round(self.count * seconds / max(passed, 1e-6))))
            self.time(self.count)
            passed = self.time(self.count)

    def end(self) -> None:
        """Stop the process."""
        self.process.kill()
        self.process.wait()
        self.errors.close()


def measure(
    row: str, contenders: list[str], rounds: int, seconds: float, device: str, pools: Path, only: str
) -> Times:  # fmt: skip
    """Times of every contender, round by round; each round begins with another of them."""
    workers: list[Worker] = []
    times: dict[str, list[float]] = {}
    results: Times = {}
    try:
        for name in contenders:
            workers.append(Worker.start(name, row, device, pools, only))
            try:
                about = workers[-1].ready(seconds)
            except Absent as absent:
                results[name] = str(absent)
                continue
            times[name] = []
            results |= {"data": f"{about['data']}, {about['images']:,} images", "classes": str(about["classes"])}
        for number in range(rounds):
            for it in (*workers[number % len(workers) :], *workers[: number % len(workers)]):
                if it.name in results:
                    continue
                try:
                    times[it.name].append(1e3 * it.time(it.count) / it.count)
                except Absent as absent:
                    results[it.name] = str(absent)
    finally:
        for it in workers:
            it.end()
    return times | results


def ratios(times: Times, others: list[str]) -> dict[str, float]:
    """Everyone else's time divided by the engine's in the same round: medians."""
    mine = times["mlpaper"]
    found = {}
    for name in others:
        theirs = times[name]
        if isinstance(mine, list) and isinstance(theirs, list):
            found[name] = median(other / own for other, own in zip(theirs, mine, strict=True))
    return found


def table(results: Mapping[str, Times], contenders: list[str], reported: Mapping[str, str]) -> str:
    """Markdown: milliseconds of the engine, its arithmetic, everyone else's ratio, and what they run on."""
    others = [name for name in contenders if name != "mlpaper"]
    lines = [
        f"| row | data | mlpaper, ms | GFLOP/s | {' | '.join(others)} | fastest other |",
        f"|---|---|--:|--:|{'--:|' * len(others)}--:|",
    ]
    least: dict[str, tuple[float, str]] = {}
    every: list[float] = []
    why: dict[str, list[str]] = {}
    for row, times in results.items():
        mine, spec, found = times["mlpaper"], ROWS[row], ratios(times, others)
        every += found.values()
        ours, rate, last = "–", "–", "–"
        if isinstance(mine, list):
            images = int(str(times["data"]).split(", ")[1].split()[0].replace(",", ""))
            size = images if spec.batch_size == "full" else min(spec.batch_size, images)
            ours = f"{median(mine):.3g}"
            rate = f"{6 * parameters(spec, int(str(times['classes']))) * size / median(mine) / 1e6:.0f}"
        if found:
            least[row] = min((ratio, name) for name, ratio in found.items())
            last = f"{least[row][0]:.2f}, {least[row][1]}"
        cells = " | ".join(f"{found[name]:.2f}" if name in found else "–" for name in others)
        lines.append(f"| {row} | {times.get('data', '–')} | {ours} | {rate} | {cells} | {last} |")
        for name in contenders:
            if isinstance(times[name], str):
                why.setdefault(f"{name} {times[name]}", []).append(row)
    lines += ["", "Ratio: their time / ours in the same round, medians."]
    if least:
        row = min(least, key=lambda it: least[it])
        lines[-1] += f" Geometric mean of all ratios: {geometric_mean(every):.2f}."
        lines.append(f"Smallest ratio: {least[row][0]:.2f}, {least[row][1]}, {row}.")
    for reason, where in why.items():
        lines += ["", f"–: {reason}" + (f" ({'; '.join(where)})" if len(where) < len(results) else "")]
    if reported:
        lines += ["", "| contender | instruction sets that its libraries report |", "|---|---|"]
        lines += [f"| {name} | {words} |" for name, words in reported.items()]
    return "\n".join(lines)


def chosen(names: str, known: list[str]) -> list[str]:
    """The contenders that are asked for, or all; the engine always, as the first."""
    asked = [name.strip() for name in names.split(";")] if names else known
    for name in asked:
        if name not in known:
            raise SystemExit(f"--contenders: there is no `{name}`{nearest(name, known)}; there are {'; '.join(known)}")
    return ["mlpaper", *(name for name in asked if name != "mlpaper")]


def main() -> None:
    """Measure, print the table, and record it where asked."""
    parser = record.parser(__doc__)
    parser.add_argument("--rows", default="", help="only rows that hold this text")
    parser.add_argument("--contenders", default="", help="only these, separated by semicolons")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.6, help="length of one timing")
    parser.add_argument("--worker", nargs=2, help="for this program itself")
    arguments = parser.parse_args()
    only, on_gpu, pools = arguments.isa, arguments.device == "gpu", arguments.pools
    if arguments.worker:
        contender, row = arguments.worker
        worker(contender, row, arguments.device, pools)
        return
    if only and on_gpu:
        parser.error("--isa is of the processor")
    contenders = chosen(arguments.contenders, [*(ON_GPU if on_gpu else CONTENDERS)])
    rows = [row for row in ROWS if arguments.rows in row]
    if not rows:
        parser.error(f"--rows: no row holds `{arguments.rows}`; there are {'; '.join(ROWS)}")
    isa.check(only)
    provide([ROWS[row] for row in rows], pools, arguments.mirror)
    reported = {} if on_gpu else {name: isa.ask(name, only) for name in contenders}
    for name, words in reported.items():
        if isa.exceeds(only, words):
            raise SystemExit(f"{name} cannot be restricted to {only}: {words}. Leave it out by --contenders")
    results = {}
    for row in rows:
        results[row] = measure(row, contenders, arguments.rounds, arguments.seconds, arguments.device, pools, only)
        print(json.dumps({row: results[row]}), file=sys.stderr, flush=True)
    text = table(results, contenders, reported)
    print(text)
    if not any("data" in times for times in results.values()):
        raise SystemExit("No contender ran: see above.")
    if arguments.write:
        facts = {"rounds": arguments.rounds, "isa": only or "all", "reported": reported, "milliseconds": results}
        if on_gpu:
            from mlpaper.engine.cuda import Cuda

            packages = ["torch", "jax", "cupy-cuda12x", "cupy-cuda13x"]
            record.write("gpu-steps", "Training steps", text, facts, packages, **Cuda().description())
        else:
            packages = ["torch", "jax", "scikit-learn", "scipy", "numba"]
            record.write(record.named("steps", only), "Training steps", text, facts, packages)


if __name__ == "__main__":
    try:
        main()
    except MlpaperError as error:
        raise SystemExit(str(error)) from None
