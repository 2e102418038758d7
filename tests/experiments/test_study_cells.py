"""When a piece of a study counts as done, and what happens to one that was made for something else."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from experiments import files, runs, study_cells
from experiments.presets.study import SIZES, TASKS
from experiments.study_cells import BEGUN, result_path, state
from experiments.study_plan import Node, _sized
from marl import TrainConfig
from marl.episodes import columns
from marl.evaluation import evaluate
from tests.marl.duel import DuelConfig

BUDGET = SIZES["tiny"]["lab2d-harvest"]
CONFIG: TrainConfig = _sized("lab2d-harvest-acam", BUDGET)


@pytest.fixture
def cell(tmp_path: Path) -> Node:
    return Node(
        kind="cell", key="lab2d-harvest/acam/0", folder=tmp_path / "lab2d-harvest" / "acam" / "0",
        task="lab2d-harvest", arm="acam", config=CONFIG, budget=BUDGET,
    )  # fmt: skip


def begin(node: Node) -> None:
    runs.create_at(node.folder, "lab2d-harvest-acam", node.config, ["tandem", "study"])
    study_cells._begin(node)


VALUES = {"per_capita_return": [1.0, 2]}


def finish(node: Node, **changes: Any) -> None:
    record = {
        "config": runs.config_to_json(node.config), "pretraining": "", "parameters": 10, "env_steps": 64,
        "train_s": 1.5, "starts": 1, "git_sha": "abc", "curve": [{"step": 0, "episodes": VALUES}], "final": VALUES,
    }  # fmt: skip
    study_cells._write(node, record | changes)


def test_a_cell_is_done_only_once_its_result_is_there(cell) -> None:
    assert state(cell) == "absent"
    begin(cell)
    (cell.folder / "evaluation.jsonl").write_text("{}")
    assert state(cell) == "part"
    (cell.folder / ".result.123.writing.json").write_text("{")  # killed while it was written
    assert state(cell) == "part"
    finish(cell)
    assert state(cell) == "done"


def test_a_cell_of_another_configuration_does_not_count(cell) -> None:
    begin(cell)
    other = replace(cell, config=replace(CONFIG, env_steps=CONFIG.env_steps + 64))
    assert state(other) == "stale"
    finish(cell)
    assert (state(cell), state(other)) == ("done", "stale")


def test_a_setting_that_is_new_in_the_code_changes_nothing(cell) -> None:
    """What was stored has no such field; the present code reads it with the field's default."""
    begin(cell)
    stored = runs.config_to_json(CONFIG)
    del stored["evaluation"]["interval_env_steps"]
    older = replace(cell, config=replace(CONFIG, evaluation=replace(CONFIG.evaluation, interval_env_steps=0)))
    finish(cell, config=stored)
    assert state(older) == "done"
    assert state(cell) == "stale"


@pytest.mark.parametrize("damage", ["{", "[]", '{"config": {}}', '{"config": 3, "pretraining": ""}', "[" * 100_000])
@pytest.mark.parametrize("kind", ["cell", "random", "record", "pretrain", "unseen"])
def test_a_damaged_result_does_not_count(cell, kind, damage) -> None:
    node = replace(cell, kind=kind)
    begin(node)
    files.write_text(result_path(node), damage)
    assert state(node) == "stale"


FIELDS = {
    "config": (3, [], {}, "x", {"env": []}),
    "pretraining": (None, 3, []),
    "parameters": ("10", None, 10**400),
    "env_steps": (1.5, [64]),
    "train_s": (float("nan"), float("inf"), "1", 10**400),
    "starts": (None,),
    "git_sha": (3,),
    "curve": (None, {}, "x", [3], [{}], [{"step": "0", "episodes": VALUES}], [{"step": 0, "episodes": []}]),
    "final": (None, [], {}, {"per_capita_return": 3}, {"per_capita_return": ["1"]}, {"per_capita_return": []}),
}
"""Field of a cell's result -> what it cannot be."""


@pytest.mark.parametrize(("field", "value"), [(name, value) for name, values in FIELDS.items() for value in values])
def test_a_result_with_a_field_that_cannot_be_does_not_count(field, value, cell) -> None:
    finish(cell)
    record = json.loads(result_path(cell).read_text())
    result_path(cell).write_text(json.dumps(record | {field: value}))
    assert state(cell) == "stale"


@pytest.mark.parametrize("episodes", [3, [], {}, {"other": [1.0]}, {"per_capita_return": [None]}])
def test_episodes_that_cannot_be_do_not_count(episodes, cell) -> None:
    random, unseen = replace(cell, kind="random", folder=cell.folder / "random"), replace(cell, kind="unseen")
    study_cells._write(random, {"episodes": episodes})
    study_cells._write(unseen, {"unseen": {"stronger": episodes}})
    assert (state(random), state(unseen)) == ("stale", "stale")
    with pytest.raises(ValueError, match=r"unseen.json cannot be read as a result of the study: "):
        study_cells.read_result(unseen)
    study_cells._write(random, {"episodes": VALUES})
    study_cells._write(unseen, {"unseen": {"stronger": VALUES}})
    assert (state(random), state(unseen)) == ("done", "done")


@pytest.mark.parametrize("content", ["[]", "3", '{"pretraining": 3, "fingerprint": []}', "[" * 100_000, '{"a": NaN}'])
@pytest.mark.parametrize("kind", ["cell", "record", "pretrain"])
def test_what_was_begun_for_nobody_knows_what_does_not_count(kind, content, cell) -> None:
    node = replace(cell, kind=kind)
    begin(node)
    (node.folder / BEGUN).write_text(content)
    assert state(node) == "stale"


def test_a_pipe_keeps_nobody_waiting(cell) -> None:
    begin(cell)
    (cell.folder / BEGUN).unlink()
    os.mkfifo(cell.folder / BEGUN)
    assert state(cell) == "stale"
    os.mkfifo(result_path(cell))
    assert state(cell) == "stale"


def test_a_score_that_is_no_number_is_not_written(cell) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        finish(cell, final={"per_capita_return": [float("nan")]})
    assert not result_path(cell).exists()


def test_a_pretrained_cell_counts_only_for_that_pretraining(cell) -> None:
    node = replace(cell, config=replace(CONFIG, pretrained="/somewhere"))
    begin(node)
    finish(node, pretraining=study_cells._of_pretraining(node))
    assert state(node) == "done"
    assert state(replace(node, config=replace(node.config, pretrained="/moved"))) == "done"
    assert state(replace(node, budget=replace(BUDGET, pretrain_steps=5))) == "stale"


def test_what_is_set_aside_is_kept_and_out_of_sight(cell) -> None:
    begin(cell)
    finish(cell)
    moved = [study_cells.set_aside(cell)]
    begin(cell)
    moved.append(study_cells.set_aside(cell))
    assert state(cell) == "absent"
    assert [path.name for path in moved if path] == [".0-other-1", ".0-other-2"]
    assert (cell.folder.parent / ".0-other-1" / "result.json").exists()


@pytest.mark.parametrize("kind", ["record", "pretrain"])
def test_a_recording_and_a_pretraining_say_what_they_are_made_for(kind, cell) -> None:
    node = replace(cell, kind=kind, key=f"lab2d-harvest/{kind}/0")
    study_cells._begin(node)
    other = replace(node, budget=replace(BUDGET, record_episodes=BUDGET.record_episodes + 1))
    assert (state(node), state(other)) == ("part", "stale")
    study_cells._write(node, {})
    assert (state(node), state(other)) == ("done", "stale")


def test_a_failure_is_one_line_and_a_traceback_in_the_log(cell, monkeypatch) -> None:
    def fail(node: Node) -> None:
        raise RuntimeError("first line\n\nno memory")

    monkeypatch.setattr(study_cells, "_cell", fail)
    why = study_cells.work(cell)
    log = cell.folder.parent / "logs" / "lab2d-harvest-acam-0.txt"
    assert why == f"RuntimeError: no memory (see {log})"
    assert "Traceback" in log.read_text()
    assert state(cell) == "absent"


def test_a_damaged_recording_says_what_to_remove(cell, tmp_path) -> None:
    task = tmp_path / ("long" * 40) / "lab2d-harvest"
    node = replace(cell, kind="pretrain", key="lab2d-harvest/pretrained/0", folder=task / "pretrained" / "0")
    data = task / "recordings" / "0" / "data"
    data.mkdir(parents=True)
    (data / "manifest.json").write_text("{")
    why = study_cells.work(node)
    assert why.startswith(f"ValueError: remove {data.parent} to record anew: ")
    assert not (node.folder / "run").exists()


def test_the_random_policy_is_done_for_its_environment_and_number_of_episodes(cell) -> None:
    node = replace(cell, kind="random", key="lab2d-harvest/random", folder=cell.folder.parents[1], episodes=3)
    assert state(node) == "absent"
    study_cells._write(node, {"episodes": {"per_capita_return": [1.0]}})
    assert json.loads(result_path(node).read_text())["kind"] == "random"
    assert state(node) == "done"
    assert state(replace(node, episodes=4)) == "stale"
    assert study_cells.set_aside(node) is None


def test_begun_names_the_pretraining(cell) -> None:
    begin(cell)
    assert json.loads((cell.folder / BEGUN).read_text())["pretraining"] == study_cells._of_pretraining(cell)


def policy(spec: ObservationSpec, seed: int) -> Policy:
    torch.manual_seed(seed)
    network = TeamNetwork(spec, NetworkConfig(width=16, hidden=24))
    last = network.policy[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight)
    return Policy(network)


def test_unseen_opponents_are_played_with_what_a_cell_learnt(tmp_path, monkeypatch) -> None:
    """One that is an option of the environment, and one that is another cell's policy."""
    env: Any = DuelConfig()
    task = replace(TASKS["football-5v5"], unseen_env={"a head wind": {"wind": -0.3}})
    monkeypatch.setitem(TASKS, "duel", task)
    spec = ObservationSpec.from_team(env.build().spec)
    mine, theirs = tmp_path / "duel" / "acam" / "0", tmp_path / "duel-selfplay" / "meanpool" / "0"
    policy(spec, 1).save(mine)
    policy(spec, 2).save(theirs)
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(study_cells, "_write", lambda node, record: written.append(record))
    config = replace(CONFIG, env=env, evaluation=replace(CONFIG.evaluation, deterministic=True))
    node = Node(
        kind="unseen", key="duel/acam/0/unseen", folder=mine, task="duel", arm="acam", config=config, budget=BUDGET,
        episodes=9, opponents=(("meanpool", "duel-selfplay/meanpool/0"),),
    )  # fmt: skip
    study_cells._unseen(node)
    options: dict[str, Any] = {"episodes": 9, "deterministic": True}
    windy = evaluate(mine, replace(env, wind=-0.3), **options)
    trained = evaluate(mine, env, opponent=theirs, **options)
    assert written == [{"unseen": {"a head wind": columns(windy), "self-play, meanpool": columns(trained)}}]
    assert columns(windy) != columns(trained) != columns(evaluate(mine, env, **options))
