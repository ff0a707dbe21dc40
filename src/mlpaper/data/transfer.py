"""Bytes over HTTP: a download that resumes, and a remote file that is read in pieces.

Nothing here trusts a server: no more bytes are taken than were asked for, and whoever calls checks the hash.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from mlpaper import __version__

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

USER_AGENT = f"mlpaper/{__version__} (+reproducible paper pipeline)"
"""NIST answers 403 to clients that do not introduce themselves."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that may be different a moment later."""

_MEBIBYTE = 1 << 20
_T = TypeVar("_T")


class RejectedError(Exception):
    """A source did not give the wanted bytes. The text is the reason, for the list of what was tried."""


class TransientError(RejectedError):
    """The same request may succeed a moment later."""


class NoRangesError(RejectedError):
    """The server sends whole files only."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a transfer is."""

    attempts: int = 4
    """Attempts per request, where the error may pass."""
    wait: float = 1.0
    """Seconds before the second attempt; they double with each further one, up to a minute."""
    timeout: float = 30.0
    """Seconds without a byte after which a connection counts as dead."""
    block: int = 4 * _MEBIBYTE
    """Bytes per request when a remote archive is read in pieces."""

    def retrying(self, action: Callable[[], _T]) -> _T:
        """Call ``action``, again after each `TransientError`, and raise the last one."""
        retry = Retrying(
            stop=stop_after_attempt(self.attempts),
            wait=wait_exponential(multiplier=self.wait, max=60.0),
            retry=retry_if_exception_type(TransientError),
            reraise=True,
        )
        return retry(action)

    def client(self) -> httpx.Client:
        """Open an HTTP client; proxies and certificates come from the environment, as usual."""
        # `identity`: a server must not wrap (or unwrap) a gzip file on the way.
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
        timeout = httpx.Timeout(self.timeout, connect=min(self.timeout, 10.0))
        return httpx.Client(headers=headers, timeout=timeout, follow_redirects=True)


def shown(url: str) -> str:
    """Return ``url`` without user, password and query, which may hold secrets: for messages and receipts.

    >>> shown("https://me:secret@example.org/data/x.gz?token=1")
    'https://example.org/data/x.gz'
    """
    try:
        return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))
    except (httpx.InvalidURL, ValueError):
        return "an address that is not a URL"


class Meter:
    """Progress of one transfer on stderr: a bar on a terminal, else a line at each quarter."""

    def __init__(self, label: str, total: int, *, enabled: bool = True) -> None:
        self.label = label
        self.total = total
        self._bar: _Bar | None = None
        self._lines = False
        self._quarter = 0
        if enabled and sys.stderr.isatty():
            self._bar = _Bar(label, total)
        else:
            self._lines = enabled

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, done: int) -> None:
        """Report that ``done`` bytes are here."""
        if self._bar is not None:
            self._bar.at(done)
        elif self._lines:
            quarter = min(4 * done // max(self.total, 1), 4)
            # A file that is here at once needs one line, not four.
            if quarter > self._quarter and (quarter == 4 or self.total >= _MEBIBYTE):
                size = f"{self.total / 1e6:,.1f} MB"
                print(f"{self.label}: {25 * quarter:3d} % of {size}", file=sys.stderr, flush=True)
            self._quarter = max(quarter, self._quarter)


class _Bar:
    """A rich progress bar."""

    def __init__(self, label: str, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
        from rich.progress import TransferSpeedColumn as Speed

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            Speed(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(label, total=total)
        self._progress.start()

    def at(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def stop(self) -> None:
        self._progress.stop()


def download(
    client: httpx.Client, url: str, target: Path, size: int, magic: bytes, policy: Policy, meter: Meter
) -> bool:
    """Bring the ``size`` bytes of ``url`` to ``target``, going on from what is already there.

    An interrupted transfer leaves its bytes in ``target``, for the next call to go on from. The caller checks the
    hash.

    Parameters
    ----------
    magic
        First bytes that the content must have: anything else (an HTML page, mostly) is dropped at once.

    Returns
    -------
    bool
        Whether the content was put together from more than one response.

    Raises
    ------
    RejectedError
        The server cannot be reached, does not have the file, or has another one.
    """
    continued = False

    def attempt() -> None:
        nonlocal continued
        have = target.stat().st_size if target.exists() else 0
        if have > size:
            target.unlink()
            have = 0
        if have == size:
            continued = True
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        with _translated(), client.stream("GET", url, headers=headers) as response:
            if response.status_code == 416:
                target.unlink(missing_ok=True)
                raise TransientError("the server would not go on from where it had stopped")
            done = _start_of_body(response, have, size)
            continued = continued or done > 0
            target.parent.mkdir(parents=True, exist_ok=True)  # a job that ends beside this one removes it when empty
            with target.open("r+b" if done else "wb") as stream:
                stream.seek(done)
                # Pieces as they come: with a fixed size, a dropped connection would lose the last one.
                for chunk in response.iter_raw():
                    if not magic[done:].startswith(chunk[: max(len(magic) - done, 0)]):
                        raise RejectedError(_not_the_file(response, chunk))
                    stream.write(chunk[: size - done])
                    done += len(chunk)
                    if done > size:
                        raise RejectedError(f"more than the {size:,} bytes that the file must have")
                    meter.at(done)
        if done < size:
            raise TransientError(f"the body was cut short after {done:,} of {size:,} bytes")

    policy.retrying(attempt)
    return continued


class RangeFile(io.RawIOBase):
    """A remote file, read in pieces by HTTP range requests: what `zipfile` needs to take single members.

    Parameters
    ----------
    size
        Length that the file must have.
    budget
        Bytes that may be read in all: a lying table of contents must not make us read the whole.
    """

    def __init__(self, client: httpx.Client, url: str, size: int, budget: int, policy: Policy) -> None:
        self._client = client
        self._url = url
        self._size = size
        self._budget = budget
        self._policy = policy
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError("a position before the file's beginning")
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill ``buffer`` by one range request (several, where the connection drops)."""
        view = memoryview(buffer).cast("B")
        want = min(len(view), self._size - self._position)
        if want <= 0:
            return 0
        self._budget -= want
        if self._budget < 0:
            raise RejectedError("the archive's table of contents asks for more bytes than its members have")
        view[:want] = self._policy.retrying(lambda: self._get(self._position, want))
        self._position += want
        return want

    def _get(self, start: int, want: int) -> bytes:
        headers = {"Range": f"bytes={start}-{start + want - 1}"}
        with _translated(), self._client.stream("GET", self._url, headers=headers) as response:
            if response.status_code == 200 and not _is_html(response):
                raise NoRangesError("the server sends whole files only")
            if response.status_code == 200:
                raise RejectedError(_not_the_file(response, b""))
            _raise_for_status(response)
            _check_range(response, start, self._size)
            data = bytearray()
            for chunk in response.iter_raw():
                data += chunk
                if len(data) > want:
                    raise RejectedError("the server sent more bytes than were asked for")
        if len(data) < want:
            raise TransientError(f"a range was cut short after {len(data):,} of {want:,} bytes")
        return bytes(data)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what httpx raises into reasons."""
    try:
        yield
    except httpx.UnsupportedProtocol as error:
        raise RejectedError(str(error)) from error
    except httpx.ConnectTimeout as error:
        raise TransientError("no connection in time") from error
    except httpx.TimeoutException as error:
        raise TransientError("no answer in time") from error
    except httpx.TransportError as error:
        raise TransientError(str(error) or type(error).__name__) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RejectedError(str(error) or type(error).__name__) from error


def _start_of_body(response: httpx.Response, have: int, size: int) -> int:
    """Return the offset in the file at which the response's body starts; refuse a body of another length."""
    _raise_for_status(response)
    if response.status_code == 206:
        _check_range(response, have, size)
        return have
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) != size:
        if _is_html(response):
            raise RejectedError(_not_the_file(response, b""))
        raise RejectedError(f"{int(length):,} bytes instead of {size:,}")
    return 0


def _raise_for_status(response: httpx.Response) -> None:
    status = response.status_code
    if status not in (200, 206):
        error = TransientError if status in _PASSING else RejectedError
        raise error(f"HTTP {status} {response.reason_phrase}".rstrip())


def _check_range(response: httpx.Response, start: int, size: int) -> None:
    """Refuse a partial response that starts elsewhere, or that is a part of a file of another length."""
    found = response.headers.get("Content-Range", "")
    place, _, total = found.removeprefix("bytes ").partition("/")
    if not place.startswith(f"{start}-"):
        raise RejectedError(f"asked for bytes from {start:,}, the server sent `{found}`")
    if total not in (str(size), "*"):
        raise RejectedError(f"a file of {total} bytes instead of {size:,}")


def _is_html(response: httpx.Response) -> bool:
    return bool(response.headers.get("Content-Type", "").lower().startswith("text/html"))


def _not_the_file(response: httpx.Response, head: bytes) -> str:
    if _is_html(response) or head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page instead of data"
    return f"not the file: it begins with {head[:8]!r}"
