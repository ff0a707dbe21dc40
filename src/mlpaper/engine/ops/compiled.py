"""How the fast operations are compiled, and where the compiled code is kept.

numba's own cache looks at one source file at a time, so a change in a function that others have taken in would go
unseen. Here the folder's name holds a digest of numba's version and of all modules that hold compiled code (`ops` and
`engine.program`), wherever they are installed. It lies in the user's own cache (or in `NUMBA_CACHE_DIR`), never beside
the sources: an installation may be read-only or shared, and compiled code that others can write is not to be trusted.
numba writes its files whole or not at all, so many jobs may start at once.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import platformdirs
from numba import extending

intrinsic: Any = extending.intrinsic
"""A function of compiled code that is written in LLVM's terms."""


def cache_folder() -> Path:
    """Folder of the compiled code of exactly these sources."""
    digest = hashlib.sha256(numba.__version__.encode())
    here = Path(__file__).parent
    for source in (*sorted(here.glob("*.py")), here.parent / "program.py"):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    root = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("mlpaper")
    return Path(root) / f"compiled-{digest.hexdigest()[:16]}"


class Locator:
    """Tells numba where the compiled code of a function lies, in the terms that numba asks in."""

    folder = cache_folder()

    def __init__(self, line: int) -> None:
        self.line = line

    @classmethod
    def from_function(cls, function: Callable[..., Any], source: str) -> Locator | None:
        """The place for a function, or None where nothing can be written."""
        return cls(function.__code__.co_firstlineno) if cls.writable() else None

    @classmethod
    @cache
    def writable(cls) -> bool:
        """Whether the folder is there, or can be made, and can be written to; one answer for all functions."""
        try:
            cls.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            tempfile.TemporaryFile(dir=cls.folder).close()
        except OSError:
            return False
        return True

    def ensure_cache_path(self) -> None:
        """Make the folder, should it have gone since."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def get_cache_path(self) -> str:
        """The folder."""
        return str(self.folder)

    def get_source_stamp(self) -> str:
        """What changes with the sources: the folder's name says it all."""
        return self.folder.name

    def get_disambiguator(self) -> str:
        """What tells functions of one name apart."""
        return str(self.line)


OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""Without the global lock; a division by zero is an infinity; a product and a sum may be rounded once."""


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for use in compiled code only: it becomes part of what calls it, and is not kept by itself."""
    return numba.njit(**OPTIONS)(function)  # type: ignore[no-any-return]


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`part` that is written out where it is called, before anything is compiled: that saves compiling it twice."""
    return numba.njit(inline="always", **OPTIONS)(function)  # type: ignore[no-any-return]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled on its first call and kept on disk."""
    config: Any = numba.config
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.{Locator.__name__}"
    try:
        return numba.njit(cache=True, **OPTIONS)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        warnings.warn(f"{Locator.folder} cannot be written to: every job compiles the engine anew", stacklevel=2)
        return numba.njit(**OPTIONS)(function)  # type: ignore[no-any-return]
    finally:
        config.CACHE_LOCATOR_CLASSES = before
