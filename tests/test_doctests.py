"""The examples in the documentation of the package do what they say."""

import doctest
import importlib
import pkgutil

import pytest

import mlpaper

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mlpaper.__path__, "mlpaper.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    if name == "mlpaper.torch_twin":
        pytest.importorskip("torch", reason="PyTorch is not installed (make twin)")
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in MODULES if "twin" not in name for test in finder.find(importlib.import_module(name))]
    assert sum(len(test.examples) for test in found) > 20
