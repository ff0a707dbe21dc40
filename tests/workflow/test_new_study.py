"""`mlpaper new study` writes a study that the pipeline builds as it stands."""

import re
import subprocess
import sys

import pandas as pd
import pytest
from project import ROOT, Project

from mlpaper.errors import ConfigurationError
from mlpaper.study.new_study import new_study

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_a_new_study_builds(built: Project) -> None:
    command = [sys.executable, "-m", "mlpaper", "new", "study", "mine"]
    said = subprocess.run(command, cwd=built.folder, capture_output=True, text=True, check=True).stdout
    assert "snakemake --cores 4 --config scale=demo studies='[mine]'" in said
    outcome = built.snakemake("results/paper.md", config=("scale=demo", "studies=[mine]", "pdf=none"))
    assert outcome.code == 0, outcome.output
    assert outcome.jobs["train"] == 5
    ledger = pd.read_parquet(built.folder / "results" / "studies" / "mine" / "claims.parquet")
    assert list(ledger["id"]) == ["baseline-95", "adam-beats-descent", "wider-is-better"]
    assert not set(ledger["verdict"]) & {"not run"}
    page = (built.folder / "results" / "paper.md").read_text()
    shown = re.findall(r"mine-([a-z-]+)\.(?:svg|md)", page)
    assert {"curves", "width", "settings", "runs", "open-choices", "claims"} <= set(shown)


@pytest.mark.parametrize(
    ("name", "dataset", "message"),
    [
        ("tiny", "mnist", r"studies/tiny\.yaml exists; choose another name"),
        ("Mine", "mnist", "`Mine` cannot name a study: take lower-case words"),
        ("../mine", "mnist", r"`\.\./mine` cannot name a study"),
        ("m" * 61, "mnist", "of 60 characters at most"),
        ("mine", "mnits", "--dataset mnits does not fit, so that no file was written: .*did you mean `mnist`"),
        ("mine", "a: b", "--dataset a: b does not fit"),
    ],
)
def test_what_cannot_be_a_new_study_is_explained(project: Project, name: str, dataset: str, message: str) -> None:
    studies = project.folder / "workflow" / "studies"
    before = {path: path.read_bytes() for path in studies.iterdir()}
    with pytest.raises(ConfigurationError, match=message):
        new_study(name, dataset, studies.parent)
    assert {path: path.read_bytes() for path in studies.iterdir()} == before


def test_without_a_project_there_is_no_new_study() -> None:
    with pytest.raises(ConfigurationError, match="is no folder: call this in the project's folder"):
        new_study("mine", "mnist", ROOT / "nowhere")
