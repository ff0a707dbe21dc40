"""Digests of code: what a rule's `params` carry so that Snakemake sees changes in imported modules.

The digest of a module covers its own code, the kernels of the same name beside it (`.cu`), and the code of every module
of this package that it imports, directly or not, read from the syntax trees without importing anything. Comments,
docstrings and formatting do not count, nor do the modules in `NEUTRAL`.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mlpaper.errors import StorageError
from mlpaper.files import read_json, write_json

PACKAGE = "mlpaper"
NEUTRAL = frozenset(
    f"{PACKAGE}.{name}" for name in ("data.sources", "devices", "errors", "files", "job_files", "machine")
)
"""Modules that decide no result: messages, how files are written, what is recorded of the machine, which of several
devices works, and addresses. What of a dataset file matters to a pool is told by the job's file, a parameter of its own
(`mlpaper.data.sources.Content`)."""

ROOT = Path(__file__).parent


def digest(*modules: str) -> str:
    """First 12 hexadecimal digits of the SHA-256 over the code of `modules` and of all that they import.

    >>> digest("mlpaper.engine.optim") == digest("mlpaper.engine.optim")
    True
    """
    text = hashlib.sha256()
    for module in sorted(closure(*modules)):
        text.update(f"{module}\0{_parsed(module)[0]}\0".encode())
    return text.hexdigest()[:12]


def closure(*modules: str) -> set[str]:
    """Names of `modules` and of all modules of this package that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found:
            found.add(module)
            waiting.extend(_parsed(module)[1] - NEUTRAL)
    return found


@cache
def _parsed(module: str) -> tuple[str, frozenset[str]]:
    """Code of a module without comments and docstrings, and the modules of this package that it imports."""
    path = _path(module)
    if path is None:
        raise ValueError(f"{module} is not a module of {PACKAGE}")
    source = path.read_text(encoding="utf-8")
    key = hashlib.sha256(f"{sys.version}\0{source}".encode()).hexdigest()
    if key not in _known:
        tree = _WithoutDocstrings().visit(ast.parse(source))
        _known[key] = ast.unparse(tree), sorted(_names(tree))
    code, names = _known[key]
    return code + _kernels(path.with_suffix(".cu")), frozenset(name for name in names if _path(name) is not None)


_known: dict[str, tuple[str, list[str]]] = {}
"""By the hash of a module's source: what follows from it. To parse all modules takes half a second."""


@contextmanager
def remembered(file: Path) -> Iterator[None]:
    """Within, modules that `file` knows are not parsed again; at the end it knows the others as well.

    Snakemake plans in every job of a cluster, too. A file that cannot be read, or be written, costs only time.
    """
    kept: dict[str, tuple[str, list[str]]] = {}
    with contextlib.suppress(OSError, ValueError):
        kept = read_json(file)
    _known.update(kept)
    yield
    if not _known.keys() <= kept.keys():
        with contextlib.suppress(OSError, StorageError):
            write_json(file, _known)


def _kernels(path: Path) -> str:
    """CUDA code without comments and layout; nothing where there is no such file."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return " ".join(re.sub(r"//[^\n]*|/\*.*?\*/", " ", text, flags=re.S).split())


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(tree: ast.AST) -> set[str]:
    """Modules of this package that a syntax tree imports."""
    return {name for name in _names(tree) if _path(name) is not None}


def _names(tree: ast.AST) -> set[str]:
    """What a syntax tree imports of this package, modules or not."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError("relative imports are not followed: write the full name of the module")
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == PACKAGE}


class _WithoutDocstrings(ast.NodeTransformer):
    """Drops every statement that is only a string."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return node


RULES: dict[str, tuple[str, ...]] = {
    "prepare": ("mlpaper.data.prepare",),
    "split": ("mlpaper.data.split", "mlpaper.data.dataset"),
    "train": ("mlpaper.engine.train_job",),
    "twin": ("mlpaper.engine.train_job", "mlpaper.torch_twin"),
    "evaluate": ("mlpaper.evaluate.measure",),
    "confusion": ("mlpaper.evaluate.measure",),
    "robustness": ("mlpaper.evaluate.measure",),
    "gradients": ("mlpaper.evaluate.gradients",),
    "placements": ("mlpaper.evaluate.placements",),
    "study": ("mlpaper.study.results", "mlpaper.study.sampling"),
    "judge": ("mlpaper.study.ledger",),
    "numbers": ("mlpaper.paper.numbers",),
    "paper": ("mlpaper.paper.render",),
    "arxiv": ("mlpaper.paper.arxiv",),
}
"""Entry modules of every rule whose code counts; `twin` is the rule `train` for runs of the engine `torch`.
A download does not count: its bytes are fixed by their hash."""


def item_modules(package: str, kind: str) -> tuple[str, ...]:
    """Entry modules of a figure or table of a kind: `package` is ``figures`` or ``tables``."""
    base = f"{PACKAGE}.paper.{package}"
    return (base, f"{base}.{kind.replace('-', '_')}")
