"""`mlpaper new study`: the file of a study to start from, which is a whole study already."""

from __future__ import annotations

import re
from pathlib import Path

from mlpaper.errors import ConfigurationError
from mlpaper.files import write_text
from mlpaper.study.plan import load_plan
from mlpaper.study.schema.names import LONGEST_NAME, STUDY_NAME

TEMPLATE = Path(__file__).with_suffix(".yaml")
"""The study, called `new-study`, on MNIST."""


def new_study(name: str, dataset: str, workflow: Path) -> Path:
    """Write `studies/<name>.yaml` under `workflow`; the path of the file.

    Raises
    ------
    ConfigurationError
        The name cannot be that of a study or is taken, or there is no such dataset. Then nothing is left behind.
    """
    if not re.fullmatch(STUDY_NAME, name) or len(name) > LONGEST_NAME:
        text = "cannot name a study: take lower-case words joined by hyphens, such as `wide-networks`"
        raise ConfigurationError(f"`{name}` {text}, of {LONGEST_NAME} characters at most")
    if not (workflow / "studies").is_dir():
        raise ConfigurationError(f"{workflow / 'studies'} is no folder: call this in the project's folder")
    path = workflow / "studies" / f"{name}.yaml"
    if path.exists():
        raise ConfigurationError(f"{path} exists; choose another name, or remove that file")
    text = TEMPLATE.read_text(encoding="utf-8")
    write_text(path, text.replace("new-study", name).replace("{name: mnist}", f"{{name: {dataset}}}"))
    try:
        load_plan({"studies": [name]}, workflow)
    except ConfigurationError as error:
        path.unlink()
        raise ConfigurationError(f"--dataset {dataset} does not fit, so that no file was written: {error}") from None
    return path
