"""From plain values to validated models, with errors that say which file, which key, what is allowed."""

from __future__ import annotations

import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mlpaper.errors import ConfigurationError, nearest
from mlpaper.study import yaml_file

ModelType = TypeVar("ModelType", bound=BaseModel)


def validate(
    model: type[ModelType], values: Any, where: str, path: Path | None = None, prefix: Sequence[str] = ()
) -> ModelType:
    """`values` as a `model`.

    Parameters
    ----------
    where
        What the values came from, as a user would call it: a file, or ``config.yaml or --config``.
    path, prefix
        The YAML file, and the keys in it under which the values stand, for line numbers.

    Raises
    ------
    ConfigurationError
        One line for every wrong key or value: place, key, what is wrong, what is allowed, the nearest right key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, problem, where, path, prefix) for problem in error.errors()]
        raise ConfigurationError("\n".join(dict.fromkeys(lines))) from None


def _explain(model: type[BaseModel], problem: Any, where: str, path: Path | None, prefix: Sequence[str]) -> str:
    location: tuple[str | int, ...] = problem["loc"]
    owner, keys = _walk(model, location[:-1] if problem["type"] == "extra_forbidden" else location)
    full = [*prefix, *keys]
    if problem["type"] == "extra_forbidden":
        key = str(location[-1])
        full.append(key)
        allowed = list(owner.model_fields) if owner else []
        text = f"unknown key{nearest(key, allowed)}; allowed are {', '.join(allowed)}"
    elif problem["type"] == "missing":
        text = "is missing"
    elif problem["type"].startswith("union_tag"):
        context = problem["ctx"]
        if "tag" in context:
            expected = f"should be one of {context['expected_tags']}, not '{context['tag']}'"
            text = f"{context['discriminator']} {expected}{_suggestion(problem)}"
        else:
            text = f"{context['discriminator']} is missing: it says what kind this is"
    else:
        text = f"{_message(problem)}, not {problem['input']!r}{_suggestion(problem)}"
    line = yaml_file.line_of(path, full) if path else None
    place = f"{where}:{line}" if line else where
    return f"{place}: `{'.'.join(map(str, full))}`: {text}"


def _message(problem: Any) -> str:
    message: str = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return (message[0].lower() + message[1:]).replace("a valid tuple", "a list")


def _suggestion(problem: Any) -> str:
    expected = problem.get("ctx", {}).get("expected") or problem.get("ctx", {}).get("expected_tags")
    value = problem["input"]
    if problem["type"].startswith("union_tag") and isinstance(value, dict):
        value = problem.get("ctx", {}).get("tag")
    if not isinstance(expected, str) or not isinstance(value, str):
        return ""
    return nearest(value, [word.strip(" '") for word in expected.replace(" or ", ",").split(",")])


def _walk(model: type[BaseModel], location: Sequence[str | int]) -> tuple[type[BaseModel] | None, list[str | int]]:
    """The model at `location`, and the keys of the file that lead there (a union's tags are no keys)."""
    candidates: list[Any] = [model]
    keys: list[str | int] = []
    for step in location:
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        holders = [m for m in models if step in m.model_fields]
        tagged = [m for m in models if step in (_tag(m), m.__name__)]
        if tagged and len(models) > 1:
            candidates = tagged
        elif holders:
            candidates = _alternatives(holders[0].model_fields[str(step)].annotation)
            keys.append(step)
        elif any(get_origin(c) in (dict, tuple, list) for c in candidates):
            container = next(c for c in candidates if get_origin(c) in (dict, tuple, list))
            arguments = get_args(container)
            candidates = _alternatives(arguments[1] if get_origin(container) is dict else arguments[0])
            keys.append(step)
        elif isinstance(step, int) or not str(step).startswith(("function-", "constrained-", "tuple[", "literal[")):
            keys.append(step)
    models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
    return (models[0] if models else None), [key for key in keys if not str(key).startswith(("tuple[", "literal["))]


def _tag(model: type[BaseModel]) -> str | None:
    for name in ("name", "scheme", "kind"):
        if name in model.model_fields:
            values = get_args(model.model_fields[name].annotation)
            if len(values) == 1:
                return str(values[0])
    return None


def _alternatives(annotation: Any) -> list[Any]:
    """Members of a union, through `Annotated`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for argument in get_args(annotation) for member in _alternatives(argument)]
    return [annotation]
