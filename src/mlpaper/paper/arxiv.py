"""The paper's source as arXiv wants it: one archive that LaTeX compiles in an empty folder.

It holds `paper.tex`, in which the references are typeset already, and the figures that it shows. The same inputs give
the same bytes.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from pathlib import Path

from mlpaper.errors import RenderError
from mlpaper.files import atomic
from mlpaper.paper import lint
from mlpaper.paper.render import Columns, Paper

GRAPHICS = re.compile(r"\\includegraphics(?:\[[^]]*\])?\{([^}]*)\}")


def pack(template_folder: Path, results: Path, output: Path, columns: Columns = 1) -> None:
    """Write the archive.

    Parameters
    ----------
    template_folder, results, columns
        As in `mlpaper.paper.render.render`.
    output
        The file to write, a `.tar.gz`.

    Raises
    ------
    RenderError
        The paper cannot be rendered, or a figure that it shows was not made.
    """
    lint.check(template_folder)
    paper = Paper(template_folder, results, "tex", columns)
    document = paper.document()
    files = {"paper.tex": document.encode()}
    for name in sorted(set(GRAPHICS.findall(document))):
        files[name] = _figure(results, name)
    with atomic(output) as temporary:
        temporary.write_bytes(archive(files, paper.epoch))


def archive(files: dict[str, bytes], epoch: int) -> bytes:
    """A compressed archive of `files`, by name, all of one date and of no one's."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), epoch, 0o644
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), mtime=epoch)


def _figure(results: Path, name: str) -> bytes:
    """A figure by the name under which the paper shows it, which is relative to `results`."""
    if Path(name).is_absolute() or any(part.startswith(".") for part in Path(name).parts):
        raise RenderError(f"the paper shows `{name}`: figures must lie in the folder of the paper, in no hidden one")
    path = results / name
    if not path.is_file():
        raise RenderError(f"the paper shows {path}, which was not made")
    return path.read_bytes()
