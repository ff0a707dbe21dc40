"""The pipeline under real Snakemake: what is made, what is made again, and what is not."""

import re
from pathlib import Path

import pandas as pd
import pytest
from project import Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

FULL_DISK = """
import os

def replace(source, target, really=os.replace, **options):
    if "-sgd-" in str(target):
        raise OSError(28, "No space left on device")
    really(source, target, **options)

os.replace = replace
"""
"""What lets no Python of a copy finish a file of a run by SGD."""


def test_everything_is_made_and_a_second_run_does_nothing(built: Project) -> None:
    results = built.folder / "results"
    for ending in ("html", "md", "tex"):
        assert (results / f"paper.{ending}").stat().st_size > 1000
    metrics = pd.read_parquet(results / "studies" / "tiny" / "runs.parquet")
    assert set(metrics["run"]) == {"A", "B"}
    assert metrics["value"].notna().all()
    gradients = [pd.read_parquet(path) for path in results.glob("runs/*/gradients.parquet")]
    assert len(gradients) == 1, "only A is in a figure of gradients"
    assert gradients[0].groupby("moment").size().to_dict() == {"initialisation": 2, "trained": 2}
    assert (gradients[0]["norm"] > 0).all()
    again = built.snakemake()
    assert again.code == 0
    assert again.jobs == {}, again.output
    assert again.seconds < 6  # below 3 on an idle machine


def test_touching_files_and_editing_comments_changes_nothing(built: Project) -> None:
    optim = built.folder / "src" / "mlpaper" / "engine" / "optim.py"
    optim.write_text("# a comment\n" + optim.read_text())
    for path in (optim, *(built.folder / "data" / "digits").iterdir(), built.folder / "config.yaml"):
        path.touch()
    assert built.plan() == {}


def test_editing_the_optimiser_retrains_and_editing_a_figure_redraws_it(built: Project) -> None:
    built.edit("src/mlpaper/paper/figures/curves.py", "import", "import sys as _sys\nimport")
    plan = built.plan()
    assert plan["figure"] == 1
    assert set(plan) == {"figure", "paper"}
    built.edit("src/mlpaper/engine/optim.py", "if self.decay.l2:", "if self.decay.l2 > 1:")
    plan = built.plan()
    assert (plan["train"], plan["evaluate"]) == (2, 2)
    assert not {"fetch", "prepare", "split"} & set(plan)


def test_changing_one_run_trains_that_run_only_and_going_back_is_free(built: Project) -> None:
    built.edit("workflow/studies/tiny.yaml", "learning_rate: 0.002", "learning_rate: 0.004")
    plan = built.plan()
    assert (plan["train"], plan["evaluate"]) == (1, 1)
    assert "confusion" not in plan
    outcome = built.snakemake("results/studies/tiny/runs.parquet")
    assert outcome.code == 0, outcome.output
    assert outcome.jobs == {"train": 1, "evaluate": 1, "study": 1}
    built.edit("workflow/studies/tiny.yaml", "learning_rate: 0.004", "learning_rate: 0.002")
    assert not {"train", "evaluate", "confusion", "robustness"} & set(built.plan())


def test_editing_how_gradients_are_measured_repeats_that_alone(built: Project) -> None:
    built.edit("src/mlpaper/evaluate/gradients.py", "IMAGES = 2048", "IMAGES = 1024")
    assert built.plan() == {"gradients": 1, "figure": 1, "paper": 3}


def test_rerunning_one_rule_reruns_what_follows_and_nothing_else(built: Project) -> None:
    assert built.plan("-R", "confusion") == {"confusion": 1, "figure": 1, "paper": 3}
    outcome = built.snakemake("results/figures/tiny-a-confusion.svg", "-R", "confusion")
    assert outcome.code == 0, outcome.output
    assert outcome.jobs == {"confusion": 1, "figure": 1}


def test_a_figure_and_a_table_can_be_asked_for_by_name(built: Project) -> None:
    targets = ("results/figures/tiny-a-confusion.svg", "results/tables/tiny-curves.md")
    files = [
        path for target in targets for path in (built.folder / target, (built.folder / target).with_suffix(".json"))
    ]
    for path in files:
        path.unlink()
    outcome = built.snakemake(*targets)
    assert outcome.code == 0, outcome.output
    assert outcome.jobs == {"figure": 1, "table": 1}
    assert all(path.exists() for path in files)


def test_a_figure_of_a_fresh_project_needs_the_runs_that_it_shows_alone(project: Project) -> None:
    plan = project.plan("results/figures/tiny-a-confusion.svg")
    assert plan == {"prepare": 1, "split": 1, "train": 1, "evaluate": 1, "confusion": 1, "figure": 1}


def test_the_full_plan_is_shown_before_anything_is_downloaded(project: Project) -> None:
    plan = project.plan(config=("studies=[emnist-bymerge]",))
    assert plan["fetch"] == 4
    assert plan["train"] == plan["evaluate"] == 28 * 3
    assert not (project.folder / "data").exists()


def test_a_wrong_configuration_is_told_at_once(project: Project) -> None:
    outcome = project.snakemake(config=("sedes=[0]",))
    assert outcome.code != 0
    assert "`sedes`: unknown key (did you mean `seeds`?)" in " ".join(outcome.output.split())
    assert "Traceback" not in outcome.output
    assert outcome.seconds < 5  # below 2 on an idle machine, most of it Snakemake's own start
    assert not (project.folder / "results").exists()


def test_values_are_quoted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value with a quote, a space and a command in it reaches the job as it is, and runs nothing."""
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")  # nothing answers there: no network, on any machine
    project.edit("src/mlpaper/data/transfer.py", "attempts: int = 4", "attempts: int = 1")
    mirror = project.folder / "it's $(touch hacked) a; touch hacked"
    (mirror / "mnist").mkdir(parents=True)
    (mirror / "mnist" / "t10k-images-idx3-ubyte.gz").touch()
    target = "data/raw/mnist/test-images.gz"
    outcome = project.snakemake(target, config=("studies=[usaaio-classic]", f"mirror={mirror}"))
    assert outcome.code != 0
    assert not list(Path(project.folder).rglob("hacked"))
    log = (project.folder / "results" / "logs" / "fetch" / "mnist-test-images.gz.log").read_text()
    assert str(mirror) in " ".join(log.split())


@pytest.mark.parametrize("more", [(), ("device=gpu",)])
def test_lint_has_only_the_remarks_that_are_justified(project: Project, more: tuple[str, ...]) -> None:
    """`workflow/rules/common.smk` says why no rule has a conda environment, and why some name `config`."""
    outcome = project.snakemake("--lint", config=(*project.config, *more))
    rule, remarks = "", set()
    for line in outcome.output.splitlines():
        if found := re.match(r"Lints for rule (\w+)", line):
            rule = found[1]
        elif line.strip().startswith("* "):
            remarks.add((rule, line.strip(" *:")))
    conda = {remark for remark in remarks if remark[1] == "Specify a conda environment or container for each rule."}
    config = {remark for remark in remarks if "directly uses variable" in remark[1]}
    assert {rule for rule, _ in config} == {"fetch", "train", "robustness", "placements", "figure", "table"}
    assert remarks == conda | config


def test_a_failing_job_shows_its_log_and_leaves_nothing_half_made_and_the_same_call_goes_on(built: Project) -> None:
    """With the default profile: the disk is full when the run by SGD is written, and the other new run is made."""
    optimizers = {"C": "{name: sgd}", "D": "{learning_rate: 0.004}"}
    lines = [f"  {name}: {{description: New, changes: {{optimizer: {it}}}}}" for name, it in optimizers.items()]
    built.edit("workflow/studies/tiny.yaml", "runs:", "\n".join(["runs:", *lines]))
    full_disk = built.folder / "src" / "sitecustomize.py"
    full_disk.write_text(FULL_DISK)
    target = "results/studies/tiny/runs.parquet"
    failed = built.snakemake(target, profile="default")
    assert failed.code != 0
    assert "is full: " in failed.output
    made = {path: path.stat().st_mtime_ns for path in built.folder.glob("results/runs/*/evaluation.json")}
    assert len(made) == 3, "the other run is made all the same"
    assert not list(built.folder.rglob("*.part"))
    full_disk.unlink()
    outcome = built.snakemake(target, profile="default")
    assert outcome.code == 0, outcome.output
    assert set(pd.read_parquet(built.folder / target)["run"]) == {"A", "B", "C", "D"}
    assert {path: path.stat().st_mtime_ns for path in made} == made, "what is done is kept"
