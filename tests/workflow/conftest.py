"""Copies of the repository to run Snakemake in."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from project import Project, copy_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy in which nothing has been made."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Made once: of pytest-xdist's workers the first makes it, and the others wait for it."""
    own = tmp_path_factory.getbasetemp()
    made = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "built"
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            project = copy_project(tmp_path_factory.mktemp("building"))
            outcome = project.snakemake()
            assert outcome.code == 0, outcome.output
            project.folder.rename(made)
    return Project(made)


@pytest.fixture
def built(_built: Project, tmp_path: Path) -> Project:
    """A copy in which everything has been made; a fresh one for every test."""
    shutil.copytree(_built.folder, tmp_path / "built")  # keeps modification times
    return Project(tmp_path / "built")
