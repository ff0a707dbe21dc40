"""The repository's own configuration, and a copy of its workflow folder to break."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config() -> dict:
    """Of the first study alone, with its runs by PyTorch whether that is installed or not."""
    return yaml.safe_load((ROOT / "config.yaml").read_text()) | {"studies": ["emnist-bymerge"], "twin": "always"}


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    for name in ("workflow", "report"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path / "workflow"


@pytest.fixture
def edit(workflow: Path) -> Callable[[str, str], None]:
    """Replace a text in the copy of the first study's file."""
    path = workflow / "studies" / "emnist-bymerge.yaml"

    def replace(old: str, new: str) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return replace
