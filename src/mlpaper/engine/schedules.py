"""Learning-rate schedules: pure functions of the epoch."""

from __future__ import annotations

from mlpaper.spec import ConstantSchedule, ExponentialSchedule, LinearSchedule


def learning_rate(schedule: ConstantSchedule | LinearSchedule | ExponentialSchedule, base: float, epoch: int) -> float:
    """Learning rate of an epoch; the first epoch is 0 and uses `base` itself.

    >>> learning_rate(LinearSchedule(alpha=1e-5, minimum=1e-6), 1e-3, 0)
    0.001
    >>> learning_rate(LinearSchedule(alpha=1e-5, minimum=1e-6), 1e-3, 1000)
    1e-06
    >>> learning_rate(ExponentialSchedule(gamma=0.5), 1.0, 3)
    0.125
    """
    match schedule:
        case ConstantSchedule():
            return base
        case LinearSchedule():
            return max(schedule.minimum, base - schedule.alpha * epoch)
        case ExponentialSchedule():
            return base * schedule.gamma**epoch
