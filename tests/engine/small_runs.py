"""Runs small enough to train in milliseconds."""

import numpy as np

from mlpaper.engine.backend import Backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.model import named_views
from mlpaper.engine.train import Trainer
from mlpaper.spec import PoolSpec, RunSpec

CLASSES = 5


def spec_of(**fields: object) -> RunSpec:
    """A specification of a few small epochs."""
    small = {"dataset": PoolSpec(name="digits"), "network": {"hidden": [16, 8]}, "batch_size": 64, "epochs": 4}
    return RunSpec.model_validate(small | fields)


def make_trainer(
    spec: RunSpec,
    backend: Backend,
    images: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    classes: int = CLASSES,
    placement: str = "auto",
) -> Trainer:
    """A trainer with the executor of its backend."""
    pool = Pool(images, labels, classes)
    return Trainer(spec, executor_for(spec, backend, pool, train, placement=placement), train, validation)


def update(trainer: Trainer, index: np.ndarray, rate: float) -> None:
    """One update from the images `index`."""
    trainer.executor.train(index, np.array([rate]), trainer.progress.step, 0)
    trainer.progress.step += 1


def parameters(trainer: Trainer) -> dict[str, np.ndarray]:
    """Views of the parameters by name."""
    return named_views(trainer.executor.model.parameters, trainer.executor.network.layout)
