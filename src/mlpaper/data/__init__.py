"""From official files to arrays: where the images come from, how they are fetched, checked, prepared and split."""

SIDE = 28
"""All images are SIDE x SIDE, one byte per pixel."""

PIXELS = SIDE * SIDE
