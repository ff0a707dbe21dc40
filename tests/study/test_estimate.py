"""How long a plan takes: what is counted, what is timed once, and what is printed."""

import json
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from mlpaper import cli
from mlpaper.data.dataset import Dataset
from mlpaper.data.split import make_split
from mlpaper.digest import RULES, digest
from mlpaper.errors import ConfigurationError
from mlpaper.files import write_json
from mlpaper.paths import run_folder
from mlpaper.spec import RunSpec
from mlpaper.study import timing
from mlpaper.study.estimate import (
    Estimate,
    Sizes,
    Work,
    configuration,
    estimate,
    makespan,
    probe,
    show,
    sizes,
    work,
)
from mlpaper.study.plan import Plan, load_plan
from mlpaper.study.timing import Cost


def _spec(dataset: str = "digits", **fields: object) -> RunSpec:
    return RunSpec.model_validate({"dataset": {"name": dataset}} | fields)


@dataclass
class Fake:
    """A machine on which an image takes a millisecond, an evaluated one a tenth of it, and a job a second."""

    timed: list[RunSpec] = field(default_factory=list)

    def cost(self, probe: RunSpec) -> Cost:
        self.timed.append(probe)
        return Cost(0.5, 1e-3, 1e-4)

    def shuffling(self, count: int) -> float:
        return 0.01

    def noisy(self, probe: RunSpec, levels: int) -> float:
        return 1e-3 * levels

    def job(self, engine: str) -> float:
        return 1.0

    def evaluation_job(self) -> float:
        return 2.0


# What a run does.


def test_sizes_are_those_of_the_split(digits: Path) -> None:
    assert sizes(_spec("mnist", split={"scheme": "official", "validation": 5000})) == Sizes(55_000, 5_000, 10_000)
    assert sizes(_spec("fashion_mnist", split={"scheme": "official", "validation": 0.2})) == Sizes(
        48_000, 12_000, 10_000
    )
    assert sizes(_spec("mnist", split={"scheme": "official", "subset": 6000})) == Sizes(5_400, 600, 10_000)
    whole = _spec("emnist_bymerge", split={"scheme": "pool", "withhold_per_class": 100})
    assert sizes(whole) == Sizes(566_688, 80_955, 161_912)
    dataset, spec = Dataset.open(digits), _spec()
    split = make_split(dataset.labels, spec.split, dataset.part_ranges, dataset.classes)
    expected = sizes(spec)
    for name in ("train", "validation", "test"):
        assert abs(getattr(expected, name) - len(getattr(split, name))) <= 2 * len(dataset.classes)
    assert sum(vars(expected).values()) == len(dataset)


def test_the_last_batch_of_an_epoch_is_smaller() -> None:
    train = sizes(_spec()).train
    assert train == 1257
    assert work(_spec(batch_size=100, epochs=3)) == Work(100, 3 * 13, 3 * train, 3, at_most=False)
    assert work(_spec(batch_size="full", epochs=7)) == Work(train, 7, 7 * train, 7, at_most=False)
    assert work(_spec(batch_size=5000, epochs=7)) == Work(train, 7, 7 * train, 7, at_most=False)


def test_updates_end_a_run() -> None:
    assert work(_spec(batch_size=100, epochs=3, updates=20)) == Work(100, 20, 1257 + 700, 2, at_most=False)
    assert work(_spec(batch_size=100, epochs=3, updates=26)) == Work(100, 26, 2 * 1257, 2, at_most=False)
    assert work(_spec(batch_size=100, epochs=3, updates=1000)) == work(_spec(batch_size=100, epochs=3))


def test_early_stopping_makes_it_the_most_it_can_be() -> None:
    stopping = {"early_stopping": {"patience": 5}}
    assert work(_spec(epochs=50, **stopping)).at_most
    assert not work(_spec(epochs=6, **stopping)).at_most, "it cannot stop before its sixth epoch"
    assert work(_spec(epochs=7, **stopping)).at_most


# What is timed once.


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"epochs": 3},
        {"updates": 5},
        {"optimizer": {"name": "adam", "learning_rate": 0.5, "beta1": 0.5}},
        {"network": {"initializer": "xavier_normal"}},
        {"schedule": {"name": "cosine"}},
        {"early_stopping": {"patience": 5}},
        {"loss": {"name": "cross_entropy", "reduction": "sum"}},
        {"record_steps": True},
    ],
)
def test_what_costs_nothing_is_timed_once(change: dict) -> None:
    assert probe(_spec(**change)).canonical() == probe(_spec()).canonical()


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"hidden": [7]}},
        {"network": {"dropout": 0.1}},
        {"network": {"batch_norm": True}},
        {"optimizer": {"name": "sgd"}},
        {"optimizer": {"name": "sgd", "momentum": 0.5}},
        {"decay": {"l2": 0.1}},
        {"decay": {"decoupled": 0.1}},
        {"clip_norm": 3.0},
        {"batch_size": 7},
        {"batch_size": "full"},
        {"input": {"mean": 0.1}},
        {"augmentation": {"shift": 1}},
        {"loss": {"name": "squared_error"}},
        {"loss": {"name": "cross_entropy", "class_weights": "balanced"}},
        {"engine": "torch"},
        {"dataset": {"name": "mnist"}},
    ],
)
def test_what_costs_something_is_timed(change: dict) -> None:
    base = {"dataset": {"name": "digits"}}
    assert probe(RunSpec.model_validate(base | change)).canonical() != probe(_spec()).canonical()


# Plans.


@pytest.fixture
def plan(config: dict, workflow: Path) -> Plan:
    return load_plan(config | {"studies": ["usaaio-classic"], "twin": "always"}, workflow)


def test_equal_updates_are_timed_once_and_all_runs_are_counted(plan: Plan, tmp_path: Path) -> None:
    fake = Fake()
    found = estimate(plan, tmp_path, fake)
    assert found.forecasts.keys() == plan.runs.keys()
    assert len(fake.timed) == found.kinds < len(plan.runs) / 3
    assert len({it.canonical() for it in fake.timed}) == len(fake.timed)
    (first, *_) = plan.names["usaaio-classic"]["baseline"]
    expected = 20 * 54_000 * 1e-3 + 20 * (0.01 + 6_000 * 1e-4) + 0.5 + 1.0
    assert found.forecasts[first].training == pytest.approx(expected)
    assert found.forecasts[first].evaluation == pytest.approx(2.0 + 10_000 * 1e-4)
    assert found.forecasts[first].noise == 0


def test_noise_is_counted_where_a_study_asks_for_it(config: dict, workflow: Path) -> None:
    plan = load_plan(config | {"studies": ["emnist-bymerge"], "scale": "demo", "seeds": [0]}, workflow)
    found = estimate(plan, Path("nowhere"), Fake(), torch=False)
    (noisy,), (quiet,) = (plan.names["emnist-bymerge"][run] for run in ("M0", "M1a"))
    test = sizes(plan.runs[noisy]).test
    assert found.forecasts[noisy].noise == pytest.approx(1.0 + test * plan.scale.noise_seeds * 6e-3)
    assert found.forecasts[quiet].noise == 0


def test_runs_that_are_done_are_not_timed(plan: Plan, tmp_path: Path) -> None:
    runs = list(plan.runs)
    done, outdated = runs[:3], runs[3:5]
    for run in done + outdated:
        torch = plan.runs[run].engine == "torch"
        code = digest(*RULES["twin" if torch else "train"]) if run in done else "0" * 12
        write_json(tmp_path / run_folder(run) / "run.json", {"code_digest": code})
    found = estimate(plan, tmp_path, Fake())
    assert (found.done, found.outdated) == (set(done), set(outdated))
    assert found.forecasts.keys() == plan.runs.keys() - set(done)
    assert "2 runs in results/ were made by other code and are made again." in _shown(plan, found)


def test_runs_of_pytorch_without_pytorch_are_named_not_timed(plan: Plan, tmp_path: Path) -> None:
    fake = Fake()
    found = estimate(plan, tmp_path, fake, torch=False)
    assert len(found.untimed) == 9
    assert {it.engine for it in fake.timed} == {"mlpaper"}
    assert "Not in it: 9 runs by PyTorch, which is not installed here." in _shown(plan, found)


def _shown(plan: Plan, found: Estimate, cores: int = 2) -> str:
    stream = StringIO()
    show(plan, found, cores, Console(file=stream, width=200))
    return stream.getvalue()


def test_the_table_says_what_takes_long(plan: Plan, tmp_path: Path) -> None:
    found = estimate(plan, tmp_path, Fake())
    text = _shown(plan, found)
    row = next(line for line in text.splitlines() if "usaaio-classic" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells[1:3] == ["57", "0"]
    assert cells[3].startswith("≤ ")
    assert cells[3].endswith(" h")
    assert "57 runs to make: ≤ " in text
    assert "3 runs (" in text, "one run of three seeds has early stopping"
    done = Estimate({}, frozenset(plan.runs))
    assert "There is no run left to make." in _shown(plan, done)


def test_a_run_of_two_studies_counts_once(config: dict, workflow: Path) -> None:
    text = (workflow / "studies" / "usaaio-classic.yaml").read_text()
    (workflow / "studies" / "second.yaml").write_text(text.replace("name: usaaio-classic", "name: second", 1))
    both = load_plan(config | {"studies": ["usaaio-classic", "second"], "twin": "never"}, workflow)
    found = estimate(both, Path("nowhere"), Fake())
    once = load_plan(config | {"studies": ["usaaio-classic"], "twin": "never"}, workflow)
    assert found.seconds(both.runs) == pytest.approx(estimate(once, Path("nowhere"), Fake()).seconds(once.runs))
    row = next(line for line in _shown(both, found).splitlines() if line.startswith("│ all"))
    assert row.split("│")[2].strip() == str(len(once.runs))


def test_cores_share_the_jobs() -> None:
    assert makespan([], 4) == 0
    assert makespan([5, 4, 3, 3, 3], 1) == 18
    assert makespan([5, 4, 3, 3, 3], 2) == 10
    assert makespan([5, 4, 3, 3, 3], 5) == 5


# The command.


def test_the_configuration_is_that_of_snakemake(workflow: Path) -> None:
    file = workflow.parent / "config.yaml"
    file.write_text("scale: paper\nseeds: auto\n")
    assert configuration(file, ["seeds=[0, 1]", "mirror=~/data", "pdf="]) == {
        "scale": "paper",
        "seeds": [0, 1],
        "mirror": "~/data",
        "pdf": None,
    }
    for wrong, message in (("demo", "`demo` is not KEY=VALUE"), ("seeds=[0", "`seeds=\\[0`: is not valid YAML")):
        with pytest.raises(ConfigurationError, match=message):
            configuration(file, [wrong])


def test_the_command(config: dict, workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "Machine", Fake)
    monkeypatch.chdir(workflow.parent)
    Path("config.yaml").write_text(json.dumps(config))
    arguments = ["estimate", "--cores", "3", "--config", "scale=demo", "studies=[usaaio-classic]", "twin=never"]
    done = CliRunner().invoke(cli.cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "Training and evaluation at scale demo" in done.output
    assert "on 3 cores" in done.output
    assert "3 of 17 runs are left out" in done.output
    wrong = CliRunner().invoke(cli.cli, ["estimate", "--config", "sedes=[0]"])
    assert "did you mean `seeds`?" in str(wrong.exception)
