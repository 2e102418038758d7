"""The layout that marl-eval documents: environment, task, algorithm, run, step_k and absolute_metrics."""

import copy
import json

import pytest

from experiments import marl_eval_json
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
