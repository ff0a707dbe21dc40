"""What a job is told: a small file `results/jobs/<hash>.json`, named by its content.

The name travels through Snakemake's `params` and on the job's command line, so that a job is made again exactly when
what it is told changes, however much that is (Linux refuses arguments longer than 128 KiB).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from mlpaper.errors import MlpaperError
from mlpaper.files import write_text
from mlpaper.spec import RunSpec, canonical_json

FOLDER = "results/jobs"
_T = TypeVar("_T")


class JobFiles:
    """The files of all jobs of a plan; nothing is written before `write`."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def add(self, facts: BaseModel) -> str:
        """The path of the file that tells `facts`."""
        text = facts.canonical() if isinstance(facts, RunSpec) else canonical_json(facts)
        path = f"{FOLDER}/{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"
        self._texts[path] = text
        return path

    def write(self) -> None:
        """Write those that are not there, or hold something else, relative to the current folder.

        A file is written and removed first: it shows whether results can be written, before any job.
        """
        probe = Path(FOLDER) / ".writable"
        write_text(probe, "")
        probe.unlink()
        for name, text in self._texts.items():
            path = Path(name)
            if not (path.is_file() and path.read_bytes() == text.encode()):
                write_text(path, text)


def read(path: Path, kind: type[_T] | TypeAdapter[_T]) -> _T:
    """What a file tells, as a model (or another type that pydantic validates).

    Raises
    ------
    MlpaperError
        The file is missing, or does not hold what the job expects.
    """
    adapter = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    try:
        return adapter.validate_json(path.read_bytes())
    except OSError as error:
        raise MlpaperError(f"{path} cannot be read ({error.strerror}); snakemake writes it when it starts") from error
    except ValidationError as error:
        raise MlpaperError(f"{path} does not describe this kind of job: {error}") from error
