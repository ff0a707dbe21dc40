"""Matrix products on flat arrays, made of `tile`s.

A term with a factor 0 adds nothing. After ReLU half of the numbers are 0, and so are the gradients before it. A tile of
`ROWS` rows may skip the terms whose factors in A are all 0. That changes no bit of a sum.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlpaper.engine.arrays import Array, Scalar
from mlpaper.engine.ops.compiled import part
from mlpaper.engine.ops.memory import address, put, take
from mlpaper.engine.ops.terms import copy, copy_terms, list_terms
from mlpaper.engine.ops.tile import tile
from mlpaper.engine.ops.tiling import DEPTH, ROWS, VECTOR_BYTES, VECTORS

FEW = 24
"""Rows of A up to which copying B does not pay."""
BLOCK = 16
"""Rows and columns of a block in `transpose`."""
LARGE = 1 << 18
"""Elements of C above which copying a transposed A pays. Below, not copying saves 2 to 35 % of the product."""
ONE, NONE, STRIDE = np.int64(1), np.int64(0), np.int64(ROWS)
"""Steps of matrices. numba would compile a function again for each literal number."""
IDENTITY = np.arange(DEPTH, dtype=np.int32)


class Scratch(NamedTuple):
    """Buffers of products, allocated once for a run (`engine.compiled`)."""

    work: Array
    """Panels of the operands, aligned to a vector."""
    images: Array
    """A block of images, see `pixels.gather`."""
    packed: Array
    """Pixels that are not background, see `pixels.pack_images`."""
    places: Array
    """The terms of each tile, int32."""
    counts: Array
    """The number of terms of each tile, int64."""


@part
def columns_of_panel(n: int, itemsize: int) -> int:
    """Columns of a panel of B (k, n): panels of equal numbers of vectors, as far as possible."""
    lanes = VECTOR_BYTES // itemsize
    vectors = max((n + lanes - 1) // lanes, 1)
    panels = (vectors + VECTORS - 1) // VECTORS
    return (vectors + panels - 1) // panels * lanes


@part
def transpose(rows: int, columns: int, a: Array, a_at: int, a_row: int, c: Array, c_at: int, c_row: int) -> None:
    """``C[j, i] = A[i, j]``, in blocks that fit the L1 cache."""
    for i0 in range(0, rows, BLOCK):
        height = min(BLOCK, rows - i0)
        for j0 in range(0, columns, BLOCK):
            for j in range(j0, min(j0 + BLOCK, columns)):
                source, target = a_at + i0 * a_row + j, c_at + j * c_row + i0
                for i in range(height):
                    put(c, target + i, take(a, source + i * a_row))


@part
def tiles(
    rows: int, packed: bool, count: int, a: int, a_step: int, index: int, b: int, b_row: int, start: int,
    start_row: int, alpha: Scalar, least: Scalar, c: int, c_row: int, columns: int, size: int,
) -> None:  # fmt: skip
    """`tile` for any number of rows up to `ROWS`; `size` is the bytes of an element."""
    while rows > 0:
        height = ROWS if rows >= ROWS else 1
        tile(height, packed, count, a, a_step, index, b, b_row, start, start_row, alpha, least, c, c_row, columns)
        a += height * (1 if packed else a_step) * size
        start += height * start_row * size
        c += height * c_row * size
        rows -= height


@part
def multiply(
    m: int, n: int, k: int, a: Any, b: Any, start: Any, alpha: Scalar, least: Scalar, c: Any, skip: bool,
    scratch: Scratch,
) -> None:  # fmt: skip
    """``C = max(least, S + alpha A B)`` with A (m, k), B (k, n), S and C (m, n).

    Parameters
    ----------
    a, b
        An array, the index of the first element, the row step and the column step. One of the steps is 1; a transposed
        matrix has row step 1.
    start, c
        S and C: an array, the index of the first element, and the row step.
    skip
        Whether a tile skips the terms whose factors in A are all 0. That pays if there are many. For a
        transposed A that is not copied no terms are skipped: 3 % of M1g, but 60 % of layers of 4192 units.
    scratch
        `Scratch`.
    """
    a, a_at, a_row, a_step = a
    b, b_at, b_row, b_step = b
    start, start_at, start_row = start
    c, c_at, c_row = c
    work, places, counts = scratch.work, scratch.places, scratch.counts
    width, size = columns_of_panel(n, c.itemsize), c.itemsize
    panel = DEPTH * width
    packed = a_step != 1 and m * n > LARGE
    skip = skip and (packed or a_step == 1)
    direct = b_step == 1 and (m <= FEW or (n <= width and n * size % VECTOR_BYTES == 0))
    for p in range(0, max(k, 1), DEPTH):
        depth = min(DEPTH, k - p)
        floor = least if p + depth == k else -c.dtype.type(np.inf)
        for t in range((m + ROWS - 1) // ROWS):
            i, height = t * ROWS, min(ROWS, m - t * ROWS)
            corner = a_at + i * a_row + p * a_step
            if skip and packed:
                counts[t] = copy_terms(height, depth, a, corner, a_step, work, panel + i * depth, places, t * depth)
            elif skip:
                counts[t] = list_terms(height, depth, a, corner, a_row, places, t * depth)
            elif packed:
                copy(depth, height, a, corner, a_step, work, panel + i * depth, ROWS)
        for q in range((n + width - 1) // width):  # numba would raise if the step of a range were 0
            j = q * width
            columns = min(width, n - j)
            if b_step != 1:
                transpose(columns, depth, b, b_at + p + j * b_step, b_step, work, 0, width)
            elif not direct:
                copy(depth, columns, b, b_at + p * b_row + j, b_row, work, 0, width)
            y, y_row = (address(b, b_at + p * b_row + j), b_row) if direct else (address(work, 0), width)
            for t in range((m + ROWS - 1) // ROWS):
                i = t * ROWS
                out = address(c, c_at + i * c_row + j)
                s, s_row = (address(start, start_at + i * start_row + j), start_row) if p == 0 else (out, c_row)
                x, x_step = address(a, a_at + i * a_row + p * a_step), max(a_row, a_step)
                if packed:
                    x, x_step = address(work, panel + i * depth), STRIDE
                count, index = (counts[t], address(places, t * depth)) if skip else (depth, address(IDENTITY, 0))
                tiles(
                    min(ROWS, m - i), packed or a_step != 1, count, x, x_step, index, y, y_row, s, s_row, alpha,
                    floor, out, c_row, columns, size,
                )  # fmt: skip
