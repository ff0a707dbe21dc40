"""Types shared by the engine."""

from __future__ import annotations

from typing import Any, TypeAlias

Array: TypeAlias = Any
"""A NumPy or CuPy array. Both have the same interface, and neither is a subtype of the other."""

Scalar: TypeAlias = Any
"""A number, or an array of one number where it lies on a device and its value may change between launches."""
