"""Compiled code without the compiler: C functions are cached on disk as machine code and loaded from there.

Loading numba takes 0.4 s, longer than a small run trains, and looking up its own cache takes as long again. So the loop
that trains (`ops.loop`) is cached as plain machine code, which needs only LLVM's linker.

The folder's name holds a digest of the versions and settings of numba and LLVM, of the processor, and of all modules
with compiled code. The folder is in the user's own cache (or in `NUMBA_CACHE_DIR`), never next to the sources: an
installation may be shared, and code that others could have written is not run. Files are written whole or not at all.
If several jobs start at once, one compiles and the others wait. Code that cannot be cached, or that needs numba to run,
is compiled in each process.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs
from llvmlite import binding

from mlpaper.engine.ops import processor
from mlpaper.errors import StorageError
from mlpaper.files import atomic

LIBRARY = frozenset(("erf", "exp", "log", "memcpy", "memmove", "memset", "pow", "sqrt", "sqrtf", "tanh"))
"""Functions of the C library that compiled code may call. numba's and Python's are not available to it."""
FROZEN = "numba.dynamic.globals"
"""Prefix of constants that are addresses in the compiling process."""
_NEUTRAL = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
"""Settings of numba that do not change the compiled code."""
_running: list[Any] = []
"""Keeps loaded machine code in memory."""


@cache
def folder() -> Path:
    """The folder with the compiled code of exactly these sources."""
    target = (binding.get_default_triple(), *processor.target())
    settings = sorted(item for item in os.environ.items() if item[0].startswith("NUMBA_") and item[0] not in _NEUTRAL)
    digest = hashlib.sha256(repr((version("numba"), version("llvmlite"), target, settings)).encode())
    here = Path(__file__).parent
    for source in (*sorted(here.glob("*.py")), here.parent / "network.py"):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    root = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("mlpaper")
    return Path(root) / f"compiled-{digest.hexdigest()[:16]}"


@cache
def usable() -> bool:
    """Whether code can be cached in the folder safely; warns once if not."""
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder()).close()
        problem = "" if _safe(folder().stat()) else "belongs to somebody else, or others can write to it"
    except OSError:
        problem = "cannot be written to"
    if problem:
        warnings.warn(f"{folder()} {problem}: every job compiles the engine again", stacklevel=2)
    return not problem


def _safe(state: os.stat_result) -> bool:
    """Whether nobody but this user, and root, could have written what the state is of."""
    return state.st_uid in (0, os.getuid()) and not state.st_mode & 0o022


def load(name: str, make: Callable[[], Any], prototype: Callable[[int], Any]) -> Any:
    """The compiled function of a name. `make` compiles it if it is not in the cache, and returns a numba `CFunc`.

    `prototype` is its type, as `ctypes.CFUNCTYPE` gives it.
    """
    path = folder() / f"{name}.o"
    code = _read(path)
    if code is None:
        with _alone(path.with_suffix(".lock")):
            code = _read(path)
            if code is None:
                function = make()
                try:
                    code = machine_code(function, name)
                except RuntimeError as error:
                    warnings.warn(f"{error}: every job compiles it again", stacklevel=2)
                    _running.append(function)
                    return prototype(function.address)
                _keep(path, code)
    return prototype(_start(code, name))


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock of a compilation. Where files cannot be locked, several jobs may compile."""
    if not usable():
        yield
        return
    from filelock import FileLock

    held = FileLock(lock)
    try:
        held.acquire()
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        held.release()


def _read(path: Path) -> bytes | None:
    """Cached machine code; None if it is absent, damaged, or could have been written by others."""
    try:
        with path.open("rb") as stream:
            if not (_safe(path.parent.stat()) and _safe(os.fstat(stream.fileno()))):
                return None
            kept = stream.read()
    except OSError:
        return None
    digest, code = kept[:32], kept[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(path: Path, code: bytes) -> None:
    """Cache machine code for the next job, if possible."""
    if not usable():
        return
    try:
        with atomic(path) as temporary:
            temporary.write_bytes(hashlib.sha256(code).digest() + code)
        path.chmod(0o600)
    except (OSError, StorageError) as error:
        warnings.warn(f"{error}: the next job compiles the engine again", stacklevel=2)


def _machine() -> binding.TargetMachine:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    name, features = processor.target()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=name, features=features, opt=3, codemodel="jitdefault", jit=True
    )


def machine_code(function: Any, name: str) -> bytes:
    """The object file of a compiled function under a `name`, without unused code.

    Raises
    ------
    RuntimeError
        The function needs more than the C `LIBRARY`: it allocates, raises, or calls Python.
    """
    module = binding.parse_assembly(function.inspect_llvm())
    for part in (*module.functions, *module.global_variables):
        if part.name == function.native_name:
            part.name = name
        elif not part.is_declaration:
            part.linkage = "internal"
    machine, options = _machine(), binding.create_pipeline_tuning_options()
    module.data_layout = str(machine.target_data)
    options.speed_level, options.loop_vectorization, options.slp_vectorization = 3, True, False
    builder = binding.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    # what no call can do, as to raise, is left out once it is known who calls
    passes = binding.create_new_module_pass_manager()
    passes.add_ipsccp_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    passes.run(module, builder)
    frozen = [part.name for part in module.global_variables if part.name.startswith(FROZEN)]
    needed = {part.name for part in (*module.functions, *module.global_variables) if part.is_declaration}
    absent = sorted(it for it in needed if not it.startswith("llvm.") and not _in_library(it))
    if absent or frozen:
        raise RuntimeError(f"compiled code of {name} cannot stand by itself: it needs {', '.join(absent + frozen)}")
    return machine.emit_object(module)  # type: ignore[no-any-return]


def _in_library(name: str) -> bool:
    return name in LIBRARY and binding.address_of_symbol(name) is not None


def _start(code: bytes, name: str) -> int:
    """Link an object file; returns the address of a function in it."""
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _running.append(engine)
    address: int = engine.get_function_address(name)
    if not address:
        raise RuntimeError(f"there is no function {name} in its compiled code")
    return address
