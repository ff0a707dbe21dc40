"""Kill Snakemake and its jobs at random moments, call it again, and compare the results with an undisturbed call's.

    python tests/workflow/kills.py --kills 200 --seed 0

Every trial starts from nothing. The same command is called, and killed after a random time, until a call ends by
itself. All that was made must then be equal, bit for bit, to what an undisturbed call makes; measured times and memory
are left out. The exit code is 1 if anything differs, if a call is refused, or if a process or half a file stays.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from project import Project, copy_project

COMMAND = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "scale=tiny", "studies=[tiny]", "pdf=none"]
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
RATE = 5.0
"""Kills within the time of an undisturbed call, on average."""
MOST = 10
"""Kills of a trial: the next call then comes to its end."""
MEASURED = ("seconds", "seconds_per_epoch", "peak_memory", "peak_memory_bytes")
"""What differs from call to call: times and memory, as keys of JSON, columns and metrics."""
PATIENCE = 120.0
"""Seconds that a call may take, and processes to end."""


def prepare(folder: Path) -> Project:
    """A project with a tiny study, that trains for some hundred milliseconds with a checkpoint after every epoch."""
    project = copy_project(folder)
    project.edit("workflow/scales/tiny.yaml", "epochs_divisor: 25", "epochs_divisor: 1")
    project.edit("workflow/rules/train.smk", " --checkpoint ", " --checkpoint-seconds 0 --checkpoint ")
    return project


def start(folder: Path) -> subprocess.Popen[bytes]:
    """The command, its output in `out.log`."""
    with (folder / "out.log").open("wb") as out:
        return subprocess.Popen(COMMAND, cwd=folder, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)


def fingerprint(folder: Path) -> dict[str, str]:
    """A hash of everything that was made, without measured times and memory, by file."""
    made = [path for top in ("data", "results") for path in (folder / top).rglob("*") if path.is_file()]
    made = [path for path in made if path.relative_to(folder).parts[:2] != ("results", "logs")]
    return {str(path.relative_to(folder)): hashlib.sha256(_content(path)).hexdigest() for path in sorted(made)}


def _content(path: Path) -> bytes:
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        table = table.select([name for name in table.column_names if name not in MEASURED])
        if "metric" in table.column_names:
            table = table.filter(pc.invert(pc.is_in(table["metric"], value_set=pa.array(MEASURED))))
        return repr(table.to_pylist()).encode()
    if path.suffix == ".json":
        return repr(_unmeasured(json.loads(path.read_bytes()))).encode()
    if path.stem == "paper":
        return re.sub(rb"took [0-9.]+ \w+ of training in all", b"", path.read_bytes())
    return path.read_bytes()


def _unmeasured(value: object) -> object:
    """A JSON value without what was measured; numbers of the paper are called `<study>.<run>.<metric>`.

    A run's `run.json` has the hash of `history.parquet`, which holds times, and is compared by itself.
    """
    if isinstance(value, dict):
        kept = (key for key in value if key.rpartition(".")[2] not in MEASURED and key != "history.parquet")
        return {key: _unmeasured(value[key]) for key in kept}
    return [_unmeasured(it) for it in value] if isinstance(value, list) else value


def processes(folder: Path) -> Iterator[tuple[int, str, str]]:
    """Processes that work in a folder: id, command line, and state."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").readlink() == folder:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    state = (entry / "stat").read_text().rpartition(")")[2].split()
                    yield int(entry.name), words, f"{state[0]} {state[1]}"
            except OSError:  # it has ended, or is another user's
                continue


def victims(call: subprocess.Popen[bytes], folder: Path) -> dict[str, list[int]]:
    """Processes that may be killed at the moment, by kind."""
    found = [(pid, words, int(state.split()[1])) for pid, words, state in processes(folder)]
    servers = [pid for pid, words, parent in found if "mlpaper.server" in words and parent == call.pid]
    of = {
        "snakemake": [call.pid],
        "server": servers,
        "job": [pid for pid, _, parent in found if parent in servers],
        "shell": [pid for pid, words, _ in found if "set -euo pipefail" in words],
    }
    return {kind: sorted(pids) for kind, pids in of.items() if pids}


@dataclass
class Trials:
    """What was tried, and what came of it."""

    folder: Path
    chance: random.Random
    expected: dict[str, str]
    duration: float
    """Seconds of an undisturbed call."""
    say: Callable[[str], None] = print
    kills: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    trials: int = 0

    def trial(self) -> None:
        """From nothing to results that are compared, through kills."""
        for name in ("data", "results", ".snakemake"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        history: list[str] = []
        self.trials += 1
        while not self._call(history) and len(self.faults) < MOST:
            pass
        self._compare(history)
        self.say(f"trial {self.trials}: {', '.join(history) or 'not killed'}; {len(self.faults)} faults")

    def _call(self, history: list[str]) -> bool:
        """One call, with kills at random times until it ends; whether it ended well."""
        call, begun, killed = start(self.folder), time.monotonic(), False
        while self._wait(call, self.chance.expovariate(RATE / self.duration) if len(history) < MOST else PATIENCE):
            if time.monotonic() - begun > PATIENCE:
                call.kill()
                self._fault("a call did not end", history)
                continue
            of, how = victims(call, self.folder), self.chance.choice(SIGNALS)
            kind = self.chance.choice(list(of))
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.chance.choice(of[kind]), how)
                killed = True
                history.append(f"{how.name} of {kind} at {time.monotonic() - begun:.1f} s")
                self.kills[f"{how.name} of {kind}"] += 1
        output = (self.folder / "out.log").read_text(errors="replace")
        if "cannot be locked" in output or (call.returncode != 0 and not killed):
            self._fault(f"exit code {call.returncode} without a kill:\n{output[-3000:]}", history)
        return call.returncode == 0

    @staticmethod
    def _wait(call: subprocess.Popen[bytes], seconds: float) -> bool:
        """Wait for so long, or until a call ends; whether it goes on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            call.wait(seconds)
        return call.returncode is None

    def _compare(self, history: list[str]) -> None:
        end = time.monotonic() + PATIENCE
        while (left := list(processes(self.folder))) and time.monotonic() < end:
            time.sleep(0.05)
        if left:
            self._fault(f"processes stay: {left}", history)
        found = fingerprint(self.folder)
        if different := sorted(name for name in found | self.expected if found.get(name) != self.expected.get(name)):
            self._fault(f"not as in an undisturbed call: {', '.join(different)}", history)
        if sockets := [path.name for path in (self.folder / ".snakemake").glob("mlpaper-*")]:
            self._fault(f"sockets stay: {sockets}", history)

    def _fault(self, what: str, history: list[str]) -> None:
        self.faults.append(what)
        self.say(f"FAULT in trial {self.trials} after {', '.join(history)}: {what}")


def undisturbed(folder: Path) -> tuple[dict[str, str], float]:
    """Make everything once: its fingerprint, and the seconds that it took."""
    begun = time.monotonic()
    if start(folder).wait():
        raise SystemExit((folder / "out.log").read_text())
    return fingerprint(folder), time.monotonic() - begun


def run(folder: Path, kills: int, seed: int, say: Callable[[str], None] = print) -> Trials:
    """Trials in a new folder, until so many kills were made."""
    prepare(folder)
    expected, duration = undisturbed(folder)
    say(f"{len(expected)} files compared; an undisturbed call took {duration:.1f} s; seed {seed}")
    trials = Trials(folder, random.Random(seed), expected, duration, say)
    while trials.kills.total() < kills:
        trials.trial()
    return trials


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="how many, at least")
    parser.add_argument("--seed", type=int, default=0, help="which kills, and when")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        trials = run(
            Path(folder).resolve() / "project", options.kills, options.seed, lambda line: print(line, flush=True)
        )
    print(f"{trials.trials} trials, {trials.kills.total()} kills: {dict(sorted(trials.kills.items()))}")
    print(f"{len(trials.faults)} faults")
    sys.exit(bool(trials.faults))


if __name__ == "__main__":
    main()
