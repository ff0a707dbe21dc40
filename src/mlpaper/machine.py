"""What a result was made with: the machine, versions of the packages that compute, the commit of the code."""

from __future__ import annotations

import os
import platform
import subprocess
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


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> dict[str, Any]:
    """Commit of the working folder, its date, and whether files differ from it; nulls outside a repository."""
    revision = _git("rev-parse", "HEAD")
    return {
        "commit": revision,
        "date": _git("show", "--no-patch", "--format=%cI", "HEAD") if revision else None,
        "dirty": bool(_git("status", "--porcelain")) if revision else None,
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
