"""From plain values to validated models, with errors that say which file, which line, which key, what is allowed."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from mlpaper.errors import ConfigurationError, nearest, printable
from mlpaper.study import yaml_file

ModelType = TypeVar("ModelType", bound=BaseModel)
Keys = Sequence[str | int]
MOST_PROBLEMS = 10
"""Problems that are listed at a time."""
EXPECTED = {
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "string_type": "should be text",
    "dict_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
    "model_attributes_type": "should be a mapping of keys to values",
    "tuple_type": "should be a list",
}
"""What is expected, by pydantic's type of error, where its own words would puzzle the writer of a YAML file."""


@dataclass(frozen=True)
class Origin:
    """Where values come from: a file, or something without lines that has a name."""

    name: str
    path: Path | None = None
    note: str = ""
    """Added to every message, such as the scale that a run is made at."""

    def at(self, keys: Keys) -> str:
        """The place of the value under `keys`, as messages begin: `studies/a.yaml:12`."""
        line = yaml_file.line_of(self.path, keys) if self.path and keys else None
        return f"{self.name}:{line}" if line else self.name

    def error(self, keys: Keys, text: str, label: str = "") -> ConfigurationError:
        """An error about the value under `keys`, which the message calls `label`, or by its keys."""
        return ConfigurationError(f"{self.at(keys)}: {label or f'`{joined(keys)}`'}: {text}{self.note}")


@dataclass(frozen=True)
class Configuration(Origin):
    """The settings: each of them from the first of `files` that has it, or from the command line."""

    name: str = "config.yaml or --config"
    files: tuple[Path, ...] = ()
    """None where they are not known."""

    def at(self, keys: Keys) -> str:
        """See `Origin.at`."""
        for path in self.files:
            if line := yaml_file.line_of(path, keys):
                return f"{path}:{line} or --config"
        return "--config" if self.files else self.name


def file(path: Path) -> Origin:
    """The origin of the values of a file."""
    return Origin(str(path), path)


def joined(keys: Keys) -> str:
    """Keys as messages write them: `network.hidden.0`."""
    return printable(".".join(map(str, keys)))


@dataclass(frozen=True)
class Problem:
    """One value that is not as it must be."""

    keys: tuple[str | int, ...]
    """Where it is in the model."""
    text: str
    """What is wrong."""
    value: str = ""
    """What was given instead, and a hint."""
    unknown: bool = False
    """Whether there is no such key."""


Locate = Callable[[Problem], Keys]
"""The keys in the file that lead to a problem."""


def validate(
    model: type[ModelType], values: Any, origin: Origin, locate: Locate = lambda problem: problem.keys
) -> ModelType:
    """`values` as a `model`.

    Parameters
    ----------
    origin
        What the values came from.
    locate
        From a problem in the model to the keys in the file, where they are not the same.

    Raises
    ------
    ConfigurationError
        One line for every wrong key or value: place, key, what is wrong, what is allowed, the nearest right key.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = _united([_problem(model, details) for details in error.errors(include_url=False)])
    lines = [str(explained(problem, origin, locate)) for problem in problems[:MOST_PROBLEMS]]
    if len(problems) > MOST_PROBLEMS:
        lines.append(f"{origin.name}: and {len(problems) - MOST_PROBLEMS} more such problems")
    raise ConfigurationError("\n".join(lines))


def explained(problem: Problem, origin: Origin, locate: Locate) -> ConfigurationError:
    """The error that tells of a problem. Where the file has the value under other keys, the model's are named too."""
    keys = locate(problem)
    text = f"{problem.text}{problem.value}"
    if problem.keys and tuple(keys[-len(problem.keys) :]) != problem.keys:
        text = f"`{joined(problem.keys)}`: {text}"
    return origin.error(keys, text)


def _united(problems: Iterable[Problem]) -> list[Problem]:
    """One problem per value: a union tells of each of its members, also of those that were not meant."""
    by_keys: dict[tuple[str | int, ...], list[Problem]] = {}
    for problem in problems:
        by_keys.setdefault(problem.keys, []).append(problem)
    united = []
    for keys, same in by_keys.items():
        deeper = any(len(other) > len(keys) and other[: len(keys)] == keys for other in by_keys)
        if not deeper:
            texts = " or ".join(dict.fromkeys(problem.text for problem in same))
            value = max((problem.value for problem in same), key=len)
            united.append(Problem(keys, texts.replace(" or should be ", ", or "), value, same[0].unknown))
    return united


def _problem(model: type[BaseModel], details: Any) -> Problem:
    kind, location, context = details["type"], details["loc"], details.get("ctx", {})
    unknown = kind == "extra_forbidden"
    owner, path = _walk(model, location[:-1] if unknown else location)
    keys = tuple(path)
    if unknown:
        key, allowed = str(location[-1]), list(owner.model_fields) if owner else []
        known = f"; allowed are {', '.join(allowed)}" if allowed else ""
        return Problem((*keys, key), f"unknown key{nearest(key, allowed)}{known}", unknown=True)
    if keys and keys[-1] == "[key]":
        return Problem(keys[:-1], f"this name {_message(details).removeprefix('string ')}")
    if kind == "missing":
        return Problem(keys, "is missing")
    if kind == "union_tag_not_found":
        return Problem(keys, f"{context['discriminator']} is missing: it says what kind this is")
    given = details["input"]
    if kind == "union_tag_invalid":
        tag = given[context["discriminator"].strip("'")]
        expected = f"{context['discriminator']} should be one of {context['expected_tags']}"
        return Problem(keys, expected, f", not {shown(tag)}{_suggestion(context, tag)}")
    if kind == "value_error" and isinstance(given, dict):
        return Problem(keys, _message(details))
    return Problem(keys, _message(details), f", not {shown(given)}{_suggestion(context, given) or _hint(kind, given)}")


def shown(value: Any) -> str:
    """A value as messages quote it: as in YAML, and no longer than a line."""
    words = {None: "null", True: "true", False: "false"}
    text = words[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _message(details: Any) -> str:
    message: str = details["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return EXPECTED.get(details["type"], message[0].lower() + message[1:])


def _hint(kind: str, given: Any) -> str:
    if kind in ("int_type", "float_type", "bool_type") and isinstance(given, str):
        try:
            plain = yaml_file.scalar(given)
        except ValueError:
            return ""
        return "" if plain is None or isinstance(plain, str) else " (write it without quotes)"
    return " (put it in quotes)" if kind == "string_type" and isinstance(given, (int, float)) else ""


def _suggestion(context: Any, value: Any) -> str:
    """The allowed word nearest to a wrong one."""
    expected = context.get("expected") or context.get("expected_tags")
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
        if tagged and len(candidates) > 1:
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
