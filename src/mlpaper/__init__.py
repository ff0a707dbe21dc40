"""Published studies of multilayer perceptrons, reproduced from raw data to a typeset paper.

The functions for notebooks and scripts are those of `mlpaper.api`, imported when one of them is first used:
``import mlpaper`` loads neither NumPy nor anything else. (`digest` follows import statements: here must be none.)
"""

__version__ = "0.1.0"
__all__ = [
    "ConfigurationError",
    "DataError",
    "MlpaperError",
    "claims",
    "judge",
    "load_data",
    "load_spec",
    "load_study",
    "make_spec",
    "measure",
    "open_run",
    "results",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(__import__("importlib").import_module("mlpaper.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
