"""The engine against PyTorch in float32, on MNIST itself: a whole training, and one epoch of other kinds.

Rounding differs between the two, and training amplifies it: equal are losses and accuracies, not weights.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_runs import make_trainer

from mlpaper.data.catalog import Catalog
from mlpaper.data.dataset import Dataset
from mlpaper.data.fetch import fetch_pool
from mlpaper.data.prepare import prepare
from mlpaper.data.split import make_split
from mlpaper.engine import backend
from mlpaper.spec import OfficialSplit, PoolSpec, RunSpec

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make twin)")

POOL = PoolSpec(name="mnist")


@pytest.fixture(scope="module")
def mnist(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    source = Catalog(Path(__file__).parents[2] / "workflow" / "datasets")["mnist"]
    folder = tmp_path_factory.mktemp("mnist")
    for part, official in source.official.items():
        if not (mirror / "mnist" / official.images.name).is_file():
            pytest.skip(f"the mirror has no mnist {part}")
    fetch_pool(source, POOL, folder / "raw", str(mirror))
    prepare(POOL, source.content(), folder / "raw", folder)
    return Dataset.open(folder)


CASES = {
    "gradient descent, 20 epochs": {"optimizer": {"name": "sgd", "learning_rate": 0.1}, "epochs": 20},
    "Adam": {"optimizer": {"name": "adam"}},
    "momentum, batch norm, dropout": {
        "network": {"hidden": [128], "batch_norm": True, "dropout": 0.2},
        "optimizer": {"name": "sgd", "learning_rate": 0.02, "momentum": 0.9},
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_mnist_is_learnt_as_pytorch_learns_it(
    mnist: Dataset, name: str, record_property: Callable[[str, object], None]
) -> None:
    """Losses within 1e-3 nats after an epoch, accuracies within 0.2 points at the end."""
    fields = {"dataset": POOL, "network": {"hidden": [128]}, "batch_size": 128, "epochs": 1} | CASES[name]
    spec = RunSpec.model_validate(fields)
    split = make_split(mnist.labels, OfficialSplit(), mnist.part_ranges, mnist.classes)
    trained, images = [], np.asarray(mnist.images)
    for engine in ("mlpaper", "torch"):
        each = spec.model_copy(update={"engine": engine})
        trainer = make_trainer(each, backend.select("cpu"), images, mnist.labels, split.train, split.validation, 10)
        trainer.run()
        trained.append((trainer.progress.history, trainer.executor.evaluate(split.test)))
    (ours, our_test), (theirs, their_test) = trained
    assert len(ours) == len(theirs) == spec.epochs
    figures = {
        "training loss": (ours[0].train_loss, theirs[0].train_loss, 1e-3),
        "validation loss": (ours[0].validation_loss, theirs[0].validation_loss, 1e-3),
        "training accuracy at the end": (ours[-1].train_accuracy, theirs[-1].train_accuracy, 2e-3),
        "validation accuracy at the end": (ours[-1].validation_accuracy, theirs[-1].validation_accuracy, 2e-3),
        "test accuracy": (our_test[1], their_test[1], 2e-3),
    }
    for what, (mine, other, margin) in figures.items():
        record_property(what, f"{mine:.6f} {other:.6f}")
        print(f"{name}: {what}: {mine:.6f}, PyTorch {other:.6f}")
        assert abs(mine - other) <= margin, what
    assert our_test[1] > (0.97 if spec.epochs > 1 else 0.93), "both must have learnt"
