"""Stores of trained runs, by what they were made from: other clones and machines take them instead of training.

A store is a folder with an entry for each run. Its key is the hash of the specification, the digest of the code that
trains, the hashes of the dataset's arrays and the hash of the split. An entry appears whole, by one rename; of several
that are made at once the first stays. Whoever takes an entry copies it, and compares every file with the hash that it
was stored with: a damaged entry, or one that was moved from another key, is removed, and the run is trained.

Snakemake's own cache (`--cache`) does neither: it links to files of other workflows without looking at them, and stores
the files of a run one after the other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlpaper.errors import DamagedError, DataError, MlpaperError, StorageError
from mlpaper.files import atomic, read_json, sha256, size_of, write_json
from mlpaper.paths import IMPORTED
from mlpaper.run_files import OUTCOME, TRAINED, FileFacts, facts_of, origin_of, read_spec, refused
from mlpaper.spec import RunSpec

log = logging.getLogger(__name__)

VARIABLE = "MLPAPER_RUN_STORE"
"""Names a folder that many clones fill and use."""
ENTRY = "entry.json"
"""In an entry: its key, and the hashes of its files."""
FILES = (*TRAINED, OUTCOME)


@dataclass(frozen=True)
class Made:
    """All that a trained run is made from; if one of them changes, it trains."""

    spec: str
    """Canonical JSON of the specification."""
    code: str
    """Digest of the code that trains."""
    data: str | None
    """Hash of the dataset's arrays and classes; None, like the split, of a run on arrays that no dataset holds."""
    split: str | None
    """Hash of the split."""

    @classmethod
    def of(cls, spec: RunSpec, code: str, pool: Path, split_file: Path) -> Made:
        """What a run is made from in a working folder."""
        return cls(spec.canonical(), code, data_hash(pool), sha256(split_file))

    @classmethod
    def told_by(cls, folder: Path) -> Made:
        """What the run in `folder` was made from; its files are compared with their hashes in ``run.json``.

        Raises
        ------
        DamagedError
            A file is not as it was written, or the run was trained on arrays of which nothing is known.
        """
        origin = origin_of(folder)
        if origin.data_sha256 is None or origin.split_sha256 is None:
            raise refused(folder / OUTCOME, "it does not say which dataset and split the run was trained on")
        return cls(read_spec(folder).canonical(), origin.code_digest, origin.data_sha256, origin.split_sha256)

    @property
    def key(self) -> str:
        """SHA-256 over all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Name of the entry in a store."""
        return f"{RunSpec.model_validate_json(self.spec).id}-{self.key[:16]}"


def data_hash(pool: Path) -> str:
    """SHA-256 of what training sees of a dataset, whichever copies of the official files it was made from."""
    arrays, classes = _contents(pool)
    return hashlib.sha256(json.dumps([arrays, classes], sort_keys=True).encode()).hexdigest()


def _contents(pool: Path) -> tuple[dict[str, dict[str, str]], Any]:
    """The hashes of a dataset's arrays, and its classes, as ``meta.json`` tells them, which is written last."""
    mend = "Remove the folder and run again"
    try:
        meta: Any = read_json(pool / "meta.json")
        arrays, classes = meta["arrays"], meta["classes"]
        dict.fromkeys(facts["sha256"] for facts in arrays.values())
    except FileNotFoundError as error:
        raise DataError(f"{pool}: meta.json is missing. {mend}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{pool}: meta.json does not describe a prepared dataset ({error}). {mend}") from error
    return arrays, classes


def check_arrays(pool: Path) -> None:
    """Refuse a dataset whose arrays are not those of its ``meta.json``: a run says that it was made from these.

    Snakemake does not look at them: they are `ancient`, so that a touched array trains nothing again.

    Raises
    ------
    DataError
        A byte of an array was changed, by a failing disk or by hand.
    """
    for name, facts in _contents(pool)[0].items():
        path = pool / name
        if not path.is_file():
            raise DataError(f"{pool}: {name} is missing. Remove the folder and run again")
        if sha256(path) != facts["sha256"]:
            raise DataError(f"{path} is damaged: its SHA-256 is not that in meta.json. Remove {path} and run again")


def shared() -> Path | None:
    """The store that clones share, or None.

    Raises
    ------
    StorageError
        It is in the home of a user that this machine does not have.
    """
    if not (folder := os.environ.get(VARIABLE)):
        return None
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise StorageError(f"{VARIABLE}: `{folder}`: this machine has no such user") from None


def check_shared() -> None:
    """Refuse a shared store that is no folder, before any job; later it costs a line that a run is not stored.

    Raises
    ------
    StorageError
        The message says what the variable names.
    """
    store = shared()
    if store is not None and os.path.lexists(store) and not store.is_dir():
        raise StorageError(f"{VARIABLE}: {store} is not a folder; name one, or unset the variable")


def stores() -> list[Path]:
    """Where to look for runs: what was imported here, then the shared store."""
    return [store for store in (Path(IMPORTED), shared()) if store is not None and store.is_dir()]


def take(spec: RunSpec, code: str, pool: Path, split_file: Path, folder: Path) -> Path | None:
    """Copy a run from one of the stores into `folder` and return that store; None where no store has it whole."""
    found = stores()
    if not found:
        return None
    made = Made.of(spec, code, pool, split_file)
    for store in found:
        entry = store / made.name
        if not entry.is_dir():
            continue
        try:
            _copy(entry, _facts(entry, made), folder)
        except (DamagedError, OSError) as error:
            log.warning("%s cannot be used, and the run is trained: %s", entry, error)
            _remove(entry)
        else:
            log.info("taken from %s: made by the same code, from the same data", entry)
            return store
    return None


def offer(folder: Path) -> None:
    """Put a run that was trained here into the shared store, if there is one; where that fails, say so and go on."""
    if (store := shared()) is None:
        return
    try:
        put(Made.told_by(folder), folder, store)
    except (OSError, MlpaperError) as error:
        log.warning("the run is not stored in %s: %s", store, error)


def put(made: Made, folder: Path, store: Path) -> bool:
    """Store the run in `folder` and return whether it is new there; what is there already stays."""
    store.mkdir(parents=True, exist_ok=True)
    entry = store / made.name
    with tempfile.TemporaryDirectory(prefix=".new-", dir=store, ignore_cleanup_errors=True) as temporary:
        new = Path(temporary, made.name)
        facts = facts_of(folder, FILES)
        _copy(folder, {name: FileFacts.model_validate(it) for name, it in facts.items()}, new)
        write_json(new / ENTRY, {"key": made.key, "made_from": asdict(made), "files": facts})
        try:
            new.rename(entry)
        except OSError:
            if entry.is_dir():  # another was faster
                return False
            raise
    return True


def _facts(entry: Path, made: Made) -> dict[str, FileFacts]:
    """Sizes and hashes of an entry's files.

    Raises
    ------
    DamagedError
        It belongs to another run, other code or other data, or does not list the files of a run.
    """
    try:
        told: Any = read_json(entry / ENTRY)
        facts = {name: FileFacts.model_validate(told["files"][name]) for name in FILES}
        found = told["key"]
    except (KeyError, TypeError, ValidationError) as error:
        raise DamagedError(f"{entry / ENTRY} does not list the files of a run") from error
    if found != made.key or read_spec(entry).canonical() != made.spec:
        raise DamagedError(f"{entry} holds another run, or one that was made by other code or from other data")
    return facts


def _copy(source: Path, facts: dict[str, FileFacts], target: Path) -> None:
    """Copy files whose sizes and hashes are as told; all of them appear, or none.

    Raises
    ------
    DamagedError
        One is missing, is a link, or has other bytes.
    """
    with ExitStack() as stack:
        for name, wanted in facts.items():
            path = source / name
            if path.is_symlink() or not path.is_file() or size_of(path) != wanted.bytes:
                raise DamagedError(f"{path} is missing, or not as long as it was")
            temporary = stack.enter_context(atomic(target / name))
            shutil.copyfile(path, temporary)
            if sha256(temporary) != wanted.sha256:
                raise DamagedError(f"{path} has not the bytes that were stored")


def _remove(entry: Path) -> None:
    """Remove an entry, at once for whoever looks for it; in a store that cannot be written to, it stays."""
    with suppress(OSError), tempfile.TemporaryDirectory(prefix=".damaged-", dir=entry.parent) as aside:
        entry.rename(Path(aside, entry.name))
