"""What jobs are told, by files: of any size, the same for the same content, and clear errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlpaper.errors import MlpaperError
from mlpaper.job_files import JobFiles, read
from mlpaper.paper.expand import numbers_job
from mlpaper.paper.jobs import NumbersJob
from mlpaper.spec import PoolSpec, RunSpec, canonical_json
from mlpaper.study.plan import load_plan

ROOT = Path(__file__).parents[1]
ARGUMENT = 128 * 1024
"""Bytes that an argument of a command may have on Linux."""


def test_twenty_seeds_of_all_studies_are_told_in_a_short_argument(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = load_plan({"studies": "all", "seeds": list(range(20))}, ROOT / "workflow")
    job, files = numbers_job(plan), JobFiles()
    assert len(canonical_json(job)) > ARGUMENT
    path = files.add(job)
    assert len(path) < 100
    monkeypatch.chdir(tmp_path)
    files.write()
    assert read(Path(path), NumbersJob) == job


def test_no_rule_tells_jobs_by_json() -> None:
    for rules in (ROOT / "workflow" / "rules").glob("*.smk"):
        assert not {"canonical", "dumps", "model_dump"} & set(re.findall(r"\w+", rules.read_text())), rules


def test_equal_facts_have_one_file_that_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = JobFiles()
    specs = [RunSpec(dataset=PoolSpec(name="digits"), seed=seed) for seed in (0, 0, 1)]
    paths = [files.add(spec) for spec in specs]
    assert paths[0] == paths[1] != paths[2]
    assert not Path("results").exists()
    files.write()
    written = {path: Path(path).stat().st_mtime_ns for path in paths}
    files.write()
    assert {path: Path(path).stat().st_mtime_ns for path in paths} == written
    assert [read(Path(path), RunSpec) for path in paths] == specs


@pytest.mark.parametrize("content", ["", "{", RunSpec(dataset=PoolSpec(name="digits"), seed=7).canonical()])
def test_a_file_that_was_changed_is_written_again(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else jobs would do what the name of the file does not say, or fail at every call."""
    monkeypatch.chdir(tmp_path)
    files, spec = JobFiles(), RunSpec(dataset=PoolSpec(name="digits"))
    path = Path(files.add(spec))
    files.write()
    path.write_text(content)
    files.write()
    assert read(path, RunSpec) == spec


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .*snakemake writes it"),
        ("{}", "does not describe this kind of job"),
        ("[", "does not describe this kind of job"),
        ("\0\xff", "does not describe this kind of job"),
    ],
)
def test_a_file_that_is_not_one_is_told(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(MlpaperError, match=message):
        read(path, RunSpec)
