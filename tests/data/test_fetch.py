from __future__ import annotations

import dataclasses
import errno
import gzip
import json
import os
import socket
import threading
from pathlib import Path

import pytest
from toy_data import Site, Toy, archive_of

from mlpaper.data import fetch, transfer
from mlpaper.data.fetch import PARTIAL, fetch_part
from mlpaper.data.sources import SOURCES, Source, get_source
from mlpaper.data.transfer import Policy
from mlpaper.errors import ConfigurationError, DataError, StorageError

QUICK = Policy(attempts=3, wait=0.0, timeout=5.0, block=1 << 12)
IMAGES, LABELS = "train-images-idx.gz", "train-labels-idx.gz"


def get(source: Source, folder: Path, mirror: object = None, part: str = "train", policy: Policy = QUICK) -> None:
    fetch_part(source, part, folder, None if mirror is None else str(mirror), progress=False, policy=policy)


def check(toy: Toy, folder: Path, origin: str) -> None:
    """The train part is there, verified, alone, and its receipt says whence."""
    assert sorted(path.name for path in folder.iterdir()) == ["train-images.gz", "train-labels.gz", "train.json"]
    assert (folder / "train-images.gz").read_bytes() == toy.files[IMAGES]
    assert (folder / "train-labels.gz").read_bytes() == toy.files[LABELS]
    receipt = json.loads((folder / "train.json").read_text())
    for role, file in toy.parts["train"].files.items():
        entry = receipt["files"][role]
        assert origin in entry["from"]
        assert (entry["name"], entry["bytes"], entry["sha256"]) == (file.name, file.bytes, file.sha256)


def refused(source: Source, folder: Path, mirror: object = None, **more: object) -> str:
    """Fetching fails, leaves nothing (besides downloads to go on with), and says how to mend it."""
    with pytest.raises(DataError) as caught:
        get(source, folder, mirror, **more)
    assert [path.name for path in folder.iterdir() if path.name != PARTIAL] == []
    text = str(caught.value)
    for file in source.parts["train"].files.values():
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
    assert "secret" not in (tmp_path / "raw" / "train.json").read_text()
    assert all(agent.startswith("mlpaper/") for agent in site.agents)


def test_system_package_is_accepted_by_raw_hash(toy: Toy, tmp_path: Path) -> None:
    system = toy.put(tmp_path / "system")
    for name, data in toy.files.items():
        (system / name).write_bytes(gzip.compress(gzip.decompress(data), 1, mtime=99))
    get(toy.source(system_folder=str(system)), tmp_path / "raw")
    receipt = json.loads((tmp_path / "raw" / "train.json").read_text())
    assert receipt["files"]["images"]["from"].startswith("system package")
    assert receipt["files"]["images"]["sha256"] != toy.parts["train"].images.sha256
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
    first = (tmp_path / "raw" / "train.json").read_bytes()
    get(source, tmp_path / "raw")  # over what is there
    assert (tmp_path / "raw" / "train.json").read_bytes() == first
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
    # The labels were right and the images are not: neither appears.
    (folder / LABELS).rmdir()
    (folder / LABELS).write_bytes(data)
    (folder / IMAGES).write_bytes(toy.files[IMAGES][::-1])
    assert f"no source gave {IMAGES}" in refused(toy.source(), tmp_path / "raw", tmp_path / "mirror")


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
    text = refused(source, tmp_path / "raw", policy=dataclasses.replace(QUICK, attempts=1))
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
        return refused(dataclasses.replace(toy.source(archive=archive_of(body, url)), **parts), tmp_path / "raw")

    member = toy.files[LABELS]
    at = whole.index(member)
    assert "not a sound zip" in tried(whole[:at] + b"!" + whole[at + 1 :])
    assert "no member" in tried(whole.replace(LABELS.encode(), LABELS.upper().encode()))
    assert "not a sound zip" in tried(whole[:-30])
    part = toy.parts["train"]
    longer = dataclasses.replace(part, labels=dataclasses.replace(part.labels, bytes=part.labels.bytes + 1))
    assert f"has {len(member)} bytes instead of {len(member) + 1}" in tried(whole, parts={"train": longer})
    other = dataclasses.replace(part, labels=dataclasses.replace(part.labels, sha256="0" * 64))
    assert "wrong content" in tried(whole, parts={"train": other})
    site.files["/gzip.zip"] = whole + b"x"
    text = refused(toy.source(archive=archive_of(whole, url)), tmp_path / "raw")
    assert f"a file of {len(whole) + 1} bytes" in text


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
        assert {path.name for path in (tiny_disk / "raw").iterdir()} <= {PARTIAL}


def test_full_disk_simulated(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copy(*_: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fetch, "_copy", copy)
    toy.put(tmp_path / "mirror" / "toys")
    with pytest.raises(StorageError, match="full"):
        get(toy.source(), tmp_path / "raw", tmp_path / "mirror")
    assert list((tmp_path / "raw").iterdir()) == []


# Words.


def test_progress_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with transfer.Meter("big.gz", 4_000_000) as meter:
        for done in range(0, 4_000_001, 100_000):
            meter.at(done)
    with transfer.Meter("small.gz", 10) as meter:
        meter.at(5)
        meter.at(10)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert [line.split(" of ")[0] for line in captured.err.splitlines()] == [
        "big.gz:  25 %",
        "big.gz:  50 %",
        "big.gz:  75 %",
        "big.gz: 100 %",
        "small.gz: 100 %",
    ]


def test_progress_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.sys.stderr, "isatty", lambda: True)
    with transfer.Meter("big.gz", 4_000_000) as meter:
        meter.at(4_000_000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "big.gz" in captured.err
    assert "4.0/4.0 MB" in captured.err


def test_registry() -> None:
    assert get_source("emnist_bymerge").classes[46] == "t"
    assert sum(part.count for part in get_source("emnist_bymerge").parts.values()) == 814_255
    files = [file for source in SOURCES.values() for part in source.parts.values() for file in part.files.values()]
    assert len(files) == 16
    assert len({file.sha256 for file in files}) == 16, "no hash stands in two places"
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.downloads == bool(source.bases or source.archive)
    with pytest.raises(ConfigurationError, match="did you mean `fashion_mnist`"):
        get_source("fashion-mnist")


def test_digits_need_no_download(tmp_path: Path) -> None:
    get(get_source("digits"), tmp_path)
    assert json.loads((tmp_path / "train.json").read_text())["files"] == {}


@pytest.mark.parametrize(("name", "part"), [("mnist", "train"), ("emnist_bymerge", "test")])
def test_real_files(mirror: Path, tmp_path: Path, name: str, part: str) -> None:
    source = get_source(name)
    if not (mirror / source.folder / source.parts[part].images.name).is_file():
        pytest.skip(f"the mirror has no {name} {part}")
    get(source, tmp_path, mirror, part)
    assert (tmp_path / f"{part}-images.gz").stat().st_size == source.parts[part].images.bytes
