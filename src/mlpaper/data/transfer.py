"""Bytes over HTTP: a remote file, or a range of it, written to the same offsets of a local file.

Nothing here trusts a server: size and time are bounded, and the caller checks the hash.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import IO

import httpx

from mlpaper import __version__

log = logging.getLogger(__name__)

TOLD = 10_000_000
"""Bytes from which on the log tells how far a transfer is."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_DROPPED = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)
"""HTTP statuses, and errors of a connection, that may be different a moment later."""


class RejectedError(Exception):
    """A source did not give the wanted bytes. The text is the reason, for the list of what was tried."""


class TransientError(RejectedError):
    """The same request may succeed later, and the bytes that arrived are good to resume from."""


class NoRangesError(RejectedError):
    """The server sends whole files only."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient a transfer is."""

    attempts: int = 4
    """Attempts in a row that may fail without a new byte."""
    wait: float = 1.0
    """Seconds before the second attempt; they double with each further one."""
    timeout: float = 30.0
    """Seconds without a byte after which a connection counts as dead."""
    slowest: float = 20_000.0
    """Bytes per second, on average over a whole transfer, below which it is given up."""


@dataclass(slots=True)
class Transfer:
    """Brings the bytes from ``first`` to ``stop`` of a remote file to the same offsets of ``stream``.

    A connection that drops is resumed where it broke off.
    """

    url: str
    size: int
    """Length that the whole remote file must have."""
    stream: IO[bytes]
    policy: Policy
    first: int
    stop: int
    done: int
    """Offset of the next byte: ``first``, or where an earlier transfer was interrupted."""
    magic: bytes = b""
    """How the file must begin: anything else (an HTML page, mostly) is dropped at once."""
    label: str = ""
    """Name in the log, which has a line for every tenth of a large transfer; without one, no line."""

    def run(self) -> None:
        """Make the transfer.

        Raises
        ------
        RejectedError
            The server does not have the file, or has another one. `NoRangesError`: a range was asked for, and it sends
            whole files only. `TransientError`: it cannot be reached, breaks off, or is too slow.
        """
        # Long enough for every attempt to time out: this ends what a timeout does not, a byte now and then.
        limit = 2 * self.policy.attempts * self.policy.timeout + (self.stop - self.done) / self.policy.slowest
        client = _client(self.policy.timeout)
        try:
            asyncio.run(asyncio.wait_for(self._persist(client), limit))
        except TimeoutError:
            raise TransientError(f"too slow: not all bytes within {limit:,.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise RejectedError(_reason(error)) from error

    async def _persist(self, client: httpx.AsyncClient) -> None:
        """Repeat attempts until all bytes are here."""
        failures = 0
        async with client:
            while self.done < self.stop:
                before = self.done
                try:
                    await self._attempt(client)
                except (TransientError, *_DROPPED) as error:
                    failures = 1 if self.done > before else failures + 1
                    if failures >= self.policy.attempts:
                        raise TransientError(_reason(error)) from error
                    await asyncio.sleep(self.policy.wait * 2 ** (failures - 1))

    async def _attempt(self, client: httpx.AsyncClient) -> None:
        last = "" if self.stop == self.size else self.stop - 1
        headers = {"Range": f"bytes={self.done}-{last}"} if self.done > 0 or last else {}
        async with client.stream("GET", self.url, headers=headers) as response:
            self._check(response)
            if response.status_code == 200:
                self.stream.truncate(0)
                self.done = 0
            self.stream.seek(self.done)
            async for chunk in response.aiter_raw():
                if not self.magic[self.done :].startswith(chunk[: max(len(self.magic) - self.done, 0)]):
                    _refuse_page(response, chunk)
                    raise RejectedError(f"not the file: it begins with {chunk[:8]!r}")
                self.stream.write(chunk[: self.stop - self.done])
                self.done += len(chunk)
                if self.done > self.stop:
                    raise RejectedError(f"more than the {self.stop - self.first:,} bytes that were asked for")
                self._tell(len(chunk))
        if self.done < self.stop:
            raise TransientError(f"the body was cut short at {self.done:,} of {self.size:,} bytes")

    def _tell(self, new: int) -> None:
        """Log how far the transfer is, where the last `new` bytes end another tenth of the way."""
        total, here = self.stop - self.first, self.done - self.first
        if self.label and total >= TOLD and 10 * here // total > 10 * (here - new) // total:
            log.info("%s: %d of %d MB", self.label, here / 1e6, total / 1e6)

    def _check(self, response: httpx.Response) -> None:
        """Refuse an error, a range that starts elsewhere, and a file of another length."""
        status, length = response.status_code, int(response.headers.get("Content-Length", self.size))
        whole = (self.first, self.stop) == (0, self.size)
        if status not in (200, 206):
            error = TransientError if status in _PASSING else RejectedError
            raise error(f"HTTP {status} {response.reason_phrase}".rstrip())
        if status == 206:
            found = response.headers.get("Content-Range", "")
            place, _, total = found.removeprefix("bytes ").partition("/")
            if not place.startswith(f"{self.done}-"):
                raise RejectedError(f"asked for bytes from {self.done:,}, the server sent `{found}`")
            if total not in (str(self.size), "*"):
                raise RejectedError(f"a file of {total} bytes instead of {self.size:,}")
        elif not whole or length != self.size:
            _refuse_page(response)
            if not whole:
                raise NoRangesError("the server sends whole files only")
            raise RejectedError(f"{length:,} bytes instead of {self.size:,}")


def _refuse_page(response: httpx.Response, head: bytes = b"") -> None:
    kind = response.headers.get("Content-Type", "").lower()
    if kind.startswith("text/html") or head.lower().startswith((b"<!doctype html", b"<html")):
        raise RejectedError("an HTML page instead of data")


def _client(timeout: float) -> httpx.AsyncClient:
    """Open an HTTP client; proxies and certificates come from the environment, as usual."""
    # NIST answers 403 to clients without a name; `identity`: no server may wrap (or unwrap) a gzip file on the way.
    headers = {"User-Agent": f"mlpaper/{__version__}", "Accept-Encoding": "identity"}
    patience = httpx.Timeout(timeout, connect=min(timeout, 10.0))
    try:
        return httpx.AsyncClient(headers=headers, timeout=patience, follow_redirects=True)
    except (ImportError, OSError, ValueError) as error:
        raise RejectedError(f"the proxy or certificates of the environment cannot be used: {error}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if _refused(error):
        return "connection refused"  # where httpx says no more than that all attempts failed
    return str(error) or type(error).__name__


def _refused(error: BaseException | None) -> bool:
    if error is None or isinstance(error, ConnectionRefusedError):
        return error is not None
    return _refused(error.__cause__ or error.__context__)
