"""A tiny dataset, the files it is made of, and a web server that behaves as badly as it is told to."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from mlpaper.data.sources import Archive, OfficialPart, RemoteFile, Source

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
                remote[role] = RemoteFile(name, len(data), digest(data), digest(raw))
            self.parts[part] = OfficialPart(count, **remote)

    def source(self, *bases: str, **more: object) -> Source:
        fixed = {"name": "toy", "title": "Toy", "folder": "toys", "classes": ("a", "b", "c"), "parts": self.parts}
        return Source(**fixed, licence="none", homepage="", citation="", bases=bases, **more)

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
    return Archive(url, len(data), digest(data), "gzip/", "toys-gzip.zip")


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
    statuses: list[int] = field(default_factory=list)
    """Error statuses for the next requests."""
    log: list[tuple[str, str | None]] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)
    sent: int = 0
    url: str = ""


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
            if site.html:
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
