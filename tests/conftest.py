"""Fixtures that several parts of the suite use."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from mlpaper.job_environment import THREAD_POOLS

ROOT = Path(__file__).parents[1]

# As in the jobs, and before NumPy is imported: it reads them once. Workers of pytest-xdist have a core each.
for variable in THREAD_POOLS:
    os.environ.setdefault(variable, "1")

# The same examples at every run, whatever the machine's speed: a test that fails fails for all.
settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, which are those under Snakemake: no worker of pytest-xdist waits at the end for another's."""
    items.sort(key=lambda item: item.get_closest_marker("workflow") is None)


@pytest.fixture(scope="session")
def mirror() -> Path:
    """A folder with the official files, or a skip."""
    folder = Path(os.environ.get("MLPAPER_MIRROR", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no official files: {folder} does not exist (set MLPAPER_MIRROR)")
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared pool of scikit-learn's digits, with `split.npz` beside its arrays."""
    from mlpaper.data.catalog import Catalog
    from mlpaper.data.dataset import Dataset
    from mlpaper.data.prepare import prepare
    from mlpaper.data.split import make_split
    from mlpaper.spec import PoolSpec, PoolSplit

    folder = tmp_path_factory.mktemp("pools") / "digits"
    content = Catalog(ROOT / "workflow" / "datasets")["digits"].content()
    prepare(PoolSpec(name="digits"), content, folder.parent, folder)
    dataset = Dataset.open(folder)
    make_split(dataset.labels, PoolSplit(), dataset.part_ranges, dataset.classes).write(folder / "split.npz")
    return folder


@pytest.fixture(scope="session")
def trained(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained and measured run on `digits`, which has its name; not to be changed."""
    from mlpaper.engine.train_job import train_run
    from mlpaper.evaluate.gradients import gradients_of_run
    from mlpaper.evaluate.measure import confusion_of_run, evaluate_run, robustness_of_run
    from mlpaper.spec import RunSpec

    spec = RunSpec.model_validate({"dataset": {"name": "digits"}, "network": {"hidden": [8]}, "epochs": 2})
    folder, split = tmp_path_factory.mktemp("runs") / spec.id, digits / "split.npz"
    train_run(spec, digits, split, folder, folder / "checkpoint.npz", "test")
    evaluate_run(folder, digits, split)
    confusion_of_run(folder, 10)
    robustness_of_run(folder, digits, split, [0.0, 0.5], noise_seeds=1)
    gradients_of_run(folder, digits, split)
    return folder
