"""Checkpoints: a killed run continues from the end of an epoch and ends bit-identical to one that was not killed.

All randomness is a function of (seed, stream, step), so weights, optimiser state and `Progress` are the whole state.
"""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mlpaper.engine.train import EpochRecord, Progress, Trainer
from mlpaper.errors import CheckpointError
from mlpaper.files import read_npz, write_npz

log = logging.getLogger(__name__)


def save(path: Path, trainer: Trainer, identity: str) -> None:
    """Write the state of `trainer` between two epochs. `identity` names run, code and data."""
    executor = trainer.executor
    to_host = executor.backend.to_host
    arrays = {
        "identity": np.array(identity),
        "progress": np.array(json.dumps(asdict(trainer.progress))),
        "network": to_host(executor.model.state),
    }
    arrays |= {f"optimizer.{name}": to_host(vector) for name, vector in executor.optimizer.state.items()}
    if trainer.best_state is not None:
        arrays["best"] = to_host(trainer.best_state)
    write_npz(path, arrays)


def load(path: Path, trainer: Trainer, identity: str) -> None:
    """Restore `trainer` from a checkpoint; on any error it is unchanged.

    Raises
    ------
    CheckpointError
        The file is truncated, is not a checkpoint, or belongs to another run or other code.
    """
    executor = trainer.executor
    try:
        arrays = read_npz(path)
        if str(arrays["identity"]) != identity:
            raise CheckpointError(f"{path} belongs to another run, to other code or to other data")
        plain = json.loads(str(arrays["progress"]))
        wanted = {"network": executor.model.state}
        wanted |= {f"optimizer.{name}": vector for name, vector in executor.optimizer.state.items()}
        found = {name: arrays[name] for name in wanted}
        best = arrays.get("best")
        history = [EpochRecord(**record) for record in plain.pop("history")]
        steps = [tuple(record) for record in plain.pop("steps")]
        progress = Progress(history=history, steps=steps, **plain)
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path} is not a whole checkpoint ({error})") from error
    pairs = [(found[name], vector) for name, vector in wanted.items()]
    pairs += [] if best is None else [(best, executor.model.state)]
    if any(mine.shape != theirs.shape or mine.dtype != theirs.dtype for mine, theirs in pairs):
        raise CheckpointError(f"{path} does not fit the network")
    trainer.progress = progress
    for name, vector in wanted.items():
        vector[...] = executor.backend.to_device(found[name])
    trainer.best_state = None if best is None else executor.backend.to_device(best)


def resume(path: Path, trainer: Trainer, identity: str) -> bool:
    """Load a usable checkpoint and return whether there was one; a bad one is set aside with a warning."""
    if not path.exists():
        return False
    try:
        load(path, trainer, identity)
    except CheckpointError as error:
        aside = path.with_suffix(".refused")
        path.replace(aside)
        log.warning("%s; set aside as %s, training starts again", error, aside.name)
        return False
    return True
