"""Statistics over seeds against SciPy's."""

import numpy as np
import pytest
from scipy import stats

from mlpaper.study.stats import summarise


def test_the_interval_is_students() -> None:
    values = [0.81, 0.83, 0.82, 0.86]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    summary = summarise(values)
    assert (summary.mean, summary.n) == (pytest.approx(0.83), 4)
    assert summary.half_width == pytest.approx((high - low) / 2)


def test_one_value_has_no_interval_and_none_no_summary() -> None:
    assert summarise([0.5]).half_width is None
    with pytest.raises(ValueError, match="at least one value"):
        summarise([])
