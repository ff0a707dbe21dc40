"""Copies of the repository to run Snakemake in."""

import shutil
from pathlib import Path

import pytest
from project import Project, copy_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy in which nothing has been made."""
    return copy_project(tmp_path)


@pytest.fixture(scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = copy_project(tmp_path_factory.mktemp("built"))
    outcome = project.snakemake()
    assert outcome.code == 0, outcome.output
    return project


@pytest.fixture
def built(_built: Project, tmp_path: Path) -> Project:
    """A copy in which everything has been made; a fresh one for every test."""
    shutil.copytree(_built.folder, tmp_path / "built")  # keeps modification times
    return Project(tmp_path / "built")
