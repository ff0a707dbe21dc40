"""The datasets of a project: its files `workflow/datasets/<name>.yaml`, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlpaper.data.sources import Arrays, Columns, LocalFile, OfficialPart, RemoteFile, Source
from mlpaper.errors import ConfigurationError, nearest
from mlpaper.study import yaml_file
from mlpaper.study.validate import Keys, file, validate

FOLDER = "datasets"
"""Folder of the dataset files, in that of the workflow."""
DIGITS_SHAPE = (28, 28)
"""scikit-learn's digits are enlarged to this."""


class Catalog:
    """The dataset files of a folder.

    Parameters
    ----------
    folder
        `workflow/datasets` of a project. Paths of local files are relative to the project.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._known: dict[str, Source] = {}

    @property
    def names(self) -> list[str]:
        """The datasets that there are."""
        return sorted(path.stem for path in self.folder.glob("*.yaml"))

    def __contains__(self, name: str) -> bool:
        return name in self._known or name in self.names

    def __getitem__(self, name: str) -> Source:
        """The dataset `name`.

        Raises
        ------
        ConfigurationError
            There is no such file, or it is not as it must be.
        """
        if name not in self._known:
            if name not in self.names:
                raise ConfigurationError(self.unknown(name))
            self._known[name] = load(self.folder / f"{name}.yaml", self.folder.parent.parent)
        return self._known[name]

    def unknown(self, name: str) -> str:
        """What to say of a dataset that has no file."""
        names = self.names
        return f"there is no dataset `{name}`{nearest(name, names)}; {self.folder} has {', '.join(names) or 'none'}"


def load(path: Path, project: Path) -> Source:
    """The dataset in a file, with the paths of local files as absolute ones.

    Raises
    ------
    ConfigurationError
        Something in it is not as it must be; the message has the line.
    """
    origin = file(path)
    source = validate(Source, yaml_file.load(path), origin)
    errors = [str(origin.error(keys, text)) for keys, text in _faults(source, path.stem)]
    if errors:
        raise ConfigurationError("\n".join(errors))
    return _placed(source, project)


def _placed(source: Source, project: Path) -> Source:
    def placed(it: RemoteFile | LocalFile | None) -> RemoteFile | LocalFile | None:
        if not isinstance(it, LocalFile):
            return it
        try:
            path = Path(it.path).expanduser()
        except RuntimeError:
            raise ConfigurationError(f"{source.name}.yaml: `{it.path}`: this machine has no such user") from None
        return it.model_copy(update={"path": str(project.absolute() / path)})

    def part(it: OfficialPart | None) -> OfficialPart | None:
        return it and it.model_copy(update={name: placed(getattr(it, name)) for name in ("images", "labels", "file")})

    parts = source.parts.model_copy(update={"train": part(source.parts.train), "test": part(source.parts.test)})
    return source.model_copy(update={"file": placed(source.file), "parts": parts})


def _faults(source: Source, stem: str) -> Iterator[tuple[Keys, str]]:
    """What in a dataset file does not fit together, with its keys."""
    if source.name != stem:
        yield ("name",), f"must be `{stem}`, the file's name, not `{source.name}`"
    if source.transposed and (len(source.shape) != 2 or source.shape[0] != source.shape[1]):
        yield ("transposed",), f"is for square grey images, not for {list(source.shape)}"
    yield from _files(source)
    yield from _options(source)
    files = source.files().values()
    remote, local = (any(isinstance(it, kind) for it in files) for kind in (RemoteFile, LocalFile))
    if remote and not (source.bases or source.archive):
        yield ("bases",), "is missing: the address that the files are downloaded from (or `archive`)"
    for key in ("bases", "archive", "system_folder", "folder"):
        if not remote and getattr(source, key):
            yield (key,), "is for files to download; this dataset has none"
    if source.instruction and not local:
        yield ("instruction",), "is for a file that its user brings: name its place, as `path: ...`"


def _files(source: Source) -> Iterator[tuple[Keys, str]]:
    """Which files a format has, and where they stand."""
    single = source.format in ("npz", "csv")
    if source.file and not single:
        yield ("file",), f"is for `npz` and `csv`; `{source.format}` has none here"
    for part, official in source.official.items():
        where = ("parts", part)
        if official.count < len(source.classes):
            yield (*where, "count"), f"has fewer images than the {len(source.classes)} classes"
        for role in ("images", "labels"):
            there = getattr(official, role) is not None
            if there and source.format != "idx":
                yield (*where, role), f"is a file of `format: idx`; `{source.format}` has `file`"
            if not there and source.format == "idx":
                yield (*where, role), "is missing: the file of this part, with `name`, `bytes` and `sha256`, or `path`"
        if official.file and not single:
            yield (*where, "file"), f"is for `npz` and `csv`, not for `{source.format}`"
        if single and bool(official.file) == bool(source.file):
            yield (*where, "file"), "is missing: give each part a `file`, or one `file` for all, and not both"
    if source.format == "csv" and source.file and len(source.official) > 1:
        yield ("file",), "has no parts as a table: give each part a `file` of its own"


def _options(source: Source) -> Iterator[tuple[Keys, str]]:
    """Which options a format has."""
    if source.format != "csv" and source.columns != Columns():
        yield ("columns",), f"is for `csv`, not for `{source.format}`"
    if not source.columns.header:
        for key, value in (("label", source.columns.label), *(("ignore", it) for it in source.columns.ignore)):
            if isinstance(value, str):
                yield ("columns", key), f"needs the place of a column (from 0) where there is no header, not `{value}`"
    for part, official in source.official.items():
        if source.format != "npz" and official.arrays != Arrays():
            yield ("parts", part, "arrays"), f"is for `npz`, not for `{source.format}`"
    if source.format not in ("npz", "csv") and source.maximum != 255:
        yield ("maximum",), f"is for `npz` and `csv`; pixels of `{source.format}` have their own"
    digits = source.format == "sklearn-digits"
    if digits != (source.content_sha256 is not None):
        yield ("content_sha256",), "is missing" if digits else "is for a dataset that a package brings along"
    if digits and source.shape != DIGITS_SHAPE:
        yield ("shape",), f"must be {list(DIGITS_SHAPE)}: these digits are enlarged to that"
