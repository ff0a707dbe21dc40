"""Compiled code without the compiler: functions of C that are kept on disk, and started from there.

numba takes longer to load than a small run to train, and to find what it compiled before takes as long again. So the
loop that trains (`engine.loop`) is kept as plain machine code, which needs LLVM's linker only.

A folder's name holds a digest of numba's and LLVM's versions, of the processor, and of all modules that hold compiled
code, wherever they are installed. It lies in the user's own cache (or in `NUMBA_CACHE_DIR`), never beside the sources:
an installation may be read-only or shared, and compiled code that others can write is not to be trusted. A file is
written whole or not at all; of jobs that start at once, one compiles and the others wait.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import platformdirs
from filelock import FileLock
from llvmlite import binding

from mlpaper.files import atomic

LIBRARY = frozenset(("cos", "erf", "exp", "log", "memcpy", "memmove", "memset", "pow", "sin", "sqrt", "sqrtf", "tanh"))
"""Functions of the C library that compiled code may call: nothing of numba's, which is not there, nor of Python's."""
_running: list[Any] = []
"""Holds the memory of machine code that was loaded."""


@cache
def folder() -> Path:
    """Where the compiled code of exactly these sources lies."""
    processor = f"{binding.get_host_cpu_name()} {binding.get_host_cpu_features().flatten()}"
    digest = hashlib.sha256(f"{version('numba')} {version('llvmlite')} {processor}".encode())
    here = Path(__file__).parent
    for source in (*sorted(here.glob("*.py")), here.parent / "instructions.py", here.parent / "loop.py"):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    root = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("mlpaper")
    return Path(root) / f"compiled-{digest.hexdigest()[:16]}"


@cache
def usable() -> bool:
    """Whether the folder can be made and written to, by its owner alone; says so once where it cannot."""
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder()).close()
        state = folder().stat()
    except OSError:
        problem = "cannot be written to"
    else:
        if state.st_uid == os.getuid() and not state.st_mode & 0o022:
            return True
        problem = "belongs to somebody else, or others can write to it"
    warnings.warn(f"{folder()} {problem}: every job compiles the engine anew", stacklevel=2)
    return False


def load(name: str, compiled: Callable[[], Any], prototype: Callable[[int], Any]) -> Any:
    """The function that `compiled` makes (numba's `CFunc`), which is called only where the function is not kept.

    `prototype` is its type, as `ctypes.CFUNCTYPE` gives it.
    """
    if not usable():
        return prototype(_load(_machine_code(compiled(), name), name))
    path = folder() / f"{name}.o"
    code = _read(path)
    if code is None:
        with FileLock(path.with_suffix(".lock")):
            code = _read(path)
            if code is None:
                code = _machine_code(compiled(), name)
                with atomic(path) as temporary:
                    temporary.write_bytes(hashlib.sha256(code).digest() + code)
    return prototype(_load(code, name))


def _read(path: Path) -> bytes | None:
    """Machine code that was kept; None where there is none, or not all of it."""
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, code = kept[:32], kept[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _machine() -> binding.TargetMachine:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=3, codemodel="jitdefault", jit=True
    )


def _machine_code(function: Any, name: str) -> bytes:
    """The object file of a compiled function, under a `name` of its own, with nothing that it does not use.

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
    # what no call can do, as to raise, is left out once it is known who calls
    passes = binding.create_new_module_pass_manager()
    passes.add_ipsccp_pass()
    passes.add_simplify_cfg_pass()
    passes.add_global_dead_code_eliminate_pass()
    machine = _machine()
    options = binding.create_pipeline_tuning_options()
    passes.run(module, binding.create_pass_builder(machine, options))
    needed = {part.name for part in (*module.functions, *module.global_variables) if part.is_declaration}
    missing = sorted(it for it in needed - LIBRARY if not it.startswith("llvm."))
    if missing:
        raise RuntimeError(f"compiled code of {name} cannot stand by itself: it needs {', '.join(missing)}")
    return machine.emit_object(module)  # type: ignore[no-any-return]


def _load(code: bytes, name: str) -> int:
    """Address of a function in an object file, which is made ready to run."""
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _machine())
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _running.append(engine)
    return engine.get_function_address(name)  # type: ignore[no-any-return]
