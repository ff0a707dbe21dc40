"""What the documentation shows is true: commands parse, YAML validates, links lead somewhere."""

import re
import shlex
import sys
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from pages import DOCS, ROOT, Shown, anchors, blocks, commands, links
from snakemake.cli import get_argument_parser, parse_config

from mlpaper.cli import cli
from mlpaper.study import yaml_file
from mlpaper.study.plan import load_plan, load_study
from mlpaper.study.schema.settings import Settings
from mlpaper.study.schema.study import Study
from mlpaper.study.validate import Origin, validate

WORKFLOW = ROOT / "workflow"


def test_there_is_something_to_check() -> None:
    assert len(list(commands())) > 50
    assert len(list(blocks("yaml"))) >= 3
    assert len(list(links())) > 60


@pytest.mark.parametrize("shown", list(commands()), ids=str)
def test_a_command_line_is_one(shown: Shown) -> None:
    program, *arguments = shlex.split(shown.text, comments=True)
    {"mlpaper": mlpaper, "snakemake": snakemake, "make": make, "python3": python}[program](arguments)


def mlpaper(arguments: list[str]) -> None:
    """The command exists and takes these arguments; where only its name is shown, it may need more."""
    name = next((word for word in arguments if word in cli.commands), None)
    if name is None:
        assert arguments in (["--help"], ["--version"]), f"no such command: {arguments}"
    elif rest := arguments[arguments.index(name) + 1 :]:
        cli.commands[name].make_context(name, rest)


def snakemake(arguments: list[str]) -> None:
    """Snakemake knows the options, the configuration is valid, profiles and figures are there."""
    parsed = get_argument_parser().parse_args(arguments)
    validate(Settings, parse_config(parsed.config), Origin("--config"))
    if parsed.workflow_profile not in (None, "none"):
        assert (ROOT / "profiles" / parsed.workflow_profile / "config.yaml").is_file()
    for target in parsed.targets:
        kind, name = re.fullmatch(r"(results/figures|results/runs|data|results)/(.+)", target).groups()
        if kind == "results/figures":
            assert Path(name).stem in figures()


def make(arguments: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {word for word in arguments if "=" not in word} <= set(targets)


def python(arguments: list[str]) -> None:
    sys.path.insert(0, str(ROOT / "envs"))
    from setup import PARTS

    if arguments[0] == "envs/setup.py":
        assert set(arguments[1:]) <= set(PARTS)
    else:
        assert arguments[:2] == ["-m", "venv"]


@cache
def figures() -> set[str]:
    plan = load_plan({}, WORKFLOW)
    return {f"{name}-{figure.name}" for name, study in plan.studies.items() for figure in study.figures}


@pytest.mark.parametrize("shown", list(blocks("yaml")), ids=str)
def test_a_block_of_yaml_is_valid(shown: Shown, tmp_path: Path) -> None:
    values = yaml_file.parse(shown.text, str(shown.page))
    if {"name", "source"} <= values.keys():
        check_study(values["name"], shown.text, tmp_path)
    elif values.keys() <= Settings.model_fields.keys():
        load_plan(values, WORKFLOW)
    elif values.keys() <= Study.model_fields.keys():
        host = yaml_file.load(WORKFLOW / "studies" / "emnist-bymerge.yaml")
        added = {
            key: {**host.get(key, {}), **value} if isinstance(value, dict) else value for key, value in values.items()
        }
        check_study("emnist-bymerge", yaml.safe_dump({**host, **added}), tmp_path)
    else:
        pytest.fail(f"{shown}: neither a study, nor a part of one, nor a configuration: {', '.join(values)}")


def check_study(name: str, text: str, folder: Path) -> None:
    """Check a study as the pipeline does, in a copy of what it needs."""
    studies = folder / "workflow" / "studies"
    studies.mkdir(parents=True)
    for part in ("report", "workflow/scales", "workflow/datasets"):
        (folder / part).symlink_to(ROOT / part)
    (studies / f"{name}.yaml").write_text(text)
    load_study(studies / f"{name}.yaml")
    load_plan({}, folder / "workflow")


@pytest.mark.parametrize(("page", "target"), [pytest.param(*it, id=f"{it[0].stem} {it[1]}") for it in links()])
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    if re.match(r"https?://", target):
        assert re.fullmatch(r"https?://[\w.-]+\.[a-z]+(/[^\s]*)?", target)
        return
    path, _, anchor = target.partition("#")
    if not path and anchor.startswith("model-"):
        return  # of a page that is written from the code: the site checks it
    file = (page.parent / path).resolve() if path else page
    assert file.exists(), f"{page} links to {target}"
    assert not anchor or anchor in anchors(file), f"{file} has no heading #{anchor}"
    outside = DOCS in page.parents and DOCS not in file.parents
    assert not outside, f"{page} links to {target}, which the site does not hold"


def test_the_example_of_the_readme_runs() -> None:
    (shown,) = (shown for shown in blocks("python") if shown.page.name == "README.md")
    found: dict[str, Any] = {}
    exec(shown.text, found)
    assert found["run"].outcome["outcome"] == "finished"


def test_every_page_is_in_the_contents() -> None:
    contents = set(re.findall(r"^[a-z-]+(?:/[a-z-]+)?$", (DOCS / "index.md").read_text(), re.MULTILINE))
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md") if "_build" not in page.parts}
    assert contents >= pages - {"index"}


def test_an_unknown_option_in_a_page_would_be_found() -> None:
    with pytest.raises(click.UsageError):
        mlpaper(["claims", "--studdy", "x"])
    with pytest.raises(AssertionError):
        mlpaper(["clams"])
    with pytest.raises(SystemExit):
        snakemake(["--corse", "2"])
    with pytest.raises(AssertionError):
        make(["papre"])
