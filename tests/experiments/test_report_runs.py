"""Run folders are read as they were written, whatever is broken in them."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

from experiments import report_groups, report_numbers, report_runs, report_tables
from marl.evaluation import Episode, write_jsonl
from tests.experiments.reported import RNG, make_run


def test_curves_are_what_was_written(tmp_path) -> None:
    values = RNG.normal(size=7)
    steps = np.arange(7) * 10
    run = make_run(
        tmp_path, {int(s): {"train/x": v, "time/train_s": s / 4} for s, v in zip(steps, values, strict=True)}
    )
    read = report_runs.read(run)
    assert np.array_equal(read.curves["train/x"].x, steps)
    assert np.array_equal(read.curves["train/x"].y, values)
    drawn = report_groups.line(report_groups.groups([read])[0], "train/x", unit_s=60.0)
    assert drawn is not None
    assert np.allclose(drawn.curve.x, steps / 4 / 60)
    assert np.array_equal(drawn.curve.y, values)
    assert (read.steps, read.notes) == (60, [])


def test_damaged_lines_are_left_out_and_counted(tmp_path) -> None:
    run = make_run(tmp_path, {10: {"train/x": 1.0}, 20: {"train/x": 2.0}})
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 30, "train/x": NaN, "train/y": 5.0, "train/z": "much", "train/w": true}\n')
        file.write(b'{"step": 20, "train/x": 2.5}\n')  # written again after a resume: the later counts
        file.write(b'[1, 2]\n{"train/x": 3.0}\n{"step": Infinity, "train/x": 1}\n\xff\xfe\n{"step": 40, "tra')
    read = report_runs.read(run)
    assert {tag: (curve.x.tolist(), curve.y.tolist()) for tag, curve in read.curves.items()} == {
        "train/x": ([10.0, 20.0], [1.0, 2.5]),
        "train/y": ([30.0], [5.0]),
    }
    assert read.notes == [
        "5 damaged lines of metrics.jsonl left out",
        "1 line of metrics.jsonl with values that are no finite numbers, left out",
    ]


def test_the_episodes_at_the_end_are_the_result(tmp_path) -> None:
    run = make_run(
        tmp_path, {100: {"eval/return_mean": 9.0}, 200: {"train/entropy": 1.0}}, preset="football-empty-goal"
    )
    returns, scored = RNG.normal(5, 2, 40), np.arange(40) % 4 > 0
    episodes = [
        Episode(
            number=i, seed=i, length=10 + i % 3, return_mean=float(returns[i]), metrics={"scored": float(scored[i])}
        )
        for i in range(40)
    ]
    write_jsonl(run / "evaluation.jsonl", episodes)
    read = report_runs.read(run)
    assert (read.metric, read.source) == ("scored", "40 held-out episodes")
    got, expected = read.results["scored"], stats.binomtest(30, 40).proportion_ci(method="wilson")
    assert (got.mean, got.low, got.high) == pytest.approx((0.75, expected.low, expected.high))
    got, expected = (
        read.results["return_mean"],
        stats.t.interval(0.95, 39, loc=returns.mean(), scale=stats.sem(returns)),
    )
    assert (got.low, got.high) == pytest.approx(expected)
    (_, _, rows) = report_tables.summary_table([read])
    assert rows[0][3] == ("scored 0.75 [0.60, 0.86]", "40 held-out episodes")


def test_an_evaluation_before_the_run_went_on_says_so(tmp_path) -> None:
    run = make_run(tmp_path, {100: {"eval/return_mean": 2.0}, 200: {"train/entropy": 1.0}})
    write_jsonl(run / "evaluation.jsonl", [Episode(number=0, seed=0, length=5, return_mean=2.0, metrics={})])
    assert report_runs.read(run).source == "1 held-out episode, after 100 steps"


@pytest.mark.parametrize("content", ["", "{}\n", '{"number": 0, "seed": 0, "return_mean": "a", "episode_length": 3}\n'])
def test_damaged_episodes_are_noted_and_the_last_evaluation_counts(content, tmp_path) -> None:
    run = make_run(
        tmp_path, {100: {f"eval/per_capita_return{end}": v for end, v in (("", 5), ("_low", 4), ("_high", 7))}}
    )
    (run / "evaluation.jsonl").write_text(content)
    read = report_runs.read(run)
    assert read.results == {"per_capita_return": report_numbers.Estimate(5, 4, 7)}
    assert read.source == "the last evaluation"
    assert len(read.notes) == 1
    assert "cannot be read as" in read.notes[0]


def test_the_evaluation_at_the_end_of_training_is_read(tmp_path) -> None:
    run = make_run(tmp_path, {400: {"train/bpd": 4.0}}, half="generative")
    tags = {"step": 300, "eval/bpd": 3.0, "eval/bpd_se": 0.1, "eval/prior_bpd": 0.5, "eval/diffusion_bpd": 2.5}
    (run / "evaluation.json").write_text(json.dumps(tags))
    read = report_runs.read(run)
    assert read.results["bpd"].high == pytest.approx(3.196, abs=1e-3)
    assert read.results["prior_bpd"].mean == 0.5
    assert read.source == "test pictures, after 300 steps"
    (run / "evaluation.json").write_text('{"bpd": "low"}')
    read = report_runs.read(run)
    assert (read.results["bpd"].mean, read.source) == (4.0, "in training")
    assert read.notes == [f"{run / 'evaluation.json'} has no bits per dimension"]


def test_a_model_without_a_bound_has_its_loss(tmp_path) -> None:
    run = make_run(tmp_path, {400: {"train/loss": 0.4}}, half="generative", preset="pd-digits")
    (run / "evaluation.json").write_text(json.dumps({"step": 400, "eval/loss": 0.3, "eval/loss_se": 0.01}))
    read = report_runs.read(run)
    assert read.results == {"loss": report_numbers.Estimate(0.3, *(0.3 + 1.959964 * k * 0.01 for k in (-1, 1)))}
    assert (read.source, read.notes) == ("test pictures", [])


def test_a_chain_of_students_has_the_score_of_each(tmp_path) -> None:
    run = make_run(tmp_path, {40: {"eval/loss": 0.4}}, half="generative", preset="pd-digits-distill", kind="distill")
    assert report_runs.read(run).source == "the last evaluation"
    (run / "scores").mkdir()
    rows = [
        {"method": method, "steps": steps, "fid": fid, "samples": 500}
        for method, steps, fid in (("ddim", 4, 9.0), ("distilled", 2, 3.0), ("distilled", 1, 5.0))
    ]
    (run / "scores" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = report_runs.read(run)
    assert {name: estimate.mean for name, estimate in read.results.items()} == {"FID, 2 steps": 3.0, "FID, 1 step": 5.0}
    assert (read.metric, read.source, read.notes) == ("FID, 1 step", "500 samples", [])
    (run / "scores" / "rows.jsonl").write_text("[1]\n")
    assert "rows.jsonl cannot be read as scores" in report_runs.read(run).notes[0]


def test_runs_are_found_below_folders_and_links(tmp_path) -> None:
    run = make_run(tmp_path / "elsewhere" / "preset", {})
    (run / "checkpoints" / "1").mkdir(parents=True)
    shutil.copy(run / "config.json", run / "checkpoints" / "1" / "config.json")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "linked").symlink_to(tmp_path / "elsewhere" / "preset")
    (tmp_path / "runs" / "circle").symlink_to(tmp_path / "runs")
    assert [path.name for path in report_runs.find(tmp_path / "elsewhere")] == [run.name]
    found, _ = report_runs.collect([tmp_path / "runs", run])
    assert [one.folder.name for one in found] == [run.name]
