"""A tiny dataset, the files it is made of, and a web server that behaves as badly as it is told to."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from itertools import chain, repeat
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer

import numpy as np
import pytest

from mlpaper.data.sources import Archive, OfficialPart, Parts, RemoteFile, Source

COUNTS = {"train": 300, "test": 60}


def idx_images(images: np.ndarray, magic: int = 2051, count: int | None = None, shape=(28, 28)) -> bytes:
    return struct.pack(">IIII", magic, len(images) if count is None else count, *shape) + images.tobytes()


def idx_labels(labels: np.ndarray, magic: int = 2049, count: int | None = None) -> bytes:
    return struct.pack(">II", magic, len(labels) if count is None else count) + labels.tobytes()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Toy:
    """Three classes of random images: arrays, gz files by official name, and builders of sources that have them."""

    images: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, OfficialPart] = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(0)
        for part, count in COUNTS.items():
            self.images[part] = random.integers(0, 256, (count, 784), dtype=np.uint8)
            self.labels[part] = (np.arange(count) ** 2 % 3 + (np.arange(count) % 5 == 0)).astype(np.uint8)
            raws = {"images": idx_images(self.images[part]), "labels": idx_labels(self.labels[part])}
            remote = {}
            for role, raw in raws.items():
                name, data = f"{part}-{role}-idx.gz", gzip.compress(raw, mtime=1)
                self.files[name] = data
                remote[role] = RemoteFile(name=name, bytes=len(data), sha256=digest(data), raw_sha256=digest(raw))
            self.parts[part] = OfficialPart(count=count, **remote)

    def source(self, *bases: str, **more: object) -> Source:
        """The dataset; what `bases` and `more` say is not checked, so that it may be hostile."""
        fixed = {"name": "toy", "title": "Toy", "folder": "toys", "format": "idx", "shape": (28, 28)}
        source = Source(**fixed, classes=("a", "b", "c"), parts=Parts(**self.parts))
        return source.model_copy(update={"bases": bases} | more)

    def zip(self, filler: int = 2_000_000) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("../evil", b"x")
            archive.writestr("gzip/filler-1", np.random.default_rng(1).bytes(filler // 2))
            for name, data in self.files.items():
                archive.writestr(f"gzip/{name}", data)
            archive.writestr("gzip/filler-2", np.random.default_rng(2).bytes(filler // 2))
        return stream.getvalue()

    def put(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return folder


def archive_of(data: bytes, url: str) -> Archive:
    size = max(len(data), 1)
    return Archive(url=url, bytes=size, sha256=digest(data), prefix="gzip/", cache="toys-gzip.zip")


@dataclass
class Site:
    """What a server has, how it behaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    html: bool = False
    """Answer everything with a page, status 200."""
    endless: bool = False
    """Send more than asked for, without saying how much, until the client hangs up."""
    cut: set[str] = field(default_factory=set)
    """Paths whose next transfer stops in the middle."""
    most: int | None = None
    """Bytes after which every transfer stops."""
    moved: dict[str, str] = field(default_factory=dict)
    """Where a path redirects to."""
    statuses: list[int] = field(default_factory=list)
    """Error statuses for the next requests."""
    log: list[tuple[str, str | None]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    sent: int = 0
    url: str = ""


@contextmanager
def answering(*pieces: bytes, pause: float = 0.0) -> Iterator[str]:
    """The URL of a server that gives every request these bytes, and the last of them again and again after a pause."""

    class Answer(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)
            with suppress(OSError):  # the client hung up
                for piece in chain(pieces, repeat(pieces[-1]) if pause else ()):
                    self.request.sendall(piece)
                    time.sleep(pause)

    with ThreadingTCPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            path = self.path.partition("?")[0]
            site.log.append((path, wanted))
            site.agents.add(self.headers["User-Agent"])
            body, status, extra = site.files.get(path), 200, {}
            if path in site.moved:
                status, extra, body = 302, {"Location": site.moved[path]}, b""
            elif site.html:
                body, extra = b"<!DOCTYPE html><html>Moved</html>", {"Content-Type": "text/html; charset=utf-8"}
            elif site.statuses:
                body, status = b"", site.statuses.pop(0)
            elif body is None:
                body, status = b"nothing here", 404
            elif wanted and site.ranges:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, stop = int(first), int(last or len(body) - 1) + 1
                extra = {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}"}
                body, status = body[start:stop], 206
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            if site.endless:
                self.close_connection = True
                self.end_headers()
                self.pour(body)
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if path in site.cut:
                site.cut.remove(path)
                body = body[: len(body) // 2]
                self.close_connection = True
            if site.most is not None:
                self.close_connection = site.most < len(body)
                body = body[: site.most]
            self.pour(body, times=1)

        def pour(self, body: bytes, times: int = 10_000) -> None:
            with suppress(OSError):  # the client hung up
                for _ in range(times):
                    self.wfile.write(body)
                    site.sent += len(body)

    return Handler


def need(mirror: Path, *names: str) -> None:
    for name in names:
        if not (mirror / name).is_file():
            pytest.skip(f"the mirror has no {name}")
