"""Which seeds each run of a study is repeated over, as the configuration and the scale say."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from mlpaper.errors import nearest
from mlpaper.study.schema.settings import Scale, Settings
from mlpaper.study.schema.study import Study
from mlpaper.study.validate import Origin

Seeds = tuple[int, ...]


def seeds_of(study: Study, settings: Settings, scale: Scale, origin: Origin) -> dict[str, Seeds]:
    """Run to its seeds, in the order of the study's runs.

    A run's own name counts before a pattern, a pattern before the name of the study. Of a heavy run only the first seed
    is made (unless `heavy: all`), but all that its own name has.

    Raises
    ------
    ConfigurationError
        Two patterns fit a run, with other seeds.
    """
    asked = settings.seeds
    by_name = asked if isinstance(asked, dict) else {}
    usual = (
        asked if isinstance(asked, tuple) else by_name.get(study.name, scale.study_seeds.get(study.name, scale.seeds))
    )
    found = {}
    for run, entry in study.runs.items():
        name = f"{study.name}.{run}"
        seeds = by_name.get(name) or _of_pattern(name, by_name, origin) or usual
        few = entry.heavy and scale.heavy and settings.heavy != "all" and name not in by_name
        found[run] = seeds[:1] if few else seeds
    return found


def _of_pattern(name: str, by_name: Mapping[str, Seeds], origin: Origin) -> Seeds | None:
    """Seeds of the patterns that fit the run `<study>.<run>`; None where none does."""
    fitting = [key for key in by_name if "." in key and fnmatchcase(name, key)]
    for other in fitting[1:]:
        if by_name[other] != by_name[fitting[0]]:
            text = f"`{fitting[0]}` and `{other}` both fit `{name}`, with other seeds; give those of `{name}` as well"
            raise origin.error(("seeds", other), text, "`seeds`")
    return by_name[fitting[0]] if fitting else None


def check_names(settings: Settings, studies: Mapping[str, Study], available: Iterable[str], origin: Origin) -> None:
    """Every key of `seeds` is a study, or fits a run of the studies that are asked for; other studies' runs may be any.

    Raises
    ------
    ConfigurationError
        One does not; the message has the nearest name.
    """
    available = [*studies, *available]
    runs = [f"{name}.{run}" for name, study in studies.items() for run in study.runs]
    for key in settings.seeds if isinstance(settings.seeds, dict) else ():
        pattern, dot, _ = key.partition(".")
        if not any(fnmatchcase(study, pattern) for study in available):
            text = f"there is no study `{pattern}`{nearest(pattern, available)}"
        elif dot and fnmatch.filter(studies, pattern) and not fnmatch.filter(runs, key):
            text = f"no run is like `{key}`{nearest(key, runs)}"
        else:
            continue
        raise origin.error(("seeds", key), text, "`seeds`")
