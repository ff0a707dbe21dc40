"""Pixels and labels as files have them, to bytes and numbers of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlpaper.errors import DataError, nearest


def pixels_of(values: NDArray[Any], maximum: float, where: str, first: int = 0) -> NDArray[np.uint8]:
    """Bytes from numbers: 0..maximum becomes 0..255, rounded half up. Shape: (N, D).

    Raises
    ------
    DataError
        A value lies outside (or is NaN). The message says in which image, counted from `first`, and where in it.

    >>> pixels_of(np.array([[0.0, 0.5, 1.0]]), 1.0, "x").tolist()
    [[0, 128, 255]]
    """
    if values.dtype == np.uint8 and maximum == 255:
        return values
    inside = (values >= 0) & (values <= maximum)
    if not inside.all():
        row, column = np.argwhere(~inside)[0].tolist()
        value = values[row, column].item()
        raise DataError(f"{where} {first + row}, pixel {column}: {value} is not from 0 to {maximum:g}")
    return np.floor(values.astype(np.float64) * (255.0 / maximum) + 0.5).astype(np.uint8)


def is_whole(text: str) -> bool:
    """Whether a text is a whole number.

    >>> [is_whole(text) for text in ("7", "-1", "7.0", "")]
    [True, True, False, False]
    """
    return text.removeprefix("-").isdecimal()


def classes_of(labels: NDArray[np.integer] | Sequence[str], classes: Sequence[str], where: str) -> NDArray[np.int64]:
    """Numbers of classes from labels: whole numbers or names.

    Raises
    ------
    DataError
        A label is no class; the message says which.
    """
    if isinstance(labels, np.ndarray):
        return classes_of_numbers(labels, classes, where)
    if all(map(is_whole, labels)) and not set(labels) <= set(classes):
        return classes_of_numbers(np.array([int(word) for word in labels]), classes, where)
    return classes_of_words(labels, classes, where)


def classes_of_numbers(labels: NDArray[Any], classes: Sequence[str], where: str) -> NDArray[np.int64]:
    """Numbers of classes from whole numbers: their names, if all names are numbers, else their places from 0.

    >>> classes_of_numbers(np.array([3, 8]), ["3", "5", "8"], "x").tolist()
    [0, 2]
    >>> classes_of_numbers(np.array([1, 0]), ["cat", "dog"], "x").tolist()
    [1, 0]
    """
    if all(map(is_whole, classes)):
        return classes_of_words(list(map(str, labels.tolist())), classes, where)
    outside = (labels < 0) | (labels >= len(classes))
    if outside.any():
        row = int(np.argmax(outside))
        raise DataError(f"{where}: label {row} is {labels[row]}; the {len(classes)} classes have numbers from 0")
    return labels.astype(np.int64)


def classes_of_words(labels: Sequence[str], classes: Sequence[str], where: str) -> NDArray[np.int64]:
    """Numbers of classes from their names."""
    numbers = {name: number for number, name in enumerate(classes)}
    for row, label in enumerate(labels):
        if label not in numbers:
            shown = label if len(label) < 40 else f"{label[:37]}..."
            raise DataError(f"{where}: label {row} is `{shown}`, which is no class{nearest(shown, classes)}")
    return np.array([numbers[label] for label in labels], np.int64)
