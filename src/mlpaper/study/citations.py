"""What a study's texts refer to, checked before any job: the references that they cite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mlpaper import markup
from mlpaper.errors import ConfigurationError, nearest
from mlpaper.study import yaml_file
from mlpaper.study.schema.study import Study

Place = tuple[str | int, ...]
"""The keys that lead to a value of a study file."""


def prose_of(study: Study) -> Iterator[tuple[Place, str]]:
    """Every text of the study that may hold markup, with its place."""
    yield ("summary",), study.summary
    yield from ((("figures", number, "caption"), figure.caption) for number, figure in enumerate(study.figures))
    yield from ((("tables", number, "caption"), table.caption) for number, table in enumerate(study.tables))


def check_citations(study: Study, path: Path) -> None:
    """All that the study cites is among the references of the paper, which would fail at its very end otherwise.

    Raises
    ------
    ConfigurationError
        Some keys are not. One line for each: file, line, key, and the nearest key of `report/references.bib`.
    """
    references = path.parents[2] / "report" / "references.bib"
    known = re.findall(r"^@\w+\{\s*([^,\s]+)", references.read_text(encoding="utf-8"), re.MULTILINE)
    cited: list[tuple[Place, str]] = [(("source", "citation"), study.source.citation)]
    cited += [(place, key) for place, prose in prose_of(study) for key in markup.citations(prose)]
    if wrong := [
        f"{placed(path, place)}: {references} has no entry `{key}`{nearest(key, known)}"
        for place, key in cited
        if key not in known
    ]:
        raise ConfigurationError("\n".join(wrong))


def placed(path: Path, place: Place) -> str:
    """Where a value stands, in words: file, line, and keys."""
    line = yaml_file.line_of(path, place)
    return f"{path}{f':{line}' if line else ''}: `{'.'.join(map(str, place))}`"
