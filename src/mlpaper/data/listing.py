"""`mlpaper datasets`: the datasets of a project, and where their files are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlpaper.data.catalog import Catalog
from mlpaper.data.local import local_files
from mlpaper.data.sources import LocalFile, Source, receipt_name
from mlpaper.paths import raw_folder


def table_of(datasets: Catalog, folder: Path = Path()) -> Iterator[str]:
    """A line per dataset file: title, images, shape, classes, and where its files are."""
    yield f"{'name':<16} {'title':<20} {'images':>17}  {'shape':<12} {'classes':>7}  files"
    for name in datasets.names:
        source = datasets[name]
        images = " + ".join(f"{count:,}" for count in source.counts().values())
        shape = " x ".join(map(str, source.shape))
        classes, state = len(source.classes), _state(source, folder)
        yield f"{name:<16} {source.title:<20} {images:>17}  {shape:<12} {classes:>7}  {state}"


def _state(source: Source, folder: Path) -> str:
    files, raw = source.files(), folder / raw_folder(source.name)
    if not files:
        return "with the packages"
    there = sum((raw / receipt_name(name)).is_file() for name in files)
    if there == len(files):
        return f"in {raw}"
    if not any(isinstance(file, LocalFile) for file in files.values()):
        return f"to download{f' ({there} of {len(files)} are here)' if there else ''}"
    missing = [file.path for _, file in local_files(source) if not Path(file.path).is_file()]
    return f"missing: {', '.join(missing)}" if missing else "on this machine"
