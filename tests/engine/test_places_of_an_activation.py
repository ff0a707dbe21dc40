"""An activation is written in five places. What has it in one of them must have it in all."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

import mlpaper
from mlpaper import spec
from mlpaper.engine.ops import activations, kernels
from mlpaper.engine.ops.gpu import SOURCE

TWIN = Path(mlpaper.__file__).with_name("torch_twin.py")


def _of_the_twin() -> set[str]:
    """Keys of its table, read from the source: PyTorch may not be installed."""
    for node in ast.parse(TWIN.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ACTIVATIONS":
            return {ast.literal_eval(key) for key in node.value.keys}
    raise AssertionError("the twin has no table ACTIVATIONS")


PLACES = {
    "the specification: Activation in spec.py": set(get_args(spec.Activation)),
    "the readable functions: ACTIVATIONS in engine/ops/activations.py": set(activations.ACTIVATIONS),
    "the compiled loops: ACTIVATIONS in engine/ops/kernels.py": set(kernels.ACTIVATIONS),
    "the CUDA kernels: ACTIVATION(...) in engine/ops/gpu.cu": set(
        re.findall(r"^ACTIVATION\((\w+),", SOURCE.read_text(encoding="utf-8"), re.MULTILINE)
    ),
    "the twin: ACTIVATIONS in torch_twin.py": _of_the_twin(),
}


@pytest.mark.parametrize("place", PLACES)
def test_every_activation_is_in_every_place(place: str) -> None:
    missing = set().union(*PLACES.values()) - PLACES[place]
    assert not missing, f"{place} lacks {', '.join(sorted(missing))}"
