"""What the benchmarks share: their command line, and files under `benchmarks/results/`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import isa

from mlpaper.machine import commit, machine, versions

HERE = Path(__file__).resolve().parent


def parser(about: str | None) -> argparse.ArgumentParser:
    """The options of every benchmark on a processor."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--isa", choices=isa.NAMES, default="", help="only this instruction set")
    made.add_argument("--pools", type=Path, default=HERE.parent / "data", help="folder of prepared datasets")
    made.add_argument("--mirror", help="a folder or URL with the official files; else that of config.yaml")
    made.add_argument("--write", action="store_true", help="record under benchmarks/results/")
    return made


def named(kind: str, isa: str) -> str:
    """Stem of a file's name, with the instruction set where there is one."""
    return f"{kind}-{isa}" if isa else kind


def write(
    stem: str, title: str, text: str, results: dict[str, Any], packages: Sequence[str] = (), **device: str
) -> None:  # fmt: skip
    """Record results with machine, versions, commit and date: as JSON, and as a table below `title`."""
    stamp, extra = datetime.now(UTC), {package: _version(package) for package in packages}
    used = machine() | dict[str, str | int](device)
    record = {"date": stamp.isoformat(timespec="seconds"), "machine": used, "versions": versions() | extra}
    place = ", ".join(f"{k} {v}" for k, v in device.items()) or f"{used['processor']}, one thread"
    facts = "; ".join([place, *([", ".join(f"{k} {v}" for k, v in extra.items())] if extra else [])])
    file = HERE / "results" / f"{stem}-{stamp:%Y-%m-%d}"
    file.parent.mkdir(exist_ok=True)
    file.with_suffix(".json").write_text(json.dumps(record | commit() | results, indent=2) + "\n")
    file.with_suffix(".md").write_text(f"# {title}, {stamp:%Y-%m-%d}\n\n{facts}\n\n{text}\n")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
