"""JSON Schemas of the project's YAML files, for editors: `docs/schema/*.json`, made by `mlpaper schema`.

They are drawn from the same models that validate the files, with the docstrings of fields as descriptions. They say
what a key may hold; what relates one key to another (a run to the runs, a metric to what is measured) is checked where
a file is loaded. In an editor with the YAML language server, the first line of a file names its schema:
`# yaml-language-server: $schema=../../docs/schema/study.json`.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from mlpaper.data.sources import Source
from mlpaper.files import write_text
from mlpaper.spec import Model, RunSpec
from mlpaper.study.metrics import METRICS, NOISE_METRIC
from mlpaper.study.schema.items import SETTING_COLUMNS
from mlpaper.study.schema.names import MARK
from mlpaper.study.schema.settings import Scale, Settings
from mlpaper.study.schema.study import Study

SCHEMAS: dict[str, type[Model]] = {"config": Settings, "study": Study, "scale": Scale, "dataset": Source}
"""Name of a schema's file, without its ending, to the model that the files are validated with."""

Schema = dict[str, Any]
Docs = Mapping[str, Mapping[str, str]]
"""Name of a model to its fields to their docstrings."""


def write_schemas(folder: Path) -> list[Path]:
    """Write the schema of every model to `folder`; the paths of the files."""
    paths = []
    for name, model in SCHEMAS.items():
        paths.append(folder / f"{name}.json")
        write_text(paths[-1], as_text(schema_of(model)))
    return paths


def as_text(schema: Schema) -> str:
    """A schema as its file holds it."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def schema_of(model: type[Model]) -> Schema:
    """The JSON Schema of what a file may hold that is validated as a `model`."""
    schema = _plain(model)
    definitions = schema.pop("$defs", {})
    if marks := set(_marks([schema, definitions])):
        run = _partial(_plain(RunSpec))
        definitions |= run.pop("$defs")
        definitions |= {name: made for name, made in _own_definitions(run).items() if name in marks}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_resolved(schema),
        "$defs": {name: _resolved(definitions[name]) for name in sorted(definitions)},
    }


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """The docstrings of a model's fields, on one line each: those strings that follow them in the source.

    pydantic would read them too (`use_attribute_docstrings`), but whenever a model is imported, which jobs do.

    >>> field_docs(Scale)["dataset"]
    "Replaces every study's dataset."
    """
    docs: dict[str, str] = {}
    for base in reversed([base for base in model.__mro__ if issubclass(base, BaseModel) and base is not BaseModel]):
        body = _classes(base.__module__)[base.__name__].body
        for node, after in pairwise(body):
            match node, after:
                case ast.AnnAssign(target=ast.Name(id=field)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[field] = " ".join(text.split())
    return docs


@cache
def _classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _plain(model: type[Model]) -> Schema:
    """pydantic's schema, with the docstrings of fields, and without what says no more than the names of the keys."""
    schema = model.model_json_schema()
    models = {inner.__name__: inner for inner in _with_inner_models(model)}
    for name, definition in [(model.__name__, schema), *schema.get("$defs", {}).items()]:
        definition.pop("title", None)
        docs = field_docs(models[name])
        for key, field in definition.get("properties", {}).items():
            field.pop("title", None)
            if key in docs:
                field["description"] = docs[key]
    return schema | {"title": model.__name__}


def _with_inner_models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and all that its fields hold, at any depth."""
    yield model
    for field in model.model_fields.values():
        for inner in _inner_models(field.annotation):
            yield from _with_inner_models(inner)


def _marks(node: Any) -> Iterator[str]:
    """Names of the definitions of our own that a schema asks for."""
    if isinstance(node, dict):
        if MARK in node:
            yield node[MARK]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from _marks(item)


def _resolved(node: Any) -> Any:
    """A schema in which a mark is a reference to the definition that it names, and keys fit one of their patterns."""
    if isinstance(node, list):
        return [_resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if MARK in node:
        kept = {key: node[key] for key in ("description", "default") if key in node}
        return kept | {"$ref": f"#/$defs/{node[MARK]}"}
    resolved = {key: _resolved(value) for key, value in node.items() if key != "discriminator"}  # OpenAPI's, not JSON's
    return resolved | ({"additionalProperties": False} if "patternProperties" in node else {})


def _own_definitions(run: Schema) -> dict[str, Schema]:
    """What models mark: names of metrics, part of a run and paths in it, the runs of a variant."""
    noise = {"type": "string", "pattern": f"^{NOISE_METRIC.pattern}$"}
    properties = run["properties"]
    return {
        "Metric": {"anyOf": [{"enum": [*METRICS]}, noise]},
        "Column": {"anyOf": [{"enum": [*SETTING_COLUMNS, *METRICS]}, noise]},
        "Changes": run | {"description": "Fields of a run, nested; a mapping changes only the keys that it names."},
        "Path": {"enum": ["", *sorted(set(_paths(properties, RunSpec)))]},
        "VariantRuns": {
            "anyOf": [
                {"type": "array", "minItems": 1, "items": {"type": "string"}},
                {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": {"anyOf": [{"$ref": "#/$defs/VariantRun"}, {"type": "null"}]},
                },
            ]
        },
    }


def _paths(properties: Schema, model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted paths of all fields of a run: `epochs`, `network.hidden`."""
    for name in properties:
        yield f"{prefix}{name}"
        for inner in _inner_models(model.model_fields[name].annotation):
            yield from _paths(dict.fromkeys(inner.model_fields), inner, f"{prefix}{name}.")


def _inner_models(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for argument in get_args(annotation) for model in _inner_models(argument)}


def _partial(run: Schema) -> Schema:
    """The schema of any part of a run: nothing is required, and a union is any of its members.

    Without a seed, which the configuration gives; and with `30 x 32` for thirty layers of 32, which `RunSpec` reads
    before it validates.
    """
    hidden = run["$defs"]["NetworkSpec"]["properties"]["hidden"]
    of_one_width = {"type": "string", "pattern": r"^[1-9]\d{0,3} x [1-9]\d*$"}
    run["$defs"]["NetworkSpec"]["properties"]["hidden"] = {
        "anyOf": [{key: hidden.pop(key) for key in ("type", "items")}, of_one_width]
    } | hidden
    del run["properties"]["seed"]

    def loosened(node: Any) -> Any:
        if isinstance(node, list):
            return [loosened(item) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            {"oneOf": "anyOf"}.get(key, key): loosened(value)
            for key, value in node.items()
            if not (key == "required" and isinstance(value, list))
        }

    loose: Schema = loosened(run)
    return {key: value for key, value in loose.items() if key != "title"}
