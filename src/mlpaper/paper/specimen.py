"""Whether the texts of studies can be typeset, asked before any job: formulas, and characters of all writings.

Everything else that a user writes is plain text in every output (`mlpaper.markup`) and needs no trial. Nor do letters
of Western Europe, so that most plans start none of the programs below; what calls them is imported where it is used.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlpaper import markup
from mlpaper.data.catalog import FOLDER
from mlpaper.errors import ConfigurationError, MlpaperError, RenderError
from mlpaper.study import yaml_file
from mlpaper.study.citations import prose_of
from mlpaper.study.plan import Plan
from mlpaper.study.validate import Keys, file, joined

SHOWN_OF_DATASETS = ("title", "in_sentences", "classes")
"""Keys of a dataset file whose texts the paper shows."""


class Sample(NamedTuple):
    """Something that a user wrote."""

    path: Path
    place: Keys
    content: str

    def __str__(self) -> str:
        return f"{file(self.path).at(self.place)}: `{joined(self.place)}`"


def check_texts(plan: Plan, workflow: Path) -> None:
    """Try to typeset what the plan's studies and scale hold of formulas and of unusual characters.

    Parameters
    ----------
    workflow
        The folder with `studies/` and `scales/`; `report/` is beside it.

    Raises
    ------
    ConfigurationError
        Some of it cannot be typeset in an output that the plan makes. One line for each: file, line, key, and why.
    """
    files = {name: workflow / "studies" / f"{name}.yaml" for name in plan.studies}
    scale = workflow / "scales" / f"{plan.settings.scale}.yaml"
    written = [sample for path in (scale, *files.values()) for sample in _samples(path)]
    for name in plan.datasets:
        written += [it for it in _samples(workflow / FOLDER / f"{name}.yaml") if it.place[0] in SHOWN_OF_DATASETS]
    unusual = [sample for sample in written if not markup.SET.fullmatch(sample.content)]
    formulas = [
        Sample(files[name], place, formula)
        for name, study in plan.studies.items()
        for place, prose in prose_of(study)
        for formula in markup.formulas(prose)
    ]
    wrong = [*_unset_formulas(formulas, workflow.parent / "report"), *_undrawn(unusual)]
    if unusual and plan.settings.pdf != "none":
        wrong += _unset_characters(unusual, plan.settings.pdf)
    if wrong:
        raise ConfigurationError("\n".join(dict.fromkeys(wrong)))


def _samples(path: Path) -> Iterator[Sample]:
    """Every text in a file, with its place."""

    def leaves(value: Any, place: Keys) -> Iterator[Sample]:
        if isinstance(value, str):
            yield Sample(path, place, unicodedata.normalize("NFC", " ".join(value.split())))
        pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in pairs:
            yield from leaves(each, (*place, key))

    return leaves(yaml_file.load(path), ())


# --- characters


def _unset_characters(unusual: Sequence[Sample], pdf: Any) -> Iterator[str]:
    if pdf == "latex":
        for sample in unusual:
            signs = "".join(dict.fromkeys(sign for sign in sample.content if not markup.SET.fullmatch(sign)))
            yield f"{sample}: LaTeX has no type for `{signs}` here; `pdf: typst` or `pdf: auto` typesets it"
        return
    for sign in _without_type("\n".join(sample.content for sample in unusual)):
        for sample in (sample for sample in unusual if sign in sample.content):
            yield (
                f"{sample}: no font of this machine has `{sign}` (U+{ord(sign):04X}) for the PDF: "
                "install one, such as Noto, or say `pdf: none`"
            )


def _without_type(content: str) -> list[str]:
    """Characters that Typst has no type for. Only for a PDF of the archival kind does it tell, one at a time."""
    import typst

    from mlpaper.paper.render import type_for

    missing: list[str] = []
    while content:
        source = f'#set text(font: "Libertinus Serif")\n#{markup.typst(content)}'.encode()
        try:
            typst.compile(source, format="pdf", pdf_standards=["a-2b"], **type_for(content))
        except typst.TypstError as error:
            found = re.search(r'the text `"(?:\\u\{([0-9a-f]+)\}|(.))', error.message)
            if found is None:
                raise RenderError(f"Typst could not typeset the texts of the studies: {error.message}") from error
            missing.append(found[2] or chr(int(found[1], 16)))
            content = content.replace(missing[-1], "")
        else:
            break
    return missing


def _undrawn(unusual: Iterable[Sample]) -> Iterator[str]:
    """Labels of axes and watermarks with a character that figures cannot show."""
    for sample in unusual:
        if sample.place[-1] in ("label", "watermark") or sample.place[0] == "classes":
            from mlpaper.paper import style

            try:
                style.plain_text(sample.content)
            except MlpaperError as error:
                yield f"{sample}: {error}"


# --- formulas


def _unset_formulas(formulas: Sequence[Sample], report: Path) -> list[str]:
    """Formulas that pandoc cannot read, or LaTeX, where it is installed, cannot typeset."""
    because = {
        formula: "`%` begins a comment (`\\%` does not)"
        for formula in formulas
        if re.search(r"(?<!\\)%", formula.content)
    }
    if formulas and not _readable(formulas):
        unread = [formula for formula in formulas if not _readable([formula])]
        because |= dict.fromkeys(unread, "it is no formula that pandoc can read")
    if formulas and not because and shutil.which("pdflatex"):
        because = _refused_by_latex(formulas, report)
    return [
        f"{formula}: `${formula.content}$` cannot be typeset, since {why}; a dollar sign is `\\$`"
        for formula, why in because.items()
    ]


def _readable(formulas: Sequence[Sample]) -> bool:
    from mlpaper.paper.render import WRITERS, convert

    try:
        convert("\n\n".join(f"x ${formula.content}$" for formula in formulas), WRITERS["html"], {})
    except RenderError:
        return False
    return True


def _refused_by_latex(formulas: Sequence[Sample], report: Path) -> dict[Sample, str]:
    """Formulas with what LaTeX says of them, each tried in a caption."""
    from mlpaper.paper.render import WRITERS, convert, finished

    lines = [f"`\\captionof{{figure}}{{`{{=latex}}x ${formula.content}$<!-- -->`}}`{{=latex}}" for formula in formulas]
    template = (report / "style" / "template.tex").resolve()
    document = finished(convert("\n\n".join(lines), [f"--template={template}", *WRITERS["tex"]], {}), "tex")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "formulas.tex").write_text(document, encoding="utf-8")
        command = ["pdflatex", "-draftmode", "-no-shell-escape", "-file-line-error", "-interaction=nonstopmode"]
        done = subprocess.run([*command, "formulas.tex"], cwd=scratch, capture_output=True, check=False)
    said = re.findall(r"^\./formulas\.tex:(\d+): (.*)$", done.stdout.decode(errors="replace"), re.MULTILINE)
    captions = [number for number, line in enumerate(document.splitlines(), 1) if line.startswith("\\captionof")]
    refused = {int(line): f"LaTeX says: {message.strip(' .')}" for line, message in reversed(said)}
    return {formula: refused[line] for formula, line in zip(formulas, captions, strict=True) if line in refused}
