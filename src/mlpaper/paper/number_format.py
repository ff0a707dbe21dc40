"""How numbers are written: the one place that decides decimals, units and signs, for tables, figures and prose.

Metrics are stored as `mlpaper.study.metrics` says. Fractions are shown in per cent.
"""

from __future__ import annotations

import re

from mlpaper.errors import RenderError, nearest
from mlpaper.study import metrics
from mlpaper.study.stats import Summary

MISSING = "–"
"""Stands where there is no value."""

NOT_RUN = "not run"
"""Stands where a run is left out."""

NO_BREAK_SPACE = "\u00a0"
DECIMALS = {"%": 2, "points": 2, "nats": 4, "s": 1, "MiB": 0, "decades": 2, "": 1}
"""Decimals of a metric by its unit; counts have one where they are means."""


def scale(metric: str) -> float:
    """Factor from a stored value to the shown one: 100 for fractions, else 1.

    >>> scale("macro_f1"), scale("test_cross_entropy")
    (100.0, 1.0)
    """
    return 100.0 if metrics.get(metric).unit in metrics.FRACTIONS else 1.0


def unit(metric: str) -> str:
    """Unit of a metric's numbers; empty for counts, decades, and for times, which carry their own.

    >>> unit("test_accuracy"), unit("validation_loss"), unit("epochs")
    ('%', 'nats', '')
    """
    found = metrics.get(metric).unit
    return "" if found in ("s", "decades") else found


def difference_unit(metric: str) -> str:
    """Unit of differences of a metric.

    >>> difference_unit("test_accuracy"), difference_unit("validation_loss")
    ('points', 'nats')
    >>> difference_unit("seconds")
    's'
    """
    return "s" if metrics.get(metric).unit == "s" else unit(metric).replace("%", "points")


def label(metric: str) -> str:
    """A metric in plain words, without its unit.

    Raises
    ------
    RenderError
        There is no such metric.

    >>> label("validation_accuracy"), label("noise_accuracy_0.1")
    ('validation accuracy', 'accuracy at σ = 0.1')
    """
    if not metrics.known(metric):
        raise RenderError(f"there is no metric `{metric}`{nearest(metric, metrics.METRICS)}")
    found = metrics.get(metric)
    return f"log₁₀ of the {found.label}" if found.unit == "decades" else found.label


def heading(metric: str) -> str:
    """A metric in plain words with its unit: a column's heading or an axis label.

    >>> heading("test_accuracy"), heading("seconds")
    ('test accuracy (%)', 'training time')
    """
    return f"{label(metric)} ({unit(metric)})" if unit(metric) else label(metric)


def axis(metric: str, largest: float) -> tuple[str, float]:
    """Label of a metric's axis, and the factor from stored values to those along it; times in a unit that suits them.

    >>> axis("test_accuracy", 0.9), axis("seconds", 600.0)
    (('test accuracy (%)', 100.0), ('training time (min)', 0.016666666666666666))
    """
    if metrics.get(metric).unit == "s":
        name, seconds = time_unit(largest)
        return f"{label(metric)} ({name})", 1 / seconds
    return heading(metric), scale(metric)


def time_unit(largest: float) -> tuple[str, float]:
    """The unit that suits times of up to ``largest`` seconds, and its length in seconds.

    >>> time_unit(0.003), time_unit(90.0), time_unit(1000.0), time_unit(10_000.0)
    (('ms', 0.001), ('s', 1.0), ('min', 60.0), ('h', 3600.0))
    """
    if largest < 0.1:
        return "ms", 0.001
    return ("s", 1.0) if largest < 120 else ("min", 60.0) if largest < 7200 else ("h", 3600.0)


def number(metric: str, value: float | None) -> str:
    """One value, without the unit that its heading has.

    >>> number("test_accuracy", 0.88576), number("test_cross_entropy", 0.33684), number("macro_f1", None)
    ('88.58', '0.3368', '–')
    >>> number("parameters", 444847), number("epochs", 23.5)
    ('444,847', '23.5')
    """
    if value is None:
        return MISSING
    unit = metrics.get(metric).unit
    if unit == "s":
        return duration(value)
    if unit in ("", "MiB"):
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{DECIMALS[unit]}f}"
    return f"{scale(metric) * value:.{DECIMALS[unit]}f}".replace("-", "−")


def quantity(metric: str, value: float | None) -> str:
    """One value with its unit, for running text.

    >>> quantity("test_accuracy", 0.8858).split()
    ['88.58', '%']
    """
    text, suffix = number(metric, value), unit(metric)
    return f"{text}{NO_BREAK_SPACE}{suffix}" if suffix and text != MISSING else text


def value(metric: str, summary: Summary | None) -> str:
    """Mean over seeds and the half-width of its 95 % interval, without the unit.

    >>> value("test_accuracy", Summary(0.8858, 0.00123, 3)), value("test_accuracy", Summary(0.8858, None, 1))
    ('88.58 ± 0.12', '88.58')
    >>> value("parameters", Summary(444847.0, 0.0, 3)), value("epochs", Summary(24.0, 2.4841, 3)), value("epochs", None)
    ('444,847', '24.0 ± 2.5', '–')
    """
    if summary is None:
        return MISSING
    unit = metrics.get(metric).unit
    if summary.half_width is None or (unit == "" and summary.half_width == 0):
        return number(metric, summary.mean)
    if unit in ("", "MiB"):
        decimals = DECIMALS[unit]
        return f"{summary.mean:,.{decimals}f} ± {summary.half_width:,.{decimals}f}"
    return f"{number(metric, summary.mean)} ± {number(metric, summary.half_width)}"


def difference(metric: str, summary: Summary | None) -> str:
    """A signed difference and its half-width; fractions in percentage points.

    >>> difference("test_accuracy", Summary(0.0138, 0.0012, 3)), difference("train_loss", Summary(-0.02, None, 1))
    ('+1.38 ± 0.12', '−0.0200')
    >>> difference("test_accuracy", Summary(-0.00001, None, 1))
    '+0.00'
    >>> difference("seconds_per_epoch", Summary(-0.0213, 0.004, 3)), difference("seconds", Summary(1211.83, None, 1))
    ('−0.021 ± 0.004', '+1211.8')
    """
    if summary is None:
        return MISSING
    unit = metrics.get(metric).unit
    decimals = 3 if unit == "s" and abs(summary.mean) < 1 else DECIMALS[unit]
    mean = f"{scale(metric) * summary.mean:+z.{decimals}f}".replace("-", "−")
    if summary.half_width is None:
        return mean
    return f"{mean} ± {scale(metric) * summary.half_width:.{decimals}f}"


def duration(seconds: float) -> str:
    """A time in seconds, from a minute on in minutes and seconds, from an hour on in hours and minutes.

    >>> duration(0.0123), duration(12.34), duration(59.97), duration(245), duration(7322)
    ('12 ms', '12.3 s', '1 min 00 s', '4 min 05 s', '2 h 02 min')
    """
    if 0 < seconds < 0.1:
        return f"{1000 * seconds:.2g} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def short(value: float) -> str:
    """A setting by its shortest digits; small ones as a power of ten.

    >>> short(0.001), short(0.9), short(1e-8), short(2.05e-5), short(0.0)
    ('0.001', '0.9', '1e-8', '2.05e-5', '0')
    """
    text = f"{value:.12g}"
    return re.sub(r"e([+-])0*", lambda match: "e" + match[1].replace("+", ""), text)
