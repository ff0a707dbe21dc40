"""Captions as reStructuredText, which Snakemake's report is written in."""

from __future__ import annotations

import re

MARKUP = re.compile(
    r"(?P<code>`[^`]+`)"
    r"|\$(?P<formula>[^$]+)\$"
    r"|\*\*(?P<strong>[^*]+)\*\*"
    r"|(?<!\w)[*_](?P<emphasis>[^*_]+)[*_](?!\w)"
    r"|\[(?P<link>[^]]+)\]\([^)]*\)"
    r"|\[?@(?P<citation>[\w:-]+)\]?"
)
SPECIAL = re.compile(r"([\\*`|_])")


def rst(markdown: str) -> str:
    r"""A caption's Markdown as one paragraph of reStructuredText: emphasis, code and formulas; all else is plain text.

    >>> print(rst("Mean of *all* seeds, $\\sigma \\le 0.5$; `l2_*` and a_b."))
    Mean of *all* seeds, :math:`\sigma \le 0.5`; ``l2_*`` and a\_b.
    """
    parts: list[str] = []
    end = 0
    text = " ".join(markdown.split())
    for found in MARKUP.finditer(text):
        parts += [_plain(text[end : found.start()]), _marked(found)]
        end = found.end()
    return _spaced([*parts, _plain(text[end:])])


def _marked(found: re.Match[str]) -> str:
    kind, content = str(found.lastgroup), found[str(found.lastgroup)]
    match kind:
        case "code":
            return f"`{content}`"
        case "formula":
            return f":math:`{content}`"
        case "strong":
            return f"**{content}**"
        case "emphasis":
            return f"*{content}*"
    return _plain(content)


def _plain(text: str) -> str:
    return SPECIAL.sub(r"\\\1", text)


def _spaced(parts: list[str]) -> str:
    """Text and markup in turn; where a letter touches markup, an escaped space, which is printed as nothing."""
    joined = parts[0]
    for place, part in enumerate(parts[1:], start=1):
        marked = part if place % 2 else parts[place - 1]
        touching = bool(joined) and bool(part) and (joined[-1] if place % 2 else part[0]).isalnum()
        is_markup = marked.startswith(("`", ":math:", "*"))
        joined += ("\\ " if touching and is_markup else "") + part
    return joined
