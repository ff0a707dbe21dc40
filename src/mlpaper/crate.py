"""Handing runs on: an archive of a plan's runs that other machines take instead of training.

It is a zip file in the form of a Workflow Run RO-Crate (https://w3id.org/ro/wfrun/workflow): every file with its size
and SHA-256, the workflow with its settings, and an action for every run that says what made it from what. Files
lie at their paths in the project.

What is taken from a crate is believed only as far as it can be checked: names, sizes and hashes before anything is
kept, then every file of a run as its readers would (`mlpaper.run_files`). Runs go into a store (`mlpaper.run_store`),
from which the rule `train` takes those that it would make. Snakemake runs its jobs as usual, and none of them trains.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mlpaper import __version__, paths
from mlpaper.digest import RULES, digest
from mlpaper.errors import CrateError, DamagedError
from mlpaper.files import atomic, sha256
from mlpaper.machine import commit, versions
from mlpaper.run_files import COLUMNS, OUTCOME, read_outcome, read_spec, read_table, read_weights
from mlpaper.run_store import FILES, Made, put

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

    from mlpaper.spec import RunSpec
    from mlpaper.study.plan import Plan

METADATA = "ro-crate-metadata.json"
MEASURED = (
    "evaluation.json",
    "confusion.npz",
    *(f"{name}.parquet" for name in COLUMNS if name not in ("history", "steps")),
)
PROJECT = ("Snakefile", "CITATION.cff", "LICENSE")
SETTINGS = ("studies", "seeds", "heavy", "scale", "emnist_parts", "leave_out", "twin")
"""Keys of the configuration that decide results. The others may tell of the machine, as a mirror's address does."""

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"
COMPLETED = "http://schema.org/CompletedActionStatus"
FORMATS = {
    ".json": "application/json",
    ".npz": "application/zip",
    ".parquet": "application/vnd.apache.parquet",
    ".yaml": "application/yaml",
}
LICENCE = "https://spdx.org/licenses/MIT"

MOST_MEMBERS, MOST_METADATA, MOST_GROWTH = 200_000, 64 * 2**20, 20
"""Members of a crate, bytes of its metadata, and times its own size that it may unpack to."""
_RUN = re.compile(
    rf"{re.escape(paths.run_folder('').rstrip('/'))}/([a-z0-9_.]+-[a-z0-9_.-]+-[0-9a-f]{{8}})/{re.escape(OUTCOME)}"
)


# Out.


def export(plan: Plan, project: Path, output: Path) -> int:
    """Write all runs of `plan`, which the working folder must have, as the crate `output`; return their number.

    The same files give the same bytes.

    Parameters
    ----------
    project
        Folder of the Snakefile.

    Raises
    ------
    CrateError
        Some of the runs are not there.
    DamagedError
        A file of a run is not the one that training wrote.
    """
    absent = [run for run in plan.runs if not Path(paths.run_folder(run), OUTCOME).exists()]
    if absent:
        raise CrateError(
            f"{len(absent)} of {len(plan.runs)} runs are not there, such as {absent[0]}: "
            "run snakemake with this configuration first, or leave them out (`leave_out`)"
        )
    crate = _Crate.of(plan, project)
    for run, spec in plan.runs.items():
        crate.add_run(run, spec)
    crate.finish(plan)
    with atomic(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _store(archive, METADATA, json.dumps(crate.inner.metadata.generate(), indent=1, sort_keys=True))
        for name, source in sorted(crate.sources.items()):
            _store(archive, name, source)
    return len(plan.runs)


def _store(archive: zipfile.ZipFile, name: str, source: Path | str) -> None:
    """Add a file as it is, without compression, which none of the large ones would gain from."""
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    if isinstance(source, str):
        archive.writestr(info, source)
        return
    info.file_size = source.stat().st_size
    with source.open("rb") as stream, archive.open(info, "w") as member:
        shutil.copyfileobj(stream, member)


@dataclass
class _Crate:
    """A crate that is being made: its entities, and where the bytes of its files are."""

    inner: ROCrate
    sources: dict[str, Path | str] = field(default_factory=dict)
    last: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    """When the last of the runs ended."""

    @classmethod
    def of(cls, plan: Plan, project: Path) -> _Crate:
        from rocrate.rocrate import ROCrate

        crate = cls(ROCrate(version="1.1"))
        crate.inner.metadata.extra_contexts.append(TERMS)
        for name in PROJECT:
            if (project / name).is_file():
                crate.add(name, project / name)
        for path in sorted((project / "workflow" / "rules").glob("*.smk")):
            crate.add(f"workflow/rules/{path.name}", path)
        chosen = {f"scales/{plan.settings.scale}.yaml"}
        chosen |= {f"studies/{study}.yaml" for study in plan.studies} | {
            f"datasets/{name}.yaml" for name in plan.datasets
        }
        for name in sorted(chosen):
            crate.add(f"workflow/{name}", project / "workflow" / name)
        settings = plan.settings.model_dump(mode="json", include=set(SETTINGS))
        crate.add("settings.json", json.dumps(settings, indent=1, sort_keys=True) + "\n")
        return crate

    def add(self, name: str, source: Path | str) -> Any:
        """A file of the crate, once, with its size and hash."""
        from rocrate.model import File

        if name in self.sources:
            return self.inner.get(name)
        self.sources[name] = source
        with _on_disk(source) as path:
            facts = {"contentSize": str(path.stat().st_size), "sha256": sha256(path), "name": PurePosixPath(name).name}
        facts["encodingFormat"] = FORMATS.get(PurePosixPath(name).suffix, "text/plain")
        if name == "Snakefile":
            facts |= {"version": __version__, "url": "https://snakemake.readthedocs.io"}
            return self.inner.add_workflow(None, name, main=True, lang="snakemake", properties=facts)
        return self.inner.add(File(self.inner, None, name, properties=facts))

    def add_run(self, run: str, spec: RunSpec) -> None:
        """The files of a run, with an action that says what made them from what."""
        folder = Path(paths.run_folder(run))
        made, outcome = Made.told_by(folder), read_outcome(folder)
        files = {name: folder / name for name in (*FILES, *MEASURED) if (folder / name).is_file()}
        entities = {name: self.add(f"{paths.run_folder(run)}/{name}", path) for name, path in files.items()}
        inputs = [f"{paths.pool_folder(spec.dataset)}/meta.json", paths.split_file(spec)]
        ended = datetime.fromtimestamp(int((folder / OUTCOME).stat().st_mtime), UTC)
        self.last = max(self.last, ended)
        self.inner.add_action(
            self._engine(spec.engine, made.code),
            identifier=f"#train-{run}",
            object=[self.add(name, Path(name)) for name in inputs if Path(name).is_file()],
            result=[entities[name] for name in FILES],
            properties={
                "name": f"train {run}",
                "description": f"{outcome['outcome']} after {outcome['epochs']} epochs, {outcome['seconds']:.1f} s on "
                f"{outcome['device']} ({outcome['machine'].get('processor', 'unknown')})",
                "endTime": ended.isoformat(),
                "actionStatus": COMPLETED,
            },
        )

    def finish(self, plan: Plan) -> None:
        """What belongs to all runs: the tables of the studies, the workflow itself, who, when, and the licence."""
        for study in plan.studies:
            for table in (paths.study_table(study), paths.study_claims(study)):
                if Path(table).is_file():
                    self.add(table, Path(table))
        crate, root = self.inner, self.inner.root_dataset
        titles = "; ".join(study.title for study in plan.studies.values())
        crate.name = f"Runs of mlpaper: {titles}"
        crate.description = (
            f"{len(plan.runs)} trained runs at scale {plan.settings.scale}, with specifications, weights, histories, "
            "and evaluations. `mlpaper import` takes them into a clone of the project; snakemake trains none of them."
        )
        crate.keywords = "reproducibility, Snakemake, multilayer perceptron"
        crate.datePublished = self.last.isoformat()
        crate.license = self._about(LICENCE, "CreativeWork", "MIT")
        root["author"] = root["publisher"] = who = self._about("#developers", "Organization", "The mlpaper developers")
        root["conformsTo"] = [
            self._about(address, "CreativeWork", name, version=address.rsplit("/", 1)[-1])
            for address, name in PROFILES.items()
        ]
        actions = [entity for entity in crate.contextual_entities if entity.id.startswith("#train-")]
        root["mentions"] = [self._whole_workflow(), *actions]
        for action in root["mentions"]:
            action["agent"] = who

    def _whole_workflow(self) -> Any:
        """The action that made all results from the studies and the configuration."""
        settings = ("workflow/studies/", "workflow/scales/", "workflow/datasets/", "settings.json")
        packages = ", ".join(f"{name} {version}" for name, version in versions().items())
        return self.inner.add_action(
            self.inner.mainEntity,
            identifier="#workflow-run",
            object=[self.inner.get(name) for name in sorted(self.sources) if name.startswith(settings)],
            result=[self.inner.get(name) for name in sorted(self.sources) if name.startswith("results/")],
            properties={
                "name": "snakemake",
                "description": f"commit {commit().get('commit') or 'unknown'}; {packages}",
                "endTime": self.last.isoformat(),
                "actionStatus": COMPLETED,
            },
        )

    def _about(self, identifier: str, kind: str, name: str, **more: str) -> Any:
        """An entity that is no file."""
        from rocrate.model import ContextEntity

        properties = {"@type": kind, "name": name} | more
        return self.inner.add(ContextEntity(self.inner, identifier, properties=properties))

    def _engine(self, engine: str, code: str) -> Any:
        """What trained a run: an engine, by the digest of its code."""
        identifier = f"#{engine}-{code}"
        version = f"{__version__}, digest of the code that trains: {code}"
        address = "https://pytorch.org" if engine == "torch" else "https://numba.pydata.org"
        about = {"softwareVersion": version, "url": address}
        return self.inner.get(identifier) or self._about(identifier, "SoftwareApplication", f"engine {engine}", **about)


@contextmanager
def _on_disk(source: Path | str) -> Iterator[Path]:
    """A file with the bytes of a source."""
    if isinstance(source, Path):
        yield source
        return
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as stream:
        stream.write(source)
        stream.flush()
        yield Path(stream.name)


# In.


@dataclass(frozen=True)
class Imported:
    """What came of an import."""

    runs: int
    new: int
    """Runs that were not in the store before."""
    other_code: Mapping[str, int]
    """Digest of other code than this project's to the number of its runs, which were accepted."""


def import_runs(path: Path, store: Path, accept_other_code: bool = False) -> Imported:
    """Take the runs of a crate into a store; all of them, or none.

    Raises
    ------
    CrateError
        The file is no crate of runs, a member is not what the crate says, or other code trained a run and
        `accept_other_code` is not set.
    """
    store.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix=".import-", dir=store) as temporary:
            crate = _Archive(path, archive)
            runs = {run: crate.run(run, Path(temporary, run)) for run in crate.runs()}
            here = {run: _code_of_this_project(_engine_of(made)) for run, made in runs.items()}
            others = Counter(made.code for run, made in runs.items() if made.code != here[run])
            if others and not accept_other_code:
                raise CrateError(_other_code(path, others, set(here.values())))
            new = [put(replace(made, code=here[run]), Path(temporary, run), store) for run, made in runs.items()]
    except OSError as error:
        raise CrateError(f"{path}: {error.strerror or error}. Nothing was imported") from error
    except DamagedError as error:  # of a file that was unpacked, whose place and mending mean nothing to the reader
        why = str(error).partition(". Remove")[0].replace(f"{store}/", "")
        raise CrateError(f"{path} is not a sound crate: {why}. Nothing was imported") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise CrateError(f"{path} is not a sound crate: {error}. Nothing was imported") from error
    return Imported(len(runs), sum(new), others)


def _engine_of(made: Made) -> str:
    return str(json.loads(made.spec).get("engine", "mlpaper"))


@cache
def _code_of_this_project(engine: str) -> str:
    return digest(*RULES["train" if engine == "mlpaper" else "twin"])


def _other_code(path: Path, others: Mapping[str, int], here: set[str]) -> str:
    told = ", ".join(f"{code} ({count} runs)" for code, count in sorted(others.items()))
    return (
        f"{path}: other code trained these runs: its digest is {told}, this project's is {' or '.join(sorted(here))}. "
        "Snakemake would train them again. Check out the commit that made them (the crate names it), or take them as "
        "they are with --accept-other-code: the paper then says which code trained them. Nothing was imported"
    )


@dataclass
class _Archive:
    """An archive that is not trusted."""

    path: Path
    archive: zipfile.ZipFile

    def __post_init__(self) -> None:
        infos = self.archive.infolist()
        if len(infos) > MOST_MEMBERS:
            raise self._refuse(f"it has {len(infos):,} members; none has more than {MOST_MEMBERS:,}")
        self.members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            self._check_member(info)
            self.members[info.filename] = info
        unpacked, most = sum(info.file_size for info in infos), MOST_GROWTH * self.path.stat().st_size
        if unpacked > most:
            raise self._refuse(f"it would unpack to {unpacked:,} bytes, more than {MOST_GROWTH} times its size")
        self.facts = self._read_metadata()

    def _refuse(self, why: str) -> CrateError:
        return CrateError(f"{self.path} is not a sound crate: {why}. Nothing was imported")

    def _check_member(self, info: zipfile.ZipInfo) -> None:
        name, kind = info.filename, stat.S_IFMT(info.external_attr >> 16)
        parts = name.rstrip("/").split("/")
        if (
            "\\" in name
            or name.startswith("/")
            or ":" in parts[0]
            or {"", ".", ".."} & set(parts)
            or not name.isprintable()
        ):
            raise self._refuse(f"the name {name!r} would lead out of the folder")
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise self._refuse(f"{name} is a link or a device")
        if name in self.members:
            raise self._refuse(f"{name} is there twice")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._refuse(f"{name} is encrypted, or compressed by a method other than deflate")

    def _read_metadata(self) -> dict[str, tuple[int, str]]:
        """Sizes and hashes that the metadata give, by name."""
        info = self.members.get(METADATA)
        if info is None or info.file_size > MOST_METADATA:
            raise self._refuse(f"{METADATA} is missing, or larger than {MOST_METADATA:,} bytes")
        try:
            graph = json.loads(self.archive.read(info).decode())["@graph"]
            return {
                unquote(entity["@id"]): (int(entity["contentSize"]), str(entity["sha256"]))
                for entity in graph
                if "contentSize" in entity and "sha256" in entity
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._refuse(f"{METADATA} is not that of an RO-Crate ({error})") from error

    def runs(self) -> list[str]:
        """Names of the runs that it has."""
        runs = [found[1] for name in self.members if (found := _RUN.fullmatch(name))]
        if not runs:
            raise self._refuse("it holds no runs of mlpaper")
        return sorted(runs)

    def run(self, run: str, folder: Path) -> Made:
        """Unpack a run, and check it as its readers would."""
        for name in FILES:
            self._unpack(f"{paths.run_folder(run)}/{name}", folder / name)
        made = Made.told_by(folder)
        if (found := read_spec(folder).id) != run:
            raise self._refuse(f"{paths.run_folder(run)} holds the run {found}")
        read_outcome(folder), read_weights(folder)
        for table in ("history", "steps"):
            read_table(folder, table, run)
        return made

    def _unpack(self, name: str, target: Path) -> None:
        """Unpack a file that has the size and hash that the metadata give, and no more bytes than that."""
        info, told = self.members.get(name), self.facts.get(name)
        if info is None or told is None:
            raise self._refuse(f"{name} is missing{'' if info is None else ' in its metadata'}")
        size, wanted = told
        if info.file_size != size:
            raise self._refuse(f"{name} has {info.file_size:,} bytes, not the {size:,} of its metadata")
        with self.archive.open(info) as member, atomic(target) as temporary:
            with temporary.open("wb") as stream:
                shutil.copyfileobj(member, stream)  # which ends after `file_size` bytes, whatever is packed
            if sha256(temporary) != wanted:
                raise self._refuse(f"{name} has another hash than in its metadata")
