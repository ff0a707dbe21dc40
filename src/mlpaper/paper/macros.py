"""The numbers that a template of the paper may call for: results, settings, differences, facts of the data.

They come from `results/numbers.json` only, so that no sentence can say what no run has shown.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, groupby
from statistics import median
from typing import Any, Literal

from mlpaper.errors import RenderError, nearest
from mlpaper.paper import number_format as form
from mlpaper.study import metrics
from mlpaper.study.stats import Summary, paired

Target = Literal["md", "html", "tex", "typ"]
"""What the templates are rendered for; a PDF is rendered from `tex` or `typ`."""

Relation = Literal["above", "below", "level", "diverged", "missing"]
"""How a metric of one run lies to another's: `level` where the interval of the paired difference holds zero."""

PARTS = {"train": "the official training part alone", "test": "the official test part alone"}
MOST_LISTED = 6
"""Seeds whose values a sentence lists one by one."""
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
        self.datasets: Mapping[str, str] = document["datasets"]
        self.demonstrations: Mapping[str, Any] = document["demonstrations"]
        self.calibration: Sequence[Mapping[str, Any]] = document["calibration"]
        self.left_out: Mapping[str, str] = document["provenance"]["left_out"]
        self.target = target
        self._longest_first = sorted(self.settings, key=len, reverse=True)

    def macros(self) -> dict[str, Callable[..., Any]]:
        """The functions that templates see, by name."""
        names = (
            "num each value has_number published difference relation setting setting_value pool pool_value "
            "dataset images image_sizes count duration listing spans demonstration used calibrated"
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

    def each(self, key: str) -> str:
        """The value of every seed, with its unit: `10.28, 11.35 and 80.14 %`; of many, their range and median."""
        entry = self._entry(key)
        metric, values = entry["metric"], list(_by_seed(entry).values())
        if not values:
            return self._marked(key, entry, self._absence(key))
        if len(values) > MOST_LISTED:
            low, middle, high = (form.quantity(metric, of(values)) for of in (min, median, max))
            text = f"{low} to {high} (median {middle}, {len(values)} seeds)"
        else:
            listed = self.listing(form.number(metric, value) for value in values)
            text = f"{listed}{form.NO_BREAK_SPACE}{form.unit(metric)}".rstrip(form.NO_BREAK_SPACE)
        if lost := entry.get("diverged", 0):
            text += f" ({lost} diverged)"
        return self._marked(key, entry, text)

    def published(self, key: str) -> str:
        """The value that the source publishes, with its unit; an en dash where it gives none."""
        entry = self._entry(key)
        return form.quantity(entry["metric"], entry.get("published"))

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

    def setting(self, key: str) -> str:
        """A field of a run's specification: `<study>.<run>.optimizer.learning_rate`."""
        return _plain(self.setting_value(key))

    def setting_value(self, key: str) -> Any:
        """The same as stored: for conditions."""
        run = self._run(key)
        if run is None:
            raise RenderError(f"no run has the setting `{key}`{nearest(key, self.settings)}")
        node: Any = self.settings[run]
        for name in key.removeprefix(f"{run}.").split("."):
            if not isinstance(node, Mapping) or name not in node:
                allowed = node if isinstance(node, Mapping) else ()
                raise RenderError(f"run `{run}` has no setting `{name}` in `{key}`{nearest(name, allowed)}")
            node = node[name]
        return node

    def used(self, field: str) -> list[Any]:
        """The values that a field of the specification has in any run, such as `network.activation`; each once."""
        found: list[Any] = []
        for run in self.settings.values():
            node: Any = run
            for name in field.split("."):
                node = node.get(name) if isinstance(node, Mapping) else None
            if node is not None and node not in found:
                found.append(node)
        return found

    def pool(self, key: str) -> str:
        """A fact of a study's data: `<study>.count`."""
        study, _, name = key.partition(".")
        facts = self._pool(study)
        if name not in facts:
            raise RenderError(f"the data of `{study}` have no `{name}`{nearest(name, facts)}")
        value = facts[name]
        if value is None:
            return form.MISSING
        return f"{value:.2f}" if isinstance(value, float) else _plain(value)

    def dataset(self, study: str) -> str:
        """The images that a study draws from, in words."""
        name, *parts = self._pool(study)["id"].split(".")
        words = self.datasets[name]
        return f"{words}, {' and '.join(PARTS[part] for part in parts)}" if parts else words

    def images(self, run: str) -> str:
        """The dataset of `<study>.<run>`, in words."""
        name: str = self.setting_value(f"{run}.dataset.name")
        return self.datasets[name]

    def image_sizes(self) -> str:
        """The sizes of the images of all studies, in words; nothing where no data are provided."""
        shapes = {tuple(facts["shape"]): None for facts in self.pools.values() if facts["shape"] is not None}
        return " or ".join(map(_size, shapes))

    def demonstration(self, name: str) -> str:
        """A number, or a list of them, that the theory shows (`mlpaper.evaluate.demonstrations`), as mathematics."""
        if name not in self.demonstrations:
            raise RenderError(f"there is no demonstration `{name}`{nearest(name, self.demonstrations)}")
        found = self.demonstrations[name]
        return ", ".join(map(_digits, found)) if isinstance(found, list) else _digits(found)

    def calibrated(self, kind: str, seeds: int) -> dict[str, str] | None:
        """How many verdicts are decided, and decided wrongly (`mlpaper.study.calibration`); None where none was."""
        for row in self.calibration:
            if (row["kind"], row["seeds"]) == (kind, seeds) and row["decided"]:
                shares = {"share_wrong": row["wrong"] / row["decided"], "share_decided": row["decided"] / row["tried"]}
                counts = {name: self.count(row[name]) for name in ("tried", "decided", "wrong")}
                return counts | {name: f"{100 * share:.0f}{form.NO_BREAK_SPACE}%" for name, share in shares.items()}
        return None

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

    @staticmethod
    def spans(numbers: Iterable[int]) -> str:
        """Whole numbers in rising order as a list in a sentence, of neighbours the first and the last.

        >>> Numbers.spans([0, 1, 2]), Numbers.spans([0, 1, 2, 3, 7])
        ('0, 1 and 2', '0 to 3 and 7')
        """
        groups = [[number for _, number in group] for _, group in groupby(enumerate(numbers), lambda it: it[1] - it[0])]
        words = ([f"{group[0]} to {group[-1]}"] if len(group) > 3 else map(str, group) for group in groups)
        return Numbers.listing(chain.from_iterable(words))

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
        run = self._run(key)
        return key.removeprefix(f"{run}.") if run else key.rsplit(".", 1)[-1]

    def _run(self, key: str) -> str | None:
        """The `<study>.<run>` that a key begins with."""
        return next((run for run in self._longest_first if key.startswith(f"{run}.")), None)

    def _pool(self, study: str) -> dict[str, Any]:
        if study not in self.pools:
            raise RenderError(f"there are no data of a study `{study}`{nearest(study, self.pools)}")
        return self.pools[study]

    def _marked(self, key: str, entry: Mapping[str, Any], text: str) -> str:
        """``text`` as a span that says where it comes from, in HTML; else ``text`` itself."""
        if self.target != "html":
            return text
        values = ", ".join(form.number(entry["metric"], value) for value in _by_seed(entry).values())
        facts = {"title": key, "runs": " ".join(entry.get("runs", ())), "values": values}
        if entry.get("published") is not None:
            facts["published"] = form.quantity(entry["metric"], entry["published"])
        attributes = " ".join(f'{name}="{fact}"' for name, fact in facts.items() if fact)
        together = text.replace(" ± ", f"{form.NO_BREAK_SPACE}±{form.NO_BREAK_SPACE}")
        return f"[{together}]{{.num {attributes}}}"


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


def _size(shape: Sequence[int]) -> str:
    r"""The size of an image in words.

    >>> print(_size([28, 28]), _size([8, 8, 3]), sep="; ")
    $28 \times 28$ grey pixels ($784$ values); $8 \times 8$ pixels in three colours ($192$ values)
    """
    height, width, *colours = shape
    pixels = "pixels in three colours" if colours else "grey pixels"
    return f"${height} \\times {width}$ {pixels} (${math.prod(shape)}$ values)"


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
