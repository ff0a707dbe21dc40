"""A copy of the repository with one tiny study, and real Snakemake on it."""

import os
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCALE = """
description: Two epochs on digits.
watermark: tiny
seeds: [0]
noise_seeds: 1
dataset: digits
epochs_divisor: 25
max_batch_size: 64
withhold: false
"""

STUDY = """
name: tiny
title: A tiny study
source: {citation: tobio2025, authors: Nobody, title: Nothing, year: 2025}
summary: Two runs.
defaults:
  dataset: {name: digits}
  network: {hidden: [8]}
runs:
  A: {description: The first, noise: true}
  B: {description: The second, changes: {optimizer: {learning_rate: 0.002}}}
claims:
  - {id: b-over-a, statement: B is better., place: table 1, rule: difference, first: B, second: A,
     metric: test_accuracy}
figures:
  - {kind: confusion, name: a-confusion, title: Confusions, run: A, caption: Confusions of A.}
  - {kind: curves, name: curves, title: Curves, runs: [A, B], caption: Curves of both.}
  - {kind: noise, name: noise, title: Noise, runs: [A], caption: Noise.}
  - {kind: gradient-norms, name: gradients, title: Gradients, runs: [A], caption: Gradients of A.}
tables:
  - {kind: runs, name: curves, title: Test, runs: [A, B], columns: [test_accuracy], caption: Test accuracies.}
  - {kind: claims, name: claims, title: Claims, caption: What is claimed.}
"""


TWIN = """
  T: {description: The first in PyTorch, based_on: A, noise: true, changes: {engine: torch}}
claims:"""

WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder


class WithoutTorch(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "torch" else super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutTorch
"""


@dataclass
class Outcome:
    """What a call of Snakemake did."""

    code: int
    output: str
    seconds: float
    """Processor time: what a call costs, whatever else the machine does."""
    jobs: dict[str, int] = field(default_factory=dict)
    """Rule to number of jobs, as planned or run."""


@dataclass
class Project:
    """A copy of the repository."""

    folder: Path
    config: tuple[str, ...] = ("scale=tiny", "studies=[tiny]", "pdf=none")

    def snakemake(self, *arguments: str, config: tuple[str, ...] | None = None, profile: str = "none") -> Outcome:
        """Run Snakemake on the copy, with the copy's own code."""
        environment = os.environ | {"PYTHONPATH": str(self.folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        config = self.config if config is None else config
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", profile, *arguments]
        if config:
            command += ["--config", *config]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        jobs = {rule: int(count) for rule, count in re.findall(r"^ ?([a-z0-9_]+) +(\d+)$", done.stdout, re.MULTILINE)}
        return Outcome(done.returncode, done.stdout, seconds, {k: v for k, v in jobs.items() if k != "total"})

    def plan(self, *arguments: str, **options: tuple[str, ...]) -> dict[str, int]:
        """Jobs that Snakemake would run now, by rule; the target itself is left out."""
        outcome = self.snakemake("--dry-run", *arguments, **options)
        assert outcome.code == 0, outcome.output
        return {rule: count for rule, count in outcome.jobs.items() if rule != "all"}

    def add_twin(self) -> None:
        """A run T by PyTorch, in all figures and tables of several runs."""
        path = self.folder / "workflow" / "studies" / "tiny.yaml"
        text = path.read_text().replace("\nclaims:", TWIN, 1).replace("runs: [A, B]", "runs: [A, B, T]")
        path.write_text(text.replace("runs: [A]", "runs: [A, T]"))

    def hide_torch(self) -> None:
        """From now on no Python of this copy finds PyTorch."""
        (self.folder / "src" / "sitecustomize.py").write_text(WITHOUT_TORCH)

    def show_torch(self) -> None:
        """Undo `hide_torch`."""
        (self.folder / "src" / "sitecustomize.py").unlink()

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text in a file of the copy."""
        text = (self.folder / path).read_text()
        assert old in text, f"{path} does not hold {old!r}"
        (self.folder / path).write_text(text.replace(old, new, 1))


def copy_project(folder: Path) -> Project:
    for name in ("src", "workflow", "report", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder)
    (folder / "workflow" / "scales" / "tiny.yaml").write_text(SCALE)
    (folder / "workflow" / "studies" / "tiny.yaml").write_text(STUDY)
    return Project(folder)
