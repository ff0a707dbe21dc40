"""How long a plan takes: what is counted, what is timed once, and what is printed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlpaper import cli
from mlpaper.data.catalog import Catalog
from mlpaper.data.dataset import Dataset
from mlpaper.data.sources import Source
from mlpaper.data.split import make_split
from mlpaper.digest import RULES, digest
from mlpaper.errors import ConfigurationError
from mlpaper.files import write_json
from mlpaper.paths import run_folder, study_claims
from mlpaper.spec import RunSpec
from mlpaper.study import estimate as estimating
from mlpaper.study import timing
from mlpaper.study.estimate import Estimate, configuration, estimate, lines, run_seconds, sizes
from mlpaper.study.plan import Plan, load_plan
from mlpaper.study.timing import Cost, kind

DATASETS = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")
JOBS = {"train": 1.0, "train-torch": 8.0, "figure": 4.0, "other": 2.0}


@pytest.fixture(autouse=True)
def timed(monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """A machine on which an image takes a millisecond, a validated one a tenth of it, a tested one a hundredth.

    The kinds of updates that were timed.
    """
    kinds: list[RunSpec] = []

    def cost(spec: RunSpec, batch: int, source: Source) -> Cost:
        kinds.extend({kind(spec, batch)} - {*kinds})
        return Cost(batch * 1e-3, 1e-4, 1e-5)

    monkeypatch.setattr(timing, "cost", cost)
    monkeypatch.setattr(timing, "job", JOBS.get)
    monkeypatch.setattr(estimating, "find_spec", lambda _: object())  # PyTorch is on that machine
    return kinds


def _spec(dataset: str = "digits", **fields: object) -> RunSpec:
    return RunSpec.model_validate({"dataset": {"name": dataset}} | fields)


def seconds_of(spec: RunSpec, noisy: int, measured: int, share: float) -> tuple[float, float, float]:
    return run_seconds(spec, DATASETS[spec.dataset.name], noisy, measured, share)


# What a run does.


def test_sizes_are_those_of_the_split(digits: Path) -> None:
    def of(spec: RunSpec) -> tuple[int, int, int]:
        return sizes(DATASETS[spec.dataset.name], spec.dataset, spec.split)

    assert of(_spec("mnist", split={"scheme": "official", "validation": 5000})) == (55_000, 5_000, 10_000)
    assert of(_spec("fashion_mnist", split={"scheme": "official", "validation": 0.2})) == (48_000, 12_000, 10_000)
    assert of(_spec("mnist", split={"scheme": "official", "subset": 6000})) == (5_400, 600, 10_000)
    whole = of(_spec("emnist_bymerge", split={"scheme": "pool", "withhold_per_class": 100}))
    assert whole == pytest.approx((566_664, 80_934, 161_957), abs=2 * 47)
    dataset, spec = Dataset.open(digits), _spec()
    split = make_split(dataset.labels, spec.split, dataset.part_ranges, dataset.classes)
    assert of(spec) == pytest.approx((len(split.train), len(split.validation), len(split.test)), abs=10)


DIGITS = sizes(DATASETS["digits"], _spec().dataset, _spec().split)


@pytest.mark.parametrize(
    ("fields", "images", "epochs"),
    [
        ({"batch_size": 100, "epochs": 3}, 3 * 1300, 3),
        ({"batch_size": "full", "epochs": 7}, 7 * DIGITS[0], 7),
        ({"batch_size": 5000, "epochs": 7}, 7 * DIGITS[0], 7),
        ({"batch_size": 100, "epochs": 3, "updates": 20}, 2000, 20 / 13),
        ({"batch_size": 100, "epochs": 3, "updates": 1000}, 3 * 1300, 3),
    ],
)
def test_what_a_run_does(fields: dict, images: int, epochs: float) -> None:
    _, validation, test = DIGITS
    training = images * 1e-3 + epochs * validation * 1e-4
    expected = JOBS["train"] + training + JOBS["other"] + test * 1e-5
    assert seconds_of(_spec(**fields), 0, 0, 0.5) == pytest.approx((expected,) * 3)
    more = 2 * JOBS["other"] + 12 * test * 1e-5
    assert seconds_of(_spec(**fields), 12, 2, 0.5) == pytest.approx((expected + more,) * 3)


def test_early_stopping_shortens_training_alone() -> None:
    def early(epochs: int) -> tuple[float, float, float]:
        return seconds_of(_spec(epochs=epochs, early_stopping={"patience": 5}), 0, 0, 0.5)

    most = seconds_of(_spec(epochs=60), 0, 0, 1.0)[-1]
    rest = JOBS["train"] + JOBS["other"] + DIGITS[2] * 1e-5
    assert early(60) == pytest.approx((rest + 0.1 * (most - rest), rest + 0.5 * (most - rest), most))
    assert early(6)[0] == early(6)[2], "it cannot stop before its sixth epoch"


# What is timed once.


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"epochs": 3},
        {"updates": 5},
        {"optimizer": {"name": "adam", "learning_rate": 0.5}},
        {"network": {"initializer": "xavier_normal"}},
        {"schedule": {"name": "cosine"}},
        {"early_stopping": {"patience": 5}},
        {"record_steps": True},
        {"split": {"scheme": "pool", "train": 0.5}},
    ],
)
def test_what_costs_nothing_is_timed_once(change: dict) -> None:
    assert kind(_spec(**change), 64) == kind(_spec(), 64)


@pytest.mark.parametrize(
    "change",
    [
        {"network": {"hidden": [7]}},
        {"network": {"dropout": 0.1}},
        {"network": {"batch_norm": True}},
        {"optimizer": {"name": "sgd"}},
        {"decay": {"l2": 0.1}},
        {"clip_norm": 3.0},
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
    assert kind(RunSpec.model_validate(base | change), 64) != kind(_spec(), 64)


def test_batches_of_other_sizes_are_timed() -> None:
    assert kind(_spec(), 64) != kind(_spec(), 65)


# Plans.


@pytest.fixture
def plan(config: dict, workflow: Path) -> Plan:
    return load_plan(config | {"studies": ["usaaio-classic"], "twin": "always"}, workflow)


Make = Callable[..., None]


@pytest.fixture
def make(plan: Plan, tmp_path: Path) -> Make:
    """Finish runs of the plan, by their ids: `made_by` the code of training, `share` of their epochs."""

    def made(*runs: str, made_by: str | None = None, share: float = 1.0) -> None:
        for run in runs:
            spec = plan.runs[run]
            code = made_by or digest(*RULES["twin" if spec.engine == "torch" else "train"])
            write_json(tmp_path / run_folder(run) / "run.json", {"code_digest": code, "epochs": share * spec.epochs})

    return made


def _shown(plan: Plan, found: Estimate, cores: int = 2) -> str:
    return "\n".join(lines(plan, found, cores))


def test_equal_updates_are_timed_once_and_all_runs_are_counted(
    plan: Plan, tmp_path: Path, timed: list[RunSpec]
) -> None:
    watched: list[str] = []
    found = estimate(plan, tmp_path, lambda runs: watched.extend(runs) or runs)
    assert found.runs.keys() == plan.runs.keys() == {*watched}
    assert len(timed) < len(plan.runs) / 2
    (first, *_) = plan.names["usaaio-classic"]["baseline"]
    training = 20 * (844 * 64 * 1e-3 + 6_000 * 1e-4)
    assert found.runs[first] == pytest.approx((1.0 + training + 2.0 + 10_000 * 1e-5,) * 3)
    study = plan.studies["usaaio-classic"]
    assert found.items == {
        "usaaio-classic": 4.0 * len(study.figures) + 2.0 * (2 + len(study.all_tables)),
        "paper": 12.0,
    }


def test_noise_and_gradients_are_counted_where_a_study_asks_for_them(config: dict, workflow: Path) -> None:
    plan = load_plan(config | {"studies": ["emnist-bymerge"], "scale": "demo", "seeds": [0]}, workflow)
    found = estimate(plan, Path("nowhere"))
    (noisy,), (quiet,) = (plan.names["emnist-bymerge"][run] for run in ("M0", "M1a"))
    for run, levels, jobs in ((noisy, 6, 1), (quiet, 0, 0)):
        assert found.runs[run] == pytest.approx(seconds_of(plan.runs[run], levels * plan.scale.noise_seeds, jobs, 1.0))
    plan = load_plan(config | {"studies": ["residual-depth"], "scale": "demo", "seeds": [0]}, workflow)
    (run,) = plan.names["residual-depth"]["plain-10"]
    assert estimate(plan, Path("nowhere")).runs[run] == pytest.approx(seconds_of(plan.runs[run], 0, 1, 1.0))


def test_runs_that_are_done_are_not_counted(plan: Plan, make: Make, tmp_path: Path) -> None:
    done, outdated = list(plan.runs)[:3], list(plan.runs)[3:5]
    make(*done)
    make(*outdated, made_by="0" * 12)
    found = estimate(plan, tmp_path)
    assert (found.done, found.outdated) == (set(done), set(outdated))
    assert found.runs.keys() == plan.runs.keys() - set(done)
    text = _shown(plan, found)
    assert "63 runs,    3 done" in text
    assert "that are made again: 2." in text


def test_when_all_is_done_nothing_is_timed(plan: Plan, make: Make, tmp_path: Path, timed: list[RunSpec]) -> None:
    make(*plan.runs)
    found = estimate(plan, tmp_path)
    assert found.items["usaaio-classic"] > 0, "its figures are still missing"
    claims = tmp_path / study_claims("usaaio-classic")
    claims.parent.mkdir(parents=True)
    claims.touch()
    found = estimate(plan, tmp_path)
    assert (found.runs, found.items, timed) == ({}, {}, [])
    assert "63 runs,   63 done: about 0 s" in _shown(plan, found)


def test_finished_runs_say_when_others_stop(plan: Plan, make: Make, tmp_path: Path) -> None:
    first, *others = (run for run, spec in plan.runs.items() if spec.early_stopping)
    (_, about, most), *_ = (estimate(plan, tmp_path).runs[run] for run in others)
    assert about == most, "nobody knows"
    make(first, share=0.25)
    found = estimate(plan, tmp_path)
    for run in others:
        assert found.runs[run] == pytest.approx(seconds_of(plan.runs[run], 0, 0, 0.25))
        assert found.runs[run][1] < found.runs[run][2] == most


def test_words_tell_an_expectation_from_a_bound() -> None:
    found = Estimate(
        {"fixed": (600, 600, 600), "stops": (60, 600, 600), "known": (60, 300, 600)}, {"study": 30.0, "paper": 30.0}
    )
    assert found.words([]) == "about 0 s"
    assert found.words(["fixed", "fixed", "not in it"]) == "about 10 min"
    assert found.words(["stops"]) == "at most 10 min"
    assert found.words(["known"]) == "about 5 min, at most 10 min"
    assert found.words(["fixed"], ["study", "paper"]) == "about 11 min"
    assert found.words(found.runs, found.items, 2) == "about 13 min, at most 16 min"
    assert found.words(found.runs, [], 8) == "about 10 min", "as long as the longest run"


def test_runs_of_pytorch_without_pytorch_are_named_not_timed(
    plan: Plan, tmp_path: Path, timed: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run, *_) = (run for run, spec in plan.runs.items() if spec.engine == "torch")
    with_torch = plan.runs[run].model_copy(update={"engine": "mlpaper"})
    monkeypatch.setattr(estimating, "find_spec", lambda name: object())
    same = seconds_of(with_torch, 0, 0, 1.0)[0] - JOBS["train"] + JOBS["train-torch"]
    assert estimate(plan, tmp_path).runs[run][0] == pytest.approx(same)
    timed.clear()
    monkeypatch.setattr(estimating, "find_spec", lambda name: None)
    found = estimate(plan, tmp_path)
    assert len(found.untimed) == 9
    assert run in found.untimed
    assert {it.engine for it in timed} == {"mlpaper"}
    assert "Not counted: 9 runs by PyTorch, which is not installed here; downloads" in _shown(plan, found)


def test_a_run_of_two_studies_counts_once(config: dict, workflow: Path) -> None:
    text = (workflow / "studies" / "usaaio-classic.yaml").read_text()
    (workflow / "studies" / "second.yaml").write_text(text.replace("name: usaaio-classic", "name: second", 1))
    both = load_plan(config | {"studies": ["usaaio-classic", "second"], "twin": "never"}, workflow)
    once = load_plan(config | {"studies": ["usaaio-classic"], "twin": "never"}, workflow)
    found, alone = (estimate(plan, Path("nowhere")) for plan in (both, once))
    assert found.words(both.runs) == alone.words(once.runs)
    assert found.items["second"] == found.items["usaaio-classic"]
    assert f"  {'all':<24} {len(once.runs):4} runs" in _shown(both, found)


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
    file.write_text("seeds: {residual-depth: [0], usaaio-classic: [0]}\n")
    merged = {"residual-depth": [0, 1], "usaaio-classic": [0]}
    assert configuration(file, ["seeds={residual-depth: [0, 1]}"]) == {"seeds": merged}
    for wrong, message in (("demo", "`demo` is not KEY=VALUE"), ("seeds=[0", "`seeds=\\[0`: is not valid YAML")):
        with pytest.raises(ConfigurationError, match=message):
            configuration(file, [wrong])


def test_the_command(config: dict, workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workflow.parent)
    Path("config.yaml").write_text(json.dumps(config))
    arguments = ["estimate", "--cores", "3", "--config", "scale=demo", "studies=[usaaio-classic]", "twin=never"]
    done = CliRunner().invoke(cli.cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert "Time left at scale demo" in done.output
    assert "  usaaio-classic             16 runs,    0 done: about " in done.output
    assert "With --cores 3: about " in done.output
    assert "Longest, with all seeds: usaaio-classic." in done.output
    assert "3 of 19 runs are left out" in done.output
    wrong = CliRunner().invoke(cli.cli, ["estimate", "--config", "sedes=[0]"])
    assert "did you mean `seeds`?" in str(wrong.exception)
