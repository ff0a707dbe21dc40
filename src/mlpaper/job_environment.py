"""What a job sees of the environment of whoever started Snakemake, and what it does not.

The pipeline's jobs must give the same results in everybody's shell. `MPLBACKEND` as notebooks set it, settings of
numba, or another project's `PYTHONPATH` are meant for other programs.
"""

from __future__ import annotations

import gc
import os
import select
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from mlpaper.client import SERVER, SNAKEMAKE

IGNORED = frozenset(("MPLBACKEND", "MATPLOTLIBRC", "PYTHONSTARTUP", "PYTHONINSPECT"))
"""Variables that a command of `mlpaper` does not inherit, besides all of numba's (`NUMBA_*`) but `NUMBA_CACHE_DIR`."""
THREAD_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
CACHES = {
    "NUMBA_CACHE_DIR": ("mlpaper", "compiled code"),
    "MPLCONFIGDIR": ("matplotlib", "matplotlib's list of fonts"),
}
"""Variables that say where jobs keep what takes long to make: the folder of the user's cache that they stand for, and
what is kept there."""

SOURCE = Path(__file__).parents[1]
CLIENT = [sys.executable, "-I", "-S", str(SOURCE / "mlpaper" / "client.py")]
"""`mlpaper` as the rules call it; see `mlpaper.client`."""


def prepare_process(threads: int) -> None:
    """Settle what must be settled before NumPy, numba, matplotlib and pydantic are imported."""
    for name in [name for name in os.environ if name in IGNORED or name.startswith("NUMBA_")]:
        if name != "NUMBA_CACHE_DIR":
            del os.environ[name]
    for name in THREAD_POOLS:
        os.environ[name] = str(threads)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # else it looks through all that is installed
    gc.set_threshold(100_000)  # imports allocate long-lived objects; scanning them takes a tenth of a short job


def caches(instead: Path) -> tuple[dict[str, str], list[str]]:
    """Where jobs keep what takes long to make, if not in the usual place; and a line for each about it.

    A home that cannot be written to, as in many containers, would cost every job what is made once elsewhere:
    compiling takes eight seconds, and looking for fonts some more.

    Parameters
    ----------
    instead
        Folder for what cannot be kept in the usual place.
    """
    variables, lines = {}, []
    for name, (folder, content) in CACHES.items():
        usual = Path(os.environ.get(name) or platformdirs.user_cache_dir(folder))
        if not _writable(usual):
            variables[name] = str(instead.resolve() / folder)
            lines.append(
                f"{usual} cannot be written to: {content} is kept in {variables[name]}. "
                f"Set {name} to keep it elsewhere."
            )
    return variables, lines


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself where it is not there yet."""
    existing = next((it for it in (folder, *folder.parents) if it.exists()), folder)
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError:
        return False
    return True


def client_variables(place: Path) -> dict[str, str]:
    """Variables of `CLIENT`: this code, where servers listen, and that its jobs end with this process."""
    return {"PYTHONPATH": str(SOURCE), SERVER: str(place), SNAKEMAKE: str(os.getpid())}


def die_with_snakemake() -> None:
    """Kill this job when the process ends that started it, even by `kill -9`.

    Else it would write over the files of the job that the next call of Snakemake starts in its place. A job that was
    started by hand, or on a system without descriptors of processes, goes on.
    """
    process = os.environ.get(SNAKEMAKE)
    if process is None or not hasattr(os, "pidfd_open"):
        return
    try:
        descriptor = os.pidfd_open(int(process))
    except ProcessLookupError:
        _kill_job()
    except OSError:  # an old kernel, or a sandbox
        return
    else:
        threading.Thread(target=_kill_after, args=(descriptor,), daemon=True).start()


def _kill_after(descriptor: int) -> None:
    select.select([descriptor], [], [])
    _kill_job()


def _kill_job() -> None:
    """This process, and those that it started where they are a group of their own."""
    kill = os.killpg if os.getpgrp() == os.getpid() else os.kill
    kill(os.getpid(), signal.SIGKILL)


def shell_prefix(place: Path, variables: Mapping[str, str]) -> str:
    """What Snakemake puts before every shell command, so that `mlpaper` is this code in this Python.

    It is neither what another environment's `PATH` names nor what the user's `PYTHONPATH` holds. Braces are doubled,
    since Snakemake formats the text.

    Parameters
    ----------
    place
        Where servers listen, if there are any (`mlpaper.server`).
    variables
        More variables of the jobs.
    """
    exports = client_variables(place) | dict(variables)
    listed = " ".join(f"{name}={shlex.quote(value)}" for name, value in exports.items())
    text = f'set -euo pipefail; unset PYTHONHOME; export {listed}; mlpaper() {{ {shlex.join(CLIENT)} "$@"; }}; '
    return text.replace("{", "{{").replace("}", "}}")
