"""Errors that a user can mend. Each message says what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MlpaperError(Exception):
    """Base of all errors that the command line prints as a message rather than a traceback."""


class ConfigurationError(MlpaperError):
    """The configuration, a study file, a scale file or a run specification is not valid."""


class DataError(MlpaperError):
    """A dataset could not be obtained, or its bytes are not what they must be."""


class StorageError(MlpaperError):
    """A file could not be written: the disk is full, or the folder is read-only."""


class DamagedError(MlpaperError, ValueError):
    """A file of the pipeline's own is not what it must be: truncated, of another run, or made to do harm."""


class CrateError(MlpaperError):
    """Runs could not be handed on: some are missing, or the file that holds them is not what it must be."""


class CheckpointError(MlpaperError):
    """A checkpoint is truncated or belongs to another run."""


class RenderError(MlpaperError):
    """The paper could not be rendered: an unknown number, a bare number in a results section, a bad template."""


def printable(text: str) -> str:
    """A text of the user's for a line of a message: characters that would end it, or steer a terminal, are escaped.

    >>> printable("a\\nb é")
    'a\\\\nb é'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `` (did you mean `x`?)`` for the allowed name nearest to ``name``, or an empty string.

    >>> nearest("hiden", ["hidden", "activation"])
    ' (did you mean `hidden`?)'
    >>> nearest("zzz", ["hidden"])
    ''
    """
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f" (did you mean `{matches[0]}`?)" if matches else ""
