"""What a result was made with: the machine, versions of the packages that compute, the commit of the code."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("mlpaper", "numpy", "numba", "pandas", "pyarrow", "scikit-learn", "matplotlib", "seaborn", "snakemake")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute or draw."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def machine() -> dict[str, str | int]:
    """Processor, cores, memory and operating system."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory / 2**30),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
    }


def usable_cores() -> int:
    """Cores that this process may use; where the system does not tell, all that there are."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def peak_memory() -> int:
    """Most memory that this process has had so far, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # elsewhere in units of 1024 bytes


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


CODE = ("Snakefile", "config.yaml", "workflow", "src", "report", "pyproject.toml")
"""What makes the results: a new file elsewhere does not change them."""


class _NoAnswer(Exception):
    """git did not tell what was asked; the message says why, for the paper."""


def commit() -> dict[str, Any]:
    """What git knows of the code in the working folder.

    Returns
    -------
    dict
        `commit`, its `date`, and `dirty`, whether its files, or new ones among the code, differ from it, each None
        where it is not known; and
        `unknown_because`, why something is not known, None where all is.
    """
    found: dict[str, Any] = {"commit": None, "date": None, "dirty": None, "unknown_because": None}
    try:
        _git("rev-parse", "--git-dir")
        found["commit"] = _git("rev-parse", "--verify", "HEAD")
        found["date"] = _git("show", "--no-patch", "--format=%cI", "HEAD")
        changed, new = ["status", "--porcelain", "--untracked-files=no"], ["status", "--porcelain", "--", *CODE]
        found["dirty"] = bool(_git(*changed) or _git(*new))
    except _NoAnswer as error:
        found["unknown_because"] = str(error)
    return found


_REASONS = {
    "not a git repository": "the code is in no git repository",
    "dubious ownership": "git refuses to read the repository, which belongs to another user "
    "(its setting safe.directory can allow it)",
    "Needed a single revision": "the repository has no commit yet",
}
"""What git says where it tells nothing, and what that means."""


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            env=os.environ | {"LC_ALL": "C"},
            check=False,
        )
    except FileNotFoundError:
        raise _NoAnswer("git is not installed") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise _NoAnswer(f"git could not be asked: {error}") from None
    if done.returncode:
        said = done.stderr.strip() or f"exit code {done.returncode}"
        known = next((reason for words, reason in _REASONS.items() if words in said), None)
        raise _NoAnswer(known or f"git could not read the repository: {said.splitlines()[0]}")
    return done.stdout.strip()
