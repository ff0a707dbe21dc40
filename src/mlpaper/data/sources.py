"""What a dataset file (`workflow/datasets/<name>.yaml`) says: which bytes its files must be, and how they are read.

Everything that names a file on disk, on a server or inside an archive comes from here, never from what was received.
`mlpaper.data.catalog` reads the files; jobs are told what they need of them by their own files and never read YAML.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from mlpaper.spec import PARTS, DatasetName, Flag, Model, Part, PoolSpec, Positive, PositiveReal, canonical_json, hash8
from mlpaper.study.schema.names import Text, Url

Role = Literal["images", "labels"]
Format = Literal["idx", "npz", "csv", "sklearn-digits"]

PlainName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=120)]
"""The name of a file or of an array: letters, digits, `.`, `_` and `-`, so that it leads to no other folder."""
Column = Annotated[str, Field(min_length=1)] | Annotated[int, Field(strict=True, ge=0)]
"""A column of a table, by its name or its place from 0."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RemoteFile(Model):
    """A file to download, by name, length and hash."""

    name: PlainName
    bytes: Positive
    sha256: Sha256
    raw_sha256: Sha256 | None = None
    """Hash of the decompressed content, for sources that compressed the same content anew."""


class LocalFile(Model):
    """A file that is already on this machine, or that the user brings. Without a hash, its first use fixes it."""

    path: Annotated[str, Field(min_length=1, pattern=r"^[^\x00-\x1f]+$")]
    """Relative to the project's folder, or absolute; `~` is the home folder."""
    bytes: Positive | None = None
    sha256: Sha256 | None = None

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rstrip("/").rpartition("/")[2]


def _kind_of_file(value: Any) -> str:
    local = "path" in value if isinstance(value, dict) else isinstance(value, LocalFile)
    return LocalFile.__name__ if local else RemoteFile.__name__


DataFile = Annotated[
    Annotated[RemoteFile, Tag(RemoteFile.__name__)] | Annotated[LocalFile, Tag(LocalFile.__name__)],
    Discriminator(_kind_of_file),
]


class Arrays(Model):
    """Names of the arrays of one part in an `npz` file."""

    images: PlainName = "images"
    labels: PlainName = "labels"


class Columns(Model):
    """Columns of a `csv` file. The others, from left to right, are the pixels."""

    header: Flag = True
    """Whether the first line names the columns."""
    label: Column = "label"
    """Name or place (from 0) of the column with the labels."""
    ignore: tuple[Column, ...] = ()
    """Names or places of columns that are neither label nor pixels."""


class OfficialPart(Model):
    """An official part of a dataset: how many images, and the files that hold it alone."""

    count: Positive
    images: DataFile | None = None
    """Of `format: idx`."""
    labels: DataFile | None = None
    """Of `format: idx`."""
    file: DataFile | None = None
    """Of `npz` and `csv`, where the parts have a file each."""
    arrays: Arrays = Arrays()
    """Of `npz`: names of the arrays."""

    @property
    def files(self) -> dict[Role, RemoteFile | LocalFile]:
        """Its IDX files by role."""
        both: dict[Role, RemoteFile | LocalFile | None] = {"labels": self.labels, "images": self.images}
        return {role: file for role, file in both.items() if file is not None}


class Parts(Model):
    """The official parts. A dataset without an official test part has `train` alone, for splits of `scheme: pool`."""

    train: OfficialPart
    test: OfficialPart | None = None


class Archive(Model):
    """A zip file that holds the files as members `<prefix><name>`."""

    url: Url
    bytes: Positive
    sha256: Sha256
    prefix: Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*$")] = ""
    cache: PlainName
    """Name of our whole copy, kept beside the datasets' folders where a server allows no less than the whole."""

    @property
    def name(self) -> str:
        """The archive's own name: the last part of its URL."""
        return self.url.rsplit("/", 1)[-1]


class Content(Model):
    """What of a dataset decides its arrays: all that a job which reads its files is told."""

    name: DatasetName
    """The name that studies use, and that of the file."""
    format: Format
    shape: tuple[Positive, ...]
    """Of an image: `[height, width]` in grey, `[height, width, 3]` in colour."""
    classes: tuple[Text, ...]
    """Names of the classes, in the order of their numbers, which count from 0."""
    parts: Parts
    file: DataFile | None = None
    """Of `npz` and `csv`: the one file of all parts."""
    columns: Columns = Columns()
    """Of `csv`: which columns are what."""
    maximum: PositiveReal = 255.0
    """Of `npz` and `csv`: the value of a full pixel. Values from 0 to this become bytes from 0 to 255."""
    transposed: Flag = False
    """Whether the stored images are transposed: upright is ``image.T``."""
    content_sha256: Sha256 | None = None
    """For a dataset that a package brings along: hash of the pixels, then the labels, as bytes."""

    @field_validator("shape")
    @classmethod
    def _grey_or_colour(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not (len(value) == 2 or (len(value) == 3 and value[2] == 3)) or math.prod(value) > 1 << 20:
            raise ValueError("must be [height, width], or [height, width, 3] for colour, and no more than 2**20 values")
        return value

    @field_validator("classes")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not 2 <= len(set(value)) == len(value) <= 1000:
            raise ValueError("must be a list of 2 to 1000 distinct names (numbers in quotes)")
        return value

    @property
    def pixels(self) -> int:
        """Values of an image."""
        return math.prod(self.shape)

    @property
    def official(self) -> dict[Part, OfficialPart]:
        """The official parts that there are, in order."""
        both: dict[Part, OfficialPart | None] = {"train": self.parts.train, "test": self.parts.test}
        return {part: it for part, it in both.items() if it is not None}

    def counts(self, parts: Iterable[Part] = PARTS) -> dict[Part, int]:
        """Images of the parts that there are among `parts`."""
        return {part: it.count for part, it in self.official.items() if part in parts}

    def files(self, parts: Iterable[Part] = PARTS) -> dict[str, RemoteFile | LocalFile]:
        """The files that hold these parts, by our names of them."""
        found: dict[str, RemoteFile | LocalFile] = {}
        for part in (part for part in self.official if part in parts):
            official = self.official[part]
            found |= {self.raw_name(part, role): file for role, file in official.files.items()}
            if (file := official.file or self.file) is not None:
                found[self.raw_name(part)] = file
        return found

    def raw_name(self, part: Part, role: Role | None = None) -> str:
        """Our name of a verified file: ``train-images.gz``; ``data.npz`` where one file has all parts."""
        if role is not None:
            return f"{part}-{role}.gz"
        return f"{part if self.official[part].file else 'data'}.{self.format}"

    def raw_bytes(self, name: str) -> int:
        """Length of a decompressed IDX file, by our name of it: header and one byte per value."""
        part, _, role = name.removesuffix(".gz").partition("-")
        count = self.official["train" if part == "train" else "test"].count
        return 4 + 4 * (1 + len(self.shape)) + self.pixels * count if role == "images" else 8 + count


class Source(Content):
    """A dataset file: what a dataset is, what it is called, and where its files are."""

    title: Text
    """What tables and sentences call it."""
    in_sentences: Text | None = None
    """What sentences call it, where that is another name."""
    folder: PlainName | None = None
    """Folder of a mirror besides the dataset's name, which several datasets may share."""
    bases: tuple[Url, ...] = ()
    """Addresses that hold the files by name, in the order to try; each ends in `/`."""
    archive: Archive | None = None
    system_folder: Annotated[str, Field(pattern=r"^/")] | None = None
    """Where a system package installs the files; they are accepted by the hash of their *decompressed* content."""
    instruction: Text | None = None
    """For a file that only its user can bring: how to get it, and where to put it. Until then, runs are left out."""
    licence: Text = "not stated"
    homepage: Url | None = None
    citation: PlainName | None = None
    """Key in `report/references.bib`."""
    ink: Annotated[float, Field(gt=0, le=1)] = 1.0
    """For `mlpaper estimate`: share of an image that the engine computes on. It skips pixels that are background in
    four images, or in four neighbours of one image; this is the mean of the two shares over the real images."""

    @field_validator("bases")
    @classmethod
    def _folders(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(base.endswith("/") for base in value):
            raise ValueError("each must end in `/`: a file's name is put behind it")
        return value

    @property
    def downloads(self) -> bool:
        """Whether the dataset has files that are not on this machine: to download, or for its user to bring."""
        files = self.files().values()
        return bool(files) and (self.instruction is not None or any(isinstance(file, RemoteFile) for file in files))

    @property
    def places(self) -> tuple[str, ...]:
        """Folders of a mirror that may have its files, in the order to try."""
        return tuple(dict.fromkeys((self.name, self.folder or self.name)))

    def content(self) -> Content:
        """What a job is told that reads the files; where they came from on this machine is no part of it."""

        def placeless(file: RemoteFile | LocalFile | None) -> Any:
            return file.model_copy(update={"path": file.name}) if isinstance(file, LocalFile) else file

        def part(official: OfficialPart | None) -> Any:
            names = ("images", "labels", "file")
            return official and official.model_copy(update={name: placeless(getattr(official, name)) for name in names})

        values = {name: getattr(self, name) for name in Content.model_fields}
        values["file"] = placeless(self.file)
        values["parts"] = Parts(train=part(self.parts.train), test=part(self.parts.test))
        return Content(**values)


class Sources(Model):
    """The datasets of a plan, for the jobs that fetch their files."""

    datasets: dict[DatasetName, Source]


class PoolJob(Model):
    """What the job is told that makes the arrays of a pool."""

    pool: PoolSpec
    content: Content


def fingerprint(file: RemoteFile | LocalFile) -> str:
    """What of a file decides its bytes; an address, a folder or a licence may change without a new download."""
    return hash8(canonical_json(file.model_copy(update={"path": file.name}) if isinstance(file, LocalFile) else file))


def receipt_name(name: str) -> str:
    """Our name of the receipt of a verified file: ``train-images.gz.json``."""
    return f"{name}.json"
