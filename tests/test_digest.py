"""Digests of code: what they see and what they do not."""

import ast
import shutil
from pathlib import Path

import pytest

from mlpaper import digest as digests


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that a test may edit."""
    shutil.copytree(digests.ROOT, tmp_path / "mlpaper", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digests, "ROOT", tmp_path / "mlpaper")
    digests._parsed.cache_clear()
    yield tmp_path / "mlpaper"
    digests._parsed.cache_clear()


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    digests._parsed.cache_clear()


def _all() -> dict[str, str]:
    items = {f"figure {kind}": digests.item_modules("figures", kind) for kind in ("curves", "confusion")}
    return {rule: digests.digest(*modules) for rule, modules in (digests.RULES | items).items()}


def _changed(before: dict[str, str]) -> set[str]:
    return {rule for rule, value in _all().items() if value != before[rule]}


def test_comments_docstrings_and_layout_do_not_count(package: Path) -> None:
    before = _all()
    optim = package / "engine" / "optim.py"
    _edit(optim, '"""The update', '"""Another docstring: the update')
    _edit(optim, "class Optimizer:", "# a comment\n\n\nclass Optimizer:")
    _edit(optim, "self.clip = backend.ops", "self.clip = (backend.ops)")
    assert _changed(before) == set()


def test_a_change_reaches_the_rules_that_import_it_and_no_others(package: Path) -> None:
    before = _all()
    _edit(package / "engine" / "optim.py", "if self.decay.l2:", "if self.decay.l2 > 0:")
    assert "train" in _changed(before)
    assert not _changed(before) & {"prepare", "split", "study", "numbers", "paper", "figure curves", "figure confusion"}
    before = _all()
    _edit(package / "paper" / "figures" / "curves.py", "import", "import sys as _unused\nimport")
    assert _changed(before) == {"figure curves"}
    before = _all()
    _edit(package / "engine" / "ops" / "kernels.py", "squares = 0.0", "squares = 0.5")
    assert "train" in _changed(before), "operations are imported inside a function, and count"


def test_kernels_count_and_their_comments_do_not(package: Path) -> None:
    before, kernels = _all(), package / "engine" / "ops" / "gpu.cu"
    _edit(kernels, "// ---- images", "// ---- pictures")
    _edit(kernels, "KERNEL gather(", "KERNEL  gather(")
    assert _changed(before) == set()
    _edit(kernels, "real sum = 0;", "real sum = 1;")
    assert "train" in _changed(before)


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ValueError, match="no_such_module is not a module"):
        digests.digest("mlpaper.no_such_module")


def test_what_a_command_imports_is_in_the_digest_of_its_rule() -> None:
    tree = ast.parse((digests.ROOT / "cli.py").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for rule, modules in (item for item in digests.RULES.items() if item[0] != "twin"):
        covered = digests.closure(*modules) | digests.NEUTRAL
        used = digests._imports(functions[rule]) - {"mlpaper.digest", "mlpaper.torch_twin"}
        assert used <= covered | {"mlpaper.spec", "mlpaper.paper.jobs", "mlpaper.engine"}, rule  # an empty package


def test_addresses_and_messages_retrain_nothing(package: Path) -> None:
    before = _all()
    _edit(package / "data" / "sources.py", "must end in `/`", "needs a `/` at its end")
    _edit(package / "errors.py", "did you mean", "perhaps")
    assert _changed(before) == set()


def test_what_is_remembered_is_the_same_and_an_edit_is_seen(package: Path, tmp_path: Path) -> None:
    """The file is by content: a second call parses nothing, and edited code is another key."""
    with digests.remembered(tmp_path / "code.json"):
        before = _all()
    digests._known.clear()
    digests._parsed.cache_clear()
    parse = ast.parse
    try:
        ast.parse = None  # type: ignore[assignment]
        with digests.remembered(tmp_path / "code.json"):
            assert _all() == before
    finally:
        ast.parse = parse
    _edit(package / "engine" / "optim.py", "import", "import os\nimport")
    with digests.remembered(tmp_path / "code.json"):
        assert _all()["train"] != before["train"]


def test_a_damaged_memory_is_made_again(package: Path, tmp_path: Path) -> None:
    before = _all()
    (tmp_path / "code.json").write_text('{"half')
    digests._known.clear()
    digests._parsed.cache_clear()
    with digests.remembered(tmp_path / "code.json"):
        assert _all() == before
    assert digests.read_json(tmp_path / "code.json")
