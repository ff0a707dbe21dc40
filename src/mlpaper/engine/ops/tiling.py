"""Block sizes of matrix products on this processor. Nothing here needs the compiler."""

from __future__ import annotations

from mlpaper.engine.ops.processor import has

_WIDE = has("avx512f")

VECTOR_BYTES = 64 if _WIDE else 32 if has("avx") else 16
"""Bytes of a vector register."""
MASKED_STORES = _WIDE
"""Whether a masked store is one instruction. AVX2's (vmaskmov) is slow microcode on AMD's processors."""
ROWS = 4
"""Rows of a tile. Six rows would leave 9 to 19 % more terms of images: more pixels differ from background in one."""
VECTORS = 6 if _WIDE or has("neon") else 3 if has("fma") else 2
"""Most vectors of columns of a tile: ROWS x VECTORS sums, VECTORS parts of a row of B and a number of A (and, without
fused operations, a product) must fit the 32 or 16 registers."""
UNSORTED = 6
"""Largest batch that is not sorted by label. The results depend on it."""
DEPTH = 1024
"""Terms summed at a time: a panel of B of this depth stays in the L2 cache. The results depend on it."""
IMAGES = 129 * ROWS
"""Images packed at a time. The results of larger batches depend on it."""
EIGHT = 8
"""Index lists are written eight at a time; the buffer needs that slack."""


def panel_columns(itemsize: int) -> int:
    """Columns of the widest tile."""
    return VECTORS * (VECTOR_BYTES // itemsize)
