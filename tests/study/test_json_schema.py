"""The JSON Schemas of the project's YAML files: up to date, true of the files, and no rubber stamps."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from mlpaper.cli import cli
from mlpaper.study import yaml_file
from mlpaper.study.json_schema import SCHEMAS, as_text, field_docs, schema_of
from mlpaper.study.schema.items import Item
from mlpaper.study.schema.study import Study

ROOT = Path(__file__).parents[2]
SCHEMA_OF = {"studies": "study", "scales": "scale", "datasets": "dataset"}
"""Folder under `workflow/` to the schema of its files."""
FILES = [
    (ROOT / "config.yaml", "config", ""),
    (ROOT / "src" / "mlpaper" / "study" / "new_study.yaml", "study", "../../"),  # for the place that it is written to
    *((path, SCHEMA_OF[path.parent.name], "../../") for path in sorted((ROOT / "workflow").glob("*/*.yaml"))),
]
VALIDATORS = {name: Draft202012Validator(schema_of(model)) for name, model in SCHEMAS.items()}


def problems(name: str, values: Any) -> list[str]:
    return [error.message for error in VALIDATORS[name].iter_errors(values)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_up_to_date(name: str) -> None:
    Draft202012Validator.check_schema(VALIDATORS[name].schema)
    written = (ROOT / "docs" / "schema" / f"{name}.json").read_text(encoding="utf-8")
    assert written == as_text(schema_of(SCHEMAS[name])), "stale: `mlpaper schema` writes it again"


@pytest.mark.parametrize(("path", "name", "relative"), FILES, ids=lambda value: getattr(value, "stem", value))
def test_every_file_names_its_schema_and_fits_it(path: Path, name: str, relative: str) -> None:
    assert path.read_text(encoding="utf-8").startswith(yaml_file.modeline(name, relative))
    assert problems(name, yaml_file.load(path)) == []


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        (("titel",), "T"),
        (("name",), "Not A Name"),
        (("defaults", "epoch"), 3),
        (("defaults", "epochs"), 0),
        (("defaults", "epochs"), "3"),
        (("defaults", "seed"), 1),
        (("defaults", "network", "hidden"), "3 y 4"),
        (("defaults", "network", "hidden"), [0]),
        (("defaults", "optimizer"), {"momentum": 0.5, "beta1": 0.9}),
        (("defaults", "schedule"), {"name": "exponental"}),
        (("runs", "M1c", "changes", "decay", "l1"), 0.1),
        (("runs", "M1c", "descripton"), "D"),
        (("runs", "a b"), {"description": "D"}),
        (("sweeps",), {"s": {"description": "D", "vary": "network.hiden", "points": {}}}),
        (("variants", "as-coded", "runs"), []),
        (("variants", "as-coded", "runs", "M0"), {"changes": {"epoch": 1}}),
        (("claims", 0, "rule"), "vallue"),
        (("claims", 0, "metric"), "test_acuracy"),
        (("claims", 0, "first"), "M1a"),
        (("figures", 0, "kind"), "sample"),
        (("tables", 2, "columns"), ["test_acuracy"]),
        (("standard_tables",), ["setings"]),
        (("noise", "sigmas"), ["a"]),
    ],
    ids=str,
)
def test_a_wrong_study_does_not_fit(keys: tuple[Any, ...], wrong: Any) -> None:
    values = copy.deepcopy(yaml_file.load(ROOT / "workflow" / "studies" / "emnist-bymerge.yaml"))
    place: Any = values
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = wrong
    assert problems("study", values)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("config", {"studeis": "all"}),
        ("config", {"studies": "al"}),
        ("config", {"seeds": [-1]}),
        ("config", {"device": "gpuu"}),
        ("config", {"leave_out": ["M0"]}),
        ("scale", {"description": "D", "seeds": [0]}),
        ("scale", {"description": "D", "seeds": [0], "noise_seeds": 0}),
    ],
)
def test_a_wrong_configuration_or_scale_does_not_fit(name: str, wrong: dict[str, Any]) -> None:
    assert problems(name, wrong)


def test_part_of_a_run_needs_no_other_part() -> None:
    """And `30 x 32` is thirty layers: what studies write, which `RunSpec` itself would not take."""
    study = {"name": "s", "title": "S", "source": {"citation": "c", "authors": "A", "title": "T"}, "summary": "S."}
    for part in (
        {"optimizer": {"momentum": 0.9}},
        {"split": {"subset": 100}},
        {"schedule": {"gamma": 0.9}},
        {"network": {"hidden": "30 x 32", "initializer": {"bound": 0.1}}},
        {"early_stopping": {"patience": 3}},
        {"early_stopping": None},
        {},
    ):
        assert problems("study", study | {"defaults": part}) == []


def test_the_command_writes_them_all(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["schema", "--folder", str(tmp_path)])
    assert done.exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.json" for name in SCHEMAS}
    assert (tmp_path / "study.json").read_text(encoding="utf-8") == as_text(schema_of(Study))


def test_the_examples_of_the_guide_fit() -> None:
    text = (ROOT / "docs" / "how-to" / "study.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```", text)
    assert len(blocks) >= 2
    for block in blocks:
        study = yaml_file.load(ROOT / "src" / "mlpaper" / "study" / "new_study.yaml")
        assert problems("study", study | yaml_file.parse(block, "study.md")) == []


def test_the_docstring_of_a_field_is_its_description() -> None:
    """Also of one that the model has from its base, and beside a reference."""
    schema = schema_of(Study)
    assert schema["properties"]["summary"]["description"] == "One paragraph: what the study asks and how."
    assert schema["properties"]["defaults"] == {"$ref": "#/$defs/Changes", "description": field_docs(Study)["defaults"]}
    assert "description" not in schema["properties"]["title"], "it has none"
    assert schema["$defs"]["RunsTable"]["properties"]["caption"]["description"] == field_docs(Item)["caption"]
