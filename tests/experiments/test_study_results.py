"""Scores of a study as arrays, beside numbers written out by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments import study_results
from experiments.presets.study import ARMS, SIZES
from experiments.study_plan import Grid, Node, _sized
from tests.experiments.studied import GAINS, STEPS, document


def test_scores_are_normalised_by_the_random_policy_and_the_reference() -> None:
    (task,) = study_results.scores(document(noise=0.0))
    assert (task.random, task.reference) == (pytest.approx(0.1), 1.0)
    for arm in ARMS:
        assert task.final(arm) == pytest.approx([GAINS[arm]] * 5)
        assert task.areas(arm) == pytest.approx([GAINS[arm] / 2] * 5)  # a straight line from 0
        assert task.of("unseen", arm) == pytest.approx([((0.1 + 0.9 * GAINS[arm]) / 2 - 0.1) / 0.9] * 5)
    assert list(task.curves) == list(ARMS)
    assert task.steps.tolist() == list(STEPS)


def test_an_evaluation_counts_as_the_mean_of_its_episodes() -> None:
    found = document()
    (task,) = study_results.scores(found)
    cell = next(cell for cell in found["tasks"]["football-3v1"]["cells"] if (cell["arm"], cell["seed"]) == ("acam", 3))
    assert task.curves["acam"][3] == pytest.approx([np.mean(values) for _, values in cell["curve"]])


def test_a_task_of_which_nothing_is_done_is_left_out() -> None:
    found = document()
    found["tasks"]["lab2d-harvest"] = {**found["tasks"]["football-3v1"], "cells": []}
    found["tasks"]["lab2d-cleanup"] = {**found["tasks"]["football-3v1"], "random": []}
    assert [task.task for task in study_results.scores(found)] == ["football-3v1"]


def test_cells_at_other_steps_are_refused() -> None:
    found = document()
    found["tasks"]["football-3v1"]["cells"][7]["curve"][2][0] += 1
    with pytest.raises(ValueError, match=r"football-3v1/meanpool/1 was evaluated at other steps"):
        study_results.scores(found)


def test_an_arm_is_complete_with_every_planned_seed() -> None:
    found = document()
    (whole,) = study_results.scores(found)
    assert whole.complete("acam", "area")
    assert not replace(whole, seeds=tuple(range(6))).complete("acam", "area")
    found["tasks"]["football-3v1"]["cells"][2]["unseen"] = {}  # acam, seed 0
    (part,) = study_results.scores(found)
    assert part.complete("acam", "area")
    assert not part.complete("acam", "unseen")
    assert not part.complete("nobody", "area")


def test_a_task_has_its_reward_options_once(tmp_path) -> None:
    names = ("lab2d-harvest", "lab2d-cleanup", "football-3v1")
    budgets = {task: SIZES["full"][task] for task in names}
    nodes = []
    for task, budget in budgets.items():
        config = _sized(f"{task}-acam", budget)
        nodes.append(Node(kind="cell", key=task, folder=tmp_path / task, task=task, config=config, budget=budget))
    found = study_results.gather(nodes, Grid(folder=tmp_path, budgets=budgets, rates={}), "full")
    assert {task: data["rewards"] for task, data in found["tasks"].items()} == {
        "lab2d-harvest": {"team_reward": True},
        "lab2d-cleanup": {"team_reward": True, "clean_bonus": 0.1},
        "football-3v1": {"rewards": "scoring,checkpoints"},
    }


def test_the_opponents_are_those_of_the_cells() -> None:
    (task,) = study_results.scores(document())
    assert task.opponents == ("stronger",)


def test_the_document_has_a_line_for_each_cell(tmp_path) -> None:
    found = document()
    study_results.write(tmp_path / "results.json", found)
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text) == found
    assert len(text.splitlines()) < 100
