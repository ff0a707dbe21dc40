"""Fetching the files of a dataset, from whichever source has exactly the right bytes.

The sources of a file to download are tried in order: the configured mirror, an installed system package, the official
URLs, and for EMNIST the official zip archive. A wrong length, a wrong hash, an HTML page, a dropped connection: all the
same, on to the next source. Only when none is left is it an error, and then it lists what was tried.
"""

from __future__ import annotations

import errno
import logging
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from filelock import FileLock

from mlpaper.data.idx import raw_sha256
from mlpaper.data.local import take_in
from mlpaper.data.mirror import is_url, joined, places, shown
from mlpaper.data.sources import Archive, LocalFile, RemoteFile, Source, receipt_name
from mlpaper.data.transfer import NoRangesError, Policy, RejectedError, Transfer, TransientError
from mlpaper.errors import DataError
from mlpaper.files import atomic, sha256, write_json
from mlpaper.spec import PoolSpec, hash8

log = logging.getLogger(__name__)

PARTIAL = ".partial"
"""Folder, beside the files, of interrupted downloads: the next run resumes them."""

_MAGIC = {".gz": b"\x1f\x8b", ".zip": b"PK\x03\x04", ".npz": b"PK\x03\x04"}
_CONTENTS = 1 << 14
"""Bytes at an archive's end that hold its table of contents: EMNIST's archive has about 30 members."""
_HEADER = 1 << 10
"""Bytes that suffice for what precedes a member's data: 30, its name and extra fields."""


def fetch_file(
    source: Source, name: str, folder: Path, mirror: str | None = None, policy: Policy | None = None
) -> None:
    """Put one verified file of a dataset into ``folder``, and then its receipt, which says where it came from.

    They appear only if all bytes are right. A local file without a published hash is taken as it is: its receipt fixes
    the hash, and `mlpaper.data.local` notices when the file changes.

    Parameters
    ----------
    name
        Our name of the file, such as ``train-images.gz``, as `Content.files` lists them.
    folder
        Folder of this dataset. A whole EMNIST archive, where one has to be downloaded, lies beside it, for both EMNIST
        sets to share.
    mirror
        A folder or an http(s) URL, laid out ``<dataset>/<file>``, as `parse_mirror` returns it; it is tried first.

    Raises
    ------
    DataError
        No source gave the right bytes; the message lists each with its reason, and how to mend it.
    StorageError
        The disk is full, or the folder cannot be written to.
    """
    file, folder = source.files()[name], Path(folder)
    with ExitStack() as stack:
        stack.callback(_remove_if_empty, folder / PARTIAL)
        target = stack.enter_context(atomic(folder / name))
        receipt: dict[str, object] = {"dataset": source.name, "name": file.name}
        if isinstance(file, LocalFile):
            receipt |= {"from": file.path, "modified": take_in(file, source, target)}
        else:
            receipt["from"] = _Fetcher(source, folder, mirror, policy or Policy()).obtain(name, file, target)
        receipt |= {"bytes": target.stat().st_size, "sha256": sha256(target)}
    write_json(folder / receipt_name(name), receipt)


def fetch_pool(
    source: Source, pool: PoolSpec, folder: Path, mirror: str | None = None, policy: Policy | None = None
) -> None:
    """Fetch every file of a pool, one after the other: see `fetch_file`. Small files come first."""
    for name in source.files(pool.parts):
        fetch_file(source, name, folder, mirror, policy)


@dataclass(frozen=True)
class _Fetcher:
    """The fetching of a file: what its sources share."""

    source: Source
    folder: Path
    mirror: str | None
    policy: Policy

    def obtain(self, name: str, file: RemoteFile, target: Path) -> str:
        """Put the right bytes at ``target`` and return where they came from."""
        reasons = []
        for label, take in self._candidates(name, file, target):
            log.info("%s from %s", file.name, label)
            try:
                take()
            except (RejectedError, DataError) as error:
                reason = str(error)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                    raise  # our own disk
                reason = error.strerror or str(error)
            else:
                for left in (self.folder / PARTIAL).glob(f"{file.name}.*"):
                    left.unlink()
                return label
            reasons.append(f"  - {label}: {reason}")
        lines = [
            f"{self.source.title}: no source gave {file.name}. Tried:",
            *reasons,
            "To mend it, put the files into a folder (or on a web server) laid out as",
        ]
        for wanted in self.source.files().values():
            if isinstance(wanted, RemoteFile):
                place = f"<mirror>/{self.source.places[-1]}/{wanted.name}"
                lines.append(f"  {place}  {wanted.bytes} bytes  sha256 {wanted.sha256}")
        lines.append("and name it: `mirror` in config.yaml, or `--config mirror=FOLDER_OR_URL`.")
        raise DataError("\n".join(lines))

    def _candidates(self, name: str, file: RemoteFile, target: Path) -> Iterator[tuple[str, Callable[[], None]]]:
        """The places to take a file from, in order."""
        source, archive, mirror = self.source, self.source.archive, self.mirror
        if mirror and is_url(mirror):
            for place in places(source, file):
                url = joined(mirror, place)
                yield f"mirror {shown(url)}", partial(self._download, url, file, target)
        elif mirror:
            for place in places(source, file):
                yield f"mirror {Path(mirror, place)}", partial(_from_file, Path(mirror, place), file, target)
            if archive:
                path = Path(mirror, source.places[-1], archive.name)
                yield f"mirror {path}", partial(_extract, path, archive, file, target)
        if source.system_folder:
            path = Path(source.system_folder, file.name)
            yield f"system package {path}", partial(_from_package, path, file, source.raw_bytes(name), target)
        for url in (base + file.name for base in source.bases):
            yield url, partial(self._download, url, file, target)
        if archive:
            label = f"{archive.url} ({archive.prefix}{file.name})"
            yield label, partial(self._from_official_archive, archive, file, target)

    def _download(self, url: str, file: RemoteFile | Archive, target: Path) -> None:
        """Download ``url``, resuming what an earlier run left, and move it to ``target`` once its hash is right."""
        # One partial file per URL: a bad server's bytes never become the beginning of a good one's.
        path = self.folder / PARTIAL / f"{file.name}.{hash8(url)}"
        _touch(path)
        done, magic = path.stat().st_size, _MAGIC.get(Path(file.name).suffix, b"")
        try:
            with path.open("r+b") as stream:
                Transfer(url, file.bytes, stream, self.policy, 0, file.bytes, done, magic, file.name).run()
            _verify(sha256(path), file.sha256)
            path.replace(target)
        except TransientError:
            raise
        except RejectedError:
            path.unlink()
            if done == 0:
                raise
            self._download(url, file, target)  # perhaps the older bytes were bad: once more, from the beginning

    def _from_official_archive(self, archive: Archive, file: RemoteFile, target: Path) -> None:
        """Take one member, by ranges or else from a whole copy, which is kept."""
        cache = self.folder.parent / archive.cache
        if not cache.exists():
            with suppress(NoRangesError):
                return self._from_ranges(archive, file, target)
        with FileLock(cache.with_name(f".{cache.name}.lock")):  # however many jobs want it, one downloads it
            if not cache.exists() or sha256(cache) != archive.sha256:
                with atomic(cache) as temporary:
                    self._download(archive.url, archive, temporary)
        return _extract(cache, archive, file, target)

    def _from_ranges(self, archive: Archive, file: RemoteFile, target: Path) -> None:
        """Take one member from a sparse copy of the archive, which has its table of contents and this member."""
        with tempfile.TemporaryFile(dir=self.folder) as sparse:
            transfer = partial(Transfer, archive.url, archive.bytes, sparse, self.policy)
            first = max(archive.bytes - _CONTENTS, 0)
            transfer(first, archive.bytes, first).run()
            with _member(sparse, archive, file) as (_, info):
                first = max(info.header_offset, 0)
                # A lying table of contents must not make us read more than a file of this length can take.
                length = _HEADER + min(info.compress_size, file.bytes + file.bytes // 256)
            transfer(first, min(first + length, archive.bytes), first, label=file.name).run()
            _extract(sparse, archive, file, target)


def _verify(found: str, expected: str | None) -> None:
    if found != expected:
        raise RejectedError(f"wrong content: sha256 {found[:16]}... instead of {str(expected)[:16]}...")


def _touch(path: Path) -> None:
    """Make sure that a file exists, though the job of another file may remove its folder where that is empty."""
    while not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            path.touch()


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # not there, or it holds a download to resume
        folder.rmdir()


def _from_file(path: Path, file: RemoteFile, target: Path) -> None:
    """Copy a regular file with the official bytes; links are followed (archives of data are often made of them)."""
    if not path.is_file():
        raise RejectedError("no such file")
    if (size := path.stat().st_size) != file.bytes:
        raise RejectedError(f"{size:,} bytes instead of {file.bytes:,}")
    shutil.copyfile(path, target)
    _verify(sha256(target), file.sha256)


def _from_package(path: Path, file: RemoteFile, raw_bytes: int, target: Path) -> None:
    """Copy a gzip file whose *content* is the official one's."""
    shutil.copyfile(path, target)
    _verify(raw_sha256(target, raw_bytes), file.raw_sha256)


def _extract(path: Path | IO[bytes], archive: Archive, file: RemoteFile, target: Path) -> None:
    """Take a file from an archive. The file's hash is checked; the archive's need not be."""
    with _member(path, archive, file) as (opened, info), opened.open(info) as content, target.open("wb") as out:
        shutil.copyfileobj(content, out)
    _verify(sha256(target), file.sha256)


@contextmanager
def _member(path: Path | IO[bytes], archive: Archive, file: RemoteFile) -> Iterator[tuple[ZipFile, ZipInfo]]:
    """Find a member of the right length in an archive; what `zipfile` raises becomes a reason."""
    member = archive.prefix + file.name
    try:
        with ZipFile(path) as opened:
            if member not in opened.namelist():
                raise RejectedError(f"the archive has no member `{member}`")
            info = opened.getinfo(member)
            if info.file_size != file.bytes:
                raise RejectedError(f"`{member}` has {info.file_size:,} bytes instead of {file.bytes:,}")
            if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):  # of others, a block may expand without limit
                raise RejectedError(f"`{member}` is compressed by a method other than deflate")
            yield opened, info
    except (BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        raise RejectedError(f"not a sound zip archive ({error})") from error
