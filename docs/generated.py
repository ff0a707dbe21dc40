"""Pages of the reference that are written from the code: a Sphinx extension.

A fence such as ``{models} mlpaper.spec`` in a page is replaced by Markdown before the page is parsed:

- ``{models} MODULE:MODEL``: the keys of a pydantic model, then those of all other models of its module.
- ``{model} MODULE:MODEL``: the keys of one model.
- ``{types} MODULE``: the types of text that a module names.
- ``{metrics}``: the metrics of a run.
- ``{datasets}``: the datasets of the project.
- ``{gallery}``: every SVG file in ``docs/gallery``, with its title and the caption of its study.
"""

from __future__ import annotations

import ast
import builtins
import html
import importlib
import inspect
import json
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

from mlpaper.api import load_study
from mlpaper.data.catalog import FOLDER, Catalog
from mlpaper.study.metrics import METRICS
from mlpaper.study.schema import names

DOCS = Path(__file__).parent
TAGS = ("kind", "rule", "name", "scheme", "format")
"""Keys that tell the members of a union apart."""
TEXTS = "mlpaper.study.schema.names"
"""The module whose types have names that a writer of YAML should know."""
NUMBERS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "`true` or `false`"}


# --- models


def models(target: str) -> Iterator[str]:
    """Markdown of a model, and of those of its module that it leads to or that are kinds of it, in the code's order."""
    yield from one_model(target)
    module, first = found(target)
    shown = related(first)
    for model in (it for it in shown_in(module) if it in shown and own(it)):
        yield f"{label(model)}\n## {heading(model)}\n"
        yield from fields(model, own(model))


def shown_in(module: types.ModuleType) -> list[type[BaseModel]]:
    """The models that a module, or one within it, defines."""
    classes = (it for it in vars(module).values() if inspect.isclass(it) and issubclass(it, BaseModel))
    return [it for it in classes if f"{it.__module__}.".startswith(f"{module.__name__}.")]


def related(first: type[BaseModel]) -> set[type[BaseModel]]:
    """The kinds of a model, all models that its fields lead to, and the bases of all these, without its own."""
    shown: set[type[BaseModel]] = set()
    waiting = [first, *first.__subclasses__()]
    while waiting:
        model = waiting.pop()
        if model not in shown:
            shown.add(model)
            waiting += [it for name in model.model_fields for it in leaves(model.model_fields[name].annotation)]
            waiting += [base for base in model.__mro__[1:] if issubclass(base, BaseModel) and model is not first]
    return shown - set(first.__mro__)


def leaves(value: Any) -> list[type[BaseModel]]:
    """The models in a type."""
    if inspect.isclass(value) and issubclass(value, BaseModel):
        return [value]
    return [model for argument in get_args(value) for model in leaves(argument)]


def one_model(target: str) -> Iterator[str]:
    """Markdown of a model that a page is about."""
    model = found(target)[1]
    yield label(model)
    yield from fields(model, list(model.model_fields))


def found(target: str) -> tuple[types.ModuleType, type[BaseModel]]:
    """A module and the model in it that a target names."""
    name, _, model = target.partition(":")
    module = importlib.import_module(name)
    return module, getattr(module, model)


def anchor(model: type[BaseModel]) -> str:
    """Where a page tells of a model; two modules may have models of one name."""
    return f"model-{model.__module__.rpartition('.')[2]}-{model.__name__}".lower()


def label(model: type[BaseModel]) -> str:
    """What links to the model lead to."""
    return f"({anchor(model)})="


def fields(model: type[BaseModel], names: list[str]) -> Iterator[str]:
    """What a model says of itself, and a definition for each of these keys."""
    yield f"{markdown(model.__doc__ or '')}\n"
    for base in (base for base in model.__mro__[1:] if issubclass(base, BaseModel) and own(base)):
        if not set(own(base)) & set(names):
            yield f"It also takes the [common keys](#{anchor(base)}).\n"
    for name in (name for name in names if name != tag_of(model)):
        owner = next(it for it in model.__mro__ if name in inspect.get_annotations(it))
        notes = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs().get((owner.__name__, name), [])
        note = " ".join([markdown(" ".join(notes)).strip(), default(model, name)])
        yield f"`{name}` [{taken(owner, name)}]{{.takes}}\n: {note.strip()}\n"


def own(model: type[BaseModel]) -> list[str]:
    """Keys that a model does not inherit."""
    return [name for name in model.model_fields if name in inspect.get_annotations(model)]


def heading(model: type[BaseModel]) -> str:
    """`kind: curves`, for a member of a union; else the name of the class in words."""
    if tag := tag_of(model):
        return f"`{tag}: {get_args(model.model_fields[tag].annotation)[0]}`"
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", model.__name__.removesuffix("Spec"))
    return " ".join(words).capitalize()


def tag_of(model: type[BaseModel]) -> str | None:
    """The key that tells a member of a union from the others."""
    tags = [tag for tag in TAGS if tag in model.model_fields]
    return next((tag for tag in tags if len(get_args(model.model_fields[tag].annotation)) == 1), None)


def link(model: type[BaseModel]) -> str:
    """A link to the section about a model."""
    return f"[{heading(model)}](#{anchor(model)})"


def taken(model: type[BaseModel], name: str) -> str:
    """What a key takes."""
    return words(
        ast.parse(inspect.get_annotations(model)[name], mode="eval").body, importlib.import_module(model.__module__)
    )


def default(model: type[BaseModel], name: str) -> str:
    """What a key is by default."""
    field = model.model_fields[name]
    if field.is_required():
        return "Required."
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return f"Default: {link(type(value))}, with its own defaults."
    return f"Default: {yaml_of(value)}."


def yaml_of(value: Any) -> str:
    """A plain value as YAML writes it."""
    plain = TypeAdapter(Any).dump_python(value, mode="json")
    return f"`{plain if isinstance(plain, str) and plain else json.dumps(plain)}`"


def words(node: ast.expr, module: types.ModuleType) -> str:
    """A type in words, from its annotation."""
    match node:
        case ast.Constant(value=None):
            return "`null`"
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return joined([words(left, module), words(right, module)])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=items)):
            return joined([f"`{ast.literal_eval(item)}`" for item in items])
        case ast.Subscript(value=ast.Name(id="Literal"), slice=item):
            return f"`{ast.literal_eval(item)}`"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=[item, ast.Constant(value=e)])) if e is ...:
            return f"list of {plural(words(item, module))}"
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=items)):
            members = [words(item, module) for item in items]
            same = len(set(members)) == 1
            return f"list of {len(items)} {plural(members[0])}" if same else f"list of {', '.join(members)}"
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[key, value])):
            return f"mapping of {words(key, module)} to {words(value, module)}"
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[item, *_])):
            return named(TypeAdapter(eval(ast.unparse(node), vars(module))), words(item, module))
        case ast.Name(id=name):
            return of_name(name, getattr(module, name, None) or getattr(builtins, name))
    raise ValueError(f"no words for the type {ast.unparse(node)} in {module.__name__}")


def of_name(name: str, value: Any) -> str:
    """A named type in words: a link where it is a model or a type of text."""
    if (TEXTS, name) in documented():
        return f"[{' '.join(re.findall('[A-Z][a-z]*', name)).lower()}](#type-{name.lower()})"
    if value == names.Metric:
        return "[metric](#metric-table)"
    if value is Any or value is object:
        return "any value"
    if get_args(value) and get_origin(get_args(value)[0]) is dict:
        return "mapping"
    if members := leaves(value):
        return joined([link(member) for member in members])
    return named(TypeAdapter(value), name)


def named(adapter: TypeAdapter[Any], name: str) -> str:
    """A type of numbers, texts or choices in words, from its JSON schema."""
    schema = adapter.json_schema()
    if "enum" in schema:
        return joined([f"`{value}`" for value in schema["enum"]])
    if "anyOf" in schema:
        return joined([bounded(member) for member in schema["anyOf"]])
    return bounded(schema) if schema.get("type") in NUMBERS else name


def bounded(schema: dict[str, Any]) -> str:
    """A number with its bounds, or a text with its pattern."""
    bounds = [
        f"{text} {schema[key]:,}".removesuffix(".0")
        for key, text in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "below"),
        )
        if key in schema
    ]
    pattern = [f"like `{schema['pattern']}`"] if "pattern" in schema else []
    return " ".join(filter(None, [NUMBERS[schema["type"]], " and ".join(bounds), *pattern]))


def joined(parts: list[str]) -> str:
    """Alternatives: ``a, b or c``."""
    return " or ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def plural(text: str) -> str:
    """The plural of a type in words.

    >>> plural("whole number above 0"), plural("[run name](#type-runname)")
    ('whole numbers above 0', '[run names](#type-runname)')
    """
    return re.sub(r"^(\[?(?:[a-z]+ )?(?:number|name|pattern|metric|text))\b", r"\1s", text)


def markdown(docstring: str) -> str:
    """A docstring as Markdown: signs that would be markup are escaped, outside of code."""
    text = inspect.cleandoc(docstring).replace("``", "`")
    parts = re.split(r"(`[^`]*`)", text)
    escaped = (part if part.startswith("`") else re.sub(r"([<_|\[\]$])", r"\\\1", part) for part in parts)
    return "".join(escaped).replace("`RunSpec`", "[`RunSpec`](#model-spec-runspec)")


# --- types of text, metrics, gallery


def documented() -> set[tuple[str, str]]:
    """Types of text with an explanation."""
    found = ModuleAnalyzer.for_module(TEXTS).find_attr_docs()
    return {(TEXTS, name) for (owner, name) in found if not owner and name[0].isupper() and not name.isupper()}


def text_types(module: str) -> Iterator[str]:
    """A definition for every type of text."""
    notes = ModuleAnalyzer.for_module(module).find_attr_docs()
    for name in sorted(name for _, name in documented()):
        yield f"(type-{name.lower()})=\n### {' '.join(re.findall('[A-Z][a-z]*', name)).capitalize()}\n"
        yield f"{markdown(chr(10).join(notes['', name]))}\n"


def metrics(_: str) -> Iterator[str]:
    """A table of all metrics."""
    yield "| metric | what it is | unit | better | file |\n|---|---|---|---|---|"
    for name, metric in METRICS.items():
        better = "lower" if metric.lower_is_better else "higher" if metric.worst is not None else "–"
        unit = {"%": "fraction", "points": "fraction", "": "count"}.get(metric.unit, metric.unit)
        yield f"| `{name}` | {metric.label} | {unit} | {better} | `{FILES[metric.file]}` |"
    about = "accuracy at one level of noise, such as `noise_accuracy_0.3`"
    yield f"| `noise_accuracy_<sigma>` | {about} | fraction | higher | `{FILES['robustness']}` |\n"


FILES = {
    "outcome": "run.json",
    "evaluation": "evaluation.json",
    "history": "history.parquet",
    "robustness": "robustness.parquet",
    "gradients": "gradients.parquet",
}


def datasets(_: str) -> Iterator[str]:
    """A table of all datasets."""
    yield "| name | title | images (training, test) | classes | licence |\n|---|---|---|--:|---|"
    catalog = Catalog(DOCS.parent / "workflow" / FOLDER)
    for source in map(catalog.__getitem__, catalog.names):
        title = f"[{source.title}]({source.homepage})" if source.homepage else source.title
        counts = ", ".join(f"{count:,}" for count in source.counts().values())
        yield f"| `{source.name}` | {title} | {counts} | {len(source.classes)} | {source.licence} |"


def gallery(_: str) -> Iterator[str]:
    """Every figure under its title. The caption is its study's, if the study still has a figure of this name."""
    names = sorted((path.stem for path in (DOCS.parent / "workflow" / "studies").glob("*.yaml")), key=len, reverse=True)
    for path in sorted((DOCS / "gallery").glob("*.svg")):
        title = html.unescape(re.search("<title>(.*?)</title>", path.read_text())[1])
        study = load_study(next(name for name in names if path.stem.startswith(f"{name}-")))
        captions = {f"{study.name}-{figure.name}": figure.caption for figure in study.figures}
        yield f"## {title}\n\n```{{image}} gallery/{path.name}\n:alt: {title}\n:class: sheet\n```\n"
        yield f"{captions.get(path.stem, '')}\n\n*{study.title}* (`{study.name}`)\n"


WRITERS: dict[str, Callable[[str], Iterator[str]]] = {
    "models": models,
    "model": one_model,
    "types": text_types,
    "metrics": metrics,
    "datasets": datasets,
    "gallery": gallery,
}
FENCE = re.compile(rf"^```\{{({'|'.join(WRITERS)})\}} ?(\S*)\n```$", re.MULTILINE)


def write(app: Sphinx, docname: str, source: list[str]) -> None:
    """Replace the fences of a page."""
    source[0] = FENCE.sub(lambda found: "\n".join(WRITERS[found[1]](found[2])), source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True, "version": "1"}
