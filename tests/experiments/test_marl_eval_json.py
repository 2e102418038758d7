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
    assert list(found) == ["football-3v1"]
    runs = found["football-3v1"]["3v1"]["acam+aux"]
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
    run = marl_eval_json.layout(data)["football-3v1"]["3v1"][cell["arm"]]["seed_0"]
    assert run["step_1"]["scored"] == cell["curve"][1][1]
    assert run["absolute_metrics"]["scored"] == cell["curve"][-1][1]


def test_tasks_without_a_cell_are_left_out() -> None:
    data = document()
    data["tasks"]["lab2d-harvest"] = {**data["tasks"]["football-3v1"], "cells": []}
    assert list(marl_eval_json.layout(data)) == ["football-3v1"]


def test_only_seeds_that_all_arms_have_are_written() -> None:
    data = document()
    cells = data["tasks"]["football-3v1"]["cells"]
    cells.remove(next(cell for cell in cells if (cell["arm"], cell["seed"]) == ("acam", 3)))
    found = marl_eval_json.layout(data)["football-3v1"]["3v1"]
    assert {tuple(runs) for runs in found.values()} == {("seed_0", "seed_1", "seed_2", "seed_4")}
    assert len(found) == 6
    cells[:] = [cell for cell in cells if (cell["arm"] == "acam") == (cell["seed"] < 2)]
    assert marl_eval_json.layout(data) == {}


def test_different_numbers_of_runs_are_refused() -> None:
    found = marl_eval_json.layout(document())
    del found["football-3v1"]["3v1"]["acam+aux"]["seed_1"]
    with pytest.raises(ValueError, match=r"as many runs of each algorithm: football-3v1/3v1/acam\+aux has 4"):
        marl_eval_json.check(found)


def test_tasks_with_other_metrics_or_seeds_are_environments_of_their_own() -> None:
    """marl-eval puts the tasks of an environment into one array."""
    data = document()
    data["tasks"] |= document(seeds=(0, 1, 2), task="football-5v5")["tasks"]
    data["tasks"]["football-5v5"]["metric"] = "goal_difference"
    found = marl_eval_json.layout(data)
    assert {env: list(tasks) for env, tasks in found.items()} == {"football-3v1": ["3v1"], "football-5v5": ["5v5"]}
    with pytest.raises(ValueError, match="as many runs"):
        marl_eval_json.check({"football": {name: tasks.popitem()[1] for name, tasks in found.items()}})


def test_ragged_data_is_refused() -> None:
    data = document()
    short = copy.deepcopy(data)
    short["tasks"]["football-3v1"]["cells"][4]["curve"].pop()
    with pytest.raises(ValueError, match=r"no ragged data: football-3v1/3v1/acam\+pretrain/seed_0 differs"):
        marl_eval_json.layout(short)
    data["tasks"]["football-3v1"]["cells"][9]["curve"][0][1].pop()
    with pytest.raises(ValueError, match="no ragged data"):
        marl_eval_json.layout(data)


def test_names_with_commas_are_refused() -> None:
    data = document()
    for cell in data["tasks"]["football-3v1"]["cells"]:
        cell["arm"] = cell["arm"].replace("+", ", ")
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
    assert list(found) == ["lab2d-commons_harvest"]
    algorithms = found["lab2d-commons_harvest"]["commons_harvest"]
    assert list(algorithms) == ["lab2d-harvest-acam"]
    assert list(algorithms["lab2d-harvest-acam"]) == ["seed_0", "seed_1"]
    run = algorithms["lab2d-harvest-acam"]["seed_1"]
    assert run["step_1"] == {
        "step_count": 100, "return_mean": [101.0, 102.0], "episode_length": [5, 5], "equality": [0.5, 0.5],
    }  # fmt: skip
    assert (run["step_2"]["step_count"], run["step_2"]["return_mean"]) == (300, [301.0, 302.0])  # the final one
    assert run["absolute_metrics"]["return_mean"] == [301.0, 302.0, 303.0]


def test_groups_without_a_seed_in_common_are_refused(tmp_path, capsys) -> None:
    runs = tmp_path / "runs"
    evaluated(runs, 0)
    evaluated(runs, 1, preset="lab2d-harvest-independent")
    args = ["report", str(runs), "-o", str(tmp_path / "report.html"), "--marl-eval", str(tmp_path / "out.json")]
    assert cli.run(args) == 2
    assert "lab2d-harvest-acam, lab2d-harvest-independent on commons_harvest have none in common" in (
        capsys.readouterr().err
    )


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
