"""What a run asks of its data, checked against the registry before any job: sizes, classes, official parts.

Sizes of single classes are not in the registry. The smallest class has at most the mean number of images, so what fails
for the mean fails in the job; a class far below the mean may still be found too small there.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlpaper.data import SIDE
from mlpaper.data.sources import Source, get_source
from mlpaper.spec import OfficialSplit, PoolSplit, RunSpec, share
from mlpaper.study.validate import Problem


def misfits(spec: RunSpec) -> Iterator[Problem]:
    """What in a specification does not fit its dataset."""
    source = get_source(spec.dataset.name)
    parts = {part: source.parts[part].count for part in spec.dataset.parts}
    if isinstance(spec.split, PoolSplit):
        yield from _pool(spec.split, source, sum(parts.values()))
    elif missing := [part for part in ("train", "test") if part not in parts]:
        text = f"the official split needs the official {missing[0]} part, but the pool is [{', '.join(parts)}]"
        yield Problem(("dataset", "parts"), f"{text}: take [train, test], or the split `scheme: pool`")
    else:
        yield from _official(spec.split, source, parts["train"])
    weights, classes = getattr(spec.loss, "class_weights", None), len(source.classes)
    if isinstance(weights, tuple) and len(weights) != classes:
        text = f"has {len(weights)} weights, but {source.title} has {classes} classes: give one weight per class"
        yield Problem(("loss", "class_weights"), text)
    if spec.augmentation.shift >= SIDE:
        text = f"a shift of {spec.augmentation.shift} pixels can move a whole image out of sight; images have {SIDE}"
        yield Problem(("augmentation", "shift"), f"{text} a side, so take {SIDE - 1} or less")


def _pool(split: PoolSplit, source: Source, count: int) -> Iterator[Problem]:
    """Every class must have an image in each of the three sets."""
    mean = count // len(source.classes)
    left = mean - split.withhold_per_class
    sizes = f"{source.title} has {mean:,} images per class in this pool (mean)"
    if left < 3:
        text = f"withholds {split.withhold_per_class:,} images per class, but {sizes}: withhold fewer"
        yield Problem(("split", "withhold_per_class"), text)
        return
    for name, fraction in (("train", split.train), ("validation", split.validation)):
        if not share(fraction, left):
            text = (
                f"{fraction:g} of the images of a class is less than one image: {sizes}, {left:,} of them to be split"
            )
            yield Problem(("split", name), text)


def _official(split: OfficialSplit, source: Source, count: int) -> Iterator[Problem]:
    """The training part must hold the subset, and the subset the validation set, with images of every class in each."""
    classes, pool = len(source.classes), f"the {count:,} images of {source.title}'s training part"
    if split.subset is not None:
        if not 2 * classes <= split.subset <= count:
            text = f"takes {split.subset:,} of {pool}: take {2 * classes} to {count:,}, so that all {classes} classes"
            yield Problem(("split", "subset"), f"{text} can be trained and validated on")
            return
        count, pool = split.subset, f"a subset of {split.subset:,} images"
    if isinstance(split.validation, float):
        if not share(split.validation, count // classes):
            text = f"holds out {split.validation:g} of {pool}, less than one image of each of the {classes} classes"
            yield Problem(("split", "validation"), f"{text}: hold out more")
    elif not classes <= split.validation <= count - classes:
        text = f"holds out {split.validation:,} of {pool}: hold out {classes} to {count - classes:,}, so that all"
        yield Problem(("split", "validation"), f"{text} {classes} classes can be trained and validated on")
