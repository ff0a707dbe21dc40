"""The texts of the documentation: README, CONTRIBUTING, CHANGELOG and the pages of the site."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts),
]
PROGRAMS = ("mlpaper", "snakemake", "make", "python3")
FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Shown:
    """A block or a line that a page shows."""

    page: Path
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0][:70]}"


def blocks(language: str) -> Iterator[Shown]:
    """The code blocks in a language."""
    for page in PAGES:
        for _, found, text in FENCE.findall(page.read_text()):
            if found.strip() == language:
                yield Shown(page, text)


def commands() -> Iterator[Shown]:
    """The command lines: those in blocks without a language, and those in backticks."""
    for page in PAGES:
        text = page.read_text()
        lines = [line for _, language, block in FENCE.findall(text) if not language for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
        for line in lines:
            words = shlex.split(line, comments=True) if line.startswith(PROGRAMS) else []
            if len(words) > 1 and words[0] in PROGRAMS and not words[1].startswith("("):
                yield Shown(page, line)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links() -> Iterator[tuple[Path, str]]:
    """Links and images of all pages, outside of code."""
    for page in PAGES:
        text = re.sub(r"`[^`\n]+`", "", FENCE.sub("", page.read_text()))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            yield page, target
