"""No bare numbers in prose: every numeral that a reader meets must come from a result, a setting or a formula.

Only the literal text of a template is looked at. What Jinja prints is the macros' business, and numerals inside
mathematics, code, citations, link targets, attributes and names such as `M1a` or `float32` are no results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, TemplateSyntaxError

from mlpaper.errors import RenderError

EXEMPT = re.compile(
    r"""
      ^(?P<fence>```+|~~~+).*?^(?P=fence)       # fenced code and raw blocks
    | \$\$.*?\$\$                               # display mathematics
    | (?<!\\)\$(?=\S)[^$]*?(?<=\S)\$(?!\d)      # inline mathematics, as pandoc reads it
    | (?P<ticks>`+)[^`].*?(?P=ticks)            # code spans
    | <!--.*?-->                                # comments
    | \]\([^)]*\)                               # targets of links
    | (?<=[\]}\w])\{[^}]*\} | ^:::+.*?$         # attributes, fences of divisions
    | <?https?://[^\s>)]+>?                     # addresses
    | -?@[\w:.\#$%&+?<>~/-]*\w                  # citation keys
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
NUMERAL = re.compile(r"(?<![\w-])[-−+±]?\d+(?:[ .,\u00a0\u202f]\d+)*(?:e[-+]?\d+)?\s?%?|(?<!\d)[½⅓⅔¼¾²³]")


@dataclass(frozen=True)
class BareNumber:
    """A numeral typed into prose."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: bare number `{self.text}`"


def bare_numbers(path: Path, source: str | None = None) -> Iterator[BareNumber]:
    """Yield the numerals in the literal text of one template, in order.

    Raises
    ------
    RenderError
        The template cannot be read by Jinja.

    >>> [found.text for found in bare_numbers(Path("s.md.j2"), "M1a gains 1.2 % over $x_1$ {{ num('a.b') }}")]
    ['1.2 %']
    """
    text = literal_text(path, path.read_text(encoding="utf-8") if source is None else source)
    visible = EXEMPT.sub(lambda match: _blank(match[0]), text)
    for match in NUMERAL.finditer(visible):
        yield BareNumber(path, visible.count("\n", 0, match.start()) + 1, match[0].strip())


def literal_text(path: Path, source: str) -> str:
    """The template with everything that Jinja evaluates or drops blanked out, every line in its place."""
    parts = []
    try:
        for _, kind, value in Environment().lex(source, filename=str(path)):
            parts.append(value if kind == "data" else _blank(value))
    except TemplateSyntaxError as error:
        raise RenderError(f"{path}:{error.lineno}: {error.message}") from error
    return "".join(parts)


def check(folder: Path) -> None:
    """Refuse a folder of templates (`*.md.j2`, at any depth) whose prose holds bare numbers.

    Raises
    ------
    RenderError
        Lists file, line and numeral of each.
    """
    found = [number for path in sorted(folder.rglob("*.md.j2")) for number in bare_numbers(path)]
    if found:
        places = "\n".join(f"  {number}" for number in found)
        raise RenderError(
            f"the paper's prose holds numbers that no result stands behind:\n{places}\n"
            "write `{{ num(...) }}` for a result, `{{ published(...) }}` for a published value, "
            "`{{ setting(...) }}` for a setting, or `$...$` where it is mathematics"
        )


def _blank(text: str) -> str:
    return "".join(character if character == "\n" else " " for character in text)
