"""Seeds of one configuration and their means, against closed forms and SciPy."""

import math

import numpy as np
from scipy import stats

from experiments import report_groups, report_numbers, report_runs, report_tables
from tests.experiments.reported import TEAM, build, make_run, noisy


def test_seeds_are_averaged_where_all_have_data(tmp_path) -> None:
    for seed, steps in ((0, (110, 200, 300)), (1, (100, 200)), (2, (50, 150, 250))):
        make_run(tmp_path, {step: {"train/x": float(seed + step)} for step in steps}, seed=seed)
    runs, _ = report_runs.collect([tmp_path])
    group = report_groups.groups(runs)[0]
    drawn = report_groups.line(group, "train/x")
    assert drawn is not None
    # The points of the seed that has fewest, and the ends of what all have reached; seeds are linear in between.
    assert drawn.curve.x.tolist() == [110, 200]
    assert np.allclose(drawn.curve.y, [111, 201])
    half = stats.t.ppf(0.975, 2) * 1.0 / math.sqrt(3)  # the seeds' values are 1 apart
    assert drawn.low is not None
    assert np.allclose(drawn.low, drawn.curve.y - half)
    assert (drawn.count, len(drawn.behind)) == (" (n = 3)", 3)
    lonely = report_groups.line(report_groups.Group("a", "a", group.runs[:1]), "train/x")
    assert lonely is not None
    assert (lonely.count, lonely.low) == ("", None)
    assert report_groups.line(group, "train/y") is None


def test_seeds_that_share_no_step_have_no_mean(tmp_path) -> None:
    make_run(tmp_path, {10: {"train/x": 1.0}}, seed=0)
    make_run(tmp_path, {20: {"train/x": 2.0}, 30: {"train/x": 2.0}}, seed=1)
    drawn = report_groups.line(report_groups.groups(report_runs.collect([tmp_path])[0])[0], "train/x")
    assert drawn is not None
    assert (len(drawn.curve.x), len(drawn.behind)) == (0, 2)
    assert "seeds" not in build(tmp_path).alts[0]


def test_only_seeds_of_one_configuration_are_averaged(tmp_path) -> None:
    faster = {**TEAM, "ppo": {"learning_rate": 2e-3}}
    make_run(tmp_path, noisy(), seed=0)
    make_run(tmp_path, noisy((100, 200)), seed=0, name="20260102-120000-0")  # newer, but it did not go so far
    make_run(tmp_path, noisy(), seed=10)
    make_run(tmp_path, noisy(), seed=2)
    make_run(tmp_path, noisy(), seed=3, name="z", config={**faster, "seed": 3})
    first, second = report_groups.groups(report_runs.collect([tmp_path])[0])
    assert [run.folder.name for run in first.seeds] == ["20260101-120000-0", "20260101-120000-2", "20260101-120000-10"]
    assert (first.label, second.short) == ("lab2d-harvest-acam, learning_rate 0.001", "learning_rate 0.002")
    (_, _, rows), *_ = report_tables.seeds_table(first.runs + second.runs)
    means = [run.results["per_capita_return"].mean for run in first.seeds]
    low, high = stats.t.interval(0.95, 2, loc=np.mean(means), scale=stats.sem(means))
    assert rows == [
        [first.label, "3 (0, 2, 10)", f"per_capita_return {report_numbers.Estimate(float(np.mean(means)), low, high)}"]
    ]


def test_evaluations_of_teams_have_the_interquartile_mean_of_three_seeds_and_more(tmp_path) -> None:
    ends = (0.0, 1.0, 2.0, 3.0, 100.0)
    for seed, end in enumerate(ends):
        points = {step: {"eval/scored": step * end, "train/x": end} for step in (1, 2)}
        make_run(tmp_path, points, seed=seed)
    group = report_groups.groups(report_runs.collect([tmp_path])[0])[0]
    drawn = report_groups.line(group, "eval/scored")
    assert drawn is not None
    assert drawn.curve.y.tolist() == [2.0, 4.0]  # of 1, 2 and 3
    assert drawn.low is not None
    assert drawn.high is not None
    assert (drawn.low >= 0).all()
    assert drawn.high[0] <= 100
    mean = report_groups.line(group, "train/x")
    assert mean is not None
    assert mean.curve.y.tolist() == [np.mean(ends)] * 2
    two = report_groups.line(report_groups.Group("a", "a", group.runs[:2]), "eval/scored")
    assert two is not None
    assert two.curve.y.tolist() == [0.5, 1.0]


def test_seeds_with_pretrainings_of_their_own_are_one_group(tmp_path) -> None:
    for seed in (0, 1):
        make_run(tmp_path, noisy(), seed=seed)
        started = {**TEAM, "seed": seed, "pretrained": f"/study/pretrained/{seed}/run"}
        make_run(tmp_path, noisy(), seed=seed, name=f"p{seed}", config=started)
    found = report_groups.groups(report_runs.collect([tmp_path])[0])
    assert sorted(len(group.runs) for group in found) == [2, 2]
