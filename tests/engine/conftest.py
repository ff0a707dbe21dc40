"""Small synthetic images, and a trainer over them."""

import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from emulated_cuda import EmulatedCuda
from small_runs import CLASSES, make_trainer, spec_of

from mlpaper.devices import why_no_gpu
from mlpaper.engine import backend
from mlpaper.engine.cuda import Cuda
from mlpaper.engine.train import Trainer


@pytest.fixture
def emulated() -> Iterator[EmulatedCuda]:
    """A device that the processor plays."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler (g++) to build the kernels for the processor")
    made = EmulatedCuda()
    yield made
    made.compute.drain()


@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Cuda:
    """A device: the emulated one, and where there is one a real one."""
    if request.param == "emulated":
        return request.getfixturevalue("emulated")
    if reason := why_no_gpu():
        pytest.skip(reason)
    return Cuda()


@pytest.fixture(scope="session")
def images() -> tuple[np.ndarray, np.ndarray]:
    """600 images of 24 pixels in 5 classes that a small network can tell apart: uint8 (600, 24), int64 (600,)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 600)
    centres = rng.integers(0, 256, (CLASSES, 24))
    pixels = np.clip(centres[labels] + rng.normal(0, 60, (600, 24)), 0, 255)
    return pixels.astype(np.uint8), labels


@pytest.fixture(scope="session")
def trainer_of(images: tuple[np.ndarray, np.ndarray]) -> Callable[..., Trainer]:
    """Make a trainer: 400 training and 200 validation images; keyword arguments are fields of the specification."""

    def make(device: str = "cpu", dtype: type = np.float32, **fields: object) -> Trainer:
        spec = spec_of(**fields)
        index = np.arange(600)
        return make_trainer(spec, backend.select(device, dtype), *images, index[:400], index[400:])

    return make
