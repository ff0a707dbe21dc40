"""What a result says of the commit that its code is at, and why where it says nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mlpaper.machine import commit

NOTHING = {"commit": None, "date": None, "dirty": None}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which no repository above it is seen from, under no settings of the user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return tmp_path


def git(*arguments: str) -> str:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(folder: Path) -> str:
    """The commit of a repository in the working folder that holds one file."""
    git("init", "--quiet")
    (folder / "file").write_text("a")
    git("add", "file")
    git("commit", "--quiet", "--message", "a")
    return git("rev-parse", "HEAD")


def test_a_commit_and_changes_to_it(folder: Path, committed: str) -> None:
    clean = commit()
    assert (clean["commit"], clean["dirty"], clean["unknown_because"]) == (committed, False, None)
    assert clean["date"]
    (folder / "file").write_text("b")
    assert commit() == clean | {"dirty": True}
    git("checkout", "-q", ".")
    Path("more-seeds.yaml").touch()
    assert commit() == clean, "a new file that is no code"
    Path("src").mkdir()
    Path("src/new.py").touch()
    assert commit() == clean | {"dirty": True}


def test_no_git(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    assert commit() == NOTHING | {"unknown_because": "git is not installed"}


@pytest.mark.usefixtures("folder")
def test_no_repository() -> None:
    git("--version")
    assert commit() == NOTHING | {"unknown_because": "the code is in no git repository"}


@pytest.mark.usefixtures("folder")
def test_no_commit() -> None:
    git("init", "--quiet")
    assert commit() == NOTHING | {"unknown_because": "the repository has no commit yet"}


@pytest.mark.usefixtures("committed")
def test_a_repository_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its own tests of this
    found = commit()
    assert found == NOTHING | {"unknown_because": found["unknown_because"]}
    assert "belongs to another user" in found["unknown_because"]
    assert "safe.directory" in found["unknown_because"]


def test_changes_that_git_cannot_see_are_not_known(folder: Path, committed: str) -> None:
    (folder / ".git" / "index").write_text("no index")
    found = commit()
    assert (found["commit"], found["dirty"]) == (committed, None)
    assert found["unknown_because"].startswith("git could not read the repository: ")


def test_a_broken_repository_is_told_in_the_words_of_git(folder: Path, committed: str) -> None:
    (folder / ".git" / "objects" / committed[:2] / committed[2:]).unlink()
    found = commit()
    assert found["commit"] in (None, committed)
    assert found["unknown_because"].startswith("git could not read the repository: ")
