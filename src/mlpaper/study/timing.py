"""What runs cost on this machine: updates, evaluations and jobs are timed on made-up images.

Times are of the processor (`time.process_time`), so that other programs do not lengthen them, and of one thread.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from mlpaper.data import PIXELS, SIDE
from mlpaper.data.sources import get_source
from mlpaper.engine.program import CALL
from mlpaper.engine.train import Trainer
from mlpaper.errors import MlpaperError
from mlpaper.spec import InputSpec, PoolSpec, RunSpec

# --- images that look like a dataset's to the engine


@dataclass(frozen=True)
class Look:
    """What of a dataset's images decides how fast the engine is, which leaves out pixels that are background.

    A pixel at distance r from the centre is not background with probability ``min(1, peak exp(-(r / spread)^2))``;
    `stroke` neighbours in a row are decided together.
    """

    peak: float
    spread: float
    stroke: int


_EMNIST = Look(1.442, 7.91, 5)
LOOKS: Mapping[str, Look] = {
    "mnist": Look(1.117, 6.552, 4),
    "fashion_mnist": Look(1.751, 9.291, 6),
    "emnist_bymerge": _EMNIST,
    "emnist_balanced": _EMNIST,
    "digits": Look(35.6, 6.248, 1),
}
"""Fitted to three shares of the real images: pixels that are not background (0.190, 0.501, 0.334 and 0.699 of MNIST,
Fashion-MNIST, EMNIST and the digits), pixels that are not in any of six images (0.435, 0.841, 0.656, 0.860: the engine
takes six at a time), and runs of six pixels of which any is not (0.341, 0.686, 0.512, 0.878)."""
DISTINCT = 4096
"""Images that are drawn; more are copies of them."""


def pretended(dataset: str, count: int) -> np.ndarray:
    """Made-up images with the background of a dataset's, uint8 (count, `PIXELS`)."""
    look, rng = LOOKS[dataset], np.random.default_rng(0)
    place = np.arange(SIDE) - (SIDE - 1) / 2
    radius2 = (place[:, None] ** 2 + place**2).ravel()
    probability = look.peak * np.exp(-radius2 / look.spread**2)
    images = min(count, DISTINCT)
    phase = rng.integers(0, look.stroke, (images, 1))
    strokes = (np.arange(PIXELS) + phase) // look.stroke
    drawn = np.take_along_axis(rng.random((images, PIXELS // look.stroke + 2), np.float32), strokes, axis=1)
    grey = rng.integers(1, 256, (images, PIXELS), np.uint8)
    return np.resize(np.where(drawn < probability, grey, np.uint8(0)), (count, PIXELS))


# --- timing


@dataclass(frozen=True)
class Cost:
    """Seconds of one core."""

    build: float
    """To set up the network: initial weights and work space."""
    image: float
    """Per image trained on."""
    evaluated: float
    """Per image evaluated."""


class Stopwatch(Protocol):
    """What the estimate asks of a machine."""

    def cost(self, probe: RunSpec) -> Cost:
        """What the updates of a run like `probe` take."""

    def shuffling(self, count: int) -> float:
        """Seconds to put `count` images into a new order."""

    def noisy(self, probe: RunSpec, levels: int) -> float:
        """Seconds per image to draw its noise and evaluate it at so many levels."""

    def job(self, engine: str) -> float:
        """Seconds of a training job besides training: Python, imports, opening and writing files.

        A job that adds noise to images starts as one that trains with the engine `mlpaper`.
        """

    def evaluation_job(self) -> float:
        """The same of a job that evaluates."""


POOL = 1 << 16
"""Made-up images: 51 MB, more than a cache holds, as real datasets are."""
LEAST_ROWS = 512
"""Images that an update is timed with at least, where it has as many. The engine takes 516 at a time, so that from
here on an update takes time in proportion to its images (and what does not grow with them, the optimiser's part, is
then small: six operations per weight and image, about ten per weight and update)."""
SPACE = 1 << 28
"""Bytes of activations and their gradients in a timed update."""
EVALUATED = 4096
"""Images in a timed evaluation, unless that takes long."""
NOISY = 512
"""Images in a timed evaluation under noise."""
LONG = 1.0
"""Seconds after which a timing ends, whatever it has seen."""


def timed_rows(batch: int, widths: Iterable[int], weights: int) -> int:
    """Images in a timed update: the batch, unless it would take more than about a second, or much memory.

    >>> timed_rows(54_000, [10, 10, 10], 8_000), timed_rows(512, [4192, 4192, 10], 21_000_000)
    (54000, 512)
    >>> timed_rows(54_000, [4192, 4192, 10], 21_000_000)
    793
    """
    most = min(POOL, SPACE // (8 * sum(widths)), int(CALL / (6 * weights)))
    return min(batch, max(LEAST_ROWS, most))


class Machine:
    """This machine, one thread of it.

    Parameters
    ----------
    seconds
        For how long each kind of update is timed, besides the first.
    """

    def __init__(self, seconds: float = 0.15) -> None:
        from mlpaper.engine import backend

        self.seconds = seconds
        self.backend = backend.select("cpu")
        self._pool: tuple[str, np.ndarray, np.ndarray] = ("", np.empty(0), np.empty(0))
        self._shuffling: dict[int, float] = {}
        self._started: dict[str, tuple[float, float]] = {}
        self._warm: set[str] = set()

    def cost(self, probe: RunSpec) -> Cost:
        """See `Stopwatch`; the first run of an engine compiles it, or reads it from the cache, which does not count."""
        if probe.engine not in self._warm:
            self._warm.add(probe.engine)
            small = probe.network.model_copy(update={"hidden": (8,), "residual": 0})
            self.cost(probe.model_copy(update={"network": small, "batch_size": 16}))
        images, labels = self._images(probe.dataset.name)
        rows = self._rows(probe)
        index = np.random.default_rng(0).permutation(len(images))
        begun = time.process_time()
        trainer = self._trainer(probe, images, labels, rows)
        built = time.process_time() - begun

        def update(count: int, done: int) -> None:
            """So many updates at a learning rate of 0, on images that were not the last ones."""
            order = np.resize(np.roll(index, -done * rows), count * rows)
            trainer.updates(order, np.zeros(count), np.zeros(3))

        weights = trainer.network.parameters.layout.weight_size
        some = index[: max(LEAST_ROWS, min(EVALUATED, int(CALL / (8 * weights))))]
        return Cost(
            built,
            _seconds(update, self.seconds) / rows,
            _seconds(lambda count, done: [trainer.evaluate(some) for _ in range(count)], self.seconds / 4) / len(some),
        )

    def shuffling(self, count: int) -> float:
        """See `Stopwatch`."""
        from mlpaper.engine.rng import permutation

        if count not in self._shuffling:
            self._shuffling[count] = _seconds(
                lambda times, done: [permutation(self.backend, count, 0, done) for _ in range(times)], self.seconds / 4
            )
        return self._shuffling[count]

    def noisy(self, probe: RunSpec, levels: int) -> float:
        """See `Stopwatch`."""
        from mlpaper.engine.batches import Batches
        from mlpaper.evaluate.robustness import robustness

        images, labels = self._images(probe.dataset.name)
        plain = probe.model_copy(update={"engine": "mlpaper"})
        network = self._trainer(plain, images, labels, LEAST_ROWS).network
        some, sigmas = np.arange(NOISY), [0.1] * levels
        pixels = Batches(self.backend, images, labels, InputSpec(), len(some))
        seconds = _seconds(
            lambda count, done: [robustness(network, pixels, probe.input, some, sigmas, 1) for _ in range(count)],
            self.seconds / 4,
        )
        return seconds / len(some)

    def job(self, engine: str) -> float:
        """See `Stopwatch`."""
        return self._jobs(engine)[0]

    def evaluation_job(self) -> float:
        """See `Stopwatch`."""
        return self._jobs("mlpaper")[1]

    def _rows(self, probe: RunSpec) -> int:
        widths = [PIXELS, *probe.network.hidden, len(get_source(probe.dataset.name).classes)]
        weights = sum(a * b for a, b in pairwise(widths))
        return timed_rows(int(probe.batch_size), widths[1:], weights)

    def _images(self, dataset: str) -> tuple[np.ndarray, np.ndarray]:
        if self._pool[0] != dataset:
            classes = len(get_source(dataset).classes)
            self._pool = (dataset, pretended(dataset, POOL), np.arange(POOL) % classes)
        return self._pool[1:]

    def _trainer(self, probe: RunSpec, images: np.ndarray, labels: np.ndarray, rows: int) -> Trainer:
        trainer: type[Trainer] = Trainer
        if probe.engine == "torch":
            from mlpaper.torch_twin import TorchTrainer as trainer
        spec = probe.model_copy(update={"batch_size": rows})
        everything = np.arange(len(images))
        return trainer(spec, self.backend, images, labels, everything, everything[:1], int(labels.max()) + 1)

    def _jobs(self, engine: str) -> tuple[float, float]:
        """Processor time of a training job and of an evaluation that have next to nothing to do, timed once."""
        if engine not in self._started:
            self._started[engine] = self._time_jobs(engine)
        return self._started[engine]

    def _time_jobs(self, engine: str) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            pool, split, run = folder / "pool", folder / "split.npz", folder / "run"
            spec = RunSpec(dataset=PoolSpec(name="digits"), epochs=1, engine=engine)
            _write_pool(pool, split)
            where = ("--pool", str(pool), "--split", str(split))
            train = ("--spec", spec.canonical(), "--folder", str(run), "--checkpoint", str(folder / "checkpoint.npz"))
            return _processor_time("train", *train, *where), _processor_time("evaluate", "--run", str(run), *where)


def _seconds(call: Callable[[int, int], Any], least: float) -> float:
    """Median seconds of `call`, which is given how often to do it and how often it was done before.

    The first call, which also touches memory for the first time, counts only for how long all of it may take.
    """
    first = _once(call, 1, 0)
    times, total, done = [], first, 1
    count = 1
    while True:
        each = _once(call, count, done) / count
        times.append(each)
        total, done = total + each * count, done + count
        if total >= least + first and (done > 3 or total >= LONG):
            return median(times)
        count = max(1, int(least / 5 / max(each, 1e-9)))


def _once(call: Callable[[int, int], Any], count: int, done: int) -> float:
    begun = time.process_time()
    call(count, done)
    return time.process_time() - begun


def _write_pool(pool: Path, split: Path) -> None:
    """A pool of a few made-up images, and a split of it."""
    from mlpaper.data.dataset import IMAGES, LABELS, META
    from mlpaper.data.split import Split
    from mlpaper.files import write_json, write_npy

    count = 300
    write_npy(pool / IMAGES, pretended("digits", count))
    write_npy(pool / LABELS, np.arange(count) % 10)
    classes = [str(digit) for digit in range(10)]
    write_json(pool / META, {"count": count, "shape": [SIDE, SIDE], "classes": classes, "parts": {}})
    Split(*np.arange(count).reshape(3, -1)).write(split)


def _processor_time(*arguments: str) -> float:
    """Seconds of the processor that a sub-command of `mlpaper` takes in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "mlpaper", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MlpaperError(f"a job of `mlpaper {arguments[0]}` failed while it was timed: {done.stderr.strip()[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
