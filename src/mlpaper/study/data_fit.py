"""What a run asks of its data, checked against its dataset file before any job: sizes, classes, official parts.

Sizes of single classes are not in that file. The smallest class has at most the mean number of images, so what fails
for the mean fails in the job; a class far below the mean may still be found too small there.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlpaper.data.catalog import Catalog
from mlpaper.data.sources import Source
from mlpaper.spec import PARTS, OfficialSplit, PoolSplit, RunSpec, share
from mlpaper.study.validate import Problem


def misfits(spec: RunSpec, datasets: Catalog) -> Iterator[Problem]:
    """What in a specification does not fit its dataset."""
    if spec.dataset.name not in datasets:
        yield Problem(("dataset", "name"), datasets.unknown(spec.dataset.name))
        return
    source = datasets[spec.dataset.name]
    parts, official = source.counts(spec.dataset.parts), source.official
    if not parts:
        text = f"{source.title} has no official {' or '.join(spec.dataset.parts)} part, only [{', '.join(official)}]"
        yield Problem(("dataset", "parts"), text)
        return
    if isinstance(spec.split, PoolSplit):
        yield from _pool(spec.split, source, sum(parts.values()))
    elif missing := [part for part in PARTS if part not in official]:
        text = f"the official split needs an official {missing[0]} part, and {source.title} has none"
        yield Problem(("split", "scheme"), f"{text}: take the split `scheme: pool`")
        return
    elif missing := [part for part in PARTS if part not in parts]:
        text = f"the official split needs the official {missing[0]} part, but the pool is [{', '.join(parts)}]"
        yield Problem(("dataset", "parts"), f"{text}: take [train, test], or the split `scheme: pool`")
    else:
        yield from _official(spec.split, source, parts["train"])
    weights, classes = getattr(spec.loss, "class_weights", None), len(source.classes)
    if isinstance(weights, tuple) and len(weights) != classes:
        text = f"has {len(weights)} weights, but {source.title} has {classes} classes: give one weight per class"
        yield Problem(("loss", "class_weights"), text)
    height, width, *colours = source.shape
    if spec.augmentation.any and (colours or height != width):
        key = "shift" if spec.augmentation.shift else "rotation"
        text = f"is for square grey images; those of {source.title} are {' x '.join(map(str, source.shape))}"
        yield Problem(("augmentation", key), f"{text}: leave `augmentation` out")
    elif spec.augmentation.shift >= width:
        text = f"a shift of {spec.augmentation.shift} pixels can move a whole image out of sight; images have {width}"
        yield Problem(("augmentation", "shift"), f"{text} a side, so take {width - 1} or less")


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
