"""Learning-rate schedules: pure functions of the number of epochs or updates done."""

from __future__ import annotations

import math

from mlpaper.spec import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    LinearSchedule,
    ScheduleSpec,
    StepSchedule,
)


def learning_rate(schedule: ScheduleSpec, base: float, t: int, total: int) -> float:
    """Learning rate after `t` epochs or updates of `total`; `base` itself at the start, after the warm-up.

    >>> learning_rate(LinearSchedule(alpha=1e-5, minimum=1e-6), 1e-3, 1000, 2000)
    1e-06
    >>> learning_rate(ExponentialSchedule(gamma=0.5), 1.0, 3, 10)
    0.125
    >>> learning_rate(StepSchedule(every=10, gamma=0.1), 1.0, 10, 20)
    0.1
    >>> [round(learning_rate(CosineSchedule(), 1.0, t, 4), 3) for t in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    >>> [learning_rate(ConstantSchedule(warmup=3), 1.0, t, 10) for t in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    if t < schedule.warmup:
        return base * (t + 1) / (schedule.warmup + 1)
    t, total = t - schedule.warmup, total - schedule.warmup
    match schedule:
        case LinearSchedule():
            return max(schedule.minimum, base - schedule.alpha * t)
        case StepSchedule():
            return float(base * schedule.gamma ** (t // schedule.every))
        case ExponentialSchedule():
            return float(base * schedule.gamma**t)
        case CosineSchedule():
            return schedule.minimum + (base - schedule.minimum) * (1 + math.cos(math.pi * t / max(total, 1))) / 2
        case ConstantSchedule():
            return base
