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
