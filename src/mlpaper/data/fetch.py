"""Fetching the official files of a dataset, from whichever source has exactly the right bytes.

The sources are tried in order: the configured mirror, an installed system package, the official URLs, and for EMNIST
the official zip archive. A wrong length, a wrong hash, an HTML page, a dropped connection: all the same, on to the next
source. Only when none is left is it an error, and then it lists what was tried.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import httpx
from filelock import FileLock

from mlpaper.data.idx import raw_sha256
from mlpaper.data.sources import ROLES, Archive, OfficialPart, RemoteFile, Role, Source, raw_name, receipt_name
from mlpaper.data.transfer import (
    Meter,
    NoRangesError,
    Policy,
    RangeFile,
    RejectedError,
    TransientError,
    download,
    shown,
)
from mlpaper.errors import DataError
from mlpaper.files import atomic, sha256, write_json
from mlpaper.spec import Part, hash8

PARTIAL = ".partial"
"""Folder, beside the files, of interrupted downloads: the next run goes on from them."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_COPY = 1 << 20
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_DIRECTORY_ALLOWANCE = 16 << 20
"""Bytes of an archive that may be read besides the member itself: its table of contents and our read-ahead."""


def fetch_part(
    source: Source,
    part: Part,
    folder: Path,
    mirror: str | None = None,
    progress: bool = True,
    *,
    policy: Policy | None = None,
) -> None:
    """Put the verified files of one official part into ``folder``.

    The results are ``<part>-images.gz``, ``<part>-labels.gz`` and the receipt ``<part>.json``, which says where each
    came from. They appear one after the other, the receipt last, and only if all bytes are right. A dataset that a
    package brings along has no files: its receipt says so.

    Parameters
    ----------
    folder
        Folder of this dataset. A whole EMNIST archive, where one has to be downloaded, lies beside it, for both EMNIST
        sets to share.
    mirror
        A folder or an http(s) URL, laid out ``<dataset>/<file>``; it is tried first.
    progress
        Show progress on stderr: a bar on a terminal, else a line at each quarter.

    Raises
    ------
    DataError
        No source gave the right bytes; the message lists each with its reason, and how to mend it.
    StorageError
        The disk is full, or the folder cannot be written to.
    """
    official = source.parts[part]
    with _Session(source, official, Path(folder), mirror or None, progress, policy or Policy()) as session:
        receipts: dict[Role, dict[str, object]] = {}
        with ExitStack() as stack:
            for role in ROLES:
                if file := official.files.get(role):
                    target = stack.enter_context(atomic(session.folder / raw_name(part, role)))
                    origin = session.obtain(role, file, target)
                    receipts[role] = {
                        "name": file.name,
                        "from": origin,
                        "bytes": target.stat().st_size,
                        "sha256": sha256(target),
                    }
        session.clean()
    write_json(
        session.folder / receipt_name(part),
        {"dataset": source.name, "part": part, "count": official.count, "files": receipts},
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One place to take a file from."""

    label: str
    take: Callable[[], None]
    origin: str = ""
    """What the receipt says, where it is not the label."""


class _Session:
    """The fetching of one part: what its candidates share."""

    def __init__(
        self,
        source: Source,
        official: OfficialPart,
        folder: Path,
        mirror: str | None,
        progress: bool,
        policy: Policy,
    ) -> None:
        self.source = source
        self.official = official
        self.folder = folder
        self.mirror = mirror
        self.progress = progress
        self.policy = policy
        self._client: httpx.Client | None = None

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        for folder in (self.folder / PARTIAL, self.folder.parent / PARTIAL):
            with suppress(OSError):  # not there, or it holds a download to go on with
                folder.rmdir()

    @property
    def client(self) -> httpx.Client:
        """The HTTP client, opened when first needed."""
        if self._client is None:
            self._client = self.policy.client()
        return self._client

    def obtain(self, role: Role, file: RemoteFile, target: Path) -> str:
        """Put the right bytes at ``target`` and return where they came from."""
        reasons: list[str] = []
        for candidate in self._candidates(role, file, target):
            try:
                with _reading():
                    candidate.take()
            except RejectedError as error:
                reasons.append(f"  - {candidate.label}: {error}")
                target.write_bytes(b"")
            else:
                return candidate.origin or candidate.label
        raise DataError(self._how_to_mend(file, reasons))

    def clean(self) -> None:
        """Remove what is left of interrupted downloads of this part."""
        for file in self.official.files.values():
            for path in (self.folder / PARTIAL).glob(f"{file.name}.*"):
                path.unlink()

    # Candidates, in order.

    def _candidates(self, role: Role, file: RemoteFile, target: Path) -> Iterator[_Candidate]:
        source = self.source
        archive = source.archive
        folders = dict.fromkeys((source.name, source.folder))
        if self.mirror is not None and _is_url(self.mirror):
            for folder in folders:
                url = _joined(self.mirror, folder, file.name)
                yield _Candidate(f"mirror {shown(url)}", partial(self._from_url, url, file, target))
        elif self.mirror is not None:
            mirror = Path(self.mirror).expanduser()
            for folder in folders:
                path = mirror / folder / file.name
                yield _Candidate(f"mirror {path}", partial(_from_file, path, file, target))
            if archive is not None:
                path = mirror / source.folder / archive.name
                yield _Candidate(f"mirror {path}", partial(self._from_local_archive, path, archive, file, target))
        if source.system_folder is not None:
            path = Path(source.system_folder) / file.name
            limit = self.official.raw_bytes(role)
            yield _Candidate(f"system package {path}", partial(_from_recompressed, path, file, limit, target))
        for base in source.bases:
            url = _joined(base, file.name)
            yield _Candidate(shown(url), partial(self._from_url, url, file, target))
        if archive is not None:
            cache = self._cache(archive)
            origin = f"{shown(archive.url)} ({archive.prefix}{file.name})"
            if cache.exists():
                take = partial(self._from_local_archive, cache, archive, file, target)
                yield _Candidate(f"our copy {cache}", take, origin)
            yield _Candidate(origin, partial(self._from_remote_archive, archive, file, target))

    def _from_url(self, url: str, file: RemoteFile, target: Path) -> None:
        self._download(url, file, _GZIP_MAGIC, self.folder, target)

    def _from_remote_archive(self, archive: Archive, file: RemoteFile, target: Path) -> None:
        """Take one member by range requests, or the whole archive where the server sends no less."""
        remote = RangeFile(self.client, archive.url, archive.bytes, file.bytes + _DIRECTORY_ALLOWANCE, self.policy)
        try:
            with io.BufferedReader(remote, min(self.policy.block, _DIRECTORY_ALLOWANCE // 4)) as stream:
                self._extract(stream, archive, file, target)
        except NoRangesError:
            cache = self._cache(archive)
            self._fetch_whole(archive, cache)
            self._from_local_archive(cache, archive, file, target)

    def _from_local_archive(self, path: Path, archive: Archive, file: RemoteFile, target: Path) -> None:
        # The member's hash is checked; the archive's need not be.
        with _opened(path) as stream:
            self._extract(stream, archive, file, target)

    def _extract(self, stream: IO[bytes], archive: Archive, file: RemoteFile, target: Path) -> None:
        member = archive.prefix + file.name
        try:
            with zipfile.ZipFile(stream) as opened:
                try:
                    info = opened.getinfo(member)
                except KeyError:
                    raise RejectedError(f"the archive has no member `{member}`") from None
                if info.file_size != file.bytes:
                    raise RejectedError(f"`{member}` has {info.file_size:,} bytes instead of {file.bytes:,}")
                with opened.open(info) as content, self._meter(file.name, file.bytes) as meter:
                    _verify(_copy(content, target, file.bytes, meter), file.sha256)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise RejectedError(f"not a sound zip archive ({error})") from error

    def _fetch_whole(self, archive: Archive, cache: Path) -> None:
        """Download the whole archive to ``cache``, once, however many jobs want it."""
        with FileLock(cache.with_name(f".{cache.name}.lock")):
            if cache.exists() and cache.stat().st_size == archive.bytes and sha256(cache) == archive.sha256:
                return
            whole = RemoteFile(archive.name, archive.bytes, archive.sha256)
            with atomic(cache) as temporary:
                self._download(archive.url, whole, _ZIP_MAGIC, cache.parent, temporary)

    def _download(self, url: str, file: RemoteFile, magic: bytes, folder: Path, target: Path) -> None:
        """Download ``url`` beside ``target``, resuming, and move it there once its hash is right."""
        # One partial file per URL: a bad server's bytes never become the beginning of a good one's.
        partial_file = folder / PARTIAL / f"{file.name}.{hash8(url)}"
        partial_file.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                with self._meter(file.name, file.bytes) as meter:
                    continued = download(self.client, url, partial_file, file.bytes, magic, self.policy, meter)
                _verify(sha256(partial_file), file.sha256)
            except TransientError:
                raise
            except RejectedError as error:
                partial_file.unlink(missing_ok=True)
                if isinstance(error, _WrongHashError) and continued:
                    continue  # perhaps only the older piece was bad: once more, from the beginning
                raise
            partial_file.replace(target)
            return

    def _cache(self, archive: Archive) -> Path:
        return self.folder.parent / archive.cache

    def _meter(self, label: str, total: int) -> Meter:
        return Meter(label, total, enabled=self.progress)

    def _how_to_mend(self, file: RemoteFile, reasons: list[str]) -> str:
        source = self.source
        layout = [
            f"  <mirror>/{source.folder}/{wanted.name}  {wanted.bytes} bytes  sha256 {wanted.sha256}"
            for wanted in self.official.files.values()
        ]
        return "\n".join(
            [
                f"{source.title}: no source gave {file.name}. Tried:",
                *reasons,
                "To mend it, put the files into a folder (or on a web server) laid out as",
                *layout,
                "and name it: `mirror` in config.yaml, or `--config mirror=FOLDER_OR_URL`.",
            ]
        )


class _WrongHashError(RejectedError):
    """All bytes are here, and they are others."""


def _verify(found: str, expected: str) -> None:
    if found != expected:
        raise _WrongHashError(f"wrong content: sha256 {found[:16]}... instead of {expected[:16]}...")


@contextmanager
def _reading() -> Iterator[None]:
    """Turn an unreadable source into a reason; what concerns our own disk goes through, to `atomic`."""
    try:
        yield
    except OSError as error:
        if error.errno in _STORAGE:
            raise
        raise RejectedError(error.strerror or str(error)) from error


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file of a mirror; links are followed (archives of data are often made of them)."""
    if not path.is_file():
        raise RejectedError("no such file")
    with path.open("rb") as stream:
        yield stream


def _from_file(path: Path, file: RemoteFile, target: Path) -> None:
    """Copy a file with the official bytes."""
    with _opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != file.bytes:
            raise RejectedError(f"{size:,} bytes instead of {file.bytes:,}")
        _verify(_copy(stream, target, file.bytes), file.sha256)


def _from_recompressed(path: Path, file: RemoteFile, raw_bytes: int, target: Path) -> None:
    """Copy a gzip file whose *content* is the official one's."""
    if file.raw_sha256 is None:
        raise RejectedError("the hash of the decompressed file is not known")
    with _opened(path) as stream:
        _copy(stream, target, 2 * raw_bytes + _COPY)
    try:
        found = raw_sha256(target, raw_bytes)
    except DataError as error:
        raise RejectedError(str(error)) from error
    _verify(found, file.raw_sha256)


def _copy(stream: IO[bytes], target: Path, limit: int, meter: Meter | None = None) -> str:
    """Copy ``stream``, of at most ``limit`` bytes, to ``target`` and return its SHA-256."""
    digest = hashlib.sha256()
    done = 0
    with target.open("wb") as out:
        while block := stream.read(min(_COPY, limit + 1 - done)):
            done += len(block)
            if done > limit:
                raise RejectedError(f"more than the {limit:,} bytes that it may have")
            digest.update(block)
            out.write(block)
            if meter is not None:
                meter.at(done)
    return digest.hexdigest()


def _is_url(mirror: str) -> bool:
    return re.match(r"https?://", mirror, re.IGNORECASE) is not None


def _joined(base: str, *names: str) -> str:
    """Append path segments to a URL, before its query."""
    try:
        url = httpx.URL(base)
        path = "/".join((url.path.rstrip("/"), *names))
        return str(url.copy_with(path=path))
    except (httpx.InvalidURL, ValueError):
        return base
