from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import logging
import os
import socket
import struct
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from toy_data import Site, Toy, answering, archive_of

from mlpaper import cli
from mlpaper.data import fetch, transfer
from mlpaper.data.catalog import Catalog
from mlpaper.data.fetch import PARTIAL, fetch_pool
from mlpaper.data.sources import Parts, Source, Sources
from mlpaper.data.transfer import Policy
from mlpaper.errors import DataError, StorageError
from mlpaper.spec import PoolSpec, canonical_json

CATALOG = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")
QUICK = Policy(attempts=3, wait=0.0, timeout=5.0)
IMAGES, LABELS = "train-images-idx.gz", "train-labels-idx.gz"


def get(source: Source, folder: Path, mirror: object = None, part: str = "train", policy: Policy = QUICK) -> None:
    pool = PoolSpec(name="mnist", parts=(part,))
    fetch_pool(source, pool, folder, None if mirror is None else str(mirror), policy=policy)


def check(toy: Toy, folder: Path, origin: str) -> None:
    """The train part is there, verified, alone, and its receipts say whence."""
    names = ["train-images.gz", "train-labels.gz"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, *(f"{name}.json" for name in names)])
    assert (folder / "train-images.gz").read_bytes() == toy.files[IMAGES]
    assert (folder / "train-labels.gz").read_bytes() == toy.files[LABELS]
    for role, file in toy.parts["train"].files.items():
        entry = json.loads((folder / f"train-{role}.gz.json").read_text())
        assert origin in entry["from"]
        assert (entry["name"], entry["bytes"], entry["sha256"]) == (file.name, file.bytes, file.sha256)


def refused(source: Source, folder: Path, mirror: object = None, labels: bool = False, **more: object) -> str:
    """Fetching fails, leaves nothing of the file that failed, nor of those after it, and says how to mend it.

    What remains are downloads to go on with, and the labels, which come first, where they were right (`labels`).
    """
    with pytest.raises(DataError) as caught:
        get(source, folder, mirror, **more)
    left = {path.name for path in folder.iterdir() if path.name != PARTIAL}
    assert left == {f"train-labels.gz{ending}" for ending in ("", ".json") if labels}
    text = str(caught.value)
    for file in source.official["train"].files.values():
        assert f"<mirror>/toys/{file.name}  {file.bytes} bytes  sha256 {file.sha256}" in text
    assert "config.yaml" in text
    assert "--config mirror=" in text
    return text


def served(site: Site, toy: Toy, prefix: str = "") -> str:
    site.files |= {f"{prefix}/{name}": data for name, data in toy.files.items()}
    return f"{site.url}{prefix}/"


# Where files come from.


@pytest.mark.parametrize("layout", ["toy", "toys"])
def test_mirror_folder(toy: Toy, tmp_path: Path, layout: str) -> None:
    toy.put(tmp_path / "mirror" / layout)
    get(toy.source(), tmp_path / "raw", tmp_path / "mirror")
    check(toy, tmp_path / "raw", f"mirror {tmp_path / 'mirror' / layout}")


def test_mirror_folder_with_links_or_the_whole_archive(toy: Toy, tmp_path: Path) -> None:
    real = toy.put(tmp_path / "store")
    (tmp_path / "linked" / "toys").mkdir(parents=True)
    for name in toy.files:
        (tmp_path / "linked" / "toys" / name).symlink_to(real / name)
    get(toy.source(), tmp_path / "raw", tmp_path / "linked")
    check(toy, tmp_path / "raw", "mirror")
    assert not (tmp_path / "raw" / "train-images.gz").is_symlink()

    (tmp_path / "zipped" / "toys").mkdir(parents=True)
    (tmp_path / "zipped" / "toys" / "gzip.zip").write_bytes(toy.zip())
    archive = archive_of(b"", "http://127.0.0.1:1/gzip.zip")
    get(toy.source(archive=archive), tmp_path / "raw2", tmp_path / "zipped")
    check(toy, tmp_path / "raw2", "gzip.zip")


def test_mirror_url_keeps_its_secrets(toy: Toy, tmp_path: Path, site: Site) -> None:
    served(site, toy, "/data/toys")
    get(toy.source(), tmp_path / "raw", site.url.replace("//", "//me:secret@") + "/data?token=secret")
    check(toy, tmp_path / "raw", f"mirror {site.url}/data/toys/")
    for receipt in (tmp_path / "raw").glob("*.json"):
        assert "secret" not in receipt.read_text()
    assert all(agent.startswith("mlpaper/") for agent in site.agents)


def test_system_package_is_accepted_by_raw_hash(toy: Toy, tmp_path: Path) -> None:
    system = toy.put(tmp_path / "system")
    for name, data in toy.files.items():
        (system / name).write_bytes(gzip.compress(gzip.decompress(data), 1, mtime=99))
    get(toy.source(system_folder=str(system)), tmp_path / "raw")
    receipt = json.loads((tmp_path / "raw" / "train-images.gz.json").read_text())
    assert receipt["from"].startswith("system package")
    assert receipt["sha256"] != toy.parts["train"].images.sha256
    assert (tmp_path / "raw" / "train-images.gz").read_bytes() == (system / IMAGES).read_bytes()
    # The same files in a *mirror* are not the official ones; and other content is refused in either place.
    (system / LABELS).write_bytes(gzip.compress(b"x" * 308))
    text = refused(toy.source(system_folder=str(system)), tmp_path / "raw2")
    assert "wrong content" in text


def test_official_urls_in_order_and_receipts_repeat(toy: Toy, tmp_path: Path, site: Site) -> None:
    good = served(site, toy, "/good")
    source = toy.source(f"{site.url}/missing/", good)
    get(source, tmp_path / "raw")
    check(toy, tmp_path / "raw", good)
    first = (tmp_path / "raw" / "train-images.gz.json").read_bytes()
    get(source, tmp_path / "raw")  # over what is there
    assert (tmp_path / "raw" / "train-images.gz.json").read_bytes() == first
    assert [path for path, _ in site.log[:2]] == [f"/missing/{LABELS}", f"/good/{LABELS}"]


# Sources that fail.


def test_bad_local_files(toy: Toy, tmp_path: Path) -> None:
    folder = toy.put(tmp_path / "mirror" / "toys")
    data = toy.files[LABELS]
    for bad, reason in [
        (data[:-1] + b"!", "wrong content"),
        (data[:-5], f"{len(data) - 5} bytes instead of {len(data)}"),
    ]:
        (folder / LABELS).write_bytes(bad)
        assert reason in refused(toy.source(), tmp_path / "raw", tmp_path / "mirror")
    (folder / LABELS).unlink()
    (folder / LABELS).mkdir()
    assert "no such file" in refused(toy.source(), tmp_path / "raw", tmp_path / "mirror")
    # The labels were right and the images are not: these do not appear.
    (folder / LABELS).rmdir()
    (folder / LABELS).write_bytes(data)
    (folder / IMAGES).write_bytes(toy.files[IMAGES][::-1])
    text = refused(toy.source(), tmp_path / "raw", tmp_path / "mirror", labels=True)
    assert f"no source gave {IMAGES}" in text


def test_bad_servers_are_passed_over_and_listed(toy: Toy, tmp_path: Path, site: Site) -> None:
    data = toy.files[LABELS]
    bodies = {
        "hash": data[:-1] + b"!",
        "long": data + b"more",
        "page": b"<!doctype HTML>" + data[15:],
        "other": b"PK" + data[2:],
    }
    site.files |= {f"/{name}/{LABELS}": body for name, body in bodies.items()}
    bases = [f"{site.url}/{name}/" for name in (*bodies, "missing")]
    text = refused(toy.source(*bases, "htp://nowhere/"), tmp_path / "raw")
    reasons = dict(line.strip("- ").rsplit(f"/{LABELS}: ", 1) for line in text.splitlines() if f"/{LABELS}: " in line)
    expected = ["wrong content", f"{len(data) + 4} bytes instead", "an HTML page instead", "not the file", "HTTP 404"]
    for base, reason in zip(bases, expected, strict=True):
        assert reason in reasons[base.rstrip("/")]
    assert len(site.log) == len(bases), "none of these is worth a second attempt"
    assert not (tmp_path / "raw" / PARTIAL).exists()
    good = served(site, toy, "/good")
    get(toy.source(*bases, good), tmp_path / "raw")
    check(toy, tmp_path / "raw", good)


def test_html_page_with_status_200(toy: Toy, tmp_path: Path, site: Site) -> None:
    site.html = True
    archive = archive_of(toy.zip(), f"{site.url}/gzip.zip")
    text = refused(toy.source(f"{site.url}/", archive=archive), tmp_path / "raw")
    assert text.count("an HTML page instead of data") == 2


def test_endless_body_is_cut_off(toy: Toy, tmp_path: Path, site: Site) -> None:
    site.endless = True
    text = refused(toy.source(served(site, toy)), tmp_path / "raw")
    assert "more than the" in text
    assert not (tmp_path / "raw" / PARTIAL).exists()


def test_no_network(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        archive = archive_of(toy.zip(), f"{url}/gzip.zip")
        text = refused(toy.source(f"{url}/", archive=archive), tmp_path / "raw", url)
    assert text.count("refused") >= 4


def test_stalled_server(toy: Toy, tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        text = refused(toy.source(url), tmp_path / "raw", policy=Policy(attempts=2, wait=0.0, timeout=0.05))
    assert "no answer in time" in text


@pytest.mark.parametrize("headers", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-More: "])
def test_a_byte_now_and_then_is_too_slow(toy: Toy, tmp_path: Path, site: Site, headers: bytes) -> None:
    """In the body or in the headers: no pause is long enough to be a dead connection."""
    patience = Policy(attempts=1, wait=0.0, timeout=0.5, slowest=1e6)
    started = time.monotonic()
    with answering(headers + b"\x1f\x8b", b"\x08", pause=0.05) as url:
        text = refused(toy.source(url), tmp_path / "raw", policy=patience)
    assert "too slow" in text
    assert time.monotonic() - started < 5


def test_answers_that_are_no_http_or_the_wrong_range(toy: Toy, tmp_path: Path) -> None:
    size = len(toy.files[LABELS])
    for answer, reason in [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "illegal status line"),
        (
            f"HTTP/1.1 206 Partial\r\nContent-Range: bytes 9-{size - 1}/{size}\r\n\r\n".encode(),
            "asked for bytes from 0",
        ),
        (b"HTTP/1.1 206 Partial\r\n\r\n", "asked for bytes from 0"),
        (b"HTTP/1.1 416 Range Not Satisfiable\r\n\r\n", "HTTP 416"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "Content-Length"),
        (b"", "disconnected"),
    ]:
        with answering(answer) as url:
            assert reason in refused(toy.source(url), tmp_path / "raw", policy=dataclasses.replace(QUICK, attempts=1))


def test_redirects(toy: Toy, tmp_path: Path, site: Site) -> None:
    served(site, toy, "/good")
    site.moved = {f"/old/{name}": f"{site.url}/good/{name}" for name in (IMAGES, LABELS)}
    site.moved |= {f"/circle/{LABELS}": f"{site.url}/circle/{LABELS}", f"/disk/{LABELS}": f"file:///etc/{LABELS}"}
    text = refused(toy.source(f"{site.url}/circle/", f"{site.url}/disk/"), tmp_path / "raw")
    assert "redirects" in text
    assert "unsupported protocol 'file://'" in text
    get(toy.source(f"{site.url}/old/"), tmp_path / "raw")
    check(toy, tmp_path / "raw", f"{site.url}/old/")


def test_proxy_and_certificates_of_the_environment(
    toy: Toy, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    served(site, toy, "http://data.invalid")  # a proxy is asked for whole addresses
    monkeypatch.setenv("HTTP_PROXY", site.url)
    get(toy.source("http://data.invalid/"), tmp_path / "raw")
    check(toy, tmp_path / "raw", "http://data.invalid/")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    assert "certificates of the environment cannot be used" in refused(toy.source(f"{site.url}/"), tmp_path / "raw2")


# Interruptions.


def test_passing_errors_are_retried(toy: Toy, tmp_path: Path, site: Site) -> None:
    url = served(site, toy)
    site.statuses = [503, 429]
    get(toy.source(url), tmp_path / "raw")
    check(toy, tmp_path / "raw", url)
    assert len(site.log) == 4


@pytest.mark.parametrize("ranges", [True, False])
def test_dropped_connection_resumes(toy: Toy, tmp_path: Path, site: Site, ranges: bool) -> None:
    url = served(site, toy)
    site.cut, site.ranges = {f"/{IMAGES}"}, ranges
    get(toy.source(url), tmp_path / "raw")
    check(toy, tmp_path / "raw", url)
    asked = [wanted for path, wanted in site.log if path == f"/{IMAGES}"]
    assert asked == [None, f"bytes={len(toy.files[IMAGES]) // 2}-"]
    total = sum(len(toy.files[name]) for name in (IMAGES, LABELS))
    assert (site.sent == total) == ranges


def test_next_run_resumes_and_mistrusts(toy: Toy, tmp_path: Path, site: Site) -> None:
    url, source = served(site, toy), toy.source(f"{site.url}/")
    site.cut = {f"/{IMAGES}"}
    text = refused(source, tmp_path / "raw", labels=True, policy=dataclasses.replace(QUICK, attempts=1))
    assert "peer closed connection" in text
    (left,) = (tmp_path / "raw" / PARTIAL).iterdir()
    assert left.stat().st_size == len(toy.files[IMAGES]) // 2
    get(source, tmp_path / "raw")
    check(toy, tmp_path / "raw", url)
    assert site.log[-1] == (f"/{IMAGES}", f"bytes={len(toy.files[IMAGES]) // 2}-")
    # A piece that was spoilt on our disk costs one more download, no more.
    for spoilt in (b"\x1f\x8bspoilt", b"z" * len(toy.files[IMAGES]), b"z" * (len(toy.files[IMAGES]) + 9)):
        left.parent.mkdir()
        left.write_bytes(spoilt)
        get(source, tmp_path / "raw")
        check(toy, tmp_path / "raw", url)


def test_attempts_count_from_the_last_progress(toy: Toy, tmp_path: Path, site: Site) -> None:
    url = served(site, toy)
    site.most = len(toy.files[IMAGES]) // 9
    get(toy.source(url), tmp_path / "raw", policy=dataclasses.replace(QUICK, attempts=2))
    check(toy, tmp_path / "raw", url)
    assert len(site.log) >= 10
    # Where each attempt begins again, there is none.
    site.ranges = False
    assert "peer closed connection" in refused(toy.source(url), tmp_path / "raw2", labels=True)


def test_wrong_content_in_pieces_is_refused_once(toy: Toy, tmp_path: Path, site: Site) -> None:
    site.files[f"/{LABELS}"] = toy.files[LABELS][:-1] + b"!"
    site.most = len(toy.files[LABELS]) // 2 + 1
    assert "wrong content" in refused(toy.source(f"{site.url}/"), tmp_path / "raw")
    assert len(site.log) == 2


def test_another_job_may_remove_the_folder_of_downloads(
    toy: Toy, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of a dataset are fetched side by side, and each job ends by removing that folder where it is empty."""
    touch, removed = Path.touch, []

    def removing(path: Path) -> None:
        if not removed:
            removed.append(path.parent.rmdir())
        touch(path)

    monkeypatch.setattr(Path, "touch", removing)
    url = served(site, toy)
    get(toy.source(url), tmp_path / "raw")
    check(toy, tmp_path / "raw", url)
    assert removed


# The archive.


def test_only_the_members_are_read_where_ranges_are_served(toy: Toy, tmp_path: Path, site: Site) -> None:
    whole = toy.zip()
    site.files["/gzip.zip"] = whole
    site.cut = {"/gzip.zip"}
    get(toy.source(archive=archive_of(whole, f"{site.url}/gzip.zip")), tmp_path / "data" / "raw")
    check(toy, tmp_path / "data" / "raw", f"gzip.zip (gzip/{IMAGES[:5]}")
    members = sum(len(toy.files[name]) for name in (IMAGES, LABELS))
    assert members <= site.sent < members + 40_000 < len(whole) // 4
    assert all(wanted for _, wanted in site.log)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]


def test_whole_archive_where_ranges_are_not_served(toy: Toy, tmp_path: Path, site: Site) -> None:
    whole = toy.zip()
    site.files["/gzip.zip"], site.ranges = whole, False
    source = toy.source(archive=archive_of(whole, f"{site.url}/gzip.zip"))
    # Two jobs at once, as Snakemake would start them: one download.
    jobs = [
        threading.Thread(target=get, args=(source, tmp_path / "raw" / part), kwargs={"part": part})
        for part in ("train", "test")
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    check(toy, tmp_path / "raw" / "train", "gzip.zip")
    assert (tmp_path / "raw" / "test" / "test-images.gz").read_bytes() == toy.files["test-images-idx.gz"]
    full = [wanted for _, wanted in site.log if wanted is None]
    assert len(full) == 1
    cache = tmp_path / "raw" / "toys-gzip.zip"
    assert cache.read_bytes() == whole
    # Its copy serves the next fetch without the network; a damaged copy is replaced.
    before = len(site.log)
    get(source, tmp_path / "raw" / "again")
    assert len(site.log) == before
    cache.write_bytes(whole[:-100_000])
    get(source, tmp_path / "raw" / "more")
    check(toy, tmp_path / "raw" / "more", f"{site.url}/gzip.zip")
    assert cache.read_bytes() == whole


def test_archives_that_lie(toy: Toy, tmp_path: Path, site: Site) -> None:
    whole = toy.zip(filler=0)
    url = f"{site.url}/gzip.zip"

    def tried(body: bytes, **parts: object) -> str:
        site.files["/gzip.zip"] = body
        return refused(toy.source(archive=archive_of(body, url), **parts), tmp_path / "raw")

    member = toy.files[LABELS]
    at = whole.index(member)
    assert "not a sound zip" in tried(whole[:at] + b"!" + whole[at + 1 :])
    assert "no member" in tried(whole.replace(LABELS.encode(), LABELS.upper().encode()))
    assert "not a sound zip" in tried(whole[:-30])
    part = toy.parts["train"]

    def with_labels(**update: object) -> Parts:
        labels = part.labels.model_copy(update=update)
        return Parts(train=part.model_copy(update={"labels": labels}), test=toy.parts["test"])

    longer = with_labels(bytes=part.labels.bytes + 1)
    assert f"has {len(member)} bytes instead of {len(member) + 1}" in tried(whole, parts=longer)
    assert "wrong content" in tried(whole, parts=with_labels(sha256="0" * 64))
    # What `zipfile` does not expect, or would decompress without bounds.
    end = whole.rindex(LABELS.encode())
    entry = end - len("gzip/") - 46  # in the table of contents
    assert whole[entry : entry + 4] == b"PK\x01\x02"
    flag = whole[entry + 9] | 8
    not_utf8 = whole[: entry + 9] + bytes([flag]) + whole[entry + 10 : end] + b"\xff" + whole[end + 1 :]
    assert "not a sound zip" in tried(not_utf8)
    method = whole[: entry + 10] + bytes([zipfile.ZIP_LZMA]) + whole[entry + 11 :]
    assert "a method other than deflate" in tried(method)
    site.files["/gzip.zip"] = whole + b"x"
    text = refused(toy.source(archive=archive_of(whole, url)), tmp_path / "raw")
    assert f"a file of {len(whole) + 1} bytes" in text


def test_a_table_of_contents_that_claims_too_much_is_not_believed(toy: Toy, tmp_path: Path, site: Site) -> None:
    whole = toy.zip()
    for name in (IMAGES, LABELS):
        at = whole.rindex(name.encode()) - len("gzip/") - 46  # the entry in the table of contents
        whole = whole[: at + 20] + struct.pack("<I", 900_000) + whole[at + 24 :]  # the compressed length
    site.files["/gzip.zip"] = whole
    with suppress(DataError):  # `zipfile` may be content with the bytes that it has
        get(toy.source(archive=archive_of(whole, f"{site.url}/gzip.zip")), tmp_path / "raw")
    assert site.sent < len(toy.files[IMAGES]) + len(toy.files[LABELS]) + 40_000


# Our own disk.


def test_full_disk(toy: Toy, tiny_disk: Path, tmp_path: Path, site: Site) -> None:
    toy.put(tmp_path / "mirror" / "toys")
    whole = toy.zip()
    site.files["/gzip.zip"] = whole
    archive = archive_of(whole, f"{site.url}/gzip.zip")
    for source, mirror in [
        (toy.source(served(site, toy)), None),
        (toy.source(), tmp_path / "mirror"),
        (toy.source(archive=archive), None),
    ]:
        with pytest.raises(StorageError, match="full"):
            get(source, tiny_disk / "raw", mirror)
        left = {path.name for path in (tiny_disk / "raw").iterdir()}
        assert left <= {PARTIAL, "train-labels.gz", "train-labels.gz.json"}, "the images do not fit"


def test_full_disk_simulated(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch.shutil, "copyfile", copy)
    toy.put(tmp_path / "mirror" / "toys")
    with pytest.raises(StorageError, match="full"):
        get(toy.source(), tmp_path / "raw", tmp_path / "mirror")
    assert list((tmp_path / "raw").iterdir()) == []


# Words.


def test_the_log_names_each_source_that_is_tried_and_no_secret(
    toy: Toy, tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    caplog.set_level(logging.INFO)
    sources = tmp_path / "sources.json"
    sources.write_text(canonical_json(Sources(datasets={"toy": toy.source(served(site, toy, "/good"))})))
    mirror = site.url.replace("//", "//me:secret@") + "/none?token=secret"
    for name in ("train-labels.gz", "train-images.gz"):
        arguments = ["fetch", "--job", str(sources), "--dataset", "toy", "--file", name, "--mirror", mirror]
        arguments += ["--folder", str(tmp_path / "raw")]
        done = CliRunner().invoke(cli.cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
    check(toy, tmp_path / "raw", f"{site.url}/good/")
    for name in toy.parts["train"].files.values():
        assert f"{name.name} from mirror {site.url}/none/toys/{name.name}" in caplog.text
        assert f"{name.name} from {site.url}/good/{name.name}" in caplog.text
    assert "secret" not in caplog.text + done.output


@pytest.mark.parametrize(("least", "lines"), [(0, 10), (10_000_000, 0)])
def test_the_log_tells_how_far_a_large_transfer_is(
    tmp_path: Path,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    least: int,
    lines: int,
) -> None:
    monkeypatch.setattr(transfer, "TOLD", least)
    content = bytes(3_000_000)
    site.files["/large"] = content
    caplog.set_level("INFO")
    with (tmp_path / "large").open("w+b") as stream:
        transfer.Transfer(f"{site.url}/large", 3_000_000, stream, QUICK, 0, 3_000_000, 0, label="large").run()
    told = [record.getMessage() for record in caplog.records if record.name == transfer.__name__]
    assert len(told) == lines
    assert told[-1:] in ([], ["large: 3 of 3 MB"])
    assert (tmp_path / "large").read_bytes() == content


@pytest.mark.parametrize(("name", "part"), [("mnist", "train"), ("emnist_bymerge", "test")])
def test_real_files(mirror: Path, tmp_path: Path, name: str, part: str) -> None:
    source = CATALOG[name]
    images = source.official[part].images
    if not (mirror / source.places[-1] / images.name).is_file():
        pytest.skip(f"the mirror has no {name} {part}")
    get(source, tmp_path, mirror, part)
    assert (tmp_path / f"{part}-images.gz").stat().st_size == images.bytes
