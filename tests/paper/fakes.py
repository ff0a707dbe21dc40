"""Run folders, datasets and splits that look real, made in milliseconds; the tests' and the eye's material."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from mlpaper.evaluate.predict import calibrated, calibration_columns
from mlpaper.files import write_json, write_npz, write_parquet
from mlpaper.spec import NetworkSpec, PoolSpec, RunSpec

BYMERGE = tuple("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt")
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SIGMAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)

TWIN = RunSpec(dataset=PoolSpec(name="digits"), network=NetworkSpec(hidden=(400, 240, 120)), engine="torch")
CONFUSED = (("O", "0", 0.31), ("L", "1", 0.22), ("I", "1", 0.42), ("q", "9", 0.27), ("F", "f", 0.2))
"""True class, predicted class, and how many are mistaken for each that is right."""

L2 = {"l2": 0.01, "decoupled": 0.0, "parameters": "weights"}


def spec(seed: int, **changes: Any) -> dict[str, Any]:
    base = RunSpec(dataset=PoolSpec(name="emnist_bymerge"), seed=seed).model_dump(mode="json")
    return base | changes


def sweep(positions: dict[str, float | None], name: str = "width") -> tuple[dict[str, Any], ...]:
    """Entries of a sweep over runs at these positions."""
    return tuple(
        {"sweep": name, "label": "hidden units", "logarithmic": name == "width"}
        | {"run": run, "point": run, "position": position}
        for run, position in positions.items()
    )


def history(epochs: int, top: float, seed: int) -> dict[str, list[Any]]:
    random = np.random.default_rng(seed)
    epoch = np.arange(1, epochs + 1)
    learnt = 1 - np.exp(-epoch / 4)
    wobble = 0.002 * random.standard_normal(epochs).cumsum() / np.sqrt(epoch)
    train, validation = (top + 0.02) * learnt + wobble, top * learnt + 0.004 * random.standard_normal(epochs)
    return {
        "epoch": epoch.tolist(),
        "step": (100 * epoch).tolist(),
        "lr": [1e-3] * epochs,
        "train_loss": (3.0 * (1.08 - train)).tolist(),
        "train_accuracy": train.tolist(),
        "validation_loss": (3.0 * (1.08 - validation) + 0.002 * epoch).tolist(),
        "validation_accuracy": validation.tolist(),
        "seconds": [1.0] * epochs,
    }


def run(
    root: Path,
    name: str,
    seed: int,
    *,
    classes: tuple[str, ...] = BYMERGE,
    accuracy: float = 0.88,
    epochs: int = 50,
    diverged_after: int | None = None,
    seconds: float = 1.0,
    steps: int = 0,
    parameters: int = 111_791,
    **changes: Any,
) -> str:
    """Write one run's folder and return its path; ``diverged_after`` epochs it diverges (0: within the first).

    An epoch takes `seconds`, and the losses of so many `steps` are kept.
    """
    folder = root / f"{name}-s{seed}"
    write_json(folder / "spec.json", spec(seed, **changes))
    diverged = diverged_after is not None
    rows = history(epochs if diverged_after is None else diverged_after + 1, accuracy, seed)
    rows["seconds"] = [seconds] * len(rows["epoch"])
    if diverged:
        for column in rows:
            if "loss" in column or "accuracy" in column:
                rows[column][-1] = float("nan")
        if diverged_after and diverged_after > 1:
            rows["train_loss"][-2] = rows["validation_loss"][-2] = 4e4
    write_parquet(folder / "history.parquet", rows)
    length = len(rows["epoch"])
    outcome = "diverged" if diverged else "finished" if length == 50 else "stopped_early"
    summary = {"diverged_at_step": 100 * length if diverged else None, "epochs": length, "kept_epoch": length - 1}
    facts = {"steps": 100 * length, "parameters": parameters, "seconds": 60.0 * seconds + seed, "device": "cpu"}
    facts |= {"peak_memory_bytes": 2**28, "machine": {"processor": "A processor"}}
    write_json(folder / "run.json", {"outcome": outcome} | summary | facts)
    _evaluate(folder, seed, classes, accuracy, outcome)
    write_parquet(folder / "gradients.parquet", gradients(seed, diverged))
    write_parquet(folder / "steps.parquet", losses(seed, steps))
    return str(folder)


def gradients(seed: int, diverged: bool, layers: int = 8) -> dict[str, list[Any]]:
    """Norms that shrink towards the pixels; after training the first two are zero, or all are missing."""
    initial = [10.0 ** (layer - layers - seed / 4) for layer in range(layers)]
    trained = [float("nan")] * layers if diverged else [0.0, 0.0, *initial[2:]]
    return {
        "moment": ["initialisation"] * layers + ["trained"] * layers,
        "layer": [*range(layers), *range(layers)],
        "norm": initial + trained,
    }


def losses(seed: int, steps: int) -> dict[str, np.ndarray]:
    """A loss that falls from that of guessing, noisier from step to step than from epoch to epoch."""
    step = np.arange(1, steps + 1)
    loss = 0.3 + 2 * np.exp(-6 * step / max(steps, 1))
    noise = np.random.default_rng(seed).lognormal(sigma=0.4, size=steps)
    return {"step": step, "loss": loss * noise, "lr": np.full(steps, 1e-3)}


def _evaluate(folder: Path, seed: int, classes: tuple[str, ...], accuracy: float, outcome: str) -> None:
    columns = predictions(classes, accuracy, seed)
    bins = calibrated(columns)
    test: dict[str, Any] = {"accuracy": None, "macro_f1": None, "cross_entropy": None, "calibration_error": None}
    test["samples"] = len(columns["label"])
    per_class: list[dict[str, Any]] = []
    if outcome != "diverged":
        test |= {"accuracy": accuracy, "macro_f1": accuracy - 0.03, "cross_entropy": 1.2 - accuracy}
        test["calibration_error"] = bins.error
        scores = class_scores(classes, accuracy, seed)
        same = {"precision": 0.9, "recall": 0.9, "support": 100}
        per_class = [{"class": c, "f1": f1} | same for c, f1 in zip(classes, scores, strict=True)]
        write_npz(folder / "confusion.npz", {"matrix": confusion(classes, seed)})
        sigma = np.repeat(SIGMAS, 2)
        chance = 1 / len(classes)
        falling = chance + (accuracy - chance) / (1 + (sigma / 0.22) ** 4) + 0.01 * np.tile([-1, 1], 6) * (sigma > 0)
        levels = {"sigma": sigma, "noise_seed": np.tile([0, 1], 6), "accuracy": falling, "cross_entropy": 3 * sigma}
        write_parquet(folder / "robustness.parquet", levels)
    write_parquet(folder / "predictions.parquet", columns)
    rows = calibration_columns(bins).items()
    write_parquet(folder / "calibration.parquet", {k: v[:0] if outcome == "diverged" else v for k, v in rows})
    write_json(folder / "evaluation.json", {"outcome": outcome, "test": test, "per_class": per_class})


def class_scores(classes: tuple[str, ...], accuracy: float, seed: int) -> list[float]:
    """F1 of every class, higher for larger ones."""
    sizes = np.array(class_sizes(classes))
    wobble = 0.05 * np.random.default_rng(seed).random(len(classes))
    low = np.array([0.3 * any(c in pair for pair in CONFUSED) for c in classes])
    return [float(f1) for f1 in np.clip(accuracy - low - 0.1 * (sizes < 100) - wobble, 0, 1)]


def predictions(classes: tuple[str, ...], accuracy: float, seed: int) -> dict[str, np.ndarray]:
    """Predictions of the test images: most are right, and the others rather those of `CONFUSED`."""
    labels, index = _labels(classes), _split(classes)["test"]
    random = np.random.default_rng(seed)
    label = labels[index]
    partners = np.arange(len(classes))
    for true, predicted, _ in CONFUSED:
        if true in classes:
            partners[classes.index(true)] = classes.index(predicted)
    wrong = np.where(
        (partners[label] != label) & (random.random(len(label)) < 0.8),
        partners[label],
        random.integers(0, len(classes), len(label)),
    )
    confidence = np.clip(1 - random.exponential(0.15, len(label)), 0.1, 1).astype(np.float32)
    right = random.random(len(label)) < np.clip(confidence * accuracy / 0.86, 0, 1)
    return {
        "index": index,
        "label": label.astype(np.int16),
        "prediction": np.where(right, label, wrong).astype(np.int16),
        "confidence": confidence,
        "log_probability": np.where(right, np.log(confidence), -3.0).astype(np.float32),
    }


def confusion(classes: tuple[str, ...], seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    k = len(classes)
    counts = random.poisson(1.5, (k, k)) * (random.random((k, k)) < 0.3) + np.diag(random.integers(300, 2000, k))
    for true, predicted, share in CONFUSED:
        if true in classes:
            i, j = classes.index(true), classes.index(predicted)
            counts[i, j] = share * counts[i, i]
    return counts.astype(np.int64)


def class_sizes(classes: tuple[str, ...]) -> list[int]:
    return [40 + (37 * k) % 23 * 8 for k in range(len(classes))]


@cache
def _labels(classes: tuple[str, ...]) -> np.ndarray:
    return np.repeat(np.arange(len(classes)), class_sizes(classes))


def _split(classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    tenths = np.arange(len(_labels(classes))) % 10
    chosen = {"train": tenths < 7, "validation": tenths == 7, "test": tenths > 7}
    return {part: np.flatnonzero(rows) for part, rows in chosen.items()}


def dataset(classes: tuple[str, ...]) -> tuple[SimpleNamespace, SimpleNamespace]:
    """A dataset with uneven classes, and a split of it, with the attributes that figures and tables use."""
    labels = _labels(classes)
    random = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]
    glyphs = []
    for k in range(len(classes)):
        ring = np.hypot(x - 13.5 + k % 5 - 2, y - 13.5) - 7 - k % 3
        bar = np.abs((x - 14) * np.cos(k) + (y - 14) * np.sin(k))
        inside = (np.abs(x - 14) < 10) & (np.abs(y - 14) < 10)
        glyphs.append(np.clip(255 * np.maximum(1.6 - np.abs(ring), (2.2 - bar) * inside), 0, 255))
    noise = random.integers(0, 30, (len(labels), 784))
    images = np.clip(np.reshape(glyphs, (len(classes), 784))[labels] - noise, 0, 255).astype(np.uint8)
    data = SimpleNamespace(images=images, labels=labels, classes=classes, meta={})
    data.picture = lambda row: data.images[row].reshape(28, 28)
    return data, SimpleNamespace(**_split(classes))
