"""Reading images and labels from a table: one image per line, a column with its label, one column per pixel.

Lines are read one by one, no line is longer than its columns can need, and no more lines are read than there are
images, so that memory and time are bounded whatever the file (or what it decompresses to) holds.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlpaper.data import block_rows
from mlpaper.data.idx import Stream, opened, sound
from mlpaper.data.sources import Columns
from mlpaper.data.values import classes_of, pixels_of
from mlpaper.errors import DataError, nearest

LONGEST_TEXT = 4096
"""Bytes that columns other than pixels may take in a line."""
LONGEST_NUMBER = 32
"""Bytes of a pixel, with its comma."""
MOST_PIXELS = 1 << 20


def iter_images(
    path: Path, columns: Columns, pixels: int, count: int, maximum: float = 255.0
) -> Iterator[NDArray[np.uint8]]:
    """Yield the images in blocks, ``uint8`` of shape (n, D). A block is reused: copy it before the next one.

    Parameters
    ----------
    maximum
        The value that becomes 255; values are rounded half up.

    Raises
    ------
    DataError
        The file is missing, damaged, shorter or longer than ``count`` images, or a value is not from 0 to ``maximum``.
        The message names line and column.
    """
    block = np.empty((min(count, block_rows(pixels)), pixels), np.uint8)
    filled = 0
    with table(path, columns, pixels) as rows:
        for number in range(count):
            if (fields := rows.next()) is None:
                raise DataError(f"{path}: ends after {number:,} images, but there must be {count:,}")
            block[filled] = rows.image(fields, maximum)
            filled += 1
            if filled == len(block):
                yield block
                filled = 0
        if rows.next() is not None:
            raise DataError(f"{rows.where}: goes on after the {count:,} images that there must be")
    if filled:
        yield block[:filled]


def read_labels(path: Path, columns: Columns, pixels: int, count: int, classes: Sequence[str]) -> NDArray[np.int64]:
    """The classes of the first ``count`` images: written as their names, or as whole numbers.

    Raises
    ------
    DataError
        As for the images, or a label is no class.
    """
    words: list[str] = []
    with table(path, columns, pixels) as rows:
        for number in range(count):
            if (fields := rows.next()) is None:
                raise DataError(f"{path}: ends after {number:,} images, but there must be {count:,}")
            words.append(fields[rows.label].strip())
        where = f"{path}: column `{rows.name(rows.label)}`"
    return classes_of(words, classes, where)


@contextmanager
def table(path: Path, columns: Columns, pixels: int | None = None) -> Iterator[Table]:
    """Open a table of images with so many ``pixels`` (or as many as it has) behind its header."""
    with sound(path), opened(path) as stream:
        yield Table(path, columns, stream, pixels)


class Table:
    """The lines of a table; use `table`."""

    def __init__(self, path: Path, columns: Columns, stream: Stream, pixels: int | None) -> None:
        self.path, self.header, self.line = path, list[str](), 0
        self._stream, self._longest = stream, LONGEST_TEXT + LONGEST_NUMBER * (pixels or MOST_PIXELS)
        self._rows, self._ahead = csv.reader(self._lines(), strict=True), list[list[str]]()
        self._width: int | None = None
        first = self.next()
        if first is None:
            raise DataError(f"{path}: is empty")
        if columns.header:
            self.header = [name.strip() for name in first]
        else:
            self._ahead.append(first)
        self.label = self._place(columns.label)
        others = {self.label, *map(self._place, columns.ignore)}
        self.places = [place for place in range(len(first)) if place not in others]
        if pixels is not None and len(self.places) != pixels:
            raise DataError(
                f"{path}: has {len(self.places):,} columns of pixels ({len(first):,} less label and ignored ones), but "
                f"images have {pixels:,} values. Columns that are no pixels belong into `columns: ignore`"
            )

    @property
    def where(self) -> str:
        """The line that was read last, as messages begin."""
        return f"{self.path}: line {self.line}"

    def name(self, place: int) -> str:
        """What the header calls a column, or its place."""
        return self.header[place] if self.header else str(place)

    def next(self) -> list[str] | None:
        """The fields of the next line that is not empty; None at the end."""
        if self._ahead:
            return self._ahead.pop()
        try:
            fields = next((fields for fields in self._rows if fields), None)
        except csv.Error as error:
            raise DataError(f"{self.where}: not a sound line of a table ({error})") from error
        if fields is not None:
            self._width = self._width or len(fields)
            if len(fields) != self._width:
                raise DataError(f"{self.where}: has {len(fields):,} columns, but the first line has {self._width:,}")
        return fields

    def image(self, fields: Sequence[str], maximum: float) -> NDArray[np.uint8]:
        """The bytes of an image."""
        values = [fields[place] for place in self.places]
        if maximum == 255:
            try:
                return np.frombuffer(bytes(map(int, values)), np.uint8)
            except ValueError:
                pass  # no whole number, or outside of a byte: once more, with more care
        numbers = [self._number(value, place, maximum) for value, place in zip(values, self.places, strict=True)]
        return pixels_of(np.array([numbers]), maximum, self.where).reshape(-1)

    def largest(self, fields: Sequence[str]) -> float:
        """The largest value of a pixel in a line."""
        try:
            return max(map(float, map(fields.__getitem__, self.places)), default=0.0)
        except ValueError:
            return max(self._number(fields[place], place, math.inf) for place in self.places)

    def _number(self, text: str, place: int, maximum: float) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= maximum:
            shown = text if len(text) < 40 else f"{text[:37]}..."
            column = self.name(place)
            raise DataError(f"{self.where}, column `{column}`: `{shown}` is not a number from 0 to {maximum:g}")
        return value

    def _place(self, column: int | str) -> int:
        """Place of a column that is given by name or place."""
        width = self._width or 0
        if isinstance(column, int):
            if column >= width:
                raise DataError(f"{self.path}: has no column {column}; its {width:,} columns count from 0")
            return column
        if self.header.count(column) != 1:
            what = "more than one column" if column in self.header else "no column"
            names = ", ".join(self.header[:8])
            raise DataError(f"{self.path}: has {what} `{column}`{nearest(column, self.header)}; it begins with {names}")
        return self.header.index(column)

    def _lines(self) -> Iterator[str]:
        while data := self._stream.readline(self._longest + 1):
            self.line += 1
            if len(data) > self._longest:
                raise DataError(f"{self.where}: is longer than {self._longest:,} bytes; is it a table with commas?")
            try:
                yield data.decode("utf-8-sig" if self.line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{self.where}: is not UTF-8 text") from error
