"""A dataset of one's own is one file: from the images to the paper, without a line of Python."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from project import Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

OWN = """
name: own
title: Images of our own
source: {citation: tobio2025, authors: Nobody, title: Nothing, year: 2025}
summary: Networks on images of our own.
defaults:
  dataset: {name: blobs}
  split: {scheme: official, validation: 0.2}
  network: {hidden: [8]}
  optimizer: {name: adam, learning_rate: 0.02}
  epochs: 200
runs:
  A: {description: On grey images, noise: true, changes: {augmentation: {shift: 1}}}
  C: {description: In colour, changes: {dataset: {name: colours}, split: {scheme: pool, train: 0.6}}}
figures:
  - {kind: samples, name: samples, title: Images, caption: An image of every class.}
  - {kind: confused-pairs, name: pairs, title: Confused, run: C, caption: Confused colours.}
tables:
  - {kind: settings, name: settings, title: Settings, caption: Settings.}
  - {kind: runs, name: test, title: Test, runs: [A, C], columns: [test_accuracy], caption: Test accuracies.}
"""

MANUAL = """
name: brought
title: A file that its user brings
source: {citation: tobio2025, authors: Nobody, title: Nothing, year: 2025}
summary: One run.
defaults: {dataset: {name: typeface_digits}, network: {hidden: [8]}, epochs: 50}
runs:
  T: {description: On digits of typefaces}
claims:
  - {id: learns, statement: It learns., place: table 1, rule: range, runs: [T], metric: test_accuracy, low: 0.5}
figures:
  - {kind: samples, name: samples, title: Images, caption: An image of every class.}
tables:
  - {kind: split, name: split, title: Split, caption: The split.}
"""


def blobs(shape: tuple[int, ...], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of three classes, each around a random image of its own, and their numbers."""
    random = np.random.default_rng(0)
    centres, labels = random.uniform(0.2, 0.8, (3, *shape)), np.arange(count) % 3
    return np.clip(centres[labels] + 0.1 * random.normal(size=(count, *shape)), 0, 1), labels


def call(project: Project, *arguments: str) -> str:
    command = [sys.executable, "-m", "mlpaper", *arguments]
    environment = os.environ | {"PYTHONPATH": str(project.folder / "src")}
    done = subprocess.run(command, cwd=project.folder, env=environment, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_images_of_ones_own_become_a_paper(project: Project) -> None:
    images, labels = blobs((12, 12), 150)
    first, rest = slice(120), slice(120, None)
    np.savez(
        project.folder / "blobs.npz",
        x_train=images[first].astype(np.float32), y_train=labels[first], x_test=images[rest], y_test=labels[rest],
    )  # fmt: skip
    images, labels = blobs((8, 8, 3), 150)
    names = np.array(["red", "green", "blue"])[labels]
    np.savez(project.folder / "colours.npz", images=np.rint(255 * images).astype(np.uint8), labels=names)
    assert "12 x 12, 3 classes" in call(project, "new", "dataset", "blobs", "--from", "blobs.npz")
    assert "split: {scheme: pool}" in call(project, "new", "dataset", "colours", "--from", "colours.npz")
    listed = call(project, "datasets")
    assert "missing: " in next(line for line in listed.splitlines() if line.startswith("typeface_digits"))
    (project.folder / "workflow" / "studies" / "own.yaml").write_text(OWN)
    config = ("scale=demo", "studies=[own]", "pdf=none")
    outcome = project.snakemake("results/paper.md", config=config)
    assert outcome.code == 0, outcome.output
    assert outcome.jobs["fetch"] == outcome.jobs["prepare"] == outcome.jobs["train"] == 2
    results = project.folder / "results"
    metrics = pd.read_parquet(results / "studies" / "own" / "runs.parquet")
    accuracy = metrics[metrics["metric"] == "test_accuracy"].set_index("run")["value"]
    assert accuracy.min() > 0.6, "guessing is right a third of the time"
    paper = (results / "paper.md").read_text()
    assert "12 \\times 12" in paper
    assert "Colours" in (results / "tables" / "own-settings.md").read_text()
    for name in ("samples", "pairs"):
        assert (results / "figures" / f"own-{name}.svg").stat().st_size > 1000

    # A title is no reason to fetch or train anything again; the file with other images is one to stop.
    project.edit("workflow/datasets/colours.yaml", "title: Colours", "title: Three colours")
    assert project.plan("results/paper.md", config=config) == {"table": 1, "numbers": 1, "paper": 1}
    project.edit("workflow/datasets/blobs.yaml", 'classes: ["0", "1", "2"]', "classes: [a, b, c]")
    plan = project.plan("results/paper.md", config=config)
    assert (plan["prepare"], plan["train"]) == (1, 1)
    assert "fetch" not in plan
    path = project.folder / "workflow" / "datasets" / "colours.yaml"
    pinned = "".join(line for line in path.read_text().splitlines(keepends=True) if "sha256" not in line)
    path.write_text("".join(line for line in pinned.splitlines(keepends=True) if "bytes" not in line))
    np.savez(project.folder / "colours.npz", images=np.zeros((150, 8, 8, 3), np.uint8), labels=names)
    stopped = project.snakemake("--dry-run", "results/paper.md", config=config)
    assert stopped.code != 0
    assert "colours.npz changed since Three colours was first used" in " ".join(stopped.output.split())


def test_runs_wait_for_a_file_that_only_their_user_can_bring(project: Project) -> None:
    """With the default configuration: of one study, and a scale of one seed."""
    for study in (project.folder / "workflow" / "studies").iterdir():
        study.unlink()
    (project.folder / "workflow" / "studies" / "brought.yaml").write_text(MANUAL)
    project.edit("workflow/scales/paper.yaml", "[0, 1, 2]", "[0]")
    project.edit("workflow/datasets/typeface_digits.yaml", "count: 29900", "count: 100")
    outcome = project.snakemake("results/paper.md", config=())
    assert outcome.code == 0, outcome.output
    assert outcome.output.count("1 of 1 runs are left out: data not provided (T).") == 1
    assert "Download TMNIST_Data.csv" in outcome.output
    assert not {"fetch", "prepare", "train"} & set(outcome.jobs)
    results = project.folder / "results"
    paper = (results / "paper.md").read_text()
    assert "Left out: brought.T (data not provided)" in paper
    assert "The data are not provided." in (results / "tables" / "brought-split.md").read_text()
    claims = results / "studies" / "brought" / "claims.parquet"
    assert list(pd.read_parquet(claims)["verdict"]) == ["not run"]

    table = project.folder / "data" / "manual" / "TMNIST_Data.csv"
    table.parent.mkdir(parents=True)
    random, lines = np.random.default_rng(0), ["names,labels," + ",".join(map(str, range(1, 785)))]
    for row in range(100):
        pixels = (40 * (np.arange(784) % 10 == row % 10) + random.integers(0, 200, 784)).tolist()
        lines.append(f'"A typeface, bold",{row % 10},{",".join(map(str, pixels))}')
    table.write_text("\n".join(lines) + "\n")
    target = "results/studies/brought/claims.parquet"
    outcome = project.snakemake(target, config=())
    assert outcome.code == 0, outcome.output
    assert "left out" not in outcome.output
    assert outcome.jobs["fetch"] == outcome.jobs["train"] == 1
    assert list(pd.read_parquet(claims)["verdict"]) != ["not run"]
