"""What this machine needs for updates, images and jobs: each kind is timed once, for a moment, on made-up images.

Times are of the processor, on one thread, so that other programs lengthen them little.
"""

from __future__ import annotations

import math
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import chdir, closing
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from mlpaper.data.sources import Source
from mlpaper.errors import MlpaperError
from mlpaper.job_environment import CLIENT, client_variables
from mlpaper.server import open_servers
from mlpaper.spec import ConstantSchedule, PoolSpec, PoolSplit, RunSpec, canonical_json

SIDE = 28
"""Images of the jobs that are timed, which do next to nothing."""
POOL = 1 << 16
"""Made-up images: 51 MB at 28 x 28, more than a cache holds."""
MOST = 1 << 28
"""Bytes of made-up images at most."""
ROWS = 512
"""Least images in a timed call. The engine takes them in blocks: from here on, time is in proportion to images."""
OPERATIONS = 1e10
"""Most multiplications in a timed call, where that is more than `ROWS` images: a fraction of a second."""


class Cost(NamedTuple):
    """Seconds per update, per validation image, and per test image; testing computes on the background as well."""

    update: float
    validation: float
    test: float


def cost(spec: RunSpec, batch: int, source: Source) -> Cost:
    """What a run like `spec` takes on the images of `source`, with `batch` of them per update."""
    return _cost(kind(spec, batch), source.shape, len(source.classes), source.ink)


def kind(spec: RunSpec, batch: int) -> RunSpec:
    """The specification of all runs whose updates take as long: fields that no time depends on are equal."""
    optimizer = spec.optimizer.model_copy(update={"learning_rate": 1.0})
    network = spec.network.model_copy(update={"initializer": "pytorch"})
    neutral = {"split": PoolSplit(), "schedule": ConstantSchedule(), "epochs": 1, "updates": None, "seed": 0}
    neutral |= {"early_stopping": None, "record_steps": False}
    return spec.model_copy(update=neutral | {"batch_size": batch, "optimizer": optimizer, "network": network})


@cache
def _cost(spec: RunSpec, shape: tuple[int, ...], classes: int, ink: float) -> Cost:
    from mlpaper.engine import backend
    from mlpaper.engine.executor import Pool, executor_for
    from mlpaper.evaluate.robustness import robustness

    batch, pixels = int(spec.batch_size), math.prod(shape)
    weights = sum(a * b for a, b in pairwise([pixels, *spec.network.hidden, classes]))
    most = max(ROWS, int(OPERATIONS / (3 * weights)))
    rows, validated, levels = min(batch, most), min(most, 8 * ROWS), [0.1] * 6
    count = max(ROWS, min(POOL, MOST // pixels))
    updates, everything, rng = -(-ROWS // rows), np.arange(count), np.random.default_rng(0)
    pool = Pool(made_up(ink, count, shape), everything % classes, classes)
    executor = executor_for(spec, backend.select("cpu"), pool, everything, rows)
    tested = executor_for(spec.model_copy(update={"engine": "mlpaper"}), backend.select("cpu"), pool, everything, 1)
    update = _seconds(lambda: executor.train(rng.integers(0, count, updates * rows), np.zeros(updates), 0, 0))
    validation = _seconds(lambda: executor.evaluate(rng.integers(0, count, validated)))
    test = _seconds(lambda: robustness(tested, everything[:ROWS], levels, 1))
    return Cost(update / updates * batch / rows, validation / validated, test / (ROWS * len(levels)))


@lru_cache(maxsize=1)
def made_up(ink: float, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Images, uint8 (count, D), with random grey on an ellipse that is the share `ink` of them."""
    down, right = ((np.arange(side) - (side - 1) / 2) / side for side in shape[:2])
    radius = np.repeat((down[:, None] ** 2 + right**2).ravel(), math.prod(shape[2:]))
    grey = np.random.default_rng(0).integers(1, 256, (count, len(radius)), np.uint8)
    return np.where(radius <= np.quantile(radius, ink), grey, np.uint8(0))


def _seconds(call: Callable[[], object]) -> float:
    """Mean seconds of `call` over a moment, after a first that may compile and touches memory first."""
    call()
    begun, count, passed = time.process_time(), 0, 0.0
    while passed < 0.05:
        call()
        count, passed = count + 1, time.process_time() - begun
    return passed / count


def job(name: Literal["train", "train-torch", "figure", "other"]) -> float:
    """Seconds of a job besides its updates and images: its start by a server, reading and writing files."""
    return _jobs("torch" if name == "train-torch" else "mlpaper")[name]


@cache
def _jobs(engine: Literal["mlpaper", "torch"]) -> dict[str, float]:
    """Time jobs with next to nothing to do; all kinds but training and figures take about as long as an evaluation."""
    from mlpaper.data.dataset import IMAGES, LABELS, META
    from mlpaper.data.split import Split
    from mlpaper.files import write_json, write_npy, write_text
    from mlpaper.paper.jobs import ItemJob

    with tempfile.TemporaryDirectory() as name, chdir(name):
        count, spec = 300, RunSpec(dataset=PoolSpec(name="digits"), epochs=1, engine=engine)
        write_npy(Path(IMAGES), np.zeros((count, SIDE * SIDE), np.uint8))
        write_npy(Path(LABELS), np.arange(count) % 10)
        write_json(Path(META), {"count": count, "shape": [SIDE, SIDE], "classes": [*"0123456789"], "parts": {}})
        Split(*np.arange(count).reshape(3, -1)).write(Path("split.npz"))
        item = {"kind": "curves", "name": "curves", "title": "Curves", "caption": "Curves.", "runs": ["run"]}
        figure = ItemJob.model_validate({"study": "timing", "item": item, "runs": {"run": ["run"]}})
        write_text(Path("spec.json"), spec.canonical())
        write_text(Path("figure.json"), canonical_json(figure))
        where = ("--pool", ".", "--split", "split.npz")
        train = _each("train", "--spec", "spec.json", "--folder", "run", "--checkpoint", "saved.npz", *where)
        if engine == "torch":
            return {"train-torch": train}
        draw = ("figure", "--job", "figure.json", "--stem", "drawn")
        _served([draw])  # the first figure on a machine looks for fonts
        return {"train": train, "other": _each("evaluate", "--run", "run", *where), "figure": _each(*draw)}


def _each(*arguments: str) -> float:
    """Seconds of a job that a server starts, without what the server itself takes."""
    return max(0.0, _served([arguments] * 3) - _served([arguments])) / 2


def _served(jobs: Iterable[Sequence[str]]) -> float:
    """Seconds of the processor that jobs take, one after another, and the servers that start them."""
    before, place = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]), Path("servers")
    environment = os.environ | client_variables(place)
    with closing(open_servers(place, {})):
        for job in jobs:
            done = subprocess.run([*CLIENT, *job], capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                raise MlpaperError(f"`mlpaper {job[0]}` failed while it was timed: {done.stderr.strip()[-500:]}")
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before
