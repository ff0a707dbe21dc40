"""Does this machine reproduce what was recorded on another? A sample of runs is trained again and compared.

A reference is a file `<dataset>.json` that says of some runs what they are (their specifications) and what came out
of them. The runs go through the functions of the pipeline's jobs, in a folder that is removed afterwards.

Float32 may round otherwise on another processor or with another mathematical library. Training carries that on: mostly
it stays at the size of rounding, but one unit of a ReLU that comes to lie on the other side of 0 can move losses by a
thousandth or more. So the sample is of short runs that were seen not to do that where other code trained them, which
sums in another order (the readable operations, PyTorch): losses then agree to 1e-3, most to 1e-6.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from mlpaper.data.catalog import FOLDER, Catalog
from mlpaper.data.dataset import IMAGES, META, Dataset
from mlpaper.data.fetch import fetch_pool
from mlpaper.data.mirror import check_mirror
from mlpaper.data.prepare import prepare
from mlpaper.data.split import Split, make_split
from mlpaper.digest import RULES, digest
from mlpaper.engine.model import flat_state
from mlpaper.engine.train_job import train_run
from mlpaper.errors import ConfigurationError, DataError, nearest
from mlpaper.evaluate.measure import evaluate_run
from mlpaper.files import read_json, read_npz, read_parquet, write_json
from mlpaper.job_environment import SOURCE
from mlpaper.machine import commit, machine, versions
from mlpaper.paths import pool_folder, raw_folder
from mlpaper.spec import Model, PoolSpec, RunSpec
from mlpaper.study.results import RunFolder
from mlpaper.study.validate import Origin, validate

Verdict = Literal["identical", "equal", "different", "not run"]

ACCURACY = 0.005
"""Accuracies may differ by half a point, or by one image where that is more."""
LOSS = 1e-3
"""Losses may differ by this share of the recorded one."""
EXACT = ("outcome", "epochs", "steps", "parameters", "images")
"""What must be the same everywhere."""


class Outcome(Model):
    """What came out of a run."""

    outcome: str
    epochs: int
    steps: int
    parameters: int
    test_images: int
    test_accuracy: float | None
    """None, like the losses, of a run that diverged."""
    test_cross_entropy: float | None
    validation_loss: float | None
    images: str
    """SHA-256 of the dataset's images."""
    weights: str
    """SHA-256 of the trained weights: float32, in the order of the layers."""
    predictions: str = ""
    """SHA-256 of the columns of ``predictions.parquet``: confidence and log-probability to the last bit."""


class Recorded(Model):
    """When, where and by what a reference was recorded."""

    date: str
    commit: str | None
    dirty: bool | None
    """Whether files differed from that commit."""
    code: str
    """Digest of the code that trains."""
    machine: dict[str, str | int]
    versions: dict[str, str]


class Sample(Model):
    """One run of a reference."""

    about: str
    """What it is there for."""
    spec: RunSpec
    results: Outcome | None = None
    """Nothing before it is recorded."""


class Reference(Model):
    """The content of a reference file."""

    recorded: Recorded | None = None
    runs: dict[str, Sample]


@dataclass(frozen=True)
class Check:
    """One run, compared."""

    name: str
    verdict: Verdict
    details: tuple[str, ...] = ()
    """What differed, and by how much; or why it was not run."""


def read(folder: Path) -> dict[Path, Reference]:
    """All references of a folder, by their files.

    Raises
    ------
    ConfigurationError
        There is none, or one is not what it must be.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ConfigurationError(
            f"{folder} holds no reference (*.json): call this in the repository's folder, or name it by --reference"
        )
    references = {}
    for file in files:
        try:
            values = read_json(file)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{file} is not a sound reference ({error}). git checkout restores it") from error
        references[file] = validate(Reference, values, Origin(str(file)))
    return references


def write(file: Path, reference: Reference) -> None:
    """Write a reference; specifications in their canonical form."""
    plain = reference.model_dump(mode="json")
    for name, sample in reference.runs.items():
        plain["runs"][name]["spec"] = json.loads(sample.spec.canonical())
    write_json(file, plain)


def chosen(references: Mapping[Path, Reference], only: Sequence[str]) -> dict[str, Sample]:
    """The runs called `only`, or all of them.

    Raises
    ------
    ConfigurationError
        There is no such run, or one that was never recorded.
    """
    runs = {name: sample for reference in references.values() for name, sample in reference.runs.items()}
    for name in only:
        if name not in runs:
            raise ConfigurationError(
                f"--only: there is no run `{name}`{nearest(name, runs)}; there are {', '.join(runs)}"
            )
    return {name: sample for name, sample in runs.items() if not only or name in only}


def verify(runs: Mapping[str, Sample], data: Data) -> Iterator[Check]:
    """Run each of them again, and compare it with what was recorded."""
    for name, sample in runs.items():
        if sample.results is None:
            yield Check(name, "not run", ("nothing is recorded of it; --record does that",))
            continue
        try:
            yield compare(name, sample.results, outcome_of(sample.spec, data))
        except Unavailable as error:
            yield Check(name, "not run", (str(error),))


def record(file: Path, reference: Reference, data: Data, stamp: Recorded, tell: Callable[[str], None]) -> None:
    """Run all of a reference, and write what comes out. A file whose dataset is not there stays as it is."""
    runs = {}
    for name, sample in reference.runs.items():
        try:
            runs[name] = sample.model_copy(update={"results": outcome_of(sample.spec, data)})
        except Unavailable as error:
            tell(f"{file}: not recorded: {error}")
            return
        tell(f"{name}: recorded")
    write(file, Reference(recorded=stamp, runs=runs))


def here() -> Recorded:
    """This machine, now."""
    state = commit()
    return Recorded(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=state["commit"],
        dirty=state["dirty"],
        code=digest(*RULES["train"]),
        machine=machine(),
        versions={name: it for name, it in versions().items() if name in ("python", "mlpaper", "numpy", "numba")},
    )


def origins(references: Mapping[Path, Reference]) -> Iterator[str]:
    """Where each reference comes from, and whether other code made it."""
    code = digest(*RULES["train"])
    for file, reference in references.items():
        it = reference.recorded
        if it is not None:
            other = "" if it.code == code else f"; by other code ({it.code}, here {code}): weights may differ for that"
            yield f"{file}: recorded {it.date[:10]} on {it.machine['processor']}, numba {it.versions['numba']}{other}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """All verdicts in a sentence, with the tolerances.

    >>> summary(["identical", "identical", "not run"]).split(".")[0]
    '2 identical, 1 not run'
    """
    kinds: tuple[Verdict, ...] = ("identical", "equal", "different", "not run")
    counts = ", ".join(f"{verdicts.count(kind)} {kind}" for kind in kinds if kind in verdicts)
    return (
        f"{counts}. Identical: the same weights and predictions, bit for bit. Equal: the same number of epochs, "
        f"accuracy to {100 * ACCURACY:g} points or one image, losses to {100 * LOSS:g} %."
    )


# --- comparing


def compare(name: str, expected: Outcome, actual: Outcome) -> Check:
    """The verdict on one run."""
    differences = [*_exact(expected, actual), *_accuracy(expected, actual), *_losses(expected, actual)]
    if differences:
        return Check(name, "different", tuple(differences))
    if expected.weights == actual.weights and expected.predictions in ("", actual.predictions):
        return Check(name, "identical")
    share = _off(expected.test_cross_entropy, actual.test_cross_entropy) or 0.0
    return Check(name, "equal", (f"cross-entropy off by {share:.1e} of it",))


def _exact(expected: Outcome, actual: Outcome) -> Iterator[str]:
    for field in EXACT:
        was, now = getattr(expected, field), getattr(actual, field)
        if was != now:
            yield f"{field}: {now} instead of {was}"


def _accuracy(expected: Outcome, actual: Outcome) -> Iterator[str]:
    was, now = expected.test_accuracy, actual.test_accuracy
    if was is None or now is None:
        return
    images = round(abs(was - now) * expected.test_images)
    if images > max(1, int(ACCURACY * expected.test_images)):
        yield f"test_accuracy: {now:.4f} instead of {was:.4f}, {images} of {expected.test_images} images"


def _losses(expected: Outcome, actual: Outcome) -> Iterator[str]:
    for field in ("test_cross_entropy", "validation_loss"):
        was, now = getattr(expected, field), getattr(actual, field)
        share = _off(was, now)
        if share is not None and not share <= LOSS:
            yield f"{field}: {now:.6f} instead of {was:.6f}, off by {share:.1e} of it"


def _off(was: float | None, now: float | None) -> float | None:
    """How far `now` is from `was`, as a share of it; None where a run diverged."""
    return None if was is None or now is None else abs(was - now) / max(abs(was), 1e-12)


# --- running


class Unavailable(Exception):
    """A dataset is not there."""


class Data:
    """Prepared pools: those in the working folder, or made in `scratch` from a mirror.

    Parameters
    ----------
    working
        Folder that the pipeline runs in; nothing is written to it.
    mirror
        As `parse_mirror` returns it.
    """

    def __init__(self, scratch: Path, working: Path, mirror: str | None = None) -> None:
        check_mirror(mirror, "--mirror")
        self.scratch, self.working, self.mirror = scratch, working, mirror
        own = working / "workflow" / FOLDER
        self.datasets = Catalog(own if own.is_dir() else SOURCE.parent / "workflow" / FOLDER)
        self._pools: dict[str, Path | Unavailable] = {}

    def pool(self, spec: PoolSpec) -> Path:
        """Folder of a pool.

        Raises
        ------
        Unavailable
            There is neither the pool nor a mirror that has it.
        """
        if spec.id not in self._pools:
            try:
                self._pools[spec.id] = self._find(spec)
            except Unavailable as error:
                self._pools[spec.id] = error
        found = self._pools[spec.id]
        if isinstance(found, Unavailable):
            raise found
        return found

    def _find(self, spec: PoolSpec) -> Path:
        source, ready = self.datasets[spec.name], self.working / pool_folder(spec)
        if source.downloads and (ready / META).exists():
            return ready
        raw, folder = self.scratch / raw_folder(spec.name), self.scratch / pool_folder(spec)
        if source.downloads and self.mirror is None:
            raise Unavailable(f"{source.title} is not in {ready}: name a folder or URL that has it by --mirror")
        try:
            fetch_pool(source, spec, raw, self.mirror)
            prepare(spec, source.content(), raw, folder)
        except DataError as error:
            raise Unavailable(str(error).splitlines()[0]) from error
        return folder


@contextmanager
def prepared(working: Path, mirror: str | None = None) -> Iterator[Data]:
    """Data, and a folder for them and for runs that is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="mlpaper-verify-") as scratch:
        yield Data(Path(scratch), working, mirror)


def outcome_of(spec: RunSpec, data: Data) -> Outcome:
    """Train and evaluate `spec`, as the pipeline's jobs do.

    Raises
    ------
    Unavailable
        Its dataset is not there.
    """
    pool = data.pool(spec.dataset)
    dataset = Dataset.open(pool)
    folder, split = data.scratch / "runs" / spec.id, data.scratch / "splits" / f"{spec.dataset.id}-{spec.split_id}.npz"
    make_split(dataset.labels, spec.split, dataset.part_ranges, dataset.classes).write(split)
    train_run(spec, pool, split, folder, folder / "checkpoint.npz", digest(*RULES["train"]))
    evaluate_run(folder, pool, split)
    run = RunFolder(spec.id, folder)
    weights = read_npz(folder / "weights.npz")
    return Outcome(
        outcome=run.outcome["outcome"],
        epochs=run.outcome["epochs"],
        steps=run.outcome["steps"],
        parameters=run.outcome["parameters"],
        test_images=len(Split.read(split).test),
        test_accuracy=run.metric("test_accuracy"),
        test_cross_entropy=run.metric("test_cross_entropy"),
        validation_loss=run.metric("validation_loss"),
        images=dataset.meta["arrays"][IMAGES]["sha256"],
        weights=_sha256(flat_state(weights).astype("<f4", copy=False)),
        predictions=_sha256(*(column.to_numpy() for column in read_parquet(folder / "predictions.parquet").columns)),
    )


def _sha256(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
