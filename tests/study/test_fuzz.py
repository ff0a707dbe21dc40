"""Files of a configuration that are spoilt in any way are planned, or refused by name; nothing else ever happens.

`MLPAPER_FUZZ=2000 pytest tests/study/test_fuzz.py` tries so many cases of each kind.
"""

import copy
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from mlpaper.data.catalog import Catalog
from mlpaper.data.listing import table_of
from mlpaper.data.sources import PoolJob, fingerprint
from mlpaper.errors import ConfigurationError
from mlpaper.paper.expand import claims_job, figure_jobs, numbers_job, table_jobs
from mlpaper.study.plan import load_plan
from mlpaper.study.yaml_file import load

ROOT = Path(__file__).parents[2]
CASES = int(os.environ.get("MLPAPER_FUZZ", "40"))
KINDS = ("studies", "scales", "datasets")
CONFIG = {"studies": ["usaaio-classic"], "scale": "demo", "twin": "always", "pdf": "none", "seeds": [0]}
OWN = {
    "name": "own", "title": "Our own", "format": "npz", "shape": [4, 4, 3], "classes": ["a", "b"], "maximum": 1.0,
    "file": {"path": "data/own.npz"},
    "parts": {"train": {"count": 90, "arrays": {"images": "x", "labels": "y"}}, "test": {"count": 10}},
}  # fmt: skip
PROBE = """
name: probe
title: A study of one dataset
source: {citation: tobio2025, authors: Nobody, title: Nothing, year: 2025}
summary: One run.
defaults: {dataset: {name: %s, parts: [train]}, split: {scheme: pool}, network: {hidden: [8]}}
runs: {A: {description: The only one}}
tables: [{kind: runs, name: test, title: Test, runs: [A], columns: [test_accuracy], caption: Test.}]
"""
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for kind in KINDS
    for path in sorted((ROOT / "workflow" / kind).glob("*.yaml"))
}
VALUES = {name: load(ROOT / name) for name in TEXTS}
for _name, _values in {"config.yaml": CONFIG, "workflow/datasets/own.yaml": OWN}.items():
    TEXTS[_name] = "".join(f"{key}: {json.dumps(value)}\n" for key, value in _values.items())
    VALUES[_name] = _values
NASTY = (
    "\t", "\x00", "\ufeff", "\u2028", "\x85", "\\", "'", '"', "{", "[", "}", "- ", ": ", "? ", "&a ", "*a", "<<: *a\n",
    "%YAML 9\n",
    "---\n", "...\n", "| ", "> ", "# ", "é", "雪", "!!python/object/apply:os.system ['touch hacked']", "!!binary aGk=",
    "$(touch hacked)", "`touch hacked`", "{{ 7 * 7 }}", "{wildcards.run}", "../../etc/passwd", "1e999", "0x",
    "9" * 5000, ".nan",
)  # fmt: skip
WORDS = st.sampled_from(NASTY) | st.text(max_size=12)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6
)


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The keys that lead to every value within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in items for place in ((*above, key), *places(inner, (*above, key)))]


def at(value: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        value = value[key]
    return value


@st.composite
def spoilt_structure(draw: Callable[..., Any]) -> tuple[str, str]:
    """A file of which one to three entries are removed, renamed, replaced, doubled, or moved from elsewhere."""
    name = draw(st.sampled_from(sorted(TEXTS)))
    values = copy.deepcopy(VALUES[name])
    for _ in range(draw(st.integers(1, 3))):
        if not (known := places(values)):
            break
        *above, key = draw(st.sampled_from(known))
        holder = at(values, tuple(above))
        match draw(st.sampled_from(["remove", "rename", "replace", "double", "move"])):
            case "remove":
                del holder[key]
            case "rename" if isinstance(holder, dict):
                holder[draw(WORDS | st.just(f"{key}s"))] = holder.pop(key)
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case "move":
                other = VALUES[draw(st.sampled_from(sorted(TEXTS)))]
                holder[key] = copy.deepcopy(at(other, draw(st.sampled_from(places(other)))))
            case _:
                holder[key] = draw(TREES)
    return name, json.dumps(values, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))


@st.composite
def spoilt_text(draw: Callable[..., Any]) -> tuple[str, str]:
    """A file into which something is written, from which something is cut, or of which two lines change places."""
    name = draw(st.sampled_from(sorted(TEXTS)))
    text = TEXTS[name]
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        stop = min(start + draw(st.integers(0, 40)), len(text))
        match draw(st.sampled_from(["insert", "cut", "end", "repeat", "lines"])):
            case "insert":
                text = text[:start] + draw(WORDS) + text[start:]
            case "cut":
                text = text[:start] + text[stop:]
            case "end":
                text = text[:start]
            case "repeat":
                text = text[:stop] + text[start:stop] * draw(st.integers(1, 50)) + text[stop:]
            case "lines" if text:
                lines = text.splitlines(keepends=True)
                first, second = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                lines[first], lines[second] = lines[second], lines[first]
                text = "".join(lines)
    return name, text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a folder whose name has a space, quotes, and letters that are not ASCII."""
    folder = tmp_path_factory.mktemp("fuzz") / 'it\'s "fuzzed" é 雪'
    for name in ("workflow", "report"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "data").mkdir()
    (folder / "data" / "own.npz").touch()
    return folder


def planned_or_refused(project: Path, name: str, content: bytes) -> None:
    """Plan with one spoilt file; where it is refused, the error names this file, and where in it."""
    for other, text in TEXTS.items():
        if (project / other).read_bytes() != text.encode() if (project / other).exists() else True:
            (project / other).write_text(text)
    spoilt = project / name
    spoilt.write_bytes(content)
    kind, chosen = Path(name).parent.name, dict(CONFIG)
    if kind == "studies":
        chosen["studies"] = [spoilt.stem]
    elif kind == "scales":
        chosen["scale"] = spoilt.stem
    elif kind == "datasets":  # at this scale, runs keep the dataset of their study
        chosen |= {"studies": ["probe"], "scale": "paper"}
        (project / "workflow" / "studies" / "probe.yaml").write_text(PROBE % spoilt.stem)
    try:
        if name == "config.yaml":
            chosen = load(spoilt)
        else:
            (project / "config.yaml").write_text("".join(f"{key}: {json.dumps(it)}\n" for key, it in chosen.items()))
        plan = load_plan(chosen, project / "workflow", [project / "config.yaml"])
        figure_jobs(plan), table_jobs(plan), numbers_job(plan)
        for study in plan.studies.values():
            claims_job(plan, study)
        for pool in {spec.dataset for spec in plan.runs.values()}:
            source = plan.datasets[pool.name]
            PoolJob(pool=pool, content=source.content())
            [fingerprint(file) for file in source.files(pool.parts).values()]
        list(table_of(Catalog(project / "workflow" / "datasets")))
        event(f"{kind}: planned")
    except ConfigurationError as error:
        event(f"{kind}: refused")
        named = {spoilt.name, f"at scale `{spoilt.stem}`"}
        for line in str(error).splitlines():
            assert any(it in line for it in named), line
            assert re.search(r":\d+|`|: and \d+ more such problems$", line.replace(str(project), "")), line
    assert not list(project.rglob("hacked"))
    assert not Path("hacked").exists()


@settings(max_examples=CASES)
@given(spoilt=spoilt_structure())
def test_files_of_any_structure(project: Path, spoilt: tuple[str, str]) -> None:
    planned_or_refused(project, spoilt[0], spoilt[1].encode(errors="surrogatepass"))


@settings(max_examples=CASES)
@given(spoilt=spoilt_text())
def test_files_of_any_text(project: Path, spoilt: tuple[str, str]) -> None:
    planned_or_refused(project, spoilt[0], spoilt[1].encode(errors="surrogatepass"))


@settings(max_examples=max(CASES // 4, 10))
@given(name=st.sampled_from(sorted(TEXTS)), noise=st.binary(min_size=1, max_size=20), place=st.floats(0, 1))
def test_files_of_any_bytes(project: Path, name: str, noise: bytes, place: float) -> None:
    content = TEXTS[name].encode()
    middle = int(place * len(content))
    planned_or_refused(project, name, content[:middle] + noise + content[middle:])
