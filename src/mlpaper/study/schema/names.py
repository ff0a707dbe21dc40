"""Names and texts: of runs, of metrics, of what a study has, and Markdown."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from mlpaper.errors import nearest
from mlpaper.study import metrics

LONGEST_NAME = 60
RUN_NAME = r"^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$"

Name = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=LONGEST_NAME)]
"""Lower-case words joined by hyphens: names of studies, figures and tables, used in file names."""

RunName = Annotated[str, Field(pattern=RUN_NAME, max_length=LONGEST_NAME)]
"""A run as its study calls it, such as `M1a` or `M1a-as-coded`."""

RunPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9*]+([-_][A-Za-z0-9*]+)*$", max_length=LONGEST_NAME)]
"""A run, or several of them in the order of the study: `width-*`, `*`."""


def check_metric(name: str) -> str:
    """The name of a metric.

    Raises
    ------
    ValueError
        There is no such metric. The message names the nearest one.
    """
    if not metrics.known(name):
        names = [*metrics.METRICS, "noise_accuracy_0.1"]
        raise ValueError(f"unknown metric{nearest(name, names)}; known are {', '.join(names)} and so on")
    return name


Metric = Annotated[str, AfterValidator(check_metric)]


def _markdown(text: str) -> str:
    if found := re.search(r"<[A-Za-z/!?]|javascript:|\{=", text):
        raise ValueError(f"must be plain Markdown, without `{found[0]}`: it becomes part of a web page")
    return text


Prose = Annotated[str, AfterValidator(_markdown)]
"""Markdown without HTML or other raw markup."""
