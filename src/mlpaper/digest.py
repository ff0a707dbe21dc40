"""Digests of code: what a rule's `params` carry so that Snakemake sees changes in imported modules.

The digest of a module covers its own code, the kernels of the same name beside it (`.cu`), and the code of every module
of this package that it imports, directly or not, read from the syntax trees without importing anything. One that is
missing is an error. Comments, docstrings and formatting do not count, nor do the modules in `NEUTRAL`.
"""

from __future__ import annotations

import ast
import hashlib
import re
from functools import cache
from pathlib import Path

PACKAGE = "mlpaper"
NEUTRAL = frozenset(
    f"{PACKAGE}.{name}"
    for name in ("data.sources", "devices", "errors", "files", "job_files", "machine", "run_files", "run_store")
)
"""Modules that decide no result: messages, how files are written, read and stored, what is recorded of the machine,
which of several devices works, and addresses. What of a dataset file matters to a pool is told by the job's file, a
parameter of its own (`mlpaper.data.sources.Content`)."""

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
    tree = _WithoutDocstrings().visit(ast.parse(path.read_text(encoding="utf-8")))
    return ast.unparse(tree) + _kernels(path.with_suffix(".cu")), frozenset(_imports(tree))


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
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module is None:
                raise ValueError("relative imports are not followed: write the full name of the module")
            if node.module.split(".")[0] == PACKAGE and _path(node.module) is None:  # half an installation
                raise ModuleNotFoundError(f"No module named {node.module!r}", name=node.module)
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name for name in names if name.split(".")[0] == PACKAGE and _path(name) is not None}


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
