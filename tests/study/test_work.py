"""How much work a run is: what a cluster is asked for."""

import pytest

from mlpaper.data.split import make_split
from mlpaper.spec import OfficialSplit, PoolSplit, RunSpec
from mlpaper.study.work import JOBS, Images, _sizes, minutes, work_of

MNIST = Images(70_000, 784, 10, 10_000)


def run(**changes: object) -> RunSpec:
    values = {"dataset": {"name": "mnist"}, "split": {"scheme": "official"}, "network": {"hidden": [128]}, "epochs": 10}
    return RunSpec.model_validate(values | changes)


@pytest.mark.parametrize(
    "split",
    [
        PoolSplit(),
        PoolSplit(train=0.6, validation=0.2, withhold_per_class=10),
        OfficialSplit(),
        OfficialSplit(validation=500),
        OfficialSplit(subset=2_000, validation=0.2),
    ],
)
def test_sizes_are_those_of_the_split(split: PoolSplit | OfficialSplit) -> None:
    images = Images(7_000, 784, 10, 1_000)
    made = make_split([row % 10 for row in range(7_000)], split, {"train": (0, 6_000), "test": (6_000, 7_000)})
    train, tested = _sizes(run(split=split.model_dump()), images)
    assert train == pytest.approx(len(made.train), abs=10)
    assert tested == pytest.approx(len(made.test), abs=10)


def test_work_grows_with_what_is_computed() -> None:
    """Epochs, width, the engine; more than the last epoch that updates allow costs nothing."""
    short = work_of(run(), MNIST).train
    assert work_of(run(epochs=100), MNIST).train > 5 * short
    assert work_of(run(network={"hidden": [2048]}), MNIST).train > 5 * short
    assert work_of(run(engine="torch"), MNIST).train > short
    assert work_of(run(updates=10), MNIST).train < short
    assert work_of(run(batch_size="full", network={"hidden": [2048]}), MNIST).memory > work_of(run(), MNIST).memory


def test_long_runs_are_alone() -> None:
    groups = [work_of(run(epochs=epochs, network={"hidden": [512]}), MNIST).group for epochs in (1, 10, 100, 10_000)]
    assert groups[0] == "seconds"
    assert groups[-1] is None
    order = [*JOBS, None]
    assert groups == sorted(groups, key=order.index)


def test_time_has_room() -> None:
    assert minutes(0.1) == 1
    assert 60 * minutes(100) >= 3 * 100
