"""The evaluations of a run, episode by episode, through kills and damage."""

import json
from pathlib import Path

import pytest

from marl import curve
from marl.evaluation import Episode


def episodes(*returns: float) -> list[Episode]:
    return [
        Episode(number=i, seed=i, length=3, return_mean=value, metrics={"goals": 2 * value})
        for i, value in enumerate(returns)
    ]


def test_every_episode_of_every_evaluation_is_kept_in_order(tmp_path: Path) -> None:
    assert curve.read(tmp_path) == []
    curve.append(tmp_path, 0, episodes(1.0, 2.0))
    curve.append(tmp_path, 100, episodes(3.0, 5.0))
    first, second = curve.read(tmp_path)
    assert (first["step"], second["step"]) == (0, 100)
    assert second["episodes"] == {"return_mean": [3.0, 5.0], "episode_length": [3.0, 3.0], "goals": [6.0, 10.0]}


def test_of_two_evaluations_at_one_step_the_later_counts(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        curve.append(tmp_path, 0, episodes(value))
        curve.append(tmp_path, 100, episodes(10 * value))
    assert [(line["step"], line["episodes"]["return_mean"]) for line in curve.read(tmp_path)] == [
        (0, [2.0]),
        (100, [20.0]),
    ]


def test_a_resumed_run_forgets_what_comes_after_its_checkpoint_and_a_half_line(tmp_path: Path) -> None:
    for step in (0, 100, 200):
        curve.append(tmp_path, step, episodes(float(step)))
    with (tmp_path / curve.FILE).open("a") as file:
        file.write('{"step": 300, "epis')
    curve.truncate(tmp_path, 100)
    assert [line["step"] for line in curve.read(tmp_path)] == [0, 100]


@pytest.mark.parametrize(
    "line", ["{", json.dumps({"step": 1}), json.dumps({"step": 1, "episodes": {"a": [1.0], "b": []}}), "3"]
)
def test_damage_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / curve.FILE).write_text(line + "\n")
    with pytest.raises(ValueError, match="cannot be read as evaluations"):
        curve.read(tmp_path)
