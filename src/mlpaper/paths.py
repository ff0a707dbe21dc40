"""Where the pipeline keeps what it makes, relative to the folder that it is run in. The rules use the same patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlpaper.spec import PoolSpec, RunSpec

RUN = "results/runs/{run}"
FIGURE = "results/figures/{item}"
TABLE = "results/tables/{item}"


def raw_folder(dataset: str) -> str:
    """Verified downloads of a dataset."""
    return f"data/raw/{dataset}"


def pool_folder(pool: PoolSpec) -> str:
    """Arrays of a pool: `images.npy`, `labels.npy`, `meta.json`."""
    return f"data/{pool.id}"


def pool_arrays(folder: str) -> list[str]:
    """The arrays in a pool's folder; their content is told by `meta.json`."""
    return [f"{folder}/images.npy", f"{folder}/labels.npy"]


def split_file(spec: RunSpec) -> str:
    """Indices of a run's training, validation and test images."""
    return f"{pool_folder(spec.dataset)}/{spec.split_id}.npz"


def run_folder(run: str) -> str:
    """Everything about one run."""
    return RUN.format(run=run)


def study_table(study: str) -> str:
    """Metrics of all runs of a study, tidy."""
    return f"results/studies/{study}/runs.parquet"


def study_sampling(study: str) -> str:
    """Covariances of the scores of all runs of a study, by the choice of test images."""
    return f"results/studies/{study}/sampling.npz"


def study_claims(study: str) -> str:
    """The claims of a study with their verdicts."""
    return f"results/studies/{study}/claims.parquet"


LEDGER = "results/claims.parquet"
"""The claims of all studies."""
