"""The axes of a report's charts."""

import numpy as np
import pytest

from experiments import report_charts, report_groups, report_numbers


def test_the_first_steps_do_not_squeeze_the_rest() -> None:
    from matplotlib.figure import Figure

    x = np.arange(100.0)
    axes = Figure().add_subplot()
    curve = report_numbers.Curve(x, np.where(x < 3, 50.0, 3 + 0.1 * np.sin(x)))
    report_charts._scale(axes, [report_groups.Line(label="a", colour=0, curve=curve)], [], log=False)
    low, high = axes.get_ylim()
    assert 2.8 < low < 2.9
    assert 3.1 < high < 3.3
    assert axes.texts[0].get_text() == "first steps, up to 50, cut off"
    few = Figure().add_subplot()
    short = report_numbers.Curve(x[:3], np.array([50.0, 3.0, 3.1]))
    report_charts._scale(few, [report_groups.Line(label="a", colour=0, curve=short)], [], log=False)
    assert few.get_ylim()[1] > 50
    assert not few.texts


def test_times_of_steps_stand_on_the_upper_axis() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_xlim(0, 1000)
    report_charts._time_axis(axes, report_numbers.Curve(np.array([0.0, 500.0, 1000.0]), np.array([0.0, 600.0, 2400.0])))
    top = axes.child_axes[0]
    ticks = dict(zip([tick.get_text() for tick in top.get_xticklabels()], top.get_xticks(), strict=True))
    assert ticks["10"] == pytest.approx(500)  # 10 minutes at step 500, 30 more for the second half
    assert ticks["40"] == pytest.approx(1000)
    assert top.get_xlabel() == "training time (min)"
