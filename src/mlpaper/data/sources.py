"""The registry: where each dataset's official files are, and exactly which bytes they must be.

Everything that names a file on disk, on a server or inside an archive comes from here, never from what was received.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

from mlpaper.data import PIXELS
from mlpaper.errors import ConfigurationError, nearest
from mlpaper.spec import DatasetName, Part, hash8

Role = Literal["images", "labels"]
ROLES: tuple[Role, ...] = ("labels", "images")
"""In the order in which they are fetched: a source that is down is noticed on the small file."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One official file, by name, length and hash."""

    name: str
    bytes: int
    sha256: str
    raw_sha256: str | None = None
    """Hash of the decompressed content, for sources that compressed the same content anew."""


@dataclass(frozen=True, slots=True)
class OfficialPart:
    """An official part of a dataset: so many images and their labels. Without files, a package brings it along."""

    count: int
    images: RemoteFile | None = None
    labels: RemoteFile | None = None

    @property
    def files(self) -> dict[Role, RemoteFile]:
        """The part's files by role."""
        both: dict[Role, RemoteFile | None] = {"labels": self.labels, "images": self.images}
        return {role: file for role, file in both.items() if file is not None}

    def raw_bytes(self, role: Role) -> int:
        """Length of a decompressed IDX file of this part: header and one byte per value."""
        return 16 + PIXELS * self.count if role == "images" else 8 + self.count


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file that holds the official files as members ``<prefix><name>``."""

    url: str
    bytes: int
    sha256: str
    prefix: str
    cache: str
    """Name of our whole copy, kept beside the datasets' folders where a server allows no less than the whole."""

    @property
    def name(self) -> str:
        """The archive's own name: the last part of its URL."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset: what it is, what it is called, and where its files are."""

    name: str
    title: str
    folder: str
    """Folder of a mirror, besides the dataset's name: the two EMNIST sets may share one."""
    classes: tuple[str, ...]
    parts: Mapping[Part, OfficialPart]
    licence: str
    homepage: str
    citation: str
    """Key of the bibliography."""
    bases: tuple[str, ...] = ()
    """Official URLs that hold the files by name, in the order to try."""
    archive: Archive | None = None
    system_folder: str | None = None
    """Where a system package installs the files; they are accepted by the hash of their *decompressed* content."""
    transposed: bool = False
    """Whether the stored images are transposed: upright is ``image.T``."""
    content_sha256: str | None = field(default=None, repr=False)
    """For a dataset that a package brings along: hash of the pixels, then the labels, as bytes."""

    @property
    def downloads(self) -> bool:
        """Whether the dataset has files to fetch."""
        return any(part.files for part in self.parts.values())


_MNIST_NAMES = {"train": "train", "test": "t10k"}
_MNIST_COUNTS = {"train": 60_000, "test": 10_000}


def _mnist_like(hashes: Mapping[Part, tuple[tuple[int, str, str], tuple[int, str, str]]]) -> dict[Part, OfficialPart]:
    """Build the four files that MNIST and Fashion-MNIST name alike; (bytes, sha256, raw sha256) per part and role."""
    return {
        part: OfficialPart(
            _MNIST_COUNTS[part],
            RemoteFile(f"{_MNIST_NAMES[part]}-images-idx3-ubyte.gz", *images),
            RemoteFile(f"{_MNIST_NAMES[part]}-labels-idx1-ubyte.gz", *labels),
        )
        for part, (images, labels) in hashes.items()
    }


def _emnist(
    split: str, contents: Mapping[Part, tuple[int, tuple[int, str], tuple[int, str]]]
) -> dict[Part, OfficialPart]:
    """Build one EMNIST split; (count, (bytes, sha256) of the images, (bytes, sha256) of the labels) per part."""
    return {
        part: OfficialPart(
            count,
            RemoteFile(f"emnist-{split}-{part}-images-idx3-ubyte.gz", *images),
            RemoteFile(f"emnist-{split}-{part}-labels-idx1-ubyte.gz", *labels),
        )
        for part, (count, images, labels) in contents.items()
    }


_DIGITS = tuple("0123456789")
_EMNIST_CLASSES = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
_EMNIST_ARCHIVE = Archive(
    url="https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    bytes=561_753_746,
    sha256="fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    prefix="gzip/",
    cache="emnist-gzip.zip",
)
_EMNIST_LICENCE = "no explicit licence (NIST Special Database 19 is public; statements conflict): not redistributed"
_EMNIST_HOMEPAGE = "https://www.nist.gov/itl/products-and-services/emnist-dataset"

SOURCES: Mapping[DatasetName, Source] = {
    "mnist": Source(
        name="mnist",
        title="MNIST",
        folder="mnist",
        classes=_DIGITS,
        bases=(
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
        ),
        parts=_mnist_like(
            {
                "train": (
                    (
                        9_912_422,
                        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    ),
                    (
                        28_881,
                        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    ),
                ),
                "test": (
                    (
                        1_648_877,
                        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    ),
                    (
                        4_542,
                        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                    ),
                ),
            }
        ),
        licence="CC BY-SA 3.0",
        homepage="http://yann.lecun.com/exdb/mnist/",
        citation="lecun1998gradient",
    ),
    "fashion_mnist": Source(
        name="fashion_mnist",
        title="Fashion-MNIST",
        folder="fashion_mnist",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        bases=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            # Plain HTTP, acceptable only because every hash is pinned:
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        system_folder="/usr/share/datasets/fashion-mnist",
        parts=_mnist_like(
            {
                "train": (
                    (
                        26_421_880,
                        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                    ),
                    (
                        29_515,
                        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                    ),
                ),
                "test": (
                    (
                        4_422_102,
                        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                    ),
                    (
                        5_148,
                        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
                    ),
                ),
            }
        ),
        licence="MIT (Zalando SE)",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        citation="xiao2017fashion",
    ),
    "emnist_bymerge": Source(
        name="emnist_bymerge",
        title="EMNIST ByMerge",
        folder="emnist",
        classes=_EMNIST_CLASSES,
        archive=_EMNIST_ARCHIVE,
        transposed=True,
        parts=_emnist(
            "bymerge",
            {
                "train": (
                    697_932,
                    (173_375_281, "39bf8c68037dad40db35348895f7e4e056e8c0a005ab78869c9fbc2c96e947be"),
                    (476_444, "2c47293b9e62d6abf6ad05fbf67e40baa32adfd380b8d7b44dcc35534b64e1f1"),
                ),
                "test": (
                    116_323,
                    (28_905_295, "5e5815ec1b522089134435f7c55e75a00960b58414793593ffff23efc0821683"),
                    (79_351, "8bda1516255683ba9071e141947ca0c91a911176065cdd6259b0b4d8dc5b5f35"),
                ),
            },
        ),
        licence=_EMNIST_LICENCE,
        homepage=_EMNIST_HOMEPAGE,
        citation="cohen2017emnist",
    ),
    "emnist_balanced": Source(
        name="emnist_balanced",
        title="EMNIST Balanced",
        folder="emnist",
        classes=_EMNIST_CLASSES,
        archive=_EMNIST_ARCHIVE,
        transposed=True,
        parts=_emnist(
            "balanced",
            {
                "train": (
                    112_800,
                    (28_207_740, "74295e75e4e9fa2c102147460ee7eb763653d5132d883a84fb88932bfb8d2db4"),
                    (80_618, "b46d41e5156a0a8aaaa4d18979fdd1588850fa8571018acffd5d93b325a7d6ed"),
                ),
                "test": (
                    18_800,
                    (4_714_707, "117fc12b015e37ea98bfb2cbba3f77c3782c056cdbd219b87abfc8661d7135db"),
                    (13_504, "a67cac948379b67270b9a4d0a01c8ec661598accf2f2b1964340b7c83cb175cd"),
                ),
            },
        ),
        licence=_EMNIST_LICENCE,
        homepage=_EMNIST_HOMEPAGE,
        citation="cohen2017emnist",
    ),
    "digits": Source(
        name="digits",
        title="Digits (scikit-learn)",
        folder="digits",
        classes=_DIGITS,
        # The set has no official parts: the first 1,437 (80 %) and the last 360 are ours.
        parts={"train": OfficialPart(1_437), "test": OfficialPart(360)},
        licence="CC BY 4.0 (UCI Machine Learning Repository)",
        homepage="https://archive.ics.uci.edu/dataset/80",
        citation="alpaydin1998digits",
        content_sha256="87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826",
    ),
}


def fingerprint(name: str) -> str:
    """What of a dataset's entry decides its arrays: the bytes of its files, classes, counts and orientation."""
    source = get_source(name)
    files = [(part, role, file.sha256) for part, it in source.parts.items() for role, file in it.files.items()]
    counts = [(part, it.count) for part, it in source.parts.items()]
    return hash8(repr((source.name, files, counts, source.classes, source.transposed)))


def get_source(name: str) -> Source:
    """Return the registered dataset ``name``.

    Raises
    ------
    ConfigurationError
        There is no such dataset.
    """
    if name not in SOURCES:
        allowed = get_args(DatasetName)
        raise ConfigurationError(f"unknown dataset `{name}`{nearest(name, allowed)}: there are {', '.join(allowed)}")
    return SOURCES[cast(DatasetName, name)]


def raw_name(part: Part, role: Role) -> str:
    """Our name of one fetched file: ``train-images.gz``."""
    return f"{part}-{role}.gz"


def receipt_name(part: Part) -> str:
    """Our name of the receipt of one fetched part: ``train.json``."""
    return f"{part}.json"
