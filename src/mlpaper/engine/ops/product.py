"""Matrix products on flat arrays, from `tile`s; and those with stored images, which skip what is background.

Pixels are mostly background: of EMNIST's two thirds, of MNIST's four fifths are 0. A term whose factor is 0 adds
nothing, so a tile of `ROWS` images leaves out the pixels that are background in all of them, and a tile of `ROWS`
pixels the images in which all of them are. The bytes are turned into numbers on the way, and no batch of inputs is
ever written to memory. Where the background stands for another value t than 0 (standardised inputs), the products are
taken with ``x - t``, and t enters through the sums of the columns.
"""

from __future__ import annotations

import numpy as np

from mlpaper.engine.ops.compiled import part
from mlpaper.engine.ops.memory import address, put, take, word
from mlpaper.engine.ops.tile import copy, tile
from mlpaper.engine.ops.tiling import DEPTH, IMAGES, ROWS, VECTOR_BYTES, panel_columns

FEW = 4 * ROWS
"""Rows for which it does not pay to copy B."""
BLOCK = 16
"""Rows and columns of a block in `transpose`."""
NARROW = 128
"""Rows of a transposed A for which it does not pay to copy A."""
ONE, NONE, STRIDE = np.int64(1), np.int64(0), np.int64(ROWS)
"""Steps of matrices. As plain numbers in the text, numba would compile every function anew for each."""
IDENTITY = np.arange(DEPTH, dtype=np.int32)


_panel_columns = part(panel_columns)


@part
def transpose(rows, columns, a, a_at, a_row, c, c_at, c_row):  # type: ignore[no-untyped-def]
    """``C[j, i] = A[i, j]``, in blocks that fit the first-level cache."""
    for i0 in range(0, rows, BLOCK):
        height = min(BLOCK, rows - i0)
        for j0 in range(0, columns, BLOCK):
            for j in range(j0, min(j0 + BLOCK, columns)):
                source, target = a_at + i0 * a_row + j, c_at + j * c_row + i0
                for i in range(height):
                    put(c, target + i, take(a, source + i * a_row))


@part
def _tile(  # type: ignore[no-untyped-def]
    rows, count, a, a_row, a_step, index, b, b_row, start, start_row, alpha, c, c_row, columns, size
):
    """`tile` for any number of rows up to `ROWS`; `size` is that of an element in bytes."""
    while rows > 0:
        height = ROWS if rows >= ROWS else 4 if rows >= 4 else 2 if rows >= 2 else 1
        tile(height, count, a, a_row, a_step, index, b, b_row, start, start_row, alpha, c, c_row, columns)
        a += height * a_row * size
        start += height * start_row * size
        c += height * c_row * size
        rows -= height


@part
def multiply(  # type: ignore[no-untyped-def]
    m, n, k, a, a_at, a_row, a_step, b, b_at, b_row, b_step, start, start_at, start_row, alpha, c, c_at, c_row, work
):
    """``C = S + alpha A B``, with A (m, k) at ``a[a_at + i a_row + p a_step]``, B (k, n), S and C (m, n).

    One of A's and one of B's steps is 1: a transposed matrix is one whose row step is 1. `work` holds
    ``DEPTH * (m + ROWS + columns of a tile)`` elements, aligned to a vector.
    """
    width = _panel_columns(c.itemsize)
    size = c.itemsize
    panel = DEPTH * width
    identity = address(IDENTITY, 0)
    packed = a_step != 1 and m > NARROW
    direct = b_step == 1 and (m <= FEW or (n <= width and n * size % VECTOR_BYTES == 0))
    for p in range(0, max(k, 1), DEPTH):
        depth = min(DEPTH, k - p)
        if packed:
            for i in range(0, m, ROWS):
                copy(depth, min(ROWS, m - i), a, a_at + i + p * a_step, a_step, work, panel + i * depth, ROWS)
        for j in range(0, n, width):
            columns = min(width, n - j)
            if b_step != 1:
                transpose(columns, depth, b, b_at + p + j * b_step, b_step, work, 0, width)
            elif not direct:
                copy(depth, columns, b, b_at + p * b_row + j, b_row, work, 0, width)
            y, y_row = (address(b, b_at + p * b_row + j), b_row) if direct else (address(work, 0), width)
            for i in range(0, m, ROWS):
                out = address(c, c_at + i * c_row + j)
                s, s_row = (address(start, start_at + i * start_row + j), start_row) if p == 0 else (out, c_row)
                x, x_row, x_step = address(a, a_at + i * a_row + p * a_step), a_row, a_step
                if packed:
                    x, x_row, x_step = address(work, panel + i * depth), ONE, STRIDE
                _tile(
                    min(ROWS, m - i), depth, x, x_row, x_step, identity, y, y_row, s, s_row, alpha, out, c_row,
                    columns, size,
                )  # fmt: skip


@part
def _byte(eight, number):  # type: ignore[no-untyped-def]
    """One of the bytes of a `word`."""
    return (eight >> np.uint64(8 * number)) & np.uint64(255)


@part
def pack_images(images, index, first, count, table, packed, places, counts):  # type: ignore[no-untyped-def]
    """Tiles of `ROWS` images for `multiply_images`: for each, the pixels in which any of them is not background.

    `packed` receives ``table[pixel]`` for (tile, place, image), `places` the numbers of the pixels, `counts` how many.
    A tile with fewer images repeats its last one, which makes no pixel more, and whose sums nobody asks for.
    """
    size, base = images.shape[1], images.ctypes.data
    for t in range((count + ROWS - 1) // ROWS):
        begin, last = first + t * ROWS, first + count - 1
        i0, i1, i2 = index[begin], index[min(begin + 1, last)], index[min(begin + 2, last)]
        i3, i4, i5 = index[min(begin + 3, last)], index[min(begin + 4, last)], index[min(begin + 5, last)]
        found = t * size
        for j in range(0, size - 7, 8):
            a, b, c = word(base + i0 * size + j), word(base + i1 * size + j), word(base + i2 * size + j)
            d, e, f = word(base + i3 * size + j), word(base + i4 * size + j), word(base + i5 * size + j)
            seen = a | b | c | d | e | f
            number = 0
            while seen:
                if seen & np.uint64(255):
                    put(places, found, j + number)
                    q = found * ROWS
                    put(packed, q, table[_byte(a, number)])
                    put(packed, q + 1, table[_byte(b, number)])
                    put(packed, q + 2, table[_byte(c, number)])
                    put(packed, q + 3, table[_byte(d, number)])
                    put(packed, q + 4, table[_byte(e, number)])
                    put(packed, q + 5, table[_byte(f, number)])
                    found += 1
                seen >>= np.uint64(8)
                number += 1
        for j in range(size - size % 8, size):
            if images[i0, j] | images[i1, j] | images[i2, j] | images[i3, j] | images[i4, j] | images[i5, j]:
                put(places, found, j)
                for r in range(ROWS):
                    put(packed, found * ROWS + r, table[images[index[min(begin + r, last)], j]])
                found += 1
        counts[t] = found - t * size


@part
def pack_pixels(images, index, first, count, table, packed, places, counts):  # type: ignore[no-untyped-def]
    """Tiles of `ROWS` pixels for `multiply_pixels`: for each, the images in which any of them is not background."""
    size, base = images.shape[1], images.ctypes.data
    tiles = (size + ROWS - 1) // ROWS
    by_word = max(0, (size - 8) // ROWS + 1)  # a word is longer than a tile, and must not reach beyond the image
    counts[:tiles] = 0
    for i in range(count):
        number = index[first + i]
        for t in range(by_word):
            six = word(base + number * size + t * ROWS) & np.uint64(0xFFFFFFFFFFFF)
            if six:
                found = t * count + counts[t]
                put(places, found, i)
                q = found * ROWS
                put(packed, q, table[_byte(six, 0)])
                put(packed, q + 1, table[_byte(six, 1)])
                put(packed, q + 2, table[_byte(six, 2)])
                put(packed, q + 3, table[_byte(six, 3)])
                put(packed, q + 4, table[_byte(six, 4)])
                put(packed, q + 5, table[_byte(six, 5)])
                counts[t] += 1
        for t in range(by_word, tiles):
            seen = False
            for j in range(t * ROWS, min((t + 1) * ROWS, size)):
                seen |= images[number, j] != 0
            if seen:
                found = t * count + counts[t]
                put(places, found, i)
                for j in range(t * ROWS, min((t + 1) * ROWS, size)):
                    put(packed, found * ROWS + j - t * ROWS, table[images[number, j]])
                counts[t] += 1


@part
def multiply_images(  # type: ignore[no-untyped-def]
    images, index, table, n, b, b_at, start, start_at, c, c_at, work, packed, places, counts,
):  # fmt: skip
    """``C = S + X B`` with X the images `index` as numbers, (N, D); B (D, n), C (N, n), S one row (n,).

    `work` holds D rows of a tile's columns; `packed`, `places` and `counts` are those of `pack_images`.
    """
    size, width, one = images.shape[1], _panel_columns(c.itemsize), c.dtype.type(1)
    for first in range(0, len(index), IMAGES):
        count = min(IMAGES, len(index) - first)
        pack_images(images, index, first, count, table, packed, places, counts)
        for j in range(0, n, width):
            columns = min(width, n - j)
            y, y_row = address(b, b_at + j), n
            if count > FEW:
                copy(size, columns, b, b_at + j, n, work, 0, width)
                y, y_row = address(work, 0), width
            for t in range((count + ROWS - 1) // ROWS):
                _tile(
                    min(ROWS, count - t * ROWS), counts[t], address(packed, t * size * ROWS), ONE, STRIDE,
                    address(places, t * size), y, y_row, address(start, start_at + j), NONE, one,
                    address(c, c_at + (first + t * ROWS) * n + j), n, columns, c.itemsize,
                )  # fmt: skip


@part
def _add_outer(images, index, table, n, b, alpha, c, c_at, packed, places, counts):  # type: ignore[no-untyped-def]
    """`multiply_pixels` of one image: only the rows of C whose pixel is not background are touched."""
    pack_images(images, index, 0, 1, table, packed, places, counts)
    for q in range(counts[0]):
        factor, begin = alpha * packed[q * ROWS], c_at + places[q] * n
        row = c[begin : begin + n]
        for j in range(n):
            row[j] += factor * b[j]


@part
def multiply_pixels(  # type: ignore[no-untyped-def]
    images, index, table, n, b, b_at, start, start_at, add, alpha, c, c_at, work, packed, places, counts,
):  # fmt: skip
    """``C = S + alpha X^T B`` with B (N, n), C (D, n) and S one row (n,); where `add`, ``C <- C + alpha X^T B``."""
    size, width = images.shape[1], _panel_columns(c.itemsize)
    if add and len(index) == 1:
        _add_outer(images, index, table, n, b[b_at : b_at + n], alpha, c, c_at, packed, places, counts)
        return
    tiles = (size + ROWS - 1) // ROWS
    for first in range(0, len(index), IMAGES):
        count = min(IMAGES, len(index) - first)
        pack_pixels(images, index, first, count, table, packed, places, counts)
        for j in range(0, n, width):
            columns = min(width, n - j)
            y, y_row = address(b, b_at + first * n + j), n
            if count > FEW:
                copy(count, columns, b, b_at + first * n + j, n, work, 0, width)
                y, y_row = address(work, 0), width
            for t in range(tiles):
                place = address(c, c_at + t * ROWS * n + j)
                s, s_row = address(start, start_at + j), NONE
                if first > 0 or add:
                    s, s_row = place, n
                    if counts[t] == 0:
                        continue
                _tile(
                    min(ROWS, size - t * ROWS), counts[t], address(packed, t * count * ROWS), ONE, STRIDE,
                    address(places, t * count), y, y_row, s, s_row, alpha, place, n, columns, c.itemsize,
                )  # fmt: skip
