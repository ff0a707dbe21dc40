"""How compiled code is made: by numba, kept in the folder of `native`.

numba's own cache looks at one source file at a time, so a change in a function that others have taken in would go
unseen; the folder's name knows all sources. numba writes its files whole or not at all, so many jobs may start at once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numba
from numba import extending
from numba.core import codegen, cpu
from numba.core.caching import NullCache

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


OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False, "error_model": "numpy", "fastmath": {"contract"}}
"""Without the global lock; nothing is allocated, so nothing is counted (-12 % of the time to compile the loop);
a division by zero is an infinity; a product and a sum may be rounded once."""
_UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Without the wrappers that Python or C would call."""
_made: list[Any] = []
"""All functions that numba has been given here."""


def _njit(function: Callable[..., Any], **options: Any) -> Any:
    _made.append(numba.njit(**options)(function))
    return _made[-1]


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for use in compiled code only: it becomes part of its callers, and is not cached by itself."""
    return _njit(function, **OPTIONS, **_UNWRAPPED)  # type: ignore[no-any-return]


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`part` that numba inlines before it infers types. For small functions only: numba copies both sides each time."""
    return _njit(function, inline="always", **OPTIONS)  # type: ignore[no-any-return]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled on its first call and kept on disk."""
    config: Any = numba.config
    before = config.CACHE_LOCATOR_CLASSES
    config.CACHE_LOCATOR_CLASSES = f"{__name__}.{Locator.__name__}"
    try:
        return _njit(function, cache=native.usable(), **OPTIONS)  # type: ignore[no-any-return]
    finally:
        config.CACHE_LOCATOR_CLASSES = before


class Whole:
    """A function of C as `native.machine_code` takes it: LLVM's text of it and all it calls, not optimised.

    numba optimises every function by itself, with all that it calls, and makes machine code of it that nobody calls.
    Without that the loop compiles in 8 s of processor time in place of 21 s (Zen 5).
    """

    def __init__(self, signature: Any, function: Callable[..., Any]) -> None:
        cfunc: Any = numba.cfunc
        self._compile: Callable[[], Any] = lambda: cfunc(signature, **OPTIONS)(function)
        try:
            with _text_only():
                made = self._compile()
                self.native_name, self.inspect_llvm = made.native_name, made.inspect_llvm
        except (AttributeError, TypeError):  # another version of numba has other internals
            self.native_name, self.inspect_llvm = self.function.native_name, self.function.inspect_llvm

    @cached_property
    def function(self) -> Any:
        """The function as numba compiles it."""
        return self._compile()

    @property
    def address(self) -> int:
        """The address of `function`."""
        return self.function.address  # type: ignore[no-any-return]


@contextmanager
def _text_only() -> Iterator[None]:
    """Have numba make LLVM's text only. What was made here so far is made anew when it is next called."""

    def address(library: Any, name: str) -> int:
        library._ensure_finalized()
        return 0

    def nothing(*_: Any) -> None:
        pass

    library = codegen.JITCodeLibrary
    changed: list[tuple[Any, str, Any]] = [
        *((library, name, nothing) for name in ("_optimize_functions", "_optimize_final_module", "_finalize_specific")),
        (library, "get_pointer_to_function", address),
        (codegen.JITCPUCodegen, "_add_module", nothing),
        (cpu.CPUContext, "get_executable", lambda *_: [].append),  # numba needs a built-in function, each another
        *((it, "_cache", NullCache()) for it in _made),
        *((it._compiler, "targetoptions", it._compiler.targetoptions | _UNWRAPPED) for it in _made),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in changed]
    collected = gc.isenabled()
    gc.disable()  # what the compiler makes stays alive: to scan it for garbage takes an eighth of the time
    for place in changed:
        setattr(*place)
    try:
        yield
    finally:
        for place in before:
            setattr(*place)
        if collected:
            gc.enable()
        for it in _made:
            it._reset_overloads()
