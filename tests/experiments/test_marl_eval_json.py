"""The layout that marl-eval documents: environment, task, algorithm, run, step_k and absolute_metrics."""

import copy
import json

import pytest

from experiments import cli, marl_eval_json
from marl import curve
from marl.episodes import Episode, write_jsonl
from tests.experiments.reported import make_run, noisy
from tests.experiments.studied import STEPS, document


def test_the_layout_is_the_documented_one() -> None:
    found = json.loads(json.dumps(marl_eval_json.layout(document())))
    assert list(found) == ["football"]
    runs = found["football"]["3v1"]["acam+aux"]
    assert list(runs) == [f"seed_{seed}" for seed in range(5)]
    for steps in runs.values():
        assert list(steps) == [f"step_{k}" for k in range(len(STEPS))] + ["absolute_metrics"]
        for number, step in enumerate(STEPS):
            entry = steps[f"step_{number}"]
            assert entry["step_count"] == step
            assert [type(value) for value in entry["scored"]] == [float] * 3
            assert set(entry) == {"step_count", "scored"}
        assert set(steps["absolute_metrics"]) == {"scored"}
        assert len(steps["absolute_metrics"]["scored"]) == 6


def test_values_are_those_of_the_cell() -> None:
    data = document()
    cell = data["tasks"]["football-3v1"]["cells"][0]
    run = marl_eval_json.layout(data)["football"]["3v1"][cell["arm"]]["seed_0"]
    assert run["step_1"]["scored"] == cell["curve"][1][1]
    assert run["absolute_metrics"]["scored"] == cell["curve"][-1][1]


def test_tasks_without_a_cell_are_left_out() -> None:
    data = document()
    data["tasks"]["lab2d-harvest"] = {**data["tasks"]["football-3v1"], "cells": []}
    assert list(marl_eval_json.layout(data)) == ["football"]


def test_ragged_data_is_refused() -> None:
    data = document()
    short = copy.deepcopy(data)
    short["tasks"]["football-3v1"]["cells"][4]["curve"].pop()
    with pytest.raises(ValueError, match=r"no ragged data: football/3v1/acam\+pretrain/seed_0 differs"):
        marl_eval_json.layout(short)
    data["tasks"]["football-3v1"]["cells"][9]["curve"][0][1].pop()
    with pytest.raises(ValueError, match="no ragged data"):
        marl_eval_json.layout(data)


def test_names_with_commas_are_refused() -> None:
    data = document()
    data["tasks"]["football-3v1"]["cells"][0]["arm"] = "acam, aux"
    with pytest.raises(ValueError, match="no comma in a name, got 'acam, aux'"):
        marl_eval_json.layout(data)


def evaluated(root, seed: int, steps=(0, 100), **record) -> None:
    """A finished run of a team that was evaluated on the way: 2 episodes each time, 3 at the end."""

    def episodes(count: int, value: float) -> list[Episode]:
        return [
            Episode(number=i, seed=i, length=5, return_mean=value + i, metrics={"equality": 0.5}) for i in range(count)
        ]

    run = make_run(root, noisy(), seed=seed, **record)
    for step in steps:
        curve.append(run, step, episodes(2, float(seed + step)))
    write_jsonl(run / "evaluation.jsonl", episodes(3, float(seed + 300)))


def test_runs_of_any_kind_have_the_layout_too(tmp_path, capsys) -> None:
    runs, out = tmp_path / "runs", tmp_path / "marl-eval.json"
    for seed in (0, 1):
        evaluated(runs, seed)
    make_run(runs, noisy(), seed=2)  # not finished
    make_run(runs, noisy(), seed=0, half="generative", name="pictures")
    args = ["report", str(runs), "-o", str(tmp_path / "report.html"), "--marl-eval", str(out)]
    assert cli.run(args) == 0
    assert f"{out}: for marl-eval" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert list(found) == ["lab2d"]
    algorithms = found["lab2d"]["commons_harvest"]
    assert list(algorithms) == ["lab2d-harvest-acam"]
    assert list(algorithms["lab2d-harvest-acam"]) == ["seed_0", "seed_1"]
    run = algorithms["lab2d-harvest-acam"]["seed_1"]
    assert run["step_1"] == {
        "step_count": 100, "return_mean": [101.0, 102.0], "episode_length": [5, 5], "equality": [0.5, 0.5],
    }  # fmt: skip
    assert run["absolute_metrics"]["return_mean"] == [301.0, 302.0, 303.0]


@pytest.mark.parametrize(
    ("steps", "sentence"), [((0, 90), "marl-eval takes no ragged data"), (None, "and there is none")]
)
def test_runs_that_marl_eval_cannot_read_are_refused_and_nothing_is_written(steps, sentence, tmp_path, capsys) -> None:
    runs, out = tmp_path / "runs", tmp_path / "marl-eval.json"
    if steps:
        evaluated(runs, 0)
        evaluated(runs, 1, steps=steps)
    else:
        make_run(runs, noisy())
    args = ["report", str(runs), "-o", str(tmp_path / "report.html"), "--marl-eval", str(out)]
    assert cli.run(args) == 2
    assert sentence in capsys.readouterr().err
    assert not out.exists()
    assert not (tmp_path / "report.html").exists()
