"""Products with stored images, which skip the background.

Most pixels are background: two thirds of EMNIST's and four fifths of MNIST's are 0. A tile of `ROWS` images skips the
pixels that are background in all of them; a tile of `ROWS` pixels skips the images in which all of them are background.
Bytes are converted to numbers on the way; no batch of inputs is written to memory. If the background has another value
t than 0 (standardised inputs), the products use ``x - t``, and t enters through the sums of the columns.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.ops.compiled import part
from mlpaper.engine.ops.memory import address, fetch, put, take, word
from mlpaper.engine.ops.product import FEW, NONE, STRIDE, Scratch, columns_of_panel, tiles
from mlpaper.engine.ops.terms import copy, list_bytes
from mlpaper.engine.ops.tiling import IMAGES, ROWS

FOUR = np.uint64(0xFFFFFFFF)
"""Mask of the first `ROWS` bytes of a `word`."""
AHEAD, LINE = 4, 64
"""Prefetch distance of `gather` in images, and bytes of a cache line."""


class Batch(NamedTuple):
    """A batch of stored images."""

    images: Array
    """All of them, uint8 (M, D)."""
    index: Array
    """(N,)."""
    table: Array
    """Network input of every value of a pixel, less that of the background: (256,)."""


@part
def _byte(eight: Scalar, number: int) -> Scalar:
    """Byte `number` of a `word`."""
    return np.int64((eight >> np.uint64(8 * number)) & np.uint64(255))


@part
def gather(batch: Batch, first: int, count: int, scratch: Scratch) -> None:
    """Copy a block of images to a contiguous buffer: those of a batch are spread over memory."""
    images, index, _ = batch
    size, last, base = images.shape[1], len(index) - 1, images.ctypes.data
    for i in range(count):
        ahead = base + index[min(first + i + AHEAD, last)] * size
        for j in range(0, size, LINE):
            fetch(ahead + j)
        image, copied = images[index[first + i]], scratch.images[i]
        for j in range(size):
            copied[j] = image[j]


@part
def pack_images(table: Array, count: int, scratch: Scratch) -> None:
    """Tiles of `ROWS` images for `multiply_images`: the pixels of each in which an image is not background.

    For the gathered images, `packed` receives ``table[pixel]`` as (tile, term, image), `places` the numbers of the
    pixels, `counts` their number. A tile with fewer images repeats the last one, which adds no pixel, and its sums are
    ignored.
    """
    images, packed, places, counts = scratch.images, scratch.packed, scratch.places, scratch.counts
    size, base = images.shape[1], images.ctypes.data
    for t in range((count + ROWS - 1) // ROWS):
        first, last = t * ROWS, count - 1
        i1, i2, i3 = min(first + 1, last), min(first + 2, last), min(first + 3, last)
        begin = found = t * size
        for j in range(0, size - 7, 8):
            some = word(base + first * size + j) | word(base + i1 * size + j)
            some |= word(base + i2 * size + j) | word(base + i3 * size + j)
            if some:
                found += list_bytes(some, j, places, found)
        a, b, c, d = images[first], images[i1], images[i2], images[i3]
        for j in range(size - size % 8, size):
            put(places, found, j)
            found += (a[j] | b[j] | c[j] | d[j]) != 0
        for q in range(begin, found):
            place, to = take(places, q), q * ROWS
            put(packed, to, take(table, take(a, place)))
            put(packed, to + 1, take(table, take(b, place)))
            put(packed, to + 2, take(table, take(c, place)))
            put(packed, to + 3, take(table, take(d, place)))
        counts[t] = found - begin


@part
def pack_pixels(table: Array, count: int, scratch: Scratch) -> None:
    """Tiles of `ROWS` pixels for `multiply_pixels`: the images of each in which a pixel is not background."""
    images, packed, places, counts = scratch.images, scratch.packed, scratch.places, scratch.counts
    size, base = images.shape[1], images.ctypes.data
    for t in range((size + ROWS - 1) // ROWS):
        at, begin = t * ROWS, t * count
        found = begin
        if at + 8 <= size:  # a word is longer than a tile and must not read beyond the image
            for i in range(count):
                put(places, found, i)
                found += (word(base + i * size + at) & FOUR) != 0
            for q in range(begin, found):
                four, to = word(base + take(places, q) * size + at), q * ROWS
                put(packed, to, take(table, _byte(four, 0)))
                put(packed, to + 1, take(table, _byte(four, 1)))
                put(packed, to + 2, take(table, _byte(four, 2)))
                put(packed, to + 3, take(table, _byte(four, 3)))
        else:
            for i in range(count):
                image, seen = images[i], False
                for j in range(at, min(at + ROWS, size)):
                    seen |= image[j] != 0
                    put(packed, found * ROWS + j - at, table[image[j]])
                put(places, found, i)
                found += seen
        counts[t] = found - begin


@part
def multiply_images(batch: Batch, n: int, b: Any, start: Any, least: Scalar, c: Any, scratch: Scratch) -> None:
    """``C = max(least, S + X B)`` with X the images as numbers, (N, D); B (D, n), C (N, n), S one row (n,).

    `b`, `start` and `c` are an array and the index of the first element.
    """
    b, b_at = b
    start, start_at = start
    c, c_at = c
    work, counts = scratch.work, scratch.counts
    size, width, one = batch.images.shape[1], columns_of_panel(n, c.itemsize), c.dtype.type(1)
    for first in range(0, len(batch.index), IMAGES):
        count = min(IMAGES, len(batch.index) - first)
        gather(batch, first, count, scratch)
        pack_images(batch.table, count, scratch)
        for q in range((n + width - 1) // width):  # numba would raise if the step of a range were 0
            j = q * width
            columns = min(width, n - j)
            y, y_row = address(b, b_at + j), n
            if count > FEW:
                copy(size, columns, b, b_at + j, n, work, 0, width)
                y, y_row = address(work, 0), width
            for t in range((count + ROWS - 1) // ROWS):
                tiles(
                    min(ROWS, count - t * ROWS), True, counts[t], address(scratch.packed, t * size * ROWS), STRIDE,
                    address(scratch.places, t * size), y, y_row, address(start, start_at + j), NONE, one, least,
                    address(c, c_at + (first + t * ROWS) * n + j), n, columns, c.itemsize,
                )  # fmt: skip


@part
def _add_outer(batch: Batch, n: int, b: Array, b_at: int, alpha: Scalar, c: Array, c_at: int, scratch: Scratch) -> None:
    """`multiply_pixels` of one image: touches only the rows of C whose pixel is not background."""
    pack_images(batch.table, 1, scratch)
    for q in range(scratch.counts[0]):
        factor, begin = alpha * scratch.packed[q * ROWS], c_at + scratch.places[q] * n
        for j in range(n):
            put(c, begin + j, take(c, begin + j) + factor * take(b, b_at + j))


@part
def multiply_pixels(
    batch: Batch, n: Any, b: Any, start: Any, add: bool, alpha: Scalar, c: Any, scratch: Scratch
) -> None:
    """``C = S + alpha X^T B`` with B (N, n), C (D, n) and S one row (n,); where `add`, ``C <- C + alpha X^T B``.

    Call it after `multiply_images` of the same batch: if that was one block, its gathered images are used again.
    """
    b, b_at = b
    start, start_at = start
    c, c_at = c
    work, counts = scratch.work, scratch.counts
    size, width = batch.images.shape[1], columns_of_panel(n, c.itemsize)
    if add and len(batch.index) == 1:
        _add_outer(batch, n, b, b_at, alpha, c, c_at, scratch)
        return
    none = -c.dtype.type(np.inf)
    for first in range(0, len(batch.index), IMAGES):
        count = min(IMAGES, len(batch.index) - first)
        if len(batch.index) > IMAGES:
            gather(batch, first, count, scratch)
        pack_pixels(batch.table, count, scratch)
        for q in range((n + width - 1) // width):
            j = q * width
            columns = min(width, n - j)
            y, y_row = address(b, b_at + first * n + j), n
            if count > FEW:
                copy(count, columns, b, b_at + first * n + j, n, work, 0, width)
                y, y_row = address(work, 0), width
            for t in range((size + ROWS - 1) // ROWS):
                place = address(c, c_at + t * ROWS * n + j)
                s, s_row = address(start, start_at + j), NONE
                if first > 0 or add:
                    s, s_row = place, n
                    if counts[t] == 0:
                        continue
                tiles(
                    min(ROWS, size - t * ROWS), True, counts[t], address(scratch.packed, t * count * ROWS), STRIDE,
                    address(scratch.places, t * count), y, y_row, s, s_row, alpha, none, place, n, columns,
                    c.itemsize,
                )  # fmt: skip
