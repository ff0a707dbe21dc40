"""How numba compiles the engine's loops, and where it caches them: in the folder of `native`.

numba's own cache checks one source file at a time, so changes in inlined functions would be missed; the folder's name
holds a digest of all sources. numba writes its files atomically, so many jobs may start at once.
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

intrinsic: Callable[[Callable[..., Any]], Callable[..., Any]] = extending.intrinsic
"""A function for compiled code that emits LLVM instructions."""


class Locator:
    """Tells numba where to cache a function; numba prescribes the methods."""

    def __init__(self, line: int) -> None:
        self.line = line

    @classmethod
    def from_function(cls, function: Callable[..., Any], source: str) -> Locator:
        """The locator of a function."""
        return cls(function.__code__.co_firstlineno)

    def ensure_cache_path(self) -> None:
        """Create the folder if it is missing."""
        native.folder().mkdir(parents=True, exist_ok=True, mode=0o700)

    def get_cache_path(self) -> str:
        """The folder."""
        return str(native.folder())

    def get_source_stamp(self) -> str:
        """The folder's name, which changes with the sources."""
        return native.folder().name

    def get_disambiguator(self) -> str:
        """The line, which tells functions of one name apart."""
        return str(self.line)


OPTIONS: dict[str, Any] = {"nogil": True, "_nrt": False, "error_model": "numpy", "fastmath": {"contract"}}
"""Release the global lock. Count no references, since nothing is allocated (saves 12 % of compile time). Division by
zero gives an infinity. A product and a sum may be fused."""
_UNWRAPPED = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Omit the wrappers for callers in Python and C."""
_made: list[Any] = []
"""All functions declared below."""


def _njit(function: Callable[..., Any], **options: Any) -> Any:
    _made.append(numba.njit(**options)(function))
    return _made[-1]


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for compiled callers only. It is compiled into each of them and not cached by itself."""
    return _njit(function, **OPTIONS, **_UNWRAPPED)  # type: ignore[no-any-return]


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """`part` that numba inlines before type inference. For tiny functions only: numba deep-copies it each time."""
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
    """A C function for `native.machine_code`: the unoptimised LLVM code of the function and everything it calls.

    numba would optimise each function together with its callees and emit machine code for each, which nobody uses.
    To optimise only the whole brings the loop's compile time from 21 s to 8 s of processor time (Zen 5).
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
        """The function, compiled by numba as usual."""
        return self._compile()

    @property
    def address(self) -> int:
        """The address of `function`."""
        return self.function.address  # type: ignore[no-any-return]


@contextmanager
def _text_only() -> Iterator[None]:
    """Make numba stop at unoptimised LLVM code. Functions declared here are compiled again on their next call.

    This replaces methods of numba, which has no setting for it.
    """

    def address(library: Any, name: str) -> int:
        library._ensure_finalized()  # links the callees
        return 0

    def nothing(*_: Any) -> None:
        pass

    library = codegen.JITCodeLibrary
    changed: list[tuple[Any, str, Any]] = [
        *((library, name, nothing) for name in ("_optimize_functions", "_optimize_final_module", "_finalize_specific")),
        (library, "get_pointer_to_function", address),
        (codegen.JITCPUCodegen, "_add_module", nothing),
        (cpu.CPUContext, "get_executable", lambda *_: [].append),  # any built-in function, each time a new one
        *((it, "_cache", NullCache()) for it in _made),
        *((it._compiler, "targetoptions", it._compiler.targetoptions | _UNWRAPPED) for it in _made),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in changed]
    collected = gc.isenabled()
    gc.disable()  # the compiler's objects are long-lived; scanning them takes an eighth of the time
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
