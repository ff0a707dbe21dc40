"""Where a device finds the images of an epoch: all in its memory, or sent in parts while it works.

*Resident*: all images are in the device's memory as bytes, and an order of images is a list of their indices.
*Streamed*: the images stay in host memory. Those of the next updates are gathered into pinned memory and sent to one
half of a staging area while the device works on the other half. So copies and updates overlap, and the host waits only
when it is two parts ahead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlpaper.engine.arrays import Array
from mlpaper.engine.cuda import Cuda, DeviceMemory
from mlpaper.errors import ConfigurationError

PLACEMENTS = ("resident", "streamed")
PART = 8192
"""Approximate images per part: enough to amortise a copy's latency, few enough for the first part to arrive soon."""
RESERVE = 0.1
"""Share of a device's memory left for the context, kernels, libraries and other programs."""


@dataclass(frozen=True)
class Part:
    """Some images of an order, on the device."""

    index: Array
    """Indices of the images in the pool, int64 (n,), for their labels."""
    places: Array
    """Their indices among the images on the device, int64 (n,)."""


class Resident:
    """All images on the device."""

    name = "resident"

    def __init__(self, cuda: Cuda, images: np.ndarray) -> None:
        self.images: Array = cuda.xp.asarray(images)

    def longest(self, order: int) -> int:
        """Images in the longest part of an order of this length."""
        return order

    def parts(self, order: Array, wanted: np.ndarray | None = None) -> Iterator[Part]:
        """The images of an order, (n,), in one part."""
        yield Part(order, order)


class Streamed:
    """Images in host memory, sent in parts of `rows` images."""

    name = "streamed"

    def __init__(self, cuda: Cuda, images: np.ndarray, rows: int) -> None:
        self.cuda, self.source, self.rows = cuda, images, rows
        self.images: Array = cuda.xp.empty((2 * rows, images.shape[1]), np.uint8)
        self.place: Array = cuda.xp.arange(2 * rows, dtype=np.int64)
        self.staged = [cuda.pinned((rows, images.shape[1]), np.uint8) for _ in range(2)]
        self.sent: list[Any] = [cuda.event() for _ in range(2)]
        self.used: list[Any] = [cuda.event() for _ in range(2)]

    def longest(self, order: int) -> int:
        """Images in the longest part of an order of this length."""
        return min(order, self.rows)

    def parts(self, order: Array, wanted: np.ndarray | None = None) -> Iterator[Part]:
        """The images of an order, (n,), part by part; a part is valid until the next is requested.

        `wanted` is the same order on the host; without it, the order is copied from the device.
        """
        cuda, count = self.cuda, -(-len(order) // self.rows)
        wanted = cuda.to_host(order) if wanted is None else wanted
        for half in range(2):
            self.used[half].record(cuda.compute)  # whoever used the staging area before has queued all of it
        if count:
            self._send(0, wanted)
        for number in range(count):
            half, begin = number % 2, number * self.rows
            size = min(self.rows, len(order) - begin)
            cuda.wait(cuda.compute, self.sent[half])
            first = half * self.rows
            yield Part(order[begin : begin + size], self.place[first : first + size])
            self.used[half].record(cuda.compute)
            if number + 1 < count:
                self._send(number + 1, wanted)

    def _send(self, number: int, wanted: np.ndarray) -> None:
        half, begin = number % 2, number * self.rows
        index = wanted[begin : begin + self.rows]
        staged = self.staged[half][: len(index)]
        self.sent[half].synchronize()  # the copy before the last has left this half of the pinned memory
        np.take(self.source, index, axis=0, out=staged, mode="clip")  # any other mode copies twice
        cuda, first = self.cuda, half * self.rows
        cuda.wait(cuda.copies, self.used[half])
        cuda.send(staged, self.images[first : first + len(index)])
        self.sent[half].record(cuda.copies)


Placement = Resident | Streamed


def place(cuda: Cuda, images: np.ndarray, batch_size: int, longest: int, placement: str = "auto") -> Placement:
    """Images for training with batches of `batch_size` out of orders of at most `longest`; all else is in place.

    Raises
    ------
    ConfigurationError
        Resident images were asked for, and the device is too small for them.
    """
    rows = part_rows(batch_size, longest)
    chosen = choose(placement, images.nbytes, 2 * rows * images.shape[1], cuda.memory())
    return Resident(cuda, images) if chosen == "resident" else Streamed(cuda, images, rows)


def part_rows(batch_size: int, longest: int) -> int:
    """Images per part: whole batches, at most as many as there are.

    >>> part_rows(512, 60_000), part_rows(60_000, 60_000), part_rows(37, 100)
    (8192, 60000, 111)
    """
    batches = max(1, min(PART // batch_size, -(-longest // batch_size)))
    return batches * batch_size


def choose(placement: str, images: int, staging: int, memory: DeviceMemory) -> str:
    """``resident`` or ``streamed``; ``auto`` is resident if the images leave the reserve free.

    Parameters
    ----------
    images, staging
        Bytes of all images, and of the staging area that streaming needs.

    Raises
    ------
    ConfigurationError
        The placement is unknown, or what was asked for does not fit.

    >>> choose("auto", 638 << 20, 13 << 20, DeviceMemory(free=10 << 30, total=12 << 30))
    'resident'
    >>> choose("auto", 638 << 20, 13 << 20, DeviceMemory(free=700 << 20, total=1 << 30))
    'streamed'
    """
    if placement not in ("auto", *PLACEMENTS):
        raise ConfigurationError(f"placement: `{placement}` is unknown; allowed are auto, {', '.join(PLACEMENTS)}")
    room = memory.free - int(RESERVE * memory.total)
    if placement == "auto":
        placement = "resident" if images <= room else "streamed"
    needed = images if placement == "resident" else staging
    if needed > room:
        advice = "placement: streamed needs less" if placement == "resident" else "take a smaller batch, or device: cpu"
        raise ConfigurationError(
            f"placement: {placement}: {needed >> 20} MiB of images do not fit into the {memory.free >> 20} MiB that the"
            f" device has free, of which {RESERVE:.0%} of its {memory.total >> 20} MiB are kept in reserve; {advice}"
        )
    return placement
