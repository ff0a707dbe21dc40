"""The target of compiled code: this processor, or this processor with fewer instructions.

``MLPAPER_ISA`` names the largest instruction set to use: ``generic`` (the baseline of the architecture), ``avx2`` or
``avx512``. Benchmarks and tests set it. ``avx2`` and ``avx512`` give the same results, bit for bit.
"""

from __future__ import annotations

import os
from functools import cache

from llvmlite import binding

from mlpaper.errors import ConfigurationError, nearest

VARIABLE = "MLPAPER_ISA"
NEEDED = {"generic": "", "avx2": "fma", "avx512": "avx512f"}
"""The feature that an instruction set requires."""
WITHOUT = {"avx2": ("avx512", "avx10"), "avx512": ("none",)}
"""Prefixes of the features to switch off."""


@cache
def target() -> tuple[str, str]:
    """Name and features of the target, for LLVM.

    Raises
    ------
    ConfigurationError
        ``MLPAPER_ISA`` is unknown, or this processor does not have it.
    """
    name, features = binding.get_host_cpu_name(), binding.get_host_cpu_features()
    chosen = os.environ.get(VARIABLE, "")
    if not chosen:
        return name, features.flatten()
    if chosen not in NEEDED:
        raise ConfigurationError(
            f"{VARIABLE}: `{chosen}` is unknown{nearest(chosen, NEEDED)}; allowed are {', '.join(NEEDED)}"
        )
    if NEEDED[chosen] and not features.get(NEEDED[chosen]):
        raise ConfigurationError(f"{VARIABLE}: this processor ({name}) does not have {chosen}")
    if chosen == "generic":
        return "generic", ""
    for feature in features:
        if feature.startswith(WITHOUT[chosen]):
            features[feature] = False
    return name, features.flatten()


def has(feature: str) -> bool:
    """Whether compiled code may use a feature, by LLVM's name."""
    return f"+{feature}" in target()[1].split(",")
