from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from snakemake.cli import parse_config
from toy_data import Toy

from mlpaper import cli
from mlpaper.data.catalog import Catalog
from mlpaper.data.mirror import check_mirror, parse_mirror
from mlpaper.errors import ConfigurationError
from mlpaper.spec import PoolSpec
from mlpaper.study.schema.settings import Settings

CATALOG = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("/my data", "/my data"),
        ("data:2", "data:2"),
        ("~", "HOME"),
        ("~/data", "HOME/data"),
        ("file:///my%20data/%C3%A9", "/my data/é"),
        ("file://localhost/data", "/data"),
        ("FILE:/data", "/data"),
        ("https://me:secret@host:8080/data?token=1", "https://me:secret@host:8080/data?token=1"),
        ("HTTP://host", "HTTP://host"),
        *((none, None) for none in ("null", "none", "None", "NULL", "")),
    ],
)
def test_what_a_mirror_may_be(text: str, parsed: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """From `--config` of Snakemake, which knows no null, as from Python."""
    monkeypatch.setenv("HOME", "/home/me")
    expected = parsed and parsed.replace("HOME", "/home/me")
    assert parse_mirror(text) == expected
    assert parse_mirror(f"  {text} ") == expected
    assert Settings(**parse_config([f"mirror={text}"])).mirror == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s3://bucket/data", "must be a folder (a path or file:///path) or an http:// or https:// URL"),
        ("htp://host/data", "did you mean `http`?"),
        ("ftp://host/data", "must be a folder"),
        ("https://", "must be a folder"),
        ("http://host:99999/", "Port out of range"),
        ("http://[::1/", "Invalid IPv6 URL"),
        ("file://host/data", "such as file:///data"),
        ("file:data", "such as file:///data"),
        ("~no-such-user/data", "a user that this machine has"),
    ],
)
def test_what_it_may_not_be(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_mirror(text)
    arguments = [
        "fetch",
        "--job",
        "j",
        "--dataset",
        "mnist",
        "--file",
        "f",
        "--folder",
        str(tmp_path),
        "--mirror",
        text,
    ]
    done = CliRunner().invoke(cli.cli, arguments)
    assert done.exit_code == 2
    assert f"not '{text}'" in done.output
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_checked_before_any_job(toy: Toy, tmp_path: Path) -> None:
    digits, mirror = (PoolSpec(name="digits"), CATALOG["digits"]), str(tmp_path)
    pools = [digits, (PoolSpec(name="mnist", parts=("test",)), toy.source())]
    check_mirror(None, "here", pools)
    check_mirror("https://nowhere.invalid/", "here", pools)
    check_mirror(mirror, "here", [digits])  # needs no files
    with pytest.raises(ConfigurationError, match="here: there is no folder /no/such; it must hold <dataset>/<file>"):
        check_mirror("/no/such", "here", [digits])
    toy.put(tmp_path / "train only")
    with pytest.raises(ConfigurationError) as caught:
        check_mirror(mirror, "here", pools)
    for place in ("toy/test-labels-idx.gz", "toys/test-labels-idx.gz", "toy/test-images-idx.gz"):
        assert place in str(caught.value)
    assert "train-" not in str(caught.value)
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys" / "test-labels-idx.gz").touch()
    check_mirror(mirror, "here", pools)


def test_an_archive_is_enough(tmp_path: Path) -> None:
    pools = [(PoolSpec(name=name), CATALOG[name]) for name in ("emnist_balanced", "mnist")]
    with pytest.raises(ConfigurationError, match=r"emnist_balanced/emnist-balanced-train-labels.* and \d+ more"):
        check_mirror(str(tmp_path), "here", pools)
    (tmp_path / "emnist").mkdir()
    (tmp_path / "emnist" / "gzip.zip").touch()
    check_mirror(str(tmp_path), "here", pools)
