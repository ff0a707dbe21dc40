"""Folders that are looked at before any job."""

from pathlib import Path

import pytest

from mlpaper.errors import StorageError
from mlpaper.preflight import FOLDERS, check_folders


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_folders_and_links_to_folders_are_sound() -> None:
    check_folders()
    Path("data").mkdir()
    Path("disk").mkdir()
    Path("results").symlink_to("disk")
    check_folders()


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_in_the_place_of_a_folder_is_told(name: str) -> None:
    Path(name).symlink_to("/nowhere/disk")
    with pytest.raises(StorageError, match=f"{name} links to /nowhere/disk, which is no folder. Make it, or remove"):
        check_folders()
    Path(name).unlink()
    Path(name).touch()
    with pytest.raises(StorageError, match=f"{name} is not a folder: move it away and run again"):
        check_folders()
