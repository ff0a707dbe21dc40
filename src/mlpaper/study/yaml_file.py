"""Reading YAML strictly, and saying where a value stands.

Plain values mean what the core schema of YAML 1.2 says: `1e-4` is a number, and `on`, `off`, `yes` and `no` are text.
(PyYAML's own loaders follow YAML 1.1, where it is the other way round.) Keys are always text, as written. `<<` merges
mappings. What can only be a slip is an error with its line: a key given twice, `010`, an infinite number, a tag.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from mlpaper.errors import ConfigurationError

Entry = tuple[yaml.Node, yaml.Node]
"""A key of a mapping and its value."""

DEEPEST = 32
"""Levels of nesting that a file may have."""
MOST_VALUES = 100_000
"""Values that a file may have, where every alias counts as often as it is used."""
LARGEST = 2**63
"""Whole numbers are smaller than this."""

_WORDS = {"": None, "~": None} | {
    spelling: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for spelling in (word, word.title(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def scalar(text: str) -> str | float | bool | None:
    """The value that `text` stands for where it is not quoted.

    Raises
    ------
    ValueError
        It is a number that is too large, infinite, or perhaps octal. The message says how to write it.

    >>> [scalar(text) for text in ("1e-4", "64", "0x10", "true", "yes", "2026-01-01", "null")]
    [0.0001, 64, 16, True, 'yes', '2026-01-01', None]
    """
    if text[:1] not in "+-.0123456789":
        return _WORDS.get(text, text)
    if _INTEGER.fullmatch(text) or _OTHER_BASE.fullmatch(text):
        # Python reads no more than 4,300 digits.
        if len(text) > 70 or abs(number := int(text, 0)) >= LARGEST:
            raise ValueError("is too large for a whole number; quote it if it is text")
        return number
    if _LEADING_ZERO.fullmatch(text):
        plain = text.replace(text.lstrip("+-"), text.lstrip("+-0") or "0")
        raise ValueError(f"starts with 0: write {plain}, or '{text}' in quotes for text, or 0o... for an octal number")
    if _NOT_FINITE.fullmatch(text) or (_REAL.fullmatch(text) and abs(float(text)) == float("inf")):
        raise ValueError("is not a finite number; quote it if it is text")
    return float(text) if _REAL.fullmatch(text) else _WORDS.get(text, text)


class _Composer(yaml.CBaseLoader):
    """Nodes whose tags are None unless the file gives some."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> None:
        """What a node is, is decided by `_Reader`."""


class _Reader:
    """Reads the nodes of a file, or of a text that errors call `name`."""

    def __init__(self, name: Path | str) -> None:
        self.name = name
        self.left = MOST_VALUES

    def error(self, node: yaml.Node, text: str) -> ConfigurationError:
        """An error at the line of a node."""
        return ConfigurationError(f"{_at(self.name, node.start_mark.line)} {text}")

    def value(self, node: yaml.Node, depth: int = 0) -> Any:
        """The plain value of a node."""
        self._count(node, depth)
        tag: str | None = node.tag
        if tag is not None:
            short = _short(tag.replace("tag:yaml.org,2002:", "!!"))
            raise self.error(node, f"the tag `{short}` has no meaning here; leave it out")
        if isinstance(node, yaml.MappingNode):
            return {key: self.value(value, depth + 1) for key, (_, value) in self.entries(node, depth).items()}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        if not isinstance(node, yaml.ScalarNode) or node.style:  # quoted, or a block of text
            return node.value
        try:
            return scalar(node.value)
        except ValueError as error:
            raise self.error(node, f"`{_short(node.value)}` {error}") from None

    def entries(self, node: yaml.MappingNode, depth: int = 0) -> dict[str, Entry]:
        """The entries of a mapping by their keys: those that `<<` brings, unless the mapping has its own."""
        self._count(node, depth)
        own: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        merges = False
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.error(key, "a key must be text, such as `epochs`, not a list or a mapping")
            if key.value in own:
                first = own[key.value][0].start_mark.line + 1
                raise self.error(key, f"`{_short(key.value)}` is given twice (first in line {first})")
            own[key.value] = key, value
            merges = merges or (key.value == "<<" and not key.style)
        if merges:
            _, value = own.pop("<<")
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode):
                    raise self.error(source, "`<<` takes a mapping or a list of mappings, such as `<<: *name`")
                merged = self.entries(source, depth + 1) | merged
        return merged | own

    def _count(self, node: yaml.Node, depth: int) -> None:
        self.left -= 1
        if depth > DEEPEST:
            raise self.error(node, f"nested more than {DEEPEST} levels deep, or an anchor contains itself")
        if self.left < 0:
            raise self.error(node, f"aliases make more than {MOST_VALUES:,} values of this file; write fewer of them")


def load(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises
    ------
    ConfigurationError
        The file is missing, is not YAML, gives a key twice, or holds no mapping. The message has the line.
    """
    node = _compose(_read(path), path)
    value = None if node is None else _Reader(path).value(node)
    if not isinstance(value, dict):
        found = "is empty" if value is None else f"holds a {'list' if isinstance(value, list) else 'single value'}"
        raise ConfigurationError(f"{path} {found}; it must hold a mapping of keys to values, such as `name: ...`")
    return value


def checked(path: Path) -> Path:
    """The path of a YAML file, once it could be read; one that is missing is for the caller to miss."""
    if path.exists():
        load(path)
    return path


def parse(text: str, name: str) -> Any:
    """The value that a short text in YAML stands for, such as `[0, 1]`; `name` is what errors call it."""
    node = _compose(text.encode(), name)
    return None if node is None else _Reader(name).value(node)


def line_of(path: Path, keys: Sequence[object]) -> int | None:
    """Line, from 1, of the value under `keys`, or of its nearest parent that the file has; None if it has none."""
    node, reader, line = _compose(_read(path), path), _Reader(path), None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = reader.entries(node).get(str(key))
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            found = (node.value[key], node.value[key])
        else:
            found = None
        if found is None:
            continue  # a union's tag, or a key that another file gave
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def _at(name: Path | str, line: int) -> str:
    """How an error begins; lines, here from 0, are those of files."""
    return f"{name}:{line + 1}:" if isinstance(name, Path) else f"{name}:"


@lru_cache(maxsize=1)
def _compose(content: bytes, name: Path | str) -> yaml.Node | None:
    """The root node of a document; None of an empty one. Kept for the lines of the errors that it may have."""
    try:
        text = content.decode("utf-8-sig")
        return _Composer(text).get_single_node()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        raise ConfigurationError(f"{_at(name, line)} is not UTF-8 text; save the file in that encoding") from None
    except yaml.reader.ReaderError as error:
        line = content.count(b"\n", 0, error.position)
        raise ConfigurationError(f"{_at(name, line)} is not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark else 0
        problem = error.problem or "cannot be understood"
        if "expected a single document" in str(error.context):
            problem = "a second document begins here; a file holds one, so leave `---` out"
        elif any("\t" in written for written in text.splitlines()[line : line + 1]):
            problem += " (indent with spaces, not tabs)"
        raise ConfigurationError(f"{_at(name, line)} is not valid YAML: {problem}") from None


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def modeline(name: str, relative: str) -> str:
    """The first line of a file with the schema `name`; `relative` leads from its folder to the project's."""
    return f"# yaml-language-server: $schema={relative}docs/schema/{name}.json\n"
