"""Specifications small enough to run in milliseconds."""

from mlpaper.spec import PoolSpec, RunSpec

CLASSES = 5


def spec_of(**fields: object) -> RunSpec:
    """A specification of a few small epochs."""
    small = {"dataset": PoolSpec(name="digits"), "network": {"hidden": [16, 8]}, "batch_size": 64, "epochs": 4}
    return RunSpec.model_validate(small | fields)
