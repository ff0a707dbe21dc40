"""From the configuration to runs: what each key does, and what is said of a wrong one."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlpaper.errors import ConfigurationError
from mlpaper.paper.expand import config_arguments, figure_jobs, inputs, numbers_job, table_jobs
from mlpaper.spec import PoolSpec, RunSpec, canonical_json
from mlpaper.study.plan import left_out_notice, load_plan, merge, published
from mlpaper.study.schema import Settings

STUDY = "emnist-bymerge"
Edit = Callable[[str, str], None]


def _run(plan, name: str) -> RunSpec:
    return plan.runs[plan.names[STUDY][name][0]]


def test_runs_are_those_of_the_study(config: dict, workflow: Path) -> None:
    plan = load_plan(config, workflow)
    assert len(plan.runs) == 18 * 3
    m0, m1d = _run(plan, "M0"), _run(plan, "M1d-as-coded")
    assert (m0.optimizer.name, m0.optimizer.learning_rate, m0.epochs, m0.early_stopping) == ("sgd", 1e-3, 50, None)
    assert m0.split.withhold_per_class == 100
    assert (m1d.loss.reduction, m1d.decay.l2, m1d.epochs, m1d.early_stopping.patience) == ("sum", 0.01, 100, 10)
    assert m1d.early_stopping.min_delta == 1e-4, "a change names only what it changes"
    assert m1d.optimizer.momentum == 0.9, "a run has the changes of the run that it is based on"
    assert _run(plan, "M1f-as-coded").schedule.gamma == 0.98


def test_the_hash_sees_every_field_and_names_the_folder() -> None:
    base = RunSpec(dataset=PoolSpec(name="mnist"))
    others = [
        base.model_copy(update=change)
        for change in (
            {"seed": 1},
            {"clip_norm": 0.1},
            {"epochs": 49},
            {"dataset": PoolSpec(name="digits")},
        )
    ]
    assert len({base.id, *(other.id for other in others)}) == 5
    assert RunSpec.model_validate_json(base.canonical()).id == base.id
    assert base.id.startswith("mnist-128x64-adam-s0-")


def test_settings_reach_the_runs(config: dict, workflow: Path) -> None:
    plan = load_plan(config | {"seeds": [7], "emnist_parts": ["test"]}, workflow)
    assert len(plan.runs) == 18
    m0 = _run(plan, "M0")
    assert (m0.seed, m0.dataset.id) == (7, "emnist_bymerge.test")
    assert m0.split.withhold_per_class == 0, "images are withheld from the whole pool only, as in the source"
    demo = load_plan(config | {"scale": "demo"}, workflow)
    assert {spec.dataset.id for spec in demo.runs.values()} == {"digits"}
    assert demo.scale.watermark
    assert max(max(spec.network.hidden) for spec in demo.runs.values()) <= 128


def test_equal_runs_of_two_studies_are_one(config: dict, workflow: Path) -> None:
    text = (workflow / "studies" / f"{STUDY}.yaml").read_text()
    (workflow / "studies" / "second.yaml").write_text(text.replace(f"name: {STUDY}", "name: second", 1))
    plan = load_plan(config, workflow)
    assert set(plan.studies) == {STUDY, "second"}
    assert len(plan.runs) == 18 * 3
    assert plan.names["second"] == plan.names[STUDY]


def test_a_change_of_kind_starts_afresh() -> None:
    base = {"optimizer": {"name": "adam", "beta1": 0.5}, "network": {"hidden": [3]}}
    assert merge(base, {"optimizer": {"name": "sgd"}})["optimizer"] == {"name": "sgd"}
    assert merge(base, {"optimizer": {"learning_rate": 1}})["optimizer"]["beta1"] == 0.5
    assert merge(base, {"network": None})["network"] is None


def test_jobs_name_what_they_depend_on(config: dict, workflow: Path) -> None:
    plan = load_plan(config | {"seeds": [0]}, workflow)
    figures, tables = figure_jobs(plan), table_jobs(plan)
    confusion = inputs(figures[f"{STUDY}-m0-confusion"])
    assert {path.rsplit("/", 1)[1] for path in confusion} == {"spec.json", "evaluation.json", "confusion.npz"}
    assert len(figures[f"{STUDY}-m0-curves"].runs) == 2
    assert len(tables[f"{STUDY}-settings"].runs) == 18
    dots = figures[f"{STUDY}-m1-validation"]
    assert dots.published["M1a-as-coded.validation_accuracy"] == dots.published["M1a.validation_accuracy"] == 0.8141
    before = canonical_json(tables[f"{STUDY}-m1"])
    assert before == canonical_json(table_jobs(load_plan(config | {"seeds": [0]}, workflow))[f"{STUDY}-m1"])
    assert set(numbers_job(plan).studies[0].figures) == set(figures)
    assert published(plan.studies[STUDY], ["M1c"]).keys() == {
        "M1c.train_accuracy",
        "M1c.validation_accuracy",
        "M1c.validation_loss",
    }


def test_runs_of_the_twin_are_left_out_where_there_is_no_pytorch(
    config: dict, workflow: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    before = canonical_json(numbers_job(load_plan(config, workflow)))
    edit(
        "  M0:\n    description: Baseline, plain gradient descent\n    changes:\n",
        "  M0:\n    description: x\n    changes:\n      engine: torch\n",
    )
    plan = load_plan(config, workflow)
    assert plan.names[STUDY]["M0"] == plan.names[STUDY]["M0-as-coded"] == ()
    assert {spec.engine for spec in plan.runs.values()} == {"mlpaper"}
    assert (len(plan.runs), len(plan.left_out), len(plan.names[STUDY]["M1a"])) == (16 * 3, 2 * 3, 3)
    assert plan.pool_runs(STUDY).dataset.name == "emnist_bymerge", "its first run is left out"
    notice = left_out_notice(plan)
    assert "6 of 54 runs are left out (M0, M0-as-coded): PyTorch is not installed. `make twin`" in notice
    test, numbers = table_jobs(plan)[f"{STUDY}-test"], numbers_job(plan)
    assert list(test.left_out) == list(numbers.studies[0].left_out) == ["M0", "M0-as-coded"]
    assert (test.runs["M0"], test.left_out["M0"].engine) == ((), "torch")
    assert type(test).model_validate_json(canonical_json(test)) == test
    assert not any(run in path for path in inputs(test) for run in plan.left_out)
    assert test.absence == "Not run: M0, M0-as-coded (PyTorch is not installed)."
    assert table_jobs(plan)[f"{STUDY}-m1"].absence == ""

    always = load_plan(config | {"twin": "always"}, workflow)
    assert (len(always.runs), left_out_notice(always)) == (54, None)
    never = load_plan(config | {"twin": "never"}, workflow)
    assert set(never.left_out) == set(plan.left_out)
    assert "the configuration leaves PyTorch's runs out" in left_out_notice(never)
    assert '"because":null' in before, "without such runs it does not matter what is installed"


def test_the_command_that_makes_a_paper_again_is_quoted() -> None:
    assert config_arguments(Settings()) == ""
    settings = Settings(seeds=[0], scale="demo", mirror="/x y")
    assert config_arguments(settings) == " --config 'seeds=[0]' 'scale=\"demo\"'"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sedes": [0]}, r"`sedes`: unknown key \(did you mean `seeds`\?\); allowed are studies, seeds"),
        ({"seeds": []}, "`seeds`: must be a list of one or more distinct values"),
        ({"seeds": [1, 1]}, "`seeds`: must be a list of one or more distinct values"),
        ({"seeds": [-1]}, r"`seeds\.0`: should be greater than or equal to 0, not -1"),
        ({"device": "gpu"}, "`device`: this version has no GPU backend"),
        ({"mirror": "/no/such/folder"}, "`mirror`: there is no folder /no/such/folder"),
        ({"seeds": [2**64]}, "should be less than 4294967296"),
        ({"scale": "demos"}, r"`scale`: there is no scale `demos` \(did you mean `demo`\?\).* has demo, paper"),
        ({"studies": ["emnist"]}, r"`studies`: there is no study `emnist` \(did you mean `emnist-bymerge`\?\)"),
        ({"studies": ["../../etc/passwd"]}, "there is no study"),
        ({"device": "gpuu"}, r"`device`: should be 'auto', 'cpu' or 'gpu', not 'gpuu' \(did you mean `gpu`\?\)"),
        ({"emnist_parts": ["tset"]}, r"`emnist_parts\.0`: should be 'train' or 'test', not 'tset'"),
    ],
)
def test_a_wrong_setting_is_explained(config: dict, workflow: Path, wrong: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"config\.yaml or --config: .*{message}"):
        load_plan(config | wrong, workflow)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hidden: [400", "hiden: [400", r":\d+: `runs\.M1g\.changes\.network\.hiden`: unknown key .*`hidden`"),
        ("learning_rate: 1.0e-3, momentum", "lr: 1, momentum", r"`runs\.M1a\.changes\.optimizer\.lr`: unknown key"),
        ("name: linear", "name: linaer", r"`runs\.M1e\.changes\.schedule`: 'name' should be one of .*`linear`"),
        ("minimum: 1.0e-6", "minimum: 0.1", r"schedule\.minimum 0\.1 is above optimizer\.learning_rate 0\.001"),
        ("epochs: 50", "epochs: 0", r"`defaults\.epochs`: should be greater than or equal to 1, not 0"),
        ("kind: samples", "kind: sample", r"`figures\.0`: 'kind' should be one of .*did you mean `samples`"),
        ("run: M0", "run: M9", "figures: `m0-confusion`: there is no run `M9`"),
        ("based_on: M0\n", "based_on: M0-as-coded\n", "is a circle"),
        ("    columns: [train_accuracy", "    colums: [train_accuracy", r"`tables\.2\.colums`: unknown .*`columns`"),
        ("columns: [train_accuracy", "columns: [tran_accuracy", r"unknown metric \(did you mean `train_accuracy`"),
        ("title: Opt", "tilte: Opt", r"`title`: is missing\n.*`tilte`: unknown key \(did you mean `title`"),
        ("M1a.train_accuracy:", "M1a.train_acuracy:", r"unknown metric \(did you mean `train_accuracy`"),
        ("M1a.train_accuracy: 0.8315", "M1a.train_accuracy: 83.15", "a fraction, such as 0.97, and cannot be 83.15"),
        ("citation: tobio2025", "citation: tobio2024", r"has no entry `tobio2024` \(did you mean `tobio2025`"),
        ("caption: Images per class", "caption: <script>x</script>", r"`figures\.1\.caption`: must be plain Markdown"),
        ("sigmas: [0.0, 0.1,", "sigmas: [0.0, 0.15,", "must be distinct multiples of 0.1"),
        ("M1a.train_accuracy:", "M9.train_accuracy:", "published: `M9.train_accuracy`: there is no run `M9`"),
        ("name: emnist-bymerge", "name: other", "must be `emnist-bymerge`, the file's name"),
        ("batch_size: 512", "batch_size: 512\n  batch_size: 64", "`batch_size` is given twice"),
        ("runs:\n", "runs: [\n", "is not valid YAML"),
    ],
)  # fmt: skip
def test_a_wrong_study_file_is_explained(
    config: dict, workflow: Path, edit: Edit, old: str, new: str, message: str
) -> None:
    edit(old, new)
    with pytest.raises(ConfigurationError, match=rf"(?s)emnist-bymerge\.yaml.*{message}"):
        load_plan(config, workflow)
