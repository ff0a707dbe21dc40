"""Names and texts: of runs, of metrics, of what a study has, plain text and prose."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from mlpaper.errors import nearest
from mlpaper.study import metrics

MARK = "mlpaper"
"""Marks what `mlpaper.study.json_schema` describes by a definition of its own, which this key names."""

LONGEST_NAME = 60
STUDY_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
RUN_NAME = r"^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$"

Name = Annotated[str, Field(pattern=STUDY_NAME, max_length=LONGEST_NAME)]
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


Metric = Annotated[str, AfterValidator(check_metric), WithJsonSchema({MARK: "Metric"})]


_SPACE = re.compile(r"[ \t\r\n\f\v\x85\u2028\u2029]+")
_UNPRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # of no text: control characters, halves of characters
    r"\u202a\u202b\u202d\u202e\u2066-\u2068]"  # which turn the direction of what follows, beyond their own text
)


def _text(text: str) -> str:
    """The text on one line, its accents joined with their letters.

    Raises
    ------
    ValueError
        It is empty, or holds something that cannot be printed.
    """
    line = unicodedata.normalize("NFC", _SPACE.sub(" ", text).strip(" \u00a0"))
    if not line:
        raise ValueError("must not be empty")
    if found := _UNPRINTABLE.search(line):
        raise ValueError(f"holds U+{ord(found[0]):04X}, which cannot be printed")
    return line


Text = Annotated[str, AfterValidator(_text)]
"""Plain text: titles, labels, descriptions, statements of claims, cells of tables. Every output shows it as it is
written, `$`, `*`, `@` and braces included; line breaks are spaces. No markup, no mathematics, no citations."""

Prose = Annotated[str, AfterValidator(_text)]
"""A paragraph with the markup of `mlpaper.markup.parse`, a part of Markdown: `*emphasis*`, `**strong**`, code between
backticks, `$formula$` in the language of LaTeX, `[text](https://...)`, and `[@key]`, which cites an entry of
`report/references.bib`. All else is plain text: HTML, lists, `@key` without brackets, markup that does not end. A
backslash makes the punctuation mark after it plain."""

Url = Annotated[str, Field(pattern=r"""^https?://[^\s<>"{}|\\^`]+$""")]
"""An address on the web."""
