"""From the configuration to runs: what each key does, and what is said of a wrong one."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlpaper.data.fetch import fetch_file
from mlpaper.errors import ConfigurationError
from mlpaper.paper.expand import config_arguments, figure_jobs, metrics_job, numbers_job, table_jobs
from mlpaper.paper.jobs import inputs
from mlpaper.spec import PoolSpec, RunSpec, canonical_json, hash8
from mlpaper.study.expansion import merge
from mlpaper.study.plan import left_out_notice, load_plan, published
from mlpaper.study.schema.settings import Settings

STUDY = "emnist-bymerge"
SCALES = ("paper", "demo")
Edit = Callable[[str, str], None]


def _run(plan, name: str) -> RunSpec:
    return plan.runs[plan.names[STUDY][name][0]]


def test_runs_are_those_of_the_study(config: dict, workflow: Path) -> None:
    plan = load_plan(config, workflow)
    assert len(plan.runs) == 27 * 3 + 3, "three are heavy"
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
    assert len(plan.runs) == 30
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
    plan = load_plan(config | {"studies": [STUDY, "second"]}, workflow)
    assert set(plan.studies) == {STUDY, "second"}
    assert len(plan.runs) == 27 * 3 + 3, "three are heavy"
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
    assert {path.rsplit("/", 1)[1] for path in confusion} == {
        "spec.json",
        "run.json",
        "evaluation.json",
        "confusion.npz",
    }
    assert len(figures[f"{STUDY}-m0-curves"].runs) == 2
    assert len(tables[f"{STUDY}-settings"].runs) == 30
    dots = figures[f"{STUDY}-validation"]
    assert dots.published["M1a-as-coded.validation_accuracy"] == dots.published["M1a.validation_accuracy"] == 0.8141
    before = canonical_json(tables[f"{STUDY}-m1"])
    assert before == canonical_json(table_jobs(load_plan(config | {"seeds": [0]}, workflow))[f"{STUDY}-m1"])
    assert {*numbers_job(plan).studies[0].figures, *numbers_job(plan).figures} == set(figures)
    assert published(plan.studies[STUDY], ["M1c"]).keys() == {
        "M1c.train_accuracy",
        "M1c.validation_accuracy",
        "M1c.validation_loss",
    }


def test_runs_of_the_twin_are_left_out_where_there_is_no_pytorch(
    config: dict, workflow: Path, edit: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = workflow / "studies" / f"{STUDY}.yaml"
    path.write_text(path.read_text().replace("engine: torch", "engine: mlpaper"))
    before = canonical_json(numbers_job(load_plan(config | {"twin": "auto"}, workflow)))
    edit(
        "  M0:\n    description: Baseline, plain gradient descent\n    changes:\n",
        "  M0:\n    description: x\n    changes:\n      engine: torch\n",
    )
    plan = load_plan(config | {"twin": "auto"}, workflow)
    assert plan.names[STUDY]["M0"] == plan.names[STUDY]["M0-as-coded"] == ()
    assert {spec.engine for spec in plan.runs.values()} == {"mlpaper"}
    assert (len(plan.runs), len(plan.left_out), len(plan.names[STUDY]["M1a"])) == (23 * 3, 2 * 3, 3)
    assert plan.pool_runs(STUDY).dataset.name == "emnist_bymerge", "its first run is left out"
    notice = left_out_notice(plan)
    assert "6 of 75 runs are left out: PyTorch is not installed (M0, M0-as-coded). `make twin`" in notice
    test, numbers = table_jobs(plan)[f"{STUDY}-test"], numbers_job(plan)
    assert list(test.left_out) == list(numbers.studies[0].left_out) == ["M0", "M0-as-coded"]
    assert (test.runs["M0"], test.left_out["M0"].spec.engine) == ((), "torch")
    assert type(test).model_validate_json(canonical_json(test)) == test
    assert not any(run in path for path in inputs(test) for run in plan.left_out)
    assert test.absence == "Not run: M0, M0-as-coded (PyTorch is not installed)."
    assert table_jobs(plan)[f"{STUDY}-m1"].absence == ""

    always = load_plan(config | {"twin": "always"}, workflow)
    assert (len(always.runs), left_out_notice(always)) == (75, None)
    never = load_plan(config | {"twin": "never"}, workflow)
    assert set(never.left_out) == set(plan.left_out)
    assert "the configuration leaves PyTorch's runs out" in left_out_notice(never)
    assert "because" not in before, "without such runs it does not matter what is installed"


def test_a_sweep_is_a_run_for_every_point(config: dict, workflow: Path) -> None:
    name = "mnist-scaling"
    plan = load_plan(config | {"studies": [name], "seeds": [0]}, workflow)
    runs = {run: plan.runs[ids[0]] for run, ids in plan.names[name].items()}
    assert runs["width-64"].network.hidden == (64, 64)
    assert (runs["batch-full"].batch_size, runs["batch-full"].epochs) == ("full", 1000)
    assert runs["depth-he-15"].network.hidden == runs["depth-15"].network.hidden == (10,) * 15
    assert runs["depth-he-15"].network.initializer == "he_normal", "a sweep based on another has its points and changes"
    assert runs["schedule-fixed-short"] == runs["schedule-fixed"].model_copy(update={"epochs": 100})
    (short, *_) = load_plan(config | {"studies": [name], "scale": "demo"}, workflow).specs[name]["schedule-fixed-short"]
    assert short.epochs == round(sum(0.99**epoch for epoch in range(200))), "of the rates, not a fifth of its epochs"
    assert runs["width-10"].id == runs["depth-2"].id, "trained once"
    sweep = plan.studies[name].sweeps["depth-he"]
    assert (sweep.label, [sweep.position(point) for point in sweep.points][:3]) == (
        "hidden layers of ten units",
        [1, 2, 3],
    )
    entries = figure_jobs(plan)[f"{name}-depth"].entries
    assert [entry["run"] for entry in entries][6:8] == ["depth-15", "depth-he-1"]
    assert {entry["position"] for entry in figure_jobs(plan)[f"{name}-init"].entries} == {None}
    assert "batch-256-updates" in table_jobs(plan)[f"{name}-batch"].runs, "a pattern is all runs like it"


def test_a_sweep_says_what_is_wrong_with_it(config: dict, workflow: Path) -> None:
    path = workflow / "studies" / "residual-depth.yaml"
    falling = "runs:\n  falling: {description: F, changes: {schedule: {name: cosine}}}\n"
    text = path.read_text().replace("runs:\n", falling, 1)
    for old, new, message in (
        ("    vary: network.hidden\n", "", "`sweeps.plain`: needs `vary` and `points`"),
        ("vary: network.hidden\n", "vary: network.hiden\n", "network.hiden`: unknown key .*`hidden`"),
        ("10: 10 x 32,", "10: 10 y 32,", "network.hidden`: should be a list, not '10 y 32'"),
        ("sweeps: [plain,", "sweeps: [plane,", "figures: `depth`: there is no sweep `plane` .did you mean `plain`"),
        ("  plain-30-he:", "  plain-30:", "there is already a run `plain-30`"),
        (
            "    based_on: plain-30\n",
            "    epochs_for_rates_of: plain-3\n",
            "no run `plain-3` .*did you mean `plain-30`",
        ),
        (
            "    based_on: plain-30\n",
            "    epochs_for_rates_of: plain-30\n    based_on: falling\n",
            "epochs_for_rates_of`: needs a constant rate of this run",
        ),
    ):
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ConfigurationError, match=rf"(?s)residual-depth\.yaml.*{message}"):
            load_plan(config | {"studies": ["residual-depth"]}, workflow)


def test_heavy_runs_have_one_seed_or_all_or_none(config: dict, workflow: Path) -> None:
    name = "fashion-hyperparameters"
    config |= {"studies": [name]}
    first = load_plan(config, workflow).names[name]
    assert (len(first["width-4192"]), len(first["width-512"])) == (1, 3)
    assert first["best"] == first["width-4192"]
    assert len(load_plan(config | {"heavy": "all"}, workflow).names[name]["best"]) == 3
    none = load_plan(config | {"heavy": "none"}, workflow)
    assert none.names[name]["best"] == ()
    assert "heavy=first makes" in left_out_notice(none)
    assert none.absent(name, ["best"])["best"].because == "the configuration leaves heavy runs out"
    assert len(load_plan(config | {"scale": "demo", "heavy": "none"}, workflow).names[name]["best"]) == 1


def test_runs_may_be_left_out_by_name(config: dict, workflow: Path) -> None:
    plan = load_plan(config | {"leave_out": [f"{STUDY}.M1?-as-coded".replace("?", "*"), f"{STUDY}.M0"]}, workflow)
    assert plan.names[STUDY]["M0"] == plan.names[STUDY]["M1a-as-coded"] == ()
    assert len(plan.names[STUDY]["M1a"]) == 3
    assert plan.absent(STUDY, ["M0"])["M0"].because == "the configuration leaves it out"
    assert "(M0, M1a-as-coded, M1b-as-coded" in left_out_notice(plan)
    assert load_plan(config | {"leave_out": ["mnist-scaling.width-256"]}, workflow).left_out == {}


def test_a_heavy_run_is_made_where_another_study_needs_it(config: dict, workflow: Path) -> None:
    path = workflow / "studies" / "fashion-hyperparameters.yaml"
    other = path.read_text().replace("name: fashion-hyperparameters", "name: other", 1)
    (workflow / "studies" / "other.yaml").write_text(
        re.sub(r" +heavy: .*\n", "", other.replace("&wide", "").replace("&widest", ""))
    )
    plan = load_plan(config | {"studies": ["fashion-hyperparameters", "other"], "heavy": "none"}, workflow)
    assert plan.names["fashion-hyperparameters"]["best"] == ()
    assert plan.names["other"]["best"][0] in plan.runs
    assert plan.left_out == {}


def test_a_figure_of_images_shows_those_of_its_runs(config: dict, workflow: Path) -> None:
    name = "usaaio-classic"
    path = workflow / "studies" / f"{name}.yaml"
    figure = "  - {kind: class-scores, name: scores, title: S, caption: S., runs: [fashion-subset]}\n"
    path.write_text(path.read_text().replace("figures:\n", f"figures:\n{figure}", 1))
    config |= {"studies": [name], "seeds": [0]}
    assert figure_jobs(load_plan(config, workflow))[f"{name}-scores"].pool == "data/fashion_mnist"
    path.write_text(path.read_text().replace("runs: [fashion-subset]", "runs: [fashion-subset, baseline]", 1))
    with pytest.raises(ConfigurationError, match="`scores`: its runs are on different images"):
        figure_jobs(load_plan(config, workflow))


def test_seeds_may_differ_by_study(config: dict, workflow: Path) -> None:
    studies = ["emnist-bymerge", "residual-depth"]
    plan = load_plan(config | {"studies": studies, "seeds": {"residual-depth": [4, 5]}}, workflow)
    assert plan.seeds == {"emnist-bymerge": (0, 1, 2), "residual-depth": (4, 5)}
    assert {spec.seed for spec in plan.specs["residual-depth"]["plain-10"]} == {4, 5}


def test_seeds_may_differ_by_run(config: dict, workflow: Path) -> None:
    """A run's own name counts before a pattern, a pattern before its study, in whatever order they are written."""
    seeds = {
        "residual-depth.plain-30": list(range(10)),
        "residual-*.plain-*": [0, 1, 2, 3],
        "*.plain-20": [0, 1, 2, 3],
        "residual-depth": [0, 1],
        "usaaio-classic.no-such-run-*": [0],
    }
    for written in (seeds, dict(reversed(seeds.items())), {key: list(map(str, own)) for key, own in seeds.items()}):
        plan = load_plan(config | {"studies": ["residual-depth"], "seeds": written}, workflow)
        counts = {run: len(specs) for run, specs in plan.specs["residual-depth"].items()}
        assert {run: counts[run] for run in ("plain-30", "plain-20", "plain-30-he", "residual-30")} == {
            "plain-30": 10,
            "plain-20": 4,
            "plain-30-he": 4,
            "residual-30": 2,
        }
        assert plan.seeds == {"residual-depth": tuple(range(10))}
        assert len(plan.runs) == sum(counts.values())


@pytest.mark.parametrize(("heavy", "counts"), [("first", (1, 5)), ("all", (3, 5)), ("none", (0, 0))])
def test_a_heavy_run_has_the_seeds_of_its_own_name(
    config: dict, workflow: Path, heavy: str, counts: tuple[int, int]
) -> None:
    """A pattern may fit more heavy runs than one meant; `heavy` cuts its seeds as those of the study."""
    study = "fashion-hyperparameters"
    runs = [
        run
        for run, entry in load_plan(config | {"studies": [study]}, workflow).studies[study].runs.items()
        if entry.heavy
    ]
    seeds = {f"{study}.*": [0, 1, 2], f"{study}.{runs[1]}": [0, 1, 2, 3, 4]}
    plan = load_plan(config | {"studies": [study], "seeds": seeds, "heavy": heavy}, workflow)
    assert tuple(len(plan.names[study][run]) for run in runs[:2]) == counts


def test_seeds_may_come_as_text_from_the_command_line(config: dict, workflow: Path) -> None:
    assert load_plan(config | {"seeds": ["0", "1"]}, workflow).seeds == {STUDY: (0, 1)}
    assert load_plan(config | {"seeds": {STUDY: ["7"]}}, workflow).seeds == {STUDY: (7,)}


def test_the_five_studies_are_whole(config: dict, workflow: Path) -> None:
    """Every published value, claim, figure and table of every study names what is there, at both scales."""
    for scale in SCALES:
        plan = load_plan(config | {"studies": "all", "scale": scale, "twin": "always"}, workflow)
        assert len(plan.studies) == 5
        assert not plan.left_out
        assert {job.item.kind for job in table_jobs(plan).values()} >= {"claims", "open-choices", "settings"}
    counts = {name: (len(study.runs), len(study.claims)) for name, study in plan.studies.items()}
    assert counts == {
        "emnist-bymerge": (30, 48),
        "fashion-hyperparameters": (30, 31),
        "mnist-scaling": (38, 33),
        "residual-depth": (11, 12),
        "usaaio-classic": (22, 12),
    }


def test_the_plan_is_as_it_was_recorded(config: dict, workflow: Path) -> None:
    """Whichever way the five studies are written. Record a change here on purpose, or mend it.

    A run's name is the hash of its specification: where `names` changes, all that is kept of it is trained again.
    """
    plans = [load_plan(config | {"studies": "all", "scale": scale, "twin": "always"}, workflow) for scale in SCALES]
    studies = list(plans[0].studies.values())
    tables = [
        (id, canonical_json(job.item), list(job.runs), job.entries, job.published)
        for id, job in table_jobs(plans[0]).items()
    ]
    recorded = {
        "names": [
            (study, run, ids) for plan in plans for study, runs in plan.names.items() for run, ids in runs.items()
        ],
        "descriptions": [
            (name, entry.description, entry.heavy) for study in studies for name, entry in study.runs.items()
        ],
        "measured": [metrics_job(plan, study).measured for plan in plans for study in plan.studies.values()],
        "figures": [(id, job.item.kind, list(job.runs)) for id, job in figure_jobs(plans[0]).items()],
        "tables": tables,
        "claims": [canonical_json(claim) for study in studies for claim in study.claims],
    }
    assert {what: (len(entries), hash8(repr(entries))) for what, entries in recorded.items()} == {
        "names": (262, "e33f2bc4"),
        "descriptions": (131, "998835f9"),
        "measured": (10, "9e8510d7"),
        "figures": (45, "272380d0"),
        "tables": (37, "270e85b1"),
        "claims": (136, "a4aa32e2"),
    }


def test_the_command_that_makes_a_paper_again_is_quoted() -> None:
    assert config_arguments(Settings()) == ""
    settings = Settings(seeds=[0], scale="demo", mirror="/x y")
    assert config_arguments(settings) == " --config 'seeds=[0]' 'scale=\"demo\"'"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sedes": [0]}, r"`sedes`: unknown key \(did you mean `seeds`\?\); allowed are studies, seeds"),
        ({"seeds": []}, "`seeds`: must be `auto`, a list of distinct seeds such as"),
        ({"seeds": [1, 1]}, "`seeds`: must be `auto`, a list of distinct seeds such as"),
        ({"seeds": [-1]}, "`seeds`: must be `auto`, a list of distinct seeds such as"),
        (
            {"seeds": {"emnist-bymerge.M0": [0, 0]}},
            "`seeds`: of `emnist-bymerge.M0` must be a list of distinct seeds such as",
        ),
        ({"seeds": {"emnist": [0]}}, r"`seeds`: there is no study `emnist` \(did you mean `emnist-bymerge`\?\)"),
        ({"seeds": {f"{STUDY}.M1x": [0]}}, rf"`seeds`: no run is like `{STUDY}\.M1x` \(did you mean `{STUDY}\.M1"),
        ({"seeds": {"emnist.M0": [0]}}, r"`seeds`: there is no study `emnist` \(did you mean `emnist-bymerge`\?\)"),
        ({"seeds": {"emnist-*": [0]}}, "`seeds`: is for studies, and for runs as `<study>.<run>`; `emnist-\\*` is nei"),
        (
            {"seeds": {f"{STUDY}.M1*": [0], "*.M1a": [1]}},
            rf"`seeds`: `{STUDY}\.M1\*` and `\*\.M1a` both fit `{STUDY}\.M1a`, with other seeds; give those of",
        ),
        ({"studies": []}, "`studies`: must be a list of one or more distinct values"),
        ({"leave_out": [f"{STUDY}.M9"]}, "`leave_out`: no run is like `emnist-bymerge.M9`"),
        ({"leave_out": ["M9"]}, r"`leave_out\.0`: string should match pattern"),
        ({"heavy": "one"}, "`heavy`: should be 'first', 'all' or 'none', not 'one'"),
        ({"placement": "disk"}, "`placement`: should be 'auto', 'resident' or 'streamed', not 'disk'"),
        ({"mirror": "/no/such/folder"}, "`mirror`: there is no folder /no/such/folder"),
        ({"mirror": "file:///no/such/folder"}, "`mirror`: there is no folder /no/such/folder"),
        ({"mirror": "s3://bucket"}, "`mirror`: must be a folder .* or an http:// or https:// URL, not 's3://bucket'"),
        ({"mirror": "/"}, "`mirror`: / holds none of the files .*: emnist_bymerge/emnist-bymerge-train-labels"),
        ({"seeds": [2**64]}, "`seeds`: must be `auto`"),
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
        ("run: M0-as-coded\n    caption", "run: M9\n    caption", "figures: `m0-confusion`: there is no run `M9`"),
        ("based_on: M3b\n", "based_on: M3b-no-norm-as-coded\n", "is a circle"),
        ("    columns: [train_accuracy", "    colums: [train_accuracy", r"`tables\.2\.colums`: unknown .*`columns`"),
        ("columns: [train_accuracy", "columns: [tran_accuracy", r"unknown metric \(did you mean `train_accuracy`"),
        ("title: Opt", "tilte: Opt", r"`title`: is missing\n.*`tilte`: unknown key \(did you mean `title`"),
        ("M1a.train_accuracy:", "M1a.train_acuracy:", r"unknown metric \(did you mean `train_accuracy`"),
        ("M1a.train_accuracy: 0.8315", "M1a.train_accuracy: 83.15", "a fraction, such as 0.97, and cannot be 83.15"),
        ("citation: tobio2025", "citation: tobio2024", r"has no entry `tobio2024` \(did you mean `tobio2025`"),
        ("caption: Images per class", r'caption: "\a" #', r":\d+: `figures\.1\.caption`: holds U\+0007"),
        ("caption: Images per class", "caption: As [@he201]", r":\d+: `figures\.1\.caption`: .*`he201` .*`he2016`"),
        ("title: Opt", "title: ''\n#", r":\d+: `title`: must not be empty"),
        ("sigmas: [0.0, 0.1,", "sigmas: [0.0, 0.15,", "must be distinct multiples of 0.1"),
        ("M1a.train_accuracy:", "M9.train_accuracy:", "published: `M9.train_accuracy`: there is no run `M9`"),
        ("name: emnist-bymerge", "name: other", "must be `emnist-bymerge`, the file's name"),
        ("batch_size: 512", "batch_size: 512\n  batch_size: 64", "`batch_size` is given twice"),
        ("runs:\n", "runs: [\n", "is not valid YAML"),
        ("first: M1b\n", "first: M9b\n", "claims: `adam-over-momentum`: there is no run `M9b`"),
        ("metric: noise_accuracy_0.1", "metric: gradient_first_initial", "of `M3b` is not measured"),
        ("rule: turning", "rule: turnin", r"`claims\.\d+`: 'rule' should be one of .*did you mean `turning`"),
        ("    margin: 0.003\n", "", "`direction: equal` needs a margin above 0"),
        ("  M3b.test_accuracy: 0.8883\n", "", "claims: `m3b-88`: needs `published`, or `M3b.test_accuracy`"),
        ("id: m3b-best\n", "id: m3b-over-m0\n", "claims share a name: m3b-over-m0"),
        ("runs: [M0, M0-as-coded]", "runs: [M9*]", "figures: `m0-curves`: no run of this study is like `M9\\*`"),
    ],
)  # fmt: skip
def test_a_wrong_study_file_is_explained(
    config: dict, workflow: Path, edit: Edit, old: str, new: str, message: str
) -> None:
    edit(old, new)
    with pytest.raises(ConfigurationError, match=rf"(?s)emnist-bymerge\.yaml.*{message}"):
        load_plan(config, workflow)


# Datasets.

OWN = """
name: own
title: Our images
format: npz
shape: [12, 12]
classes: [a, b, c]
file: {path: own.npz}
parts: {train: {count: 300}}
"""


@pytest.fixture
def own(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study on the dataset file `own`, whose images lie in the project."""
    monkeypatch.chdir(workflow.parent)
    (workflow / "datasets" / "own.yaml").write_text(OWN)
    (workflow.parent / "own.npz").touch()
    path = workflow / "studies" / "residual-depth.yaml"
    text = path.read_text()
    assert text.count("dataset: {name: mnist}") == 1
    assert text.count("  split: {scheme: official, validation: 5000, seed: 0}") == 1
    text = text.replace("dataset: {name: mnist}", "dataset: {name: own}")
    path.write_text(text.replace("scheme: official, validation: 5000", "scheme: pool"))
    return path


RESIDUAL = {"studies": ["residual-depth"], "seeds": [0]}


@pytest.mark.parametrize(("more", "dataset"), [("", "own"), ("instruction: Ask us.\n", "digits")])
def test_a_scale_replaces_datasets_that_need_a_download(own: Path, workflow: Path, more: str, dataset: str) -> None:
    (workflow / "datasets" / "own.yaml").write_text(OWN + more)
    demo = load_plan(RESIDUAL | {"scale": "demo"}, workflow)
    assert {spec.dataset.name for spec in demo.runs.values()} == {dataset}
    assert [*demo.datasets] == [dataset]
    paper = load_plan(RESIDUAL, workflow)
    assert {spec.dataset.name for spec in paper.runs.values()} == {"own"}


def test_runs_are_left_out_until_their_user_brings_the_file(own: Path, workflow: Path) -> None:
    (workflow / "datasets" / "own.yaml").write_text(OWN + "instruction: Ask us for it.\n")
    (workflow.parent / "own.npz").unlink()
    config = {"studies": ["residual-depth", "usaaio-classic"], "seeds": [0], "twin": "always"}
    plan = load_plan(config, workflow)
    assert {spec.dataset.name for spec in plan.left_out.values()} == {"own"}
    assert set(plan.names["residual-depth"].values()) == {()}
    assert all(plan.names["usaaio-classic"].values())
    run, *_ = plan.names["residual-depth"]
    assert plan.absent("residual-depth", [run])[run].because == "data not provided"
    notice = left_out_notice(plan)
    assert f"runs are left out: data not provided ({run}" in notice
    assert notice.endswith("own.npz. Ask us for it.")
    job = next(it for it in numbers_job(plan).studies if it.name == "residual-depth")
    assert (job.pool, job.split) == (None, None)
    (workflow.parent / "own.npz").touch()
    assert load_plan(config, workflow).left_out == {}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "name: own",
            "name: Fashion-MNIST",
            r"`defaults\.dataset\.name`: must be .* \(did you mean `fashion_mnist`\?\)",
        ),
        (
            "name: own",
            "name: owl",
            r"residual-depth\.yaml:\d+: `defaults\.dataset\.name`: there is no dataset `owl` \(did ",
        ),
        (
            "scheme: pool",
            "scheme: official",
            r"yaml:\d+: `defaults\.split\.scheme`: the official split needs an official",
        ),
        (
            "{name: own}",
            "{name: own, parts: [test]}",
            r"`defaults\.dataset\.parts`: Our images has no official test part",
        ),
        (
            "{name: own}",
            "{name: colours}\n  augmentation: {rotation: 5.0}",
            r"`defaults\.augmentation\.rotation`: is for square grey images; those of Our images are 12 x 12 x 3",
        ),
        (
            "{name: own}",
            "{name: wide}\n  augmentation: {shift: 1}",
            r"`defaults\.augmentation\.shift`: is for square grey images; those of Our images are 4 x 36: leave",
        ),
        (
            "{name: own}",
            "{name: own}\n  augmentation: {shift: 12}",
            r"`defaults\.augmentation\.shift`: .*; images have 12 a side, so take 11 or less",
        ),
    ],
)
def test_what_does_not_fit_the_dataset_is_told_before_any_job(
    own: Path, workflow: Path, old: str, new: str, message: str
) -> None:
    for name, shape in (("colours", "[12, 12, 3]"), ("wide", "[4, 36]")):
        text = OWN.replace("name: own", f"name: {name}").replace("[12, 12]", shape)
        (workflow / "datasets" / f"{name}.yaml").write_text(text)
    load_plan(RESIDUAL, workflow)
    text = own.read_text()
    assert old in text
    own.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=message):
        load_plan(RESIDUAL, workflow)


def test_a_dataset_file_is_checked_where_it_is_used_alone(own: Path, workflow: Path) -> None:
    path = workflow / "datasets" / "mnist.yaml"
    path.write_text(path.read_text().replace("shape:", "shap:"))
    load_plan(RESIDUAL, workflow)
    with pytest.raises(ConfigurationError, match=r"mnist\.yaml:\d+: `shap`: unknown key \(did you mean `shape`\?\)"):
        load_plan({"studies": ["usaaio-classic"]}, workflow)
    (workflow / "scales" / "own.yaml").write_text("description: X\nseeds: [0]\nnoise_seeds: 1\ndataset: digit\n")
    with pytest.raises(ConfigurationError, match=r"own\.yaml:4: `dataset`: there is no dataset `digit` \(did you mean"):
        load_plan(RESIDUAL | {"scale": "own"}, workflow)


def test_a_local_file_that_changed_stops_before_any_job(own: Path, workflow: Path) -> None:
    source = load_plan(RESIDUAL, workflow).datasets["own"]
    fetch_file(source, "data.npz", Path("data/raw/own"))
    load_plan(RESIDUAL, workflow)
    (workflow.parent / "own.npz").write_text("other")
    with pytest.raises(ConfigurationError, match=r"own\.npz changed since Our images was first used"):
        load_plan(RESIDUAL, workflow)
