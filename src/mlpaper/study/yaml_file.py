"""Reading YAML strictly, and saying where a value stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mlpaper.errors import ConfigurationError


class _Loader(yaml.CSafeLoader):
    """Safe YAML that refuses a key given twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for i, key in enumerate(keys):
        if key in keys[:i]:
            mark = node.value[i][0].start_mark
            raise ConfigurationError(f"{mark.name}:{mark.line + 1}: `{key}` is given twice")
    return dict(zip(keys, (loader.construct_object(value, deep=True) for _, value in node.value), strict=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises
    ------
    ConfigurationError
        The file is missing, is not YAML, gives a key twice, or holds no mapping.
    """
    try:
        with path.open(encoding="utf-8") as stream:
            value = yaml.load(stream, _Loader)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{path} must hold a mapping of keys to values")
    return value


def line_of(path: Path, keys: Sequence[object]) -> int | None:
    """Line, from 1, of the value under `keys`, or of its nearest parent that the file has; None if it has none."""
    with path.open(encoding="utf-8") as stream:
        node = yaml.compose(stream, yaml.CSafeLoader)
    line = None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(key)), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            found = (node.value[key], node.value[key])
        else:
            found = None
        if found is None:
            continue  # a union's tag, or a key that another file gave
        line, node = found[0].start_mark.line + 1, found[1]
    return line
