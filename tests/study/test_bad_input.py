"""Bad input of every kind is explained, with file, line and key, before any job runs."""

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from mlpaper.data.catalog import Catalog
from mlpaper.data.split import make_split
from mlpaper.errors import ConfigurationError, DataError
from mlpaper.paper.expand import claims_job, figure_jobs, numbers_job, table_jobs
from mlpaper.spec import RunSpec
from mlpaper.study.data_fit import misfits
from mlpaper.study.plan import load_plan
from mlpaper.study.yaml_file import load

ROOT = Path(__file__).parents[2]
STUDIES = {path.stem: load(path) for path in sorted((ROOT / "workflow" / "studies").glob("*.yaml"))}
SCALES = {path.stem: load(path) for path in sorted((ROOT / "workflow" / "scales").glob("*.yaml"))}
CONFIG = load(ROOT / "config.yaml")
Keys = tuple[str | int, ...]
Edit = Callable[[str, str], None]
DIGITS = load_digits().target
DATASETS = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")
PARTS_OF_DIGITS = {"train": (0, 1437), "test": (1437, 1797)}
NESTED = {"nested": [None]}
WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 3, 0.5, 1e300, "", "4", "1e-4", "mnist", "a.b", "*", "x" * 100, [], [[1]], [None], {},
    {"name": "sgd"}, {"name": None}, NESTED,
)  # fmt: skip


def _keys_of(value: Any, above: Keys = ()) -> Iterator[Keys]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*above, key)
        yield from _keys_of(inner, (*above, key))


def _with(values: dict[str, Any], keys: Keys, wrong: Any) -> dict[str, Any]:
    changed = copy.deepcopy(values)
    inner: Any = changed
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = wrong
    return changed


PLACES = [(study, keys) for study, values in STUDIES.items() for keys in _keys_of(values)]
CHANGES = [place for place in PLACES if "changes" in place[1] or "points" in place[1] or place[1][0] == "defaults"]


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copied")
    for name in ("workflow", "report"):
        shutil.copytree(ROOT / name, folder / name)
    return folder


def _refusal(workflow: Path, config: dict[str, Any]) -> str:
    """What is said of a configuration before the first job; nothing where it is planned."""
    try:
        plan = load_plan({"twin": "always"} | config, workflow)
        figure_jobs(plan), table_jobs(plan), numbers_job(plan)
    except ConfigurationError as error:
        return str(error)
    for study in plan.studies.values():
        claims_job(plan, study)
    for run in plan.runs.values():
        assert RunSpec.model_validate_json(run.canonical()) == run
    return ""


@settings(max_examples=120)
@given(
    place=st.sampled_from(CHANGES) | st.sampled_from(PLACES),
    wrong=st.sampled_from(WRONG),
    scale=st.sampled_from([*SCALES]),
)
@example(("usaaio-classic", ("runs", "momentum", "changes", "optimizer")), "mnist", "demo")
@example(("usaaio-classic", ("defaults", "epochs")), "4", "demo")
@example(("usaaio-classic", ("defaults", "network")), None, "paper")
@example(("mnist-scaling", ("sweeps", "schedule", "points")), NESTED, "demo")
@example(("fashion-hyperparameters", ("sweeps", "depth", "points")), NESTED, "demo")
def test_a_wrong_value_anywhere_in_a_study_is_explained(
    copied: Path, place: tuple[str, Keys], wrong: Any, scale: str
) -> None:
    study, keys = place
    path = copied / "workflow" / "studies" / f"{study}.yaml"
    path.write_text(json.dumps(_with(STUDIES[study], keys, wrong), indent=1))
    refusal = _refusal(copied / "workflow", {"studies": [study], "scale": scale})
    for line in refusal.splitlines():
        assert re.match(rf"{re.escape(str(path))}:\d+: .*`", line) or "more such problems" in line
    if wrong is NESTED:  # nothing takes it but `points`, whose names are free: what they were is missed then
        name = str(next(key for key in reversed(keys) if isinstance(key, str)))
        assert ("there is no" if name == "points" else name) in refusal


@settings(max_examples=40)
@given(
    place=st.sampled_from([(scale, keys) for scale, values in SCALES.items() for keys in _keys_of(values)]),
    wrong=st.sampled_from(WRONG),
)
def test_a_wrong_value_anywhere_in_a_scale_is_explained(copied: Path, place: tuple[str, Keys], wrong: Any) -> None:
    scale, keys = place
    path = copied / "workflow" / "scales" / "other.yaml"
    path.write_text(json.dumps(_with(SCALES[scale], keys, wrong), indent=1))
    config = {"studies": ["residual-depth", "emnist-bymerge"], "scale": "other"}
    for study in config["studies"]:
        shutil.copy(ROOT / "workflow" / "studies" / f"{study}.yaml", copied / "workflow" / "studies")
    assert re.match(r"$|\S+other\.yaml:\d+: `|.*as made at scale `other`", _refusal(copied / "workflow", config))


@settings(max_examples=80)
@given(key=st.sampled_from([*CONFIG, "sed"]), wrong=st.sampled_from([*WRONG, ["010"], ["0", "0"], {"a": [0]}, ["x.y"]]))
def test_a_wrong_setting_of_any_type_is_explained(copied: Path, key: str, wrong: Any) -> None:
    config = {"studies": ["residual-depth"]} | {key: wrong}
    shutil.copy(ROOT / "workflow" / "studies" / "residual-depth.yaml", copied / "workflow" / "studies")
    lines = _refusal(copied / "workflow", config).splitlines()
    assert all(re.match(rf"config\.yaml or --config: `{key}", line) for line in lines)


@pytest.mark.parametrize("scale", ["paper", "demo"])
@pytest.mark.parametrize(
    ("change", "key", "message"),
    [
        ("epochs: '4'", "epochs", r"should be a whole number, not '4' \(write it without quotes\)"),
        ("batch_size: '64'", "batch_size", r"should be a whole number, or 'full', not '64' \(write"),
        ("epochs: 4.0", "epochs", "should be a whole number, not 4.0"),
        ("epochs: true", "epochs", "should be a whole number, not true"),
        ("dataset: mnist", "dataset", "should be a mapping of keys to values, not 'mnist'"),
        ("network: null", "network", "should be a mapping of keys to values, not null"),
        ("network: {batch_norm: yes}", "network.batch_norm", "should be true or false, not 'yes'"),
        ("network: {hidden: 128}", "network.hidden", "should be a list, not 128"),
        ("network: {initializer: {name: uniform, bond: 1}}", "network.initializer.bond", "unknown key .*`bound`"),
        ("split: {validation: 1.0}", "split.validation", "should be less than 1, or a whole number, not 1.0"),
        ("split: {validation: '5000'}", "split.validation", r"should be a number, .*without quotes"),
        ("split: {validation: 60000}", "split.validation", "holds out 60,000 of the 60,000 .* hold out 10 to 59,990"),
        ("split: {validation: 5}", "split.validation", "holds out 5 of the 60,000 .* hold out 10 to 59,990"),
        ("split: {validation: 1e-4}", "split.validation", "less than one image of each of the 10 classes"),
        ("split: {subset: 60001}", "split.subset", "takes 60,001 of the 60,000 .* take 20 to 60,000"),
        ("split: {scheme: pool, withhold_per_class: 7000}", "split.withhold_per_class", "MNIST has 7,000 images"),
        ("split: {scheme: pool, validation: 1e-4}", "split.validation", "less than one image"),
        ("dataset: {parts: [test]}", "dataset.parts", r"needs the official train part, but the pool is \[test\]"),
        ("loss: {class_weights: [1, 2]}", "loss.class_weights", "has 2 weights, but MNIST has 10 classes"),
        ("loss: {class_weights: [0, 0]}", "loss", "needs a weight above 0"),
        ("augmentation: {shift: 28}", "augmentation.shift", "take 27 or less"),
        ("network: {batch_norm: true}, batch_size: 1", "", "batch_size of 1 learns nothing.*Use batches of 2"),
        ("seed: 3", "seed", "runs have the seeds of the configuration; leave it out"),
    ],
)  # fmt: skip
def test_what_a_run_cannot_be_is_refused_at_every_scale(
    workflow: Path, change: str, key: str, message: str, scale: str
) -> None:
    path = workflow / "studies" / "usaaio-classic.yaml"
    old = "changes: {network: {dropout: 0.2}}"
    line = path.read_text().split(old)[0].count("\n") + 1
    path.write_text(path.read_text().replace(old, f"changes: {{{change}}}", 1))
    where = ".".join(filter(None, ("runs.dropout-20.changes", key)))
    with pytest.raises(ConfigurationError, match=rf"usaaio-classic\.yaml:{line}: `{re.escape(where)}`: .*{message}"):
        load_plan({"studies": ["usaaio-classic"], "scale": scale}, workflow)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "64: [64]",
            "64: ['64']",
            r":{}: `sweeps\.width\.points\.64\.0`: `network\.hidden\.0`: should be a whole number",
        ),
        ("vary: network.hidden", "vary: network.hiden", r":{}: `sweeps\.width\.vary`: `network\.hiden`: unknown key"),
        ("vary: network.hidden", "vary: epochs.x", r":{}: `sweeps\.width\.vary`: `epochs`: should be a whole number"),
        ("64: [64]", "six-: [64]", r":{}: `sweeps\.width\.points\.six-`: `width-six-` cannot be the name of a run"),
        ("  epochs: 20", "  epochs: '20'", r":{}: `defaults\.epochs`: should be a whole number"),
        (
            "{momentum: 0.9}}",
            "{momentum: 9}}",
            r":{}: `runs\.momentum\.changes\.optimizer\.momentum`: should be less than 1",
        ),
        (
            "points: {16: [16],",
            "based_on: nobody\n    points: {16: [16],",
            r":{}: `sweeps\.width\.based_on`: there is no run",
        ),
        (
            "metric: test_accuracy\n    tolerance",
            "metric: noise_accuracy_0.1\n    tolerance",
            ":{}: claims: `baseline-97`",
        ),
    ],
)
def test_the_line_is_that_of_the_slip(workflow: Path, old: str, new: str, message: str) -> None:
    path = workflow / "studies" / "usaaio-classic.yaml"
    line = path.read_text().split(old)[0].count("\n") + 1
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=message.format(line)):
        load_plan({"studies": ["usaaio-classic"]}, workflow)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("    noise: true\n  M1a:", "  M1a:", "figures: `noise`: `M0` is not tested under noise; it needs `noise: "),
        ("sigmas: [0.0, 0.1,", "sigmas: [0.0,", r"`noise_accuracy_0\.1` is not measured: `noise\.sigmas`"),
    ],
)  # fmt: skip
def test_noise_that_is_not_measured_is_not_shown(
    config: dict, workflow: Path, edit: Edit, old: str, new: str, message: str
) -> None:
    edit(old, new)
    with pytest.raises(ConfigurationError, match=rf"emnist-bymerge\.yaml:\d+: .*{message}"):
        load_plan(config, workflow)


def test_updates_that_are_not_recorded_are_not_shown(workflow: Path) -> None:
    path = workflow / "studies" / "fashion-hyperparameters.yaml"
    path.write_text(path.read_text().replace("record_steps: true", "record_steps: false", 1))
    with pytest.raises(ConfigurationError, match="figures: `steps`: `batch-16-steps` does not record its updates"):
        load_plan({"studies": [path.stem]}, workflow)


def test_an_official_split_needs_both_parts_of_emnist(workflow: Path) -> None:
    path = workflow / "studies" / "usaaio-classic.yaml"
    path.write_text(path.read_text().replace("dataset: {name: mnist}", "dataset: {name: emnist_bymerge}", 1))
    config = {"studies": ["usaaio-classic"], "emnist_parts": ["test"]}
    with pytest.raises(
        ConfigurationError, match=r"^config\.yaml or --config: `emnist_parts`: run `baseline` .* train part"
    ):
        load_plan(config, workflow)
    assert load_plan(config | {"scale": "demo"}, workflow).runs, "digits have both parts"


def test_a_scale_makes_runs_that_its_data_can_hold(workflow: Path) -> None:
    """Numbers of images, and class weights, are for the dataset of the study; the scale takes another one."""
    path = workflow / "studies" / "usaaio-classic.yaml"
    text = path.read_text().replace("name: mnist}", "name: emnist_balanced}")
    text = text.replace("name: fashion_mnist}", "name: emnist_balanced}")
    text = text.replace("official, validation: 0.1,", "official, validation: 47, subset: 94,", 1)
    path.write_text(text.replace("reduction: mean}", f"reduction: mean, class_weights: {[1, 2.5, *[1] * 45]}}}", 1))
    plan = load_plan({"studies": [path.stem], "scale": "demo"}, workflow)
    run = plan.specs[path.stem]["baseline"][0]
    assert (run.split.validation, run.split.subset, run.loss.class_weights) == (10, 20, "balanced")
    assert len(make_split(DIGITS, run.split, PARTS_OF_DIGITS).validation) == 10
    (workflow / "scales" / "one.yaml").write_text(json.dumps(SCALES["demo"] | {"max_batch_size": 1}))
    with pytest.raises(ConfigurationError, match=r"batch_size of 1 learns nothing.*\(as made at scale `one`\)"):
        load_plan({"studies": ["residual-depth"], "scale": "one"}, workflow)


@given(
    split=st.fixed_dictionaries(
        {"scheme": st.just("official"), "validation": st.integers(1, 1500) | st.floats(1e-4, 0.999)},
        optional={"subset": st.integers(1, 1500)},
    )
    | st.fixed_dictionaries(
        {"scheme": st.just("pool"), "train": st.floats(1e-3, 0.5), "validation": st.floats(1e-3, 0.49)},
        optional={"withhold_per_class": st.integers(0, 200)},
    )
)
def test_splits_are_refused_only_where_they_cannot_be_made(split: dict[str, Any]) -> None:
    """Sizes of classes are not known: near the limit a split passes the plan, and is refused when it is made."""
    spec = RunSpec.model_validate({"dataset": {"name": "digits"}, "split": split})
    if list(misfits(spec, DATASETS)):
        with pytest.raises((ConfigurationError, DataError)):
            make_split(DIGITS, spec.split, PARTS_OF_DIGITS)


def test_numbers_are_numbers_on_the_axis_of_a_sweep(workflow: Path) -> None:
    path = workflow / "studies" / "usaaio-classic.yaml"
    text = path.read_text().replace("vary: network.hidden", "vary: optimizer.learning_rate", 1)
    path.write_text(
        re.sub(r"points: \{16: .*\}", "points: {16: 1e-4, 32: 1e-3, 64: 1, 128: .5, 256: 1E-2, 512: 2}", text)
    )
    plan = load_plan({"studies": [path.stem]}, workflow)
    sweep = plan.studies[path.stem].sweeps["width"]
    assert [sweep.position(point) for point in sweep.points] == [1e-4, 1e-3, 1.0, 0.5, 0.01, 2.0]
    assert plan.specs[path.stem]["width-16"][0].optimizer.learning_rate == 1e-4


def test_settings_name_the_line_of_their_file_or_the_command_line(workflow: Path) -> None:
    file = workflow.parent / "config.yaml"
    file.write_text("# ours\nstudies: [residual-depth]\nscale: demos\n")
    for wrong, message in (
        ({"scale": "demos"}, rf"{file}:3 or --config: `scale`: there is no scale `demos`"),
        ({"heavy": "one"}, "^--config: `heavy`: should be"),
        ({"studies": ["residual"]}, rf"{file}:2 or --config: `studies`: there is no study `residual`"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            load_plan({"studies": ["residual-depth"]} | wrong, workflow, [file])
    file.write_text("studies: all\nstudies: all\n")
    with pytest.raises(ConfigurationError, match=rf"{file}:2: `studies` is given twice"):
        load_plan({"studies": "all"}, workflow, [file])


def test_values_of_the_command_line_may_be_text(workflow: Path) -> None:
    """Snakemake gives text for what stands in lists."""
    plan = load_plan({"studies": ["residual-depth"], "seeds": ["0", "1"]}, workflow)
    assert plan.seeds == {"residual-depth": (0, 1)}


def test_many_problems_are_cut_short(workflow: Path) -> None:
    path = workflow / "studies" / "fashion-hyperparameters.yaml"
    path.write_text(re.sub(r"(?m)^(  - kind: .*)$", r"\1\n    colour: red", path.read_text()))
    with pytest.raises(ConfigurationError) as caught:
        load_plan({"studies": [path.stem]}, workflow)
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (11, f"{path}: and 7 more such problems")


def test_a_long_line_of_bases_is_no_trouble(workflow: Path) -> None:
    path = workflow / "studies" / "usaaio-classic.yaml"
    chain = "".join(f"  c{i}: {{description: x, based_on: {f'c{i - 1}' if i else 'baseline'}}}\n" for i in range(300))
    path.write_text(path.read_text().replace("\nvariants:", f"{chain}\nvariants:", 1))
    names = load_plan({"studies": [path.stem], "seeds": [0]}, workflow).names[path.stem]
    assert names["c299"] == names["baseline"]
    path.write_text(
        path.read_text().replace("c0: {description: x, based_on: baseline}", "c0: {description: x, based_on: c299}")
    )
    with pytest.raises(ConfigurationError, match=r"`runs\.c1\.based_on`: c0 -> c299 -> .* -> c0 is a circle"):
        load_plan({"studies": [path.stem]}, workflow)
