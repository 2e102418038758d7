"""Numbers of reports against closed forms and SciPy."""

import numpy as np
import pytest
from scipy import stats

from experiments import report_numbers, report_runs, report_sections
from tests.experiments.reported import RNG, make_run


def test_interval_over_seeds_is_students() -> None:
    values = RNG.normal(3, 2, (4, 5))
    mean, low, high = report_numbers.t_interval(values)
    for i in range(5):
        column = values[:, i]
        expected = stats.t.interval(0.95, 3, loc=column.mean(), scale=stats.sem(column))
        assert np.allclose((low[i], high[i]), expected)
        assert mean[i] == pytest.approx(sum(column) / 4)


def test_long_curves_are_means_of_bins() -> None:
    x = np.sort(RNG.uniform(0, 1000, 500))
    curve = report_numbers.Curve(x, RNG.normal(size=500))
    short = report_numbers.thin(curve, 10)
    edges = np.linspace(x[0], x[-1], 11)
    for i in range(10):
        inside = (x >= edges[i]) & ((x < edges[i + 1]) | (i == 9))
        assert short.x[i] == pytest.approx(x[inside].mean())
        assert short.y[i] == pytest.approx(curve.y[inside].mean())
    assert report_numbers.thin(curve, 500) is curve


def test_an_interval_of_a_curve_is_the_evaluations_own(tmp_path) -> None:
    ends = {100: (1.0, 0.5, 2.0), 200: (2.0, 1.5, 2.25)}
    points = {
        s: {"eval/a": v[0], "eval/a_low": v[1], "eval/a_high": v[2], "eval/b": 3.0, "eval/b_se": 0.5}
        for s, v in ends.items()
    }
    read = report_runs.read(make_run(tmp_path, points))
    low, high = report_numbers.bounds(read.curves, "eval/a") or (None, None)
    assert (list(low), list(high)) == ([0.5, 1.5], [2.0, 2.25])
    low, _ = report_numbers.bounds(read.curves, "eval/b") or (None, None)
    assert np.allclose(low, stats.norm.interval(0.95, 3, 0.5)[0])
    assert report_sections.tags_of([read]) == ["eval/a", "eval/b"]
    del read.curves["eval/a_low"]
    assert report_numbers.bounds(read.curves, "eval/a") is None


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (report_numbers.Estimate(3.56789, 3.5123, 3.6234), "3.568 [3.512, 3.623]"),
        (report_numbers.Estimate(151.2, 143.1, 159.3), "151.2 [143.1, 159.3]"),
        (report_numbers.Estimate(25131.2, 23000.0, 27000.0), "25,131 [23,000, 27,000]"),
        (report_numbers.Estimate(0.00042), "0.00042"),
        (report_numbers.Estimate(123456.7), "123,457"),
        (report_numbers.Estimate(1.0, 1.0, 1.0), "1"),
    ],
)
def test_intervals_decide_the_digits(estimate, text) -> None:
    assert str(estimate) == text
