"""Settings of a run in words, from its specification."""

from __future__ import annotations

from typing import Any

from mlpaper.paper import format as fmt

ADAM = (0.9, 0.999, 1e-8)
"""beta1, beta2 and epsilon that Kingma and Ba (2015) recommend, and that need no mention."""


def hidden(spec: dict[str, Any]) -> str:
    """Widths of the hidden layers: `400, 240, 120`."""
    return ", ".join(map(str, spec["network"]["hidden"])) or "none"


def optimizer(spec: dict[str, Any]) -> str:
    """`SGD, momentum 0.9`; Adam's settings only where they are not the recommended ones."""
    chosen = spec["optimizer"]
    if chosen["name"] == "sgd":
        return f"SGD, momentum {fmt.short(chosen['momentum'])}" if chosen["momentum"] else "SGD"
    settings = tuple(chosen[name] for name in ("beta1", "beta2", "epsilon"))
    return "Adam" if settings == ADAM else f"Adam ({', '.join(map(fmt.short, settings))})"


def schedule(spec: dict[str, Any]) -> str:
    """What happens to the learning rate from epoch to epoch."""
    chosen = spec["schedule"]
    if chosen["name"] == "linear":
        floor = f", at least {fmt.short(chosen['minimum'])}" if chosen["minimum"] else ""
        return f"−{fmt.short(chosen['alpha'])} per epoch{floor}"
    if chosen["name"] == "exponential":
        return f"× {fmt.short(chosen['gamma'])} per epoch"
    return str(chosen["name"])


def stopping(spec: dict[str, Any]) -> str:
    """How long early stopping waits, and for what."""
    return f"{patience(spec)}, on {watch(spec)}" if spec["early_stopping"] else "none"


def patience(spec: dict[str, Any]) -> str:
    """Epochs that early stopping waits."""
    return str(spec["early_stopping"]["patience"]) if spec["early_stopping"] else "none"


def watch(spec: dict[str, Any]) -> str:
    """What early stopping watches, and which weights are kept; nothing without early stopping."""
    chosen = spec["early_stopping"]
    if chosen is None:
        return ""
    gain = f" (by more than {fmt.short(chosen['min_delta'])})" if chosen["min_delta"] else ""
    kept = "best" if chosen["restore_best"] else "last"
    return f"{chosen['monitor'].replace('_', ' ')}{gain}; the {kept} epoch's weights are kept"


def name(value: str) -> str:
    """A setting's value as it is written in print.

    >>> name("relu"), name("he_normal"), name("mean")
    ('ReLU', 'He normal', 'mean')
    """
    return {"relu": "ReLU", "he_normal": "He normal"}.get(value, value.replace("_", " "))
