"""The numbers that a template of the paper may call for: results, settings, differences, facts of the data.

They come from `results/numbers.json` only, so that no sentence can say what no run has shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from mlpaper.errors import RenderError, nearest
from mlpaper.paper import number_format as form
from mlpaper.study import metrics
from mlpaper.study.stats import Summary, paired

Target = Literal["md", "html", "tex", "typ"]
"""What the templates are rendered for; a PDF is rendered from `tex` or `typ`."""

Relation = Literal["above", "below", "level", "diverged", "missing"]
"""How a metric of one run lies to another's: `level` where the interval of the paired difference holds zero."""

DATASETS = form.DATASETS | {"digits": "scikit-learn's handwritten digits"}
PARTS = {"train": "the official training part alone", "test": "the official test part alone"}
POWER = re.compile(r"(-?[\d.]+)e(-?\d+)")


class Numbers:
    """Numbers of the studies, as the templates ask for them.

    Parameters
    ----------
    document
        The content of `results/numbers.json`.
    target
        In HTML, every number carries the runs that it was computed from.

    Raises
    ------
    RenderError
        From every method: there is no such key. The message names the nearest one.
    """

    def __init__(self, document: Mapping[str, Any], target: Target) -> None:
        self.numbers: Mapping[str, dict[str, Any]] = document["numbers"]
        self.diverged: Mapping[str, int] = document["diverged"]
        self.settings: Mapping[str, dict[str, Any]] = document["settings"]
        self.pools: Mapping[str, dict[str, Any]] = document["pools"]
        self.demonstrations: Mapping[str, Any] = document["demonstrations"]
        self.left_out: Mapping[str, str] = document["provenance"]["left_out"]
        self.target = target

    def macros(self) -> dict[str, Callable[..., Any]]:
        """The functions that templates see, by name."""
        names = (
            "num value has_number published published_value published_relation published_difference reproduced "
            "difference relation setting pool pool_value parameters dataset count duration listing demonstration"
        )
        return {name: getattr(self, name) for name in names.split()}

    def has_number(self, key: str) -> bool:
        """Whether `<study>.<run>.<metric>` was measured."""
        return self.numbers.get(key, {}).get("mean") is not None

    def value(self, key: str) -> float | None:
        """Mean over seeds as stored (a fraction, nats, a count), or None where no seed has one: for conditions."""
        mean = self._entry(key)["mean"]
        return None if mean is None else float(mean)

    def num(self, key: str, unit: bool = True) -> str:
        """Mean over seeds, its 95 % interval and its unit: `88.58 ± 0.12 %`."""
        entry = self._entry(key)
        metric, lost = entry["metric"], entry.get("diverged", 0)
        if entry["mean"] is None:
            return self._marked(key, entry, self._absence(key))
        text = form.value(metric, Summary(entry["mean"], entry["half_width"], entry["n"]))
        if unit and form.unit(metric):
            text += form.NO_BREAK_SPACE + form.unit(metric)
        if lost:
            text += f" (over {entry['n']} of {entry['n'] + lost} seeds, the others diverged)"
        return self._marked(key, entry, text)

    def published(self, key: str) -> str:
        """The value that the source publishes, with its unit; an en dash where it gives none."""
        entry = self._entry(key)
        return form.quantity(entry["metric"], entry.get("published"))

    def published_value(self, key: str) -> float | None:
        """The published value as stored, or None: for conditions."""
        published: float | None = self._entry(key).get("published")
        return published

    def reproduced(self, key: str, tolerance: float = 0.005) -> bool:
        """Whether the published value lies within ``tolerance`` of our mean (0.005 is half a point of accuracy)."""
        entry = self._entry(key)
        mean, published = entry["mean"], entry.get("published")
        return mean is not None and published is not None and abs(mean - published) <= tolerance

    def published_relation(self, key: str, tolerance: float = 0.005) -> Relation:
        """How our mean lies to the published value: `level` within ``tolerance``."""
        entry = self._entry(key)
        mean, published = entry["mean"], entry.get("published")
        if mean is None or published is None:
            return "diverged" if entry.get("diverged") else "missing"
        return "level" if self.reproduced(key, tolerance) else ("above" if mean > published else "below")

    def difference(self, study: str, first: str, second: str, metric: str) -> str:
        """``first`` minus ``second``, paired by seed, with its interval: `+6.11 ± 0.20 points`."""
        keys = [f"{study}.{run}.{metric}" for run in (first, second)]
        entries = [self._entry(key) for key in keys]
        summary = paired(*map(_by_seed, entries))
        if summary is None:
            return self._absence(*keys)
        text, seeds = _signed(metric, summary), max(entry["n"] + entry.get("diverged", 0) for entry in entries)
        if summary.n < seeds:
            text += f" (over {summary.n} of {seeds} seeds)"
        return self._marked(" − ".join(keys), _merged(*entries), text)

    def published_difference(self, study: str, first: str, second: str, metric: str) -> str:
        """The same difference between the source's published values."""
        values = [self._entry(f"{study}.{run}.{metric}").get("published") for run in (first, second)]
        if values[0] is None or values[1] is None:
            return form.MISSING
        return _signed(metric, Summary(values[0] - values[1], None, 1))

    def relation(self, study: str, first: str, second: str, metric: str) -> Relation:
        """How ``first`` lies to ``second``; with one seed, by the sign alone."""
        entries = [self._entry(f"{study}.{run}.{metric}") for run in (first, second)]
        summary = paired(*map(_by_seed, entries))
        lost = any(entry.get("diverged") for entry in entries)
        if summary is None or (summary.n == 1 and lost):
            return "diverged" if lost else "missing"
        if abs(summary.mean) <= (summary.half_width or 0.0):
            return "level"
        return "above" if summary.mean > 0 else "below"

    def pool_value(self, study: str, name: str) -> float:
        """A number of a study's dataset as stored: for conditions."""
        return float(self.pools[study][name])

    def parameters(self, run: str) -> str:
        """Trainable parameters of `<study>.<run>`."""
        return self.num(f"{run}.parameters")

    def setting(self, key: str) -> str:
        """A field of a run's specification: `<study>.<run>.optimizer.learning_rate`."""
        run = next((run for run in sorted(self.settings, key=len, reverse=True) if key.startswith(f"{run}.")), None)
        if run is None:
            raise RenderError(f"no run has the setting `{key}`{nearest(key, self.settings)}")
        node: Any = self.settings[run]
        for name in key.removeprefix(f"{run}.").split("."):
            if not isinstance(node, Mapping) or name not in node:
                allowed = node if isinstance(node, Mapping) else ()
                raise RenderError(f"run `{run}` has no setting `{name}` in `{key}`{nearest(name, allowed)}")
            node = node[name]
        return _plain(node)

    def pool(self, key: str) -> str:
        """A fact of a study's data: `<study>.count`."""
        study, _, name = key.partition(".")
        facts = self._pool(study)
        if name not in facts:
            raise RenderError(f"the data of `{study}` have no `{name}`{nearest(name, facts)}")
        value = facts[name]
        return f"{value:.2f}" if isinstance(value, float) else _plain(value)

    def dataset(self, study: str) -> str:
        """The images that a study draws from, in words."""
        name, *parts = self._pool(study)["id"].split(".")
        words = DATASETS.get(name, name)
        return f"{words}, {' and '.join(PARTS[part] for part in parts)}" if parts else words

    def demonstration(self, name: str) -> str:
        """A number, or a list of them, that the theory shows (`mlpaper.evaluate.demonstrations`), as mathematics."""
        if name not in self.demonstrations:
            raise RenderError(f"there is no demonstration `{name}`{nearest(name, self.demonstrations)}")
        found = self.demonstrations[name]
        return ", ".join(map(_digits, found)) if isinstance(found, list) else _digits(found)

    @staticmethod
    def count(value: int) -> str:
        """A count with its thousands set apart."""
        return f"{value:,}"

    @staticmethod
    def duration(seconds: float) -> str:
        """A time in words."""
        return form.duration(seconds)

    @staticmethod
    def listing(words: Iterable[str], joint: str = "and") -> str:
        """Words as a list in a sentence.

        >>> Numbers.listing(["a", "b", "c"])
        'a, b and c'
        """
        *first, last = list(words) or [""]
        return f"{', '.join(first)} {joint} {last}" if first else last

    def _entry(self, key: str) -> dict[str, Any]:
        """The entry of a key. A metric that a known run does not have (it diverged) is an entry without a mean."""
        if key in self.numbers:
            return {"metric": self._metric(key), **self.numbers[key]}
        metric = self._metric(key)
        run = key.removesuffix(f".{metric}")
        if run not in self.settings or not metrics.known(metric):
            raise RenderError(f"there is no number `{key}`{nearest(key, self.numbers)}")
        return {"metric": metric, "mean": None, "diverged": self.diverged.get(run, 0)}

    def _absence(self, *keys: str) -> str:
        """Why there is no value of these keys: a run is left out, has diverged, or was not measured."""
        for run, because in self.left_out.items():
            if any(key.startswith(f"{run}.") for key in keys):
                return f"{form.NOT_RUN} ({because})"
        return "diverged" if any(self._entry(key).get("diverged") for key in keys) else "not measured"

    def _metric(self, key: str) -> str:
        run = next((run for run in sorted(self.settings, key=len, reverse=True) if key.startswith(f"{run}.")), "")
        return key.removeprefix(f"{run}.") if run else key.rsplit(".", 1)[-1]

    def _pool(self, study: str) -> dict[str, Any]:
        if study not in self.pools:
            raise RenderError(f"there are no data of a study `{study}`{nearest(study, self.pools)}")
        return self.pools[study]

    def _marked(self, key: str, entry: Mapping[str, Any], text: str) -> str:
        """``text`` as a span that says where it comes from, in HTML; else ``text`` itself."""
        if self.target != "html":
            return text
        values = ", ".join(form.number(entry["metric"], value) for value in _by_seed(entry).values())
        facts = {"key": key, "runs": " ".join(entry.get("runs", ())), "values": values}
        if entry.get("published") is not None:
            facts["published"] = form.quantity(entry["metric"], entry["published"])
        attributes = " ".join(f'{name}="{fact}"' for name, fact in facts.items() if fact)
        return f'[{text}]{{.num title="{key}" {attributes}}}'


def _by_seed(entry: Mapping[str, Any]) -> dict[int, float]:
    pairs = zip(entry.get("seeds", ()), entry.get("values", ()), strict=False)
    return {seed: value for seed, value in pairs if value is not None}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {"metric": first["metric"], "runs": list(dict.fromkeys([*first.get("runs", ()), *second.get("runs", ())]))}


def _signed(metric: str, summary: Summary) -> str:
    suffix = form.difference_unit(metric)
    return form.difference(metric, summary) + (form.NO_BREAK_SPACE + suffix if suffix else "")


def _digits(value: float | str) -> str:
    r"""A number to three digits, large and small ones as a power of ten; a word as it is.

    >>> _digits(2.345e-10), _digits(0.70538), _digits(1000.0), _digits("nan")
    ('$2.3 \\cdot 10^{-10}$', '0.705', '1000', 'nan')
    """
    if isinstance(value, str):
        return value
    if 0 < abs(value) < 1e-3:
        mantissa, exponent = f"{value:.1e}".split("e")
        return rf"${mantissa} \cdot 10^{{{int(exponent)}}}$"
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.3f}"


def _plain(value: Any) -> str:
    """A setting as Markdown.

    >>> _plain(1e-8), _plain([128, 64]), _plain(81405), _plain(None)
    ('$10^{-8}$', '[128, 64]', '81,405', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(_plain(entry) for entry in value)}]"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        power = POWER.fullmatch(text := form.short(value))
        factor = "" if not power or power[1] == "1" else rf"{power[1]} \cdot "
        return f"${factor}10^{{{power[2]}}}$" if power else text
    return str(value)
