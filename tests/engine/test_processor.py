"""Compiled code for other processors: the same bits with vectors of any width, and none at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding
from small_runs import make_trainer, spec_of

from mlpaper.engine import backend
from mlpaper.engine.ops import processor
from mlpaper.errors import ConfigurationError

RUNS = [
    {"network": {"hidden": [37, 21]}, "optimizer": {"name": "sgd", "learning_rate": 0.05}},
    {"network": {"hidden": [37, 21], "batch_norm": True, "dropout": 0.2, "activation": "silu"}, "input": {"mean": 0.2}},
    {"network": {"hidden": [37] * 3, "residual": 1, "activation": "gelu"}, "decay": {"l2": 0.01}, "clip_norm": 1.0},
]
TRAINED = f"""
import hashlib, json, sys
import numpy as np
from mlpaper.engine import backend
from mlpaper.engine.executor import Pool, executor_for
from mlpaper.engine.train import Trainer
from mlpaper.spec import RunSpec
rng = np.random.default_rng(0)
images = (rng.integers(0, 256, (600, 50)) * (rng.random((600, 50)) < 0.4)).astype(np.uint8)
labels, index, found = rng.integers(0, 5, 600), np.arange(600), []
for fields in json.loads({json.dumps(json.dumps(RUNS))}):
    spec = RunSpec.model_validate({{"dataset": {{"name": "digits"}}, "batch_size": 64, "epochs": 3}} | fields)
    executor = executor_for(spec, backend.select("cpu"), Pool(images, labels, 5), index[:400])
    trainer = Trainer(spec, executor, index[:400], index[400:])
    trainer.run()
    predicted = executor.predict(executor.inputs(index))
    arrays = [executor.model.state, *predicted]
    numbers = {{"weights": executor.model.state.astype(float).tolist(), "batch norm": spec.network.batch_norm}}
    numbers["loss"] = trainer.progress.history[-1].validation_loss
    found.append([[hashlib.sha256(array.tobytes()).hexdigest() for array in arrays], numbers])
print(json.dumps(found))
"""
"""Trains `RUNS`; prints digests of weights and predictions, the weights, and the validation loss."""


def _trained(isa: str) -> list:
    done = subprocess.run(
        [sys.executable, "-c", TRAINED], text=True, capture_output=True, check=True,
        env=os.environ | {processor.VARIABLE: isa},
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.slow
def test_weights_and_predictions_are_the_same_bits_with_vectors_of_any_width() -> None:
    """Of 64 and of 32 bytes: what Intel's and AMD's processors have."""
    if not binding.get_host_cpu_features().get("avx512f"):
        pytest.skip("this processor has no AVX-512")
    for wide, narrow in zip(_trained("avx512"), _trained("avx2"), strict=True):
        assert wide == narrow


@pytest.mark.slow
def test_a_processor_of_which_nothing_is_known_trains_alike_to_rounding() -> None:
    """Without fused multiply-add, numbers round otherwise; losses hide that, and weights before a batch norm do not."""
    for (_, mine), (_, other) in zip(_trained("generic"), _trained(""), strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-3)
        if not mine["batch norm"]:
            np.testing.assert_allclose(mine["weights"], other["weights"], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("asked", "features", "message"),
    [
        ("avx3", {}, r"MLPAPER_ISA: `avx3` is unknown \(did you mean `avx2`\?\); allowed are generic, avx2, avx512"),
        ("avx512", {"avx2": True, "fma": True}, r"this processor \(.*\) does not have avx512"),
    ],
)
def test_an_instruction_set_that_is_not_there_is_refused(
    asked: str, features: dict[str, bool], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(processor.VARIABLE, asked)
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: features)
    with pytest.raises(ConfigurationError, match=message):
        processor.target.__wrapped__()


def test_the_best_that_the_processor_has_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(processor.VARIABLE, raising=False)
    name, features = processor.target.__wrapped__()
    assert (name, features) == (binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())


def test_training_works_without_vectors_that_the_tests_run_with() -> None:
    """The runs of this file learn: their agreement is not that of standstills."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    images = (rng.integers(0, 256, (5, 50))[labels] * (rng.random((600, 50)) < 0.8)).astype(np.uint8)
    index = np.arange(600)
    for fields in RUNS:
        trainer = make_trainer(
            spec_of(**fields, epochs=5), backend.select("cpu"), images, labels, index[:400], index[400:]
        )
        assert trainer.run().history[-1].validation_accuracy > 0.5
