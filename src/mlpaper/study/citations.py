"""What a study's texts refer to, checked before any job: the references that they cite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mlpaper import markup
from mlpaper.errors import ConfigurationError, nearest
from mlpaper.study.schema.study import Study
from mlpaper.study.validate import Keys, Origin


def prose_of(study: Study) -> Iterator[tuple[Keys, str]]:
    """Every text of the study that may hold markup, with its place."""
    yield ("summary",), study.summary
    yield from ((("figures", number, "caption"), figure.caption) for number, figure in enumerate(study.figures))
    yield from ((("tables", number, "caption"), table.caption) for number, table in enumerate(study.tables))


def check_citations(study: Study, origin: Origin, references: Path) -> None:
    """All that the study cites is among the references of the paper, which would fail at its very end otherwise.

    Raises
    ------
    ConfigurationError
        Some keys are not, one line for each: file, line, key, and the nearest key of `references` (a .bib file). Or
        that file cannot be read.
    """
    try:
        entries = references.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{references} cannot be read ({error}); it holds the paper's references") from None
    known = re.findall(r"^@\w+\{\s*([^,\s]+)", entries, re.MULTILINE)
    cited: list[tuple[Keys, str]] = [(("source", "citation"), study.source.citation)]
    cited += [(place, key) for place, prose in prose_of(study) for key in markup.citations(prose)]
    if wrong := [
        str(origin.error(place, f"{references} has no entry `{key}`{nearest(key, known)}"))
        for place, key in cited
        if key not in known
    ]:
        raise ConfigurationError("\n".join(wrong))
