"""How compiled code is made: by numba, kept in the folder of `native`.

numba's own cache looks at one source file at a time, so a change in a function that others have taken in would go
unseen; the folder's name knows all sources. numba writes its files whole or not at all, so many jobs may start at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import extending

from mlpaper.engine.ops import native, processor

_settings: Any = numba.config
_settings.CPU_NAME, _settings.CPU_FEATURES = processor.target()

intrinsic: Any = extending.intrinsic
"""A function of compiled code that is written in LLVM's terms."""


class Locator:
    """Tells numba where the compiled code of a function lies, in the terms that numba asks in."""

    def __init__(self, line: int) -> None:
        self.line = line

    @classmethod
    def from_function(cls, function: Callable[..., Any], source: str) -> Locator:
        """The place for a function."""
        return cls(function.__code__.co_firstlineno)

    def ensure_cache_path(self) -> None:
        """Make the folder, should it have gone since."""
        native.folder().mkdir(parents=True, exist_ok=True, mode=0o700)

    def get_cache_path(self) -> str:
        """The folder."""
        return str(native.folder())

    def get_source_stamp(self) -> str:
        """What changes with the sources: the folder's name says it all."""
        return native.folder().name

    def get_disambiguator(self) -> str:
        """What tells functions of one name apart."""
        return str(self.line)


OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""Without the global lock; a division by zero is an infinity; a product and a sum may be rounded once."""
_OF_PART: dict[str, Any] = OPTIONS | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Without what Python or C would call it by: that takes a third of the time."""


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for use in compiled code only: it becomes part of what calls it, and is not kept by itself."""
    return numba.njit(**_OF_PART)(function)  # type: ignore[no-any-return]


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`part` that is written out where it is called, before anything is compiled: that saves compiling it twice."""
    return numba.njit(inline="always", **OPTIONS)(function)  # type: ignore[no-any-return]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled on its first call and kept on disk."""
    config: Any = numba.config
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.{Locator.__name__}"
    try:
        return numba.njit(cache=native.usable(), **OPTIONS)(function)  # type: ignore[no-any-return]
    finally:
        config.CACHE_LOCATOR_CLASSES = before
