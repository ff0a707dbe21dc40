"""How matrix products are cut into pieces on this processor. Nothing here needs the compiler."""

from __future__ import annotations

from mlpaper.engine.ops.processor import has

_WIDE = has("avx512f")

VECTOR_BYTES = 64 if _WIDE else 32 if has("avx") else 16
"""Size of a vector register."""
MASKED_STORES = _WIDE
"""Whether a masked store is one instruction. AVX2's (vmaskmov) is slow microcode on AMD's processors."""
ROWS = 4
"""Rows of a tile. With 6 a tile of images has 9 to 19 % more terms: fewer are background in all of them."""
VECTORS = 6 if _WIDE or has("neon") else 3 if has("fma") else 2
"""Most vectors of columns of a tile: ROWS x VECTORS sums, VECTORS parts of a row of B and a number of A (and, without
fused operations, a product) must fit the 32 or 16 registers."""
UNSORTED = 6
"""Batches of so few images keep their order. The weights depend on it."""
DEPTH = 1024
"""Terms that are summed in one go: a panel of B of this depth stays in the second-level cache."""
IMAGES = 129 * ROWS
"""Images that are packed at a time."""
EIGHT = 8
"""Elements that lists of terms are written by: so many are written, however few are meant."""


def panel_columns(itemsize: int) -> int:
    """Columns of the widest tile."""
    return VECTORS * (VECTOR_BYTES // itemsize)
