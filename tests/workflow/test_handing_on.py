"""Runs go from one clone to another, by a shared store or a crate, under real Snakemake: nothing is trained twice."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from project import Project, copy_project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

TARGET = "results/studies/tiny/runs.parquet"


def trained_and_taken(project: Project) -> tuple[int, int]:
    """Runs that the last call trained, and that it took from a store."""
    logs = [path.read_text() for path in (project.folder / "results" / "logs" / "train").iterdir()]
    trained = sum("epoch " in log for log in logs)
    return trained, sum("taken from" in log for log in logs)


def histories(project: Project) -> dict[str, bytes]:
    """With the seconds of every epoch, which no second training repeats."""
    return {path.parent.name: path.read_bytes() for path in project.folder.glob("results/runs/*/history.parquet")}


def mlpaper(project: Project, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mlpaper", *arguments],
        cwd=project.folder,
        env=os.environ | {"PYTHONPATH": str(project.folder / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


def test_clones_that_share_a_store_train_each_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fill it at once, and a third trains nothing but what is damaged, or what its own code would make."""
    store = tmp_path / "it's a störe"
    monkeypatch.setenv("MLPAPER_RUN_STORE", str(store))
    clones = [copy_project(tmp_path / name) for name in ("one", "two", 'it\'s "three" é 雪 $(touch hacked) {run}')]
    with ThreadPoolExecutor(2) as pool:
        for outcome in pool.map(lambda clone: clone.snakemake(TARGET), clones[:2]):
            assert outcome.code == 0, outcome.output
    assert len(list(store.iterdir())) == 2
    stored = {path.parent.name.rpartition("-")[0]: path.read_bytes() for path in store.glob("*/history.parquet")}
    assert all(history in [histories(clone)[run] for clone in clones[:2]] for run, history in stored.items())

    third, spoilt = clones[2], min(store.glob("*/weights.npz"))
    spoilt.write_bytes(spoilt.read_bytes()[:-1] + b"?")
    outcome = third.snakemake(TARGET)
    assert outcome.code == 0, outcome.output
    assert trained_and_taken(third) == (1, 1)
    run = spoilt.parent.name.rpartition("-")[0]
    assert histories(third)[run] != stored[run]
    assert spoilt.parent.joinpath("history.parquet").read_bytes() == histories(third)[run], "it is made again"
    assert all(history == stored[name] for name, history in histories(third).items() if name != run)
    assert third.plan(TARGET) == {}

    third.edit("src/mlpaper/engine/optim.py", "if self.decay.l2:", "if self.decay.l2 > 0:")
    assert third.snakemake(TARGET).code == 0
    assert trained_and_taken(third) == (2, 0), "edited code never meets what other code made"
    assert len(list(store.iterdir())) == 4
    assert not list(tmp_path.rglob("hacked"))


def test_the_cache_of_snakemake_hands_on_runs_and_damage_in_it_is_told(
    built: Project, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake links to what it does not check; the jobs that read it do."""
    cache, target = built.folder.parent / "cache", "results/runs/digits-8-adam-s0-f5bd2bd7/evaluation.json"
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(cache))
    cache.mkdir()
    assert built.snakemake(target, "--cache", "train", "--forcerun", "train").code == 0
    shutil.copytree(built.folder / "data", project.folder / "data")
    outcome = project.snakemake(target, "--cache", "train")
    assert outcome.code == 0, outcome.output
    assert trained_and_taken(project) == (0, 0)
    for name in ("evaluation.json", "weights.npz"):
        paths = [(it.folder / target).parent / name for it in (built, project)]
        assert paths[0].read_bytes() == paths[1].read_bytes()

    link = (project.folder / target).parent / "weights.npz"
    entry = link.readlink()
    entry.chmod(0o644)
    entry.write_bytes(entry.read_bytes()[:-1] + b"?")
    shutil.rmtree(link.parent)
    refused = project.snakemake(target, "--cache", "train")
    assert refused.code != 0
    log = " ".join((project.folder / "results/logs/evaluate/digits-8-adam-s0-f5bd2bd7.log").read_text().split())
    assert f"{entry}, to which it links, and run again: the run is made again" in log
    entry.unlink()
    shutil.rmtree(link.parent)
    outcome = project.snakemake(target, "--cache", "train")
    assert outcome.code == 0, outcome.output
    assert trained_and_taken(project) == (1, 0)


def test_a_crate_is_used_without_training(built: Project, project: Project, tmp_path: Path) -> None:
    crate = tmp_path / 'it\'s "theirs" é.zip'
    config = ("--config", "scale=tiny", "studies=[tiny]")
    assert "2 runs are in" in mlpaper(built, "export", "--output", str(crate), *config)
    assert "2 runs of" in mlpaper(project, "import", str(crate))
    outcome = project.snakemake(TARGET)
    assert outcome.code == 0, outcome.output
    assert trained_and_taken(project) == (0, 2)
    assert histories(project) == histories(built)
    metrics = [pd.read_parquet(it.folder / TARGET) for it in (built, project)]
    pd.testing.assert_frame_equal(*metrics)
    assert project.plan(TARGET) == {}, "and Snakemake finds nothing out of date"

    project.edit("src/mlpaper/engine/optim.py", "if self.decay.l2:", "if self.decay.l2 > 0:")
    refused = mlpaper(project, "import", str(crate))
    assert "other code trained these runs" in refused
    assert "Traceback" not in refused
    assert "2 of them were trained by other code" in mlpaper(project, "import", "--accept-other-code", str(crate))
    outcome = project.snakemake("results/paper.md")
    assert outcome.code == 0, outcome.output
    assert trained_and_taken(project) == (0, 2)
    paper = (project.folder / "results" / "paper.md").read_text()
    assert re.search(r"Other code than this project.s trained 2 of the runs", paper)
