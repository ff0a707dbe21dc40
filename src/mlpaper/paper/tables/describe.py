"""Settings of a run in words, from its specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlpaper.paper import number_format as fmt

ADAM = (0.9, 0.999, 1e-8)
"""beta1, beta2 and epsilon that Kingma and Ba (2015) recommend, and that need no mention."""


ABSENT = "none"
"""What a setting is called that a run does not have."""

MANY = 3
"""Hidden layers above which equal ones are counted instead of listed."""

NAMES = {
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "pytorch": "PyTorch's default",
}
LOSSES = {
    "cross_entropy": "cross-entropy",
    "squared_error": "squared error",
    "absolute_error": "absolute error",
}


def hidden(spec: dict[str, Any]) -> str:
    """Widths of the hidden layers: `400, 240, 120`; more than three equal ones as `30 × 32`."""
    widths = spec["network"]["hidden"]
    if len(widths) > MANY and len(set(widths)) == 1:
        return f"{len(widths)} × {widths[0]}"
    return ", ".join(map(str, widths)) or "none"


def within(spec: dict[str, Any]) -> str:
    """What hidden layers have besides weights and activation: `batch norm, dropout 0.3`."""
    network = spec["network"]
    parts = []
    if network["residual"]:
        parts.append(
            "residual, each layer" if network["residual"] == 1 else f"residual, every {network['residual']} layers"
        )
    if network["batch_norm"]:
        parts.append("batch norm")
    if network["dropout"]:
        parts.append(f"dropout {fmt.short(network['dropout'])}")
    return ", ".join(parts) or ABSENT


def initializer(spec: dict[str, Any]) -> str:
    """`He normal`, or `uniform ±0.5, biases too`."""
    chosen = spec["network"]["initializer"]
    if isinstance(chosen, str):
        return name(chosen)
    return f"uniform ±{fmt.short(chosen['bound'])}" + (", biases too" if chosen["biases"] else "")


def images(spec: dict[str, Any], datasets: Mapping[str, str]) -> str:
    """The dataset, and how many of its training images are used where not all are."""
    pool, split = spec["dataset"], spec["split"]
    parts = "" if len(pool["parts"]) > 1 else f", official {pool['parts'][0]} part"
    few = f", {split['subset']:,} training images" if split.get("subset") else ""
    return f"{datasets[pool['name']]}{parts}{few}"


def pixels(spec: dict[str, Any]) -> str:
    """How pixels are standardised."""
    mean, std = (fmt.short(spec["input"][key]) for key in ("mean", "std"))
    return ABSENT if (mean, std) == ("0", "1") else f"(x − {mean}) / {std}"


def augmentation(spec: dict[str, Any]) -> str:
    """How training images are deformed: `shift ≤ 2 px, rotation ≤ 10°`."""
    chosen = spec["augmentation"]
    parts = [f"shift ≤ {chosen['shift']} px"] if chosen["shift"] else []
    parts += [f"rotation ≤ {fmt.short(chosen['rotation'])}°"] if chosen["rotation"] else []
    return ", ".join(parts) or ABSENT


def loss(spec: dict[str, Any]) -> str:
    """`cross-entropy`, with what is unusual about it."""
    chosen = spec["loss"]
    parts = [LOSSES[chosen["name"]]]
    if chosen.get("label_smoothing"):
        parts.append(f"label smoothing {fmt.short(chosen['label_smoothing'])}")
    if weights := chosen.get("class_weights"):
        parts.append("balanced classes" if weights == "balanced" else "weighted classes")
    return ", ".join(parts)


def optimizer(spec: dict[str, Any]) -> str:
    """`SGD, momentum 0.9`; Adam's settings only where they are not the recommended ones."""
    chosen = spec["optimizer"]
    if chosen["name"] == "sgd":
        kind = "Nesterov momentum" if chosen.get("nesterov") else "momentum"
        return f"SGD, {kind} {fmt.short(chosen['momentum'])}" if chosen["momentum"] else "SGD"
    settings = tuple(chosen[name] for name in ("beta1", "beta2", "epsilon"))
    called = "AdamW" if spec["decay"]["decoupled"] else "Adam"
    return called if settings == ADAM else f"{called} ({', '.join(map(fmt.short, settings))})"


def schedule(spec: dict[str, Any]) -> str:
    """What happens to the learning rate from epoch to epoch, or from update to update."""
    chosen = spec["schedule"]
    unit = "update" if chosen.get("per") == "step" else "epoch"
    floor = f", at least {fmt.short(chosen['minimum'])}" if chosen.get("minimum") else ""
    match chosen["name"]:
        case "linear":
            described = f"−{fmt.short(chosen['alpha'])} per {unit}{floor}"
        case "exponential":
            described = f"× {fmt.short(chosen['gamma'])} per {unit}"
        case "step":
            described = f"× {fmt.short(chosen['gamma'])} every {chosen['every']:,} {unit}s"
        case "cosine":
            described = f"cosine to {fmt.short(chosen['minimum'])}"
        case other:
            described = str(other)
    warmup = chosen.get("warmup")
    return f"{described}, after {warmup:,} {unit}{'s' * (warmup > 1)} of warm-up" if warmup else described


def batch(spec: dict[str, Any]) -> str:
    """Images of a batch."""
    return "full" if spec["batch_size"] == "full" else f"{spec['batch_size']:,}"


def length(spec: dict[str, Any]) -> str:
    """Epochs, and updates where these may end sooner."""
    updates = spec.get("updates")
    return f"{spec['epochs']:,} (at most {updates:,} updates)" if updates else f"{spec['epochs']:,}"


def engine(spec: dict[str, Any]) -> str:
    """Whose code trains."""
    return "PyTorch" if spec.get("engine") == "torch" else "mlpaper"


def stopping(spec: dict[str, Any]) -> str:
    """How long early stopping waits, and for what."""
    return f"{patience(spec, gain=True)}, on {watch(spec)}" if spec["early_stopping"] else ABSENT


def patience(spec: dict[str, Any], gain: bool = False) -> str:
    """Epochs that early stopping waits, with the least `gain` that counts where asked."""
    chosen = spec["early_stopping"]
    if not chosen:
        return ABSENT
    return (
        f"{chosen['patience']} (> {fmt.short(chosen['min_delta'])})"
        if gain and chosen["min_delta"]
        else str(chosen["patience"])
    )


def watch(spec: dict[str, Any]) -> str:
    """What early stopping watches, and which weights are kept; nothing without early stopping."""
    chosen = spec["early_stopping"]
    if chosen is None:
        return ""
    kept = "best" if chosen["restore_best"] else "last"
    return f"{chosen['monitor'].replace('_', ' ')}; the {kept} epoch's weights are kept"


def name(value: str) -> str:
    """A setting's value as it is written in print.

    >>> name("relu"), name("he_normal"), name("xavier_uniform"), name("mean")
    ('ReLU', 'He normal', 'Xavier uniform', 'mean')
    """
    words = value.replace("_", " ").replace("xavier", "Xavier").replace("he ", "He ")
    return NAMES.get(value, words)
