"""Checkpoints: a killed run continues from the end of an epoch and ends bit-identical to one that was not killed.

All randomness is a function of (seed, stream, step), so weights, optimiser state and `Progress` are the whole state.
"""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path

import numpy as np

from mlpaper.engine.train import EpochRecord, Progress, Trainer
from mlpaper.errors import CheckpointError
from mlpaper.files import read_npz, write_npz

log = logging.getLogger(__name__)


def save(path: Path, trainer: Trainer, identity: str) -> None:
    """Write the state of `trainer` between two epochs. `identity` names the run and the code that trains it."""
    to_host = trainer.backend.to_host
    arrays = {
        "identity": np.array(identity),
        "progress": np.array(json.dumps(trainer.progress.as_dict())),
        "parameters": to_host(trainer.network.parameters.flat),
    }
    arrays |= {f"state.{name}": to_host(vector) for name, vector in trainer.optimizer.state.items()}
    if trainer.best_weights is not None:
        arrays["best_weights"] = to_host(trainer.best_weights)
    write_npz(path, arrays)


def load(path: Path, trainer: Trainer, identity: str) -> None:
    """Put `trainer` where the checkpoint left off; on any error the trainer is as it was.

    Raises
    ------
    CheckpointError
        The file is truncated, is not a checkpoint, or belongs to another run or other code.
    """
    try:
        arrays = read_npz(path)
        if str(arrays["identity"]) != identity:
            raise CheckpointError(f"{path} belongs to another run, or to other code")
        plain = json.loads(str(arrays["progress"]))
        state = {name: arrays[f"state.{name}"] for name in trainer.optimizer.state}
        vectors = [
            arrays["parameters"],
            *state.values(),
            *([arrays["best_weights"]] if "best_weights" in arrays else []),
        ]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} is not a whole checkpoint ({error})") from error
    size = trainer.network.parameters.layout.size
    if any(vector.shape != (size,) or vector.dtype != trainer.backend.dtype for vector in vectors):
        raise CheckpointError(f"{path} does not fit the network: it should hold vectors of {size} parameters")
    history = [EpochRecord(**record) for record in plain.pop("history")]
    trainer.progress = Progress(history=history, **plain)
    trainer.network.parameters.flat[...] = trainer.backend.to_device(arrays["parameters"])
    for name, vector in state.items():
        trainer.optimizer.state[name][...] = trainer.backend.to_device(vector)
    if "best_weights" in arrays:
        trainer.best_weights = trainer.backend.to_device(arrays["best_weights"])


def resume(path: Path, trainer: Trainer, identity: str) -> bool:
    """Load `path` if there is a usable checkpoint; a bad one is set aside, with a warning. Whether it was loaded."""
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
