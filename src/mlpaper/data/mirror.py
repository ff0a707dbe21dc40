"""The setting `mirror`: a folder or an http(s) URL with the official files, laid out ``<dataset>/<file>``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mlpaper.data.sources import RemoteFile, Source
from mlpaper.errors import ConfigurationError, nearest
from mlpaper.spec import PoolSpec

_SHOWN = 6
"""Files that a message lists at most."""


def parse_mirror(text: str) -> str | None:
    """The mirror that ``text`` names: the path of a folder, an http(s) URL, or None for none.

    Raises
    ------
    ValueError
        It is a URL of another kind, or a broken one.

    Examples
    --------
    >>> parse_mirror("file://localhost/my%20data")
    '/my data'
    >>> parse_mirror("https://example.org/data")
    'https://example.org/data'
    >>> parse_mirror("none") is None
    True
    """
    text = text.strip()
    if text.lower() in ("", "null", "none"):
        return None
    if not re.match(r"[a-z][a-z0-9+.-]*://|file:", text, re.IGNORECASE):
        try:
            return str(Path(text).expanduser())
        except RuntimeError:
            raise ValueError("must be a folder of a user that this machine has") from None
    url = urlsplit(text)
    if url.scheme == "file" and url.netloc.lower() in ("", "localhost") and url.path.startswith("/"):
        return unquote(url.path)
    if url.scheme == "file":
        raise ValueError("must name a folder of this machine by its whole path, such as file:///data")
    if url.scheme in ("http", "https") and url.hostname and url.port != 0:
        return text
    suggestion = nearest(url.scheme, ("http", "https", "file"))
    raise ValueError(f"must be a folder (a path or file:///path) or an http:// or https:// URL{suggestion}")


def is_url(mirror: str) -> bool:
    """Whether a mirror, as `parse_mirror` returns it, is a URL rather than a folder."""
    return re.match(r"https?://", mirror, re.IGNORECASE) is not None


def joined(mirror: str, place: str) -> str:
    """The URL of a file of a mirror.

    >>> joined("https://example.org/data/?token=1", "mnist/x.gz")
    'https://example.org/data/mnist/x.gz?token=1'
    """
    url = urlsplit(mirror)
    return url._replace(path=f"{url.path.rstrip('/')}/{place}").geturl()


def shown(url: str) -> str:
    """Return ``url`` without user, password and query, which may hold secrets: for messages and receipts.

    >>> shown("https://me:secret@example.org/data/x.gz?token=1")
    'https://example.org/data/x.gz'
    """
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def places(source: Source, file: RemoteFile) -> list[str]:
    """Where a mirror may have a file, in the order to try; two sets may share a folder."""
    return [f"{folder}/{file.name}" for folder in source.places]


def check_mirror(mirror: str | None, where: str, pools: Iterable[tuple[PoolSpec, Source]] = ()) -> None:
    """Refuse a folder that does not exist, or that has no file of any of the pools.

    Parameters
    ----------
    mirror
        As `parse_mirror` returns it. What a URL has is seen when it is used.
    where
        What the user would call the setting.
    pools
        What is needed, each with its dataset.

    Raises
    ------
    ConfigurationError
        The folder is of no use.
    """
    if mirror is None or is_url(mirror):
        return
    folder = Path(mirror)
    if not folder.is_dir():
        raise ConfigurationError(f"{where}: there is no folder {mirror}; it must hold <dataset>/<file>, or be a URL")
    wanted = list(dict.fromkeys(place for pool, source in pools for place in _of_pool(pool, source)))
    if wanted and not any((folder / place).is_file() for place in wanted):
        more = f" and {len(wanted) - _SHOWN} more" if len(wanted) > _SHOWN else ""
        raise ConfigurationError(
            f"{where}: {mirror} holds none of the files that are needed; they must lie in it as <dataset>/<file>: "
            f"{', '.join(wanted[:_SHOWN])}{more}"
        )


def _of_pool(pool: PoolSpec, source: Source) -> Iterable[str]:
    for file in source.files(pool.parts).values():
        if isinstance(file, RemoteFile):
            yield from places(source, file)
    if source.archive:
        yield f"{source.places[-1]}/{source.archive.name}"
