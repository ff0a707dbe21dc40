"""From files to arrays: where the images come from, how they are fetched, checked, prepared and split."""

BLOCK = 1 << 23
"""Bytes of images that are held at a time while a dataset is read."""


def block_rows(size: int) -> int:
    """Images of so many bytes that are read at a time."""
    return max(1, BLOCK // size)
