"""How the fast operations are compiled, and where the compiled code is kept.

numba's own cache looks at one source file at a time, so a change in a function that others have taken in would go
unseen. Here the folder's name holds a digest of all the sources and of numba's version. It lies in the user's own cache
(`NUMBA_CACHE_DIR` where that is set), never beside the sources: an installation may be read-only or shared, and
compiled code that others can write is not to be trusted. numba writes its files whole or not at all, so many jobs may
start at once.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
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
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    root = os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("mlpaper")
    return Path(root) / f"compiled-{digest.hexdigest()[:16]}"


_FOLDER = str(cache_folder())


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled on its first call and kept on disk.

    Without the global lock; a division by zero is an infinity; a product and a sum may be rounded once.
    """
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, _FOLDER
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    except RuntimeError as error:  # numba finds no folder that it can write to
        warnings.warn(f"compiled code cannot be kept, every job compiles anew: {error}", stacklevel=2)
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    finally:
        config.CACHE_DIR = before
