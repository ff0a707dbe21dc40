"""How matrix products are cut into pieces on this processor. Nothing here needs the compiler."""

from __future__ import annotations

from mlpaper.engine.ops.processor import has

_WIDE = has("avx512f")

VECTOR_BYTES = 64 if _WIDE else 32 if has("avx") else 16
"""Size of a vector register."""
MASKED_STORES = _WIDE
"""Whether a masked store is one instruction. AVX2's (vmaskmov) is slow microcode on AMD's processors."""
ROWS = 6
"""Rows of the largest tile."""
VECTORS = 4 if _WIDE or has("neon") else 2
"""Vectors of columns of a tile: ROWS x VECTORS sums, VECTORS parts of a row of B and one number of A must fit the
registers (32, or 16 of them)."""
DEPTH = 1024
"""Terms that are summed in one go: a panel of B of this depth stays in the second-level cache."""
IMAGES = 86 * ROWS
"""Images that are packed at a time."""
EIGHT = 8
"""Elements that lists of terms are written by: so many are written, however few are meant."""


def panel_columns(itemsize: int) -> int:
    """Columns of a tile."""
    return VECTORS * (VECTOR_BYTES // itemsize)
