"""The files of a run's folder, read without trusting them: truncated, made-up and other runs' files are refused.

`run.json` is written last. It holds the hashes of the files that training wrote before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlpaper.errors import DamagedError
from mlpaper.files import read_json, read_npz, read_parquet, sha256, size_of
from mlpaper.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

OUTCOME = "run.json"
TRAINED = ("spec.json", "history.parquet", "steps.parquet", "weights.npz")
"""What training writes, besides `run.json`, which holds their sizes and hashes."""

TEXT = frozenset({"moment", "placement"})
"""Columns that hold text; all others hold numbers."""
COLUMNS: dict[str, tuple[str, ...]] = {
    "history": (
        "epoch", "step", "lr", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "seconds",
    ),
    "steps": ("step", "loss", "lr"),
    "predictions": ("index", "label", "prediction", "confidence", "log_probability"),
    "calibration": ("low", "high", "count", "confidence", "accuracy"),
    "robustness": ("sigma", "noise_seed", "accuracy", "cross_entropy"),
    "gradients": ("moment", "layer", "norm"),
    "placements": ("placement", "batch_size", "seconds_per_epoch", "device_memory", "images"),
}  # fmt: skip
"""Columns of every table that its readers rely on."""

_Count = Annotated[int, Field(ge=0)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]
_T = TypeVar("_T", bound=BaseModel)


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class FileFacts(_Facts):
    """A file of a run's folder."""

    bytes: _Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Machine(_Facts):
    processor: str


class Outcome(_Facts):
    """What readers rely on in `run.json`."""

    outcome: Literal["finished", "stopped_early", "diverged"]
    epochs: _Count
    kept_epoch: int
    steps: _Count
    parameters: _Count
    seconds: _Seconds
    peak_memory_bytes: _Count
    device: str
    machine: _Machine


class Origin(_Facts):
    """What a trained run was made from, as `run.json` tells it."""

    id: str
    code_digest: str
    data_sha256: str | None
    """None, like the next, of a run that `mlpaper.train` made on arrays."""
    split_sha256: str | None
    files: dict[str, FileFacts]


class _Test(_Facts):
    accuracy: _Share | None
    macro_f1: _Share | None
    cross_entropy: float | None
    calibration_error: _Share | None
    samples: _Count


class _Class(_Facts):
    name: str = Field(alias="class")
    precision: _Share
    recall: _Share
    f1: _Share
    support: _Count


class Evaluation(_Facts):
    """What readers rely on in `evaluation.json`."""

    test: _Test
    per_class: list[_Class]


def refused(path: Path, why: object) -> DamagedError:
    """The error that a file of a run is not what it must be."""
    linked = f", and {path.resolve()}, to which it links," if path.is_symlink() else ""  # by snakemake --cache
    return DamagedError(f"{path}: {why}. Remove the folder {path.parent}{linked} and run again: the run is made again")


def facts_of(folder: Path, names: Iterable[str] = TRAINED) -> dict[str, dict[str, object]]:
    """Sizes and hashes of files; by default of those that training wrote."""
    return {name: {"bytes": size_of(folder / name), "sha256": sha256(folder / name)} for name in sorted(names)}


def read_spec(folder: Path) -> RunSpec:
    """The specification of the run in `folder`."""
    path = folder / "spec.json"
    try:
        return RunSpec.model_validate(_mapping(path))
    except ValidationError as error:
        raise refused(path, f"not a specification: {_first(error)}") from error


def read_outcome(folder: Path) -> dict[str, Any]:
    """`run.json` of the run in `folder`, whose name is the run's.

    Raises
    ------
    DamagedError
        It is not such a file, or tells of another run.
    """
    path = folder / OUTCOME
    values = _checked(path, Outcome)
    if values.get("id", folder.name) != folder.name:
        raise refused(path, f"it belongs to the run `{values['id']}`")
    return values


def read_evaluation(folder: Path) -> dict[str, Any]:
    """`evaluation.json` of the run in `folder`."""
    return _checked(folder / "evaluation.json", Evaluation)


def read_weights(folder: Path) -> dict[str, np.ndarray]:
    """Tensors of the trained network of the run in `folder`, by name.

    Raises
    ------
    DamagedError
        ``weights.npz`` is not such a file, or holds something else than real numbers.
    """
    path = folder / "weights.npz"
    tensors = read_npz(path)
    if any(tensor.dtype.kind != "f" for tensor in tensors.values()):
        raise refused(path, "it holds something else than real numbers")
    return tensors


def read_table(folder: Path, name: str, run: str) -> pa.Table:
    """A table, by its name in `COLUMNS`, of the `run` in `folder`.

    Raises
    ------
    DamagedError
        A column is missing or of another type, or the table says that it belongs to another run.
    """
    import pyarrow as pa

    path = folder / f"{name}.parquet"
    table = read_parquet(path)
    check_owner(path, (table.schema.metadata or {}).get(b"run"), run)
    for column in COLUMNS[name]:
        if column not in table.column_names:
            raise refused(path, f"it has no column `{column}`")
        kind = table.schema.field(column).type
        sound = pa.types.is_string(kind) if column in TEXT else pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if not sound and len(table):
            raise refused(path, f"its column `{column}` holds {kind}, not {'text' if column in TEXT else 'numbers'}")
    return table


def origin_of(folder: Path) -> Origin:
    """What the run in `folder` was made from, where all of its trained files are as `run.json` says.

    Raises
    ------
    DamagedError
        A file is missing, has another hash, or belongs to another run.
    """
    path = folder / OUTCOME
    values = _checked(path, Outcome)
    try:
        origin = Origin.model_validate(values)
    except ValidationError as error:
        raise refused(path, f"{_first(error)} (perhaps an older version wrote it)") from error
    for name in TRAINED:
        check_hash(folder, name, values)
    if (found := read_spec(folder).id) != origin.id:
        raise refused(path, f"it belongs to the run `{origin.id}`, but spec.json to `{found}`")
    return origin


def owner(run: str) -> dict[str, str]:
    """What a measured table says about whose it is."""
    return {"run": run}


def check_owner(path: Path, told: object, run: str) -> None:
    """Refuse a file that says that it belongs to another run; one that says nothing belongs to this one."""
    if told is not None and told not in (run, run.encode()):
        raise refused(path, f"it belongs to another run than `{run}`")


def check_hash(folder: Path, name: str, outcome: Mapping[str, Any]) -> None:
    """Refuse a trained file that is not the one of which `outcome`, the content of `run.json`, tells.

    Raises
    ------
    DamagedError
        It is missing, or has another size or hash.
    """
    path = folder / name
    facts = outcome["files"].get(name)
    if facts is None or not path.exists():
        raise refused(path, f"it is missing{'' if facts else ' in run.json'}")
    if size_of(path) != facts["bytes"] or sha256(path) != facts["sha256"]:
        raise refused(path, "its size and hash are not those in run.json: it is damaged, or of another run")


def _checked(path: Path, model: type[_T]) -> dict[str, Any]:
    values = _mapping(path)
    try:
        model.model_validate(values)
    except ValidationError as error:
        raise refused(path, _first(error)) from error
    return values


def _mapping(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise refused(path, "it does not hold a mapping of keys to values")
    return values


def _first(error: ValidationError) -> str:
    """The first of the problems that pydantic found."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}"
