"""From one source of prose to the paper: Markdown for GitHub, one HTML file, LaTeX and PDF.

Jinja fills `report/paper.md.j2` with numbers, figures and tables; pandoc converts what comes out; the look lives in
`report/style`. A PDF is made through LaTeX where it is installed, else through Typst, which comes with the package.
The same inputs give the same bytes: the only date is that of the commit (or `SOURCE_DATE_EPOCH`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jinja2
import pypandoc
import typst

from mlpaper import markup
from mlpaper.errors import RenderError
from mlpaper.files import atomic, read_json, write_text
from mlpaper.machine import commit
from mlpaper.paper import lint
from mlpaper.paper.cards import Cards
from mlpaper.paper.claim_text import Claims
from mlpaper.paper.floats import Item, Items
from mlpaper.paper.macros import Numbers, Target
from mlpaper.paper.provenance import braced

Output = Literal["md", "html", "tex", "pdf"]
Engine = Literal["auto", "latex", "typst"]
Columns = Literal[1, 2]

SOURCE = "paper.md.j2"
READER = "markdown-tex_math_single_backslash+gfm_auto_identifiers-implicit_figures-smart"
WRITERS: Mapping[Target, tuple[str, ...]] = {
    "md": ("--to=gfm", "--shift-heading-level-by=1", "--wrap=none"),
    "html": ("--to=html5", "--shift-heading-level-by=1", "--mathml", "--number-sections", "--wrap=none"),
    "tex": ("--to=latex", "--wrap=none"),
    "typ": ("--to=typst", "--wrap=none"),
}
TABLES = ("figure(\n  align(center)[#table(", "figure(\n  align(left)[#table(")
"""What pandoc writes for Typst around tables, and what is wanted."""
OTHER_SIGN = "\\othersign{"
"""The command of `template.tex` for what is in no type of LaTeX's."""
MATHML = re.compile(
    r'(<mi mathvariant="normal">(?:log|exp)</mi><mo>&#8289;</mo></mrow>'
    r'|<munder><mi mathvariant="normal">max</mi><mi>\w</mi></munder>)(?=<m(?:i|sub|under|row)\b)'
)
"""Named functions that pandoc sets without a space before their argument."""
FIXED_DATE = 1_735_689_600
"""1 January 2025: the date of files made outside any repository."""


def render(
    template_folder: Path,
    results: Path,
    target: Output,
    output: Path,
    pdf_engine: Engine = "auto",
    columns: Columns = 1,
) -> None:
    """Render the paper.

    Parameters
    ----------
    template_folder
        `report`: `paper.md.j2`, `sections/`, `references.bib` and `style/`.
    results
        The folder with `numbers.json`, `figures/` and `tables/`. Figures are linked relative to it, so Markdown and
        LaTeX belong there.
    target
        `md` (for GitHub), `html` (one file), `tex` (pdflatex, xelatex or tectonic) or `pdf`.
    output
        The file to write.
    pdf_engine
        For `pdf`: `latex`, `typst`, or `auto`, which takes LaTeX where it is installed and has all characters of the
        paper. LaTeX writes others as numbers: `U+4E2D`.
    columns
        Columns of text on a page: 1, or 2, which LaTeX alone can set.

    Raises
    ------
    RenderError
        A template is wrong or asks for a number, figure or table that is not there; prose holds a bare number; pandoc
        or the PDF engine gives up. Names the template and the line where there is one.
    """
    if columns == 2 and (target not in ("tex", "pdf") or pdf_engine == "typst"):
        raise RenderError("two columns are set by LaTeX alone: ask for .tex or .pdf, and not for Typst")
    lint.check(template_folder)
    if target != "pdf":
        write_text(output, Paper(template_folder, results, target, columns).document())
        return
    program = _program("latex" if columns == 2 else pdf_engine)
    paper = Paper(template_folder, results, "typ" if program == "typst" else "tex", columns)
    if program != "typst" and pdf_engine == "auto" and columns == 1 and OTHER_SIGN in paper.document():
        program, paper = "typst", Paper(template_folder, results, "typ")
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copytree(results / "figures", Path(scratch) / "figures")
        typeset = _typst if program == "typst" else _latex
        compiled = typeset(paper.document(), Path(scratch), paper.epoch, program)
    with atomic(output) as temporary:
        temporary.write_bytes(compiled)


@dataclass(frozen=True)
class Paper:
    """The paper in one target."""

    folder: Path
    results: Path
    target: Target
    columns: Columns = 1
    """Columns of text on a page; two only in LaTeX."""

    @cached_property
    def facts(self) -> dict[str, Any]:
        """`results/numbers.json`."""
        path = self.results / "numbers.json"
        if not path.exists():
            raise RenderError(f"{path} is missing: the paper's numbers were not made")
        facts: dict[str, Any] = read_json(path)
        facts["provenance"] |= commit()
        return facts

    @cached_property
    def date(self) -> datetime:
        """The paper's only date: `SOURCE_DATE_EPOCH`, else the commit's, else a fixed one."""
        if stamp := os.environ.get("SOURCE_DATE_EPOCH"):
            return datetime.fromtimestamp(int(stamp), UTC)
        if committed := self.facts["provenance"].get("date"):
            return datetime.fromisoformat(committed).astimezone(UTC)
        return datetime.fromtimestamp(FIXED_DATE, UTC)

    @property
    def _watermark(self) -> str:
        return self.facts["provenance"]["watermark"] or ""

    @property
    def epoch(self) -> int:
        """The date in seconds since 1970."""
        return int(self.date.timestamp())

    def document(self) -> str:
        """The whole paper in the target's language."""
        return finished(self._pandoc(self.markdown()), self.target)

    def markdown(self) -> str:
        """The filled template: pandoc's Markdown. Rendered twice, so that links to later figures know their numbers."""
        first = self._items(None)
        self._fill(first)
        return self._fill(self._items(first.placed))

    @cached_property
    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(  # autoescape would escape Markdown, not HTML
            loader=jinja2.FileSystemLoader(self.folder),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # YAML knows no halves of characters
        environment.filters |= {"braced": braced, "text": markup.markdown, "typst": markup.typst}
        return environment

    def _items(self, known: dict[str, Item] | None) -> Items:
        return Items(self.results, self.facts["study"], self.facts["figures"], self._draw, self._link, known)

    def _fill(self, items: Items) -> str:
        studies = self.facts.get("studies") or list(self.facts["study"])
        claims = Claims(self.facts["claims"], self.target)
        context = {
            **Numbers(self.facts, self.target).macros(),
            **items.macros(),
            **claims.macros(),
            "cards": Cards(self.facts, claims.told).cards,
            "target": self.target,
            "columns": self.columns,
            "studies": studies,
            "about": {name: _about(study) for name, study in self.facts["study"].items()},
            "provenance": self.facts["provenance"]
            | {
                "watermark": markup.markdown(self._watermark),
                "scale": markup.markdown(self.facts["provenance"]["scale"]),
            },
            "date": self.date.date().isoformat(),
            "section": self._section,
        }
        try:
            return self._environment.get_template(SOURCE).render(context)
        except jinja2.TemplateSyntaxError as error:
            raise RenderError(f"{error.filename or error.name}:{error.lineno}: {error.message}") from error
        except (jinja2.TemplateError, RenderError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise RenderError(f"{self._place(error)}{error}") from error

    def _place(self, error: BaseException) -> str:
        """``template:line: `` of the innermost template that an error passed through."""
        root = self.folder.resolve()
        frames = [f for f in traceback.extract_tb(error.__traceback__) if root in Path(f.filename).resolve().parents]
        return f"{frames[-1].filename}:{frames[-1].lineno}: " if frames else ""

    def _section(self, study: str) -> str:
        """The template of a study's section: its own, or the generic one."""
        own = f"sections/{study}.md.j2"
        return own if (self.folder / own).exists() else "sections/generic.md.j2"

    def _draw(self, item: Item) -> str:
        template = self._environment.get_template(f"style/{item.kind}.{self.target}.j2")
        return template.render(item=item, target=self.target, columns=self.columns, paper=self.facts["provenance"])

    def _link(self, item: Item) -> str:
        return f"[{item.label.replace(' ', chr(0xA0))}](#{item.anchor})"

    def _pandoc(self, markdown: str) -> str:
        style = self.folder / "style"
        arguments = [
            f"--template={(style / f'template.{self.target}').resolve()}",
            f"--lua-filter={(style / 'tables.lua').resolve()}",
            "--citeproc",
            f"--lua-filter={(style / 'references.lua').resolve()}",
            f"--bibliography={(self.folder / 'references.bib').resolve()}",
            "--toc",
            "--toc-depth=3",
            *WRITERS[self.target],
        ]
        variables = _look(self.folder) | {"watermark-css": markup.css(self._watermark)} if self.target == "html" else {}
        return convert(markdown, arguments, variables | ({"twocolumn": True} if self.columns == 2 else {}))


def finished(document: str, target: Target) -> str:
    """A document of pandoc's with what pandoc cannot be told: spaces in HTML, other signs in LaTeX, tables in Typst."""
    if target == "html":
        return MATHML.sub(r'\1<mspace width="0.17em"></mspace>', document)
    if target == "tex" and not markup.SET.fullmatch(document):
        return "".join(c if markup.SET.fullmatch(c) else f"{OTHER_SIGN}{ord(c):04X}}}" for c in document)
    return document.replace(*TABLES) if target == "typ" else document


def _about(study: Mapping[str, Any]) -> dict[str, Any]:
    """What templates see of a study, with its texts as Markdown."""
    return {
        **study,
        **{name: markup.markdown(study[name]) for name in ("title", "authors")},
        "plain_title": study["title"],
        "summary": markup.prose_markdown(study["summary"]),
        "runs": {run: markup.markdown(description) for run, description in study["runs"].items()},
    }


def _look(template_folder: Path) -> dict[str, Any]:
    """The style and the script of HTML pages, as variables of their templates."""
    style = template_folder / "style"
    return {name: (style / f"paper.{name}").read_text(encoding="utf-8") for name in ("css", "js")}


def convert(markdown: str, arguments: Sequence[str], variables: Mapping[str, Any]) -> str:
    """What pandoc makes of the Markdown. A citation without an entry is an error."""
    with tempfile.TemporaryDirectory() as scratch:
        defaults = Path(scratch) / "defaults.json"  # JSON, which is YAML: long values do not fit a command line
        defaults.write_text(json.dumps({"variables": variables, "fail-if-warnings": True}), encoding="utf-8")
        # with so many columns, no table is wrapped for the length of its source lines
        common = [f"--from={READER}", "--columns=100000", f"--defaults={defaults}"]
        return _run([pypandoc.get_pandoc_path(), *common, *arguments], markdown, "pandoc")


def _program(asked: Engine) -> str:
    """The program that makes the PDF: `latexmk`, `tectonic` or `typst`."""
    found = next((program for program in ("latexmk", "tectonic") if shutil.which(program)), None)
    if asked == "latex" and found is None:
        raise RenderError(
            "a PDF through LaTeX needs `latexmk` or `tectonic`, and neither is installed; `typst` needs none"
        )
    return "typst" if asked == "typst" or found is None else found


def _typst(document: str, scratch: Path, epoch: int, _: str) -> bytes:
    source = scratch / "paper.typ"
    source.write_text(document, encoding="utf-8")
    try:
        compiled = typst.compile(source, root=scratch, format="pdf", timestamp=epoch, **type_for(document))
    except (RuntimeError, ValueError) as error:
        raise RenderError(f"Typst could not typeset the paper: {error}") from error
    assert isinstance(compiled, bytes)
    return compiled


def type_for(document: str) -> dict[str, Any]:
    """The type that Typst may use: its own, and for other characters DejaVu of Matplotlib, and that of this machine."""
    if markup.SET.fullmatch(document):
        return {"ignore_system_fonts": True}
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None
    assert spec.origin is not None
    return {"font_paths": [Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"]}


def _latex(document: str, scratch: Path, epoch: int, program: str) -> bytes:
    (scratch / "paper.tex").write_text(document, encoding="utf-8")
    command = {
        "latexmk": ["latexmk", "-norc", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-quiet", "paper.tex"],
        "tectonic": ["tectonic", "-X", "compile", "-Z", "deterministic-mode", "paper.tex"],
    }[program]
    environment = {"SOURCE_DATE_EPOCH": str(epoch), "FORCE_SOURCE_DATE": "1"}
    _run(command, "", program, scratch, environment)
    return (scratch / "paper.pdf").read_bytes()


def _run(
    command: list[str], given: str, name: str, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """Run a program on what is ``given``; what it printed, or a RenderError with its own words."""
    done = subprocess.run(
        command,
        input=given.encode(),
        capture_output=True,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    if done.returncode:
        log = folder / "paper.log" if folder else None
        said = done.stderr.decode(errors="replace")
        if log and log.exists():
            said = "\n".join(re.findall(r"^!.*(?:\n.*){0,3}", log.read_text(errors="replace"), re.MULTILINE)) or said
        raise RenderError(f"{name} could not make the paper: {said.strip()[-2000:]}")
    return done.stdout.decode()
