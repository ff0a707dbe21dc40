"""`config.yaml`, and the scales that it may name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from mlpaper.data.mirror import parse_mirror
from mlpaper.spec import DatasetName, Flag, Model, Part, Positive, Seed
from mlpaper.study.schema.names import Name, Text
from mlpaper.study.yaml_file import scalar

RUN = r"[a-z0-9*-]+\.[A-Za-z0-9*_-]+"
"""`<study>.<run>`, where `*` stands for anything."""

SEEDS_OF = f"[a-z0-9-]+|{RUN}"
Runs = Annotated[str, Field(pattern=f"^{RUN}$")]
SeedsOf = Annotated[str, Field(pattern=f"^({SEEDS_OF})$")]


def plain(value: Any) -> Any:
    """A value with its texts read as YAML: after `--config`, Snakemake takes items of lists as text.

    >>> plain(["0", "1"]), plain("auto")
    ([0, 1], 'auto')
    """
    if isinstance(value, str):
        return scalar(value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


class Settings(Model):
    """`config.yaml`: what a user changes. Flat, so that every key can be given after `--config`."""

    studies: tuple[str, ...] | Literal["all", "extra"] = "all"
    """Studies to reproduce: `all` but those that say `extra: true`, `extra` for those alone, or a list of names of
    files in `workflow/studies/`."""
    seeds: tuple[Seed, ...] | dict[SeedsOf, tuple[Seed, ...]] | Literal["auto"] = "auto"
    """Seeds that every run is repeated over: a list for all runs; or lists by study and by run, `<study>.<run>`, where
    `*` stands for anything. A run's own name counts before a pattern, a pattern before its study. `auto`, and studies
    that are not named, take the scale's own."""
    scale: str = "paper"
    """Name of a file in `workflow/scales/`."""
    mirror: str | None = None
    """A folder (a path or a `file://` URL) or an http(s) URL, laid out `<dataset>/<file>`, tried before all other
    sources; null, `none` or empty for none."""
    emnist_parts: tuple[Part, ...] = ("train", "test")
    """Official parts of EMNIST that form the pool."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train: a GPU, the CPU, or for `auto` a GPU where there is one."""
    placement: Literal["auto", "resident", "streamed"] = "auto"
    """Where a GPU finds the images: in its own memory, or sent in parts; `auto` takes the first where they fit."""
    pdf: Literal["auto", "latex", "typst", "none"] = "auto"
    """How the PDF is made: `auto` takes LaTeX where it is installed and has the characters of the texts, else Typst."""
    twin: Literal["auto", "always", "never"] = "auto"
    """Whether runs of the engine `torch` are made: `auto` makes them where PyTorch is installed."""
    heavy: Literal["first", "all", "none"] = "first"
    """Runs that their study marks as heavy: made with the first seed, with all of them, or left out. With `first`, a
    run whose own name is in `seeds` is made with all that it has there."""
    leave_out: tuple[Runs, ...] = ()
    """Runs that are not made, as `<study>.<run>`; `*` stands for anything."""

    @field_validator("studies")
    @classmethod
    def _some_studies(cls, value: Any) -> Any:
        if isinstance(value, tuple) and (not value or len(set(value)) != len(value)):
            raise ValueError("must be a list of one or more distinct values")
        return value

    @field_validator("seeds", mode="before")
    @classmethod
    def _known_seeds(cls, value: Any) -> Any:
        value = plain(value)
        if isinstance(value, dict):
            for name, seeds in value.items():
                if not re.fullmatch(SEEDS_OF, name if isinstance(name, str) else ""):
                    raise ValueError(f"is for studies, and for runs as `<study>.<run>`; `{name}` is neither")
                if not _are_seeds(seeds):
                    raise ValueError(f"of `{name}` must be a list of distinct seeds such as [0, 1, 2]")
        elif value != "auto" and not _are_seeds(value):
            raise ValueError("must be `auto`, a list of distinct seeds such as [0, 1, 2], or lists by study or by run")
        return value

    @field_validator("mirror")
    @classmethod
    def _folder_or_url(cls, value: str | None) -> str | None:
        return None if value is None else parse_mirror(value)

    @field_validator("emnist_parts", mode="after")
    @classmethod
    def _known_order(cls, value: tuple[Part, ...]) -> tuple[Part, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("must be [train, test], [test] or [train]")
        ordered: tuple[Part, ...] = ("train", "test")
        return tuple(part for part in ordered if part in value)


def _are_seeds(value: Any) -> bool:
    """Whether these are distinct seeds."""
    if not isinstance(value, (list, tuple)) or not value or not all(type(seed) is int for seed in value):
        return False
    return len(set(value)) == len(value) and min(value) >= 0 and max(value) < 2**32


class Scale(Model):
    """`workflow/scales/*.yaml`: what a scale changes in every run of every study."""

    description: Text
    watermark: Text | None = None
    """Printed over every figure, table and page of this scale."""
    seeds: tuple[Seed, ...]
    """Seeds that every run is repeated over where the configuration says `auto`."""
    study_seeds: dict[Name, tuple[Seed, ...]] = {}
    """Seeds of the runs of some studies, in place of `seeds`."""
    noise_seeds: Positive
    """Repetitions of every noise level."""
    dataset: DatasetName | None = None
    """Replaces every study's dataset."""
    epochs_divisor: Positive = 1
    """Epochs, and updates where a run is stopped after some, are divided by this (at least 2 remain)."""
    max_batch_size: Positive | None = None
    max_width: Positive | None = None
    withhold: Flag = True
    """Whether studies' `withhold_per_class` is applied."""
    heavy: Flag = True
    """Whether runs that a study marks as heavy are heavy at this scale."""

    @field_validator("seeds", "study_seeds")
    @classmethod
    def _distinct_seeds(cls, value: Any) -> Any:
        if not all(map(_are_seeds, value.values() if isinstance(value, dict) else [value])):
            raise ValueError("must be a list of distinct seeds such as [0, 1, 2]")
        return value
