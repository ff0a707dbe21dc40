"""Crates of runs: what is packed, and that nothing is believed of what comes in."""

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from mlpaper.crate import METADATA, export, import_runs
from mlpaper.digest import RULES, digest
from mlpaper.errors import CrateError, DamagedError
from mlpaper.files import read_json, read_npz, sha256, write_json, write_npz
from mlpaper.run_files import OUTCOME, facts_of, read_spec
from mlpaper.run_store import FILES, take

ROOT = Path(__file__).parents[1]
Members = dict[str, bytes]


@pytest.fixture
def place(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with one run, which this project's code trained, in a path with all that a name may have."""
    folder = tmp_path / 'it\'s "mine" é 雪'
    shutil.copytree(trained, folder / "results" / "runs" / trained.name)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(place: Path, trained: Path) -> Path:
    run = place / "results" / "runs" / trained.name
    write_json(run / OUTCOME, read_json(run / OUTCOME) | {"code_digest": digest(*RULES["train"])})
    return run


def plan_of(run: Path) -> Any:
    settings = SimpleNamespace(scale="demo", model_dump=lambda **_: {"scale": "demo"})
    study = SimpleNamespace(title="A study of “signs” & <more>")
    spec, studies = read_spec(run), {"usaaio-classic": study}
    datasets = {spec.dataset.name: None}
    return SimpleNamespace(runs={run.name: spec}, settings=settings, studies=studies, datasets=datasets)


@pytest.fixture
def crate(run: Path) -> Path:
    export(plan_of(run), ROOT, Path("runs.zip"))
    return Path("runs.zip").absolute()


def members_of(crate: Path) -> Members:
    with zipfile.ZipFile(crate) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, members: Members, **more: Any) -> Path:
    with zipfile.ZipFile(path, "w", **more) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def told(members: Members, run: str, name: str, **facts: Any) -> None:
    """Change what the metadata say of a file of a run."""
    metadata = json.loads(members[METADATA])
    (entity,) = [it for it in metadata["@graph"] if it["@id"] == f"results/runs/{run}/{name}"]
    entity |= facts
    members[METADATA] = json.dumps(metadata).encode()


def test_a_crate_says_what_made_each_run_from_what(crate: Path, run: Path) -> None:
    members = members_of(crate)
    graph = {entity["@id"]: entity for entity in json.loads(members[METADATA])["@graph"]}
    files = {name: it for name, it in graph.items() if "File" in it["@type"]}
    assert files.keys() == members.keys() - {METADATA}
    assert {"workflow/datasets/digits.yaml", "workflow/studies/usaaio-classic.yaml"} <= members.keys()
    assert all(int(it["contentSize"]) == len(members[name]) for name, it in files.items())
    action = graph[f"#train-{run.name}"]
    assert {it["@id"].rpartition("/")[-1] for it in action["result"]} == set(FILES)
    assert digest(*RULES["train"]) in graph[action["instrument"]["@id"]]["softwareVersion"]
    assert graph[graph["./"]["mainEntity"]["@id"]]["@id"] == "Snakefile"
    assert {it["@id"].rsplit("/", 2)[-2] for it in graph["./"]["conformsTo"]} >= {"process", "workflow"}
    assert graph["./"]["license"]["@id"].endswith("/MIT")
    citation = yaml.safe_load(members["CITATION.cff"])
    assert {"cff-version", "title", "authors", "license"} <= citation.keys(), "what Zenodo reads"
    again = Path("again.zip")
    export(plan_of(run), ROOT, again)
    assert again.read_bytes() == crate.read_bytes()


def test_runs_that_are_missing_or_damaged_are_not_packed(run: Path) -> None:
    plan = plan_of(run)
    (run / "weights.npz").write_bytes(b"damaged")
    with pytest.raises(DamagedError, match=r"weights\.npz: its size and hash are not those"):
        export(plan, ROOT, Path("runs.zip"))
    shutil.rmtree(run)
    with pytest.raises(CrateError, match=f"1 of 1 runs are not there, such as {run.name}: run snakemake"):
        export(plan, ROOT, Path("runs.zip"))
    assert not Path("runs.zip").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_imported_runs_are_those_that_the_rule_train_takes(
    crate: Path, run: Path, digits: Path, tmp_path: Path, compression: int
) -> None:
    packed = pack(tmp_path / "repacked.zip", members_of(crate), compression=compression)
    found = import_runs(packed, Path("results/imported"))
    assert (found.runs, found.new, found.other_code) == (1, 1, {})
    assert import_runs(packed, Path("results/imported")).new == 0
    spec, code = read_spec(run), digest(*RULES["train"])
    assert take(spec, code, digits, digits / "split.npz", tmp_path / "taken") == Path("results/imported")
    assert (tmp_path / "taken" / "weights.npz").read_bytes() == (run / "weights.npz").read_bytes()


def test_runs_by_other_code_are_refused_or_taken_as_they_are(
    place: Path, trained: Path, digits: Path, tmp_path: Path
) -> None:
    run = place / "results" / "runs" / trained.name
    export(plan_of(run), ROOT, Path("runs.zip"))
    here = digest(*RULES["train"])
    with pytest.raises(CrateError, match=rf"its digest is test \(1 runs\), this project's is {here}"):
        import_runs(Path("runs.zip"), Path("results/imported"))
    assert not list(Path("results/imported").iterdir())
    assert import_runs(Path("runs.zip"), Path("results/imported"), accept_other_code=True).other_code == {"test": 1}
    assert take(read_spec(run), here, digits, digits / "split.npz", tmp_path / "taken")
    assert read_json(tmp_path / "taken" / OUTCOME)["code_digest"] == "test", "who trained it is not forgotten"


def other_weights(members: Members, run: str) -> None:
    members[f"results/runs/{run}/weights.npz"] = members[f"results/runs/{run}/weights.npz"][:-1] + b"?"


def rename(new: str) -> Callable[[Members, str], None]:
    def do(members: Members, run: str) -> None:
        members[new] = b"attack"

    return do


def lies(name: str, **facts: Any) -> Callable[[Members, str], None]:
    return lambda members, run: told(members, run, name, **facts)


def without(name: str) -> Callable[[Members, str], None]:
    return lambda members, run: members.pop(name.format(run=run)) and None


def as_metadata(text: str) -> Callable[[Members, str], None]:
    return lambda members, run: members.update({METADATA: text.encode()})


HARMS: dict[str, tuple[Callable[[Members, str], None], str]] = {
    "a path upwards": (rename("../../attacked"), "would lead out of the folder"),
    "an absolute path": (rename("/tmp/attacked"), "would lead out of the folder"),
    "a path of Windows": (rename("..\\attacked"), "would lead out of the folder"),
    "a drive": (rename("C:/attacked"), "would lead out of the folder"),
    "a dot": (rename("results/./attacked"), "would lead out of the folder"),
    "a line break": (rename("results/a\nb"), "would lead out of the folder"),
    "other weights": (other_weights, "weights.npz has another hash than in its metadata"),
    "another size": (lies("weights.npz", contentSize="7"), "not the 7 of its metadata"),
    "another hash": (lies("weights.npz", sha256="0" * 64), "another hash than in its metadata"),
    "no weights": (without("results/runs/{run}/weights.npz"), "weights.npz is missing"),
    "no facts": (lies("weights.npz", sha256=None, contentSize=None), "is not that of an RO-Crate"),
    "no metadata": (without(METADATA), "ro-crate-metadata.json is missing"),
    "no runs": (without("results/runs/{run}/run.json"), "it holds no runs of mlpaper"),
    "metadata: no JSON": (as_metadata("{"), "is not that of an RO-Crate"),
    "metadata: nested": (as_metadata("[" * 100_000), "is not that of an RO-Crate"),
    "metadata: a list": (as_metadata("[]"), "is not that of an RO-Crate"),
    "metadata: entities of no kind": (as_metadata('{"@graph": [1, null]}'), "is not that of an RO-Crate"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_hostile_crate_is_refused_and_leaves_nothing(crate: Path, run: Path, tmp_path: Path, harm: str) -> None:
    do, reason = HARMS[harm]
    members = members_of(crate)
    do(members, run.name)
    refused(pack(tmp_path / "hostile.zip", members), reason, tmp_path)


def refused(hostile: Path, reason: str, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if path.name != "imported"}
    with pytest.raises(CrateError) as caught:
        import_runs(hostile, tmp_path / "imported")
    assert reason in str(caught.value)
    assert str(caught.value).startswith(str(hostile))
    assert str(caught.value).endswith("Nothing was imported")
    assert {path for path in tmp_path.rglob("*") if path.name != "imported"} == before
    assert not Path("/tmp/attacked").exists()


def test_links_devices_and_strange_compression_are_refused(crate: Path, run: Path, tmp_path: Path) -> None:
    name = f"results/runs/{run.name}/weights.npz"
    members = members_of(crate)
    for kind in (stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO):
        link = zipfile.ZipInfo(name)
        link.external_attr = (kind | 0o777) << 16
        rest = pack(tmp_path / "hostile.zip", {key: it for key, it in members.items() if key != name})
        with zipfile.ZipFile(rest, "a") as archive:
            archive.writestr(link, "/etc/passwd")
        refused(rest, "is a link or a device", tmp_path)
    refused(pack(tmp_path / "hostile.zip", members, compression=zipfile.ZIP_LZMA), "other than deflate", tmp_path)
    twice = pack(tmp_path / "hostile.zip", members)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr(name, b"another")
    refused(twice, "is there twice", tmp_path)


def test_a_bomb_is_not_unpacked(crate: Path, run: Path, tmp_path: Path) -> None:
    members = members_of(crate)
    name = f"results/runs/{run.name}/weights.npz"
    members[name] = bytes(80_000_000)
    bomb = pack(tmp_path / "hostile.zip", members, compression=zipfile.ZIP_DEFLATED)
    refused(bomb, "it would unpack to 80,", tmp_path)


@pytest.mark.parametrize("cut", [0, 10, 5000, -1])
def test_a_truncated_crate_is_refused(crate: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "hostile.zip").write_bytes(crate.read_bytes()[:cut])
    refused(tmp_path / "hostile.zip", "not a sound crate", tmp_path)


def test_a_run_that_is_consistent_but_wrong_is_refused(run: Path, tmp_path: Path, trained: Path) -> None:
    """Its hashes fit, for whoever made the crate made them; its content does not."""

    def packed() -> Path:
        export(plan_of(run), ROOT, tmp_path / "hostile.zip")
        return tmp_path / "hostile.zip"

    outcome = read_json(run / OUTCOME)
    write_npz(run / "weights.npz", {"a": np.zeros(3)})
    (run / "weights.npz").write_bytes((run / "weights.npz").read_bytes().replace(b"(3,)", b"(9,)"))
    write_json(run / OUTCOME, outcome | {"files": facts_of(run)})
    refused(packed(), "weights.npz is damaged: Bad CRC-32", tmp_path)
    write_npz(run / "weights.npz", read_npz(trained / "weights.npz"))
    write_json(run / "spec.json", read_json(run / "spec.json") | {"seed": 5})
    write_json(run / OUTCOME, outcome | {"files": facts_of(run), "id": read_spec(run).id})
    with pytest.raises(DamagedError, match="it belongs to the run"):
        packed()
    members = members_of(tmp_path / "hostile.zip")
    for name in FILES:
        members[f"results/runs/{run.name}/{name}"] = content = (run / name).read_bytes()
        told(members, run.name, name, contentSize=str(len(content)), sha256=sha256(run / name))
    refused(pack(tmp_path / "hostile.zip", members), f"{run.name} holds the run {read_spec(run).id}", tmp_path)
