"""The schedule of a study on Ray: what is done, tried again, given up, and stopped. Work is files instead of runs."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from experiments import study_schedule
from experiments.presets.study import SIZES
from experiments.study_plan import Node, _sized

pytestmark = pytest.mark.ray
TASK = "lab2d-harvest"
BUDGET = SIZES["tiny"][TASK]
CONFIG = _sized(f"{TASK}-acam", BUDGET)


def node(folder: Path, key: str, *needs: str) -> Node:
    return Node(kind="record", key=key, folder=folder / key, task=TASK, needs=needs, config=CONFIG, budget=BUDGET)


def work(node: Node) -> str:
    """Does what the key says. A folder `done` is the result; `tries` has a line for each attempt."""
    node.folder.mkdir(parents=True, exist_ok=True)
    with (node.folder / "tries").open("a") as tries:
        tries.write("once\n")
    if node.key == "fails":
        return "ValueError: no luck"
    if node.key == "dies once" and len((node.folder / "tries").read_text().splitlines()) == 1:
        os._exit(1)
    if node.key == "ends without a result":
        return ""
    if node.key == "takes long":
        try:
            for _ in range(6000):  # Ray's interrupt arrives between two sleeps, not within one
                time.sleep(0.1)
        except KeyboardInterrupt:
            (node.folder / "saved").touch()
            raise
    (node.folder / "done").touch()
    return ""


@pytest.fixture
def schedule(ray_session, monkeypatch, tmp_path):
    """(*nodes) -> what failed, and what was told."""
    here = sys.modules[__name__]
    ray_session.cloudpickle.register_pickle_by_value(here)
    monkeypatch.setattr(study_schedule, "work", work)
    monkeypatch.setattr(study_schedule, "state", lambda node: "done" if (node.folder / "done").exists() else "absent")
    monkeypatch.setattr(study_schedule, "POLL_S", 0.2)
    told: list[str] = []

    def run(*nodes: Node, progress=lambda schedule: None) -> tuple[dict[str, str], list[str]]:
        return study_schedule.run(list(nodes), told.append, progress), told

    yield run
    ray_session.cloudpickle.unregister_pickle_by_value(here)


def attempts(folder: Path, key: str) -> int:
    path = folder / key / "tries"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_what_fails_is_named_and_what_needs_it_is_given_up(schedule, tmp_path) -> None:
    before = node(tmp_path, "done before")
    before.folder.mkdir()
    (before.folder / "done").touch()
    failed, told = schedule(
        before,
        node(tmp_path, "fails"),
        node(tmp_path, "needs it", "fails"),
        node(tmp_path, "needs that", "needs it"),
        node(tmp_path, "dies once", "done before"),
        node(tmp_path, "needs who died", "dies once"),
        node(tmp_path, "ends without a result"),
    )
    assert failed == {
        "fails": "ValueError: no luck",
        "needs it": "fails failed",
        "needs that": "needs it failed",
        "ends without a result": "it ended without a result",
    }
    tries = {path.parent.name: len(path.read_text().splitlines()) for path in tmp_path.glob("*/tries")}
    assert tries == {"fails": 1, "dies once": 2, "needs who died": 1, "ends without a result": 1}
    assert "fails failed: ValueError: no luck" in told
    assert (tmp_path / "needs who died" / "done").exists()


def test_a_study_that_is_stopped_lets_what_runs_save_itself(schedule, tmp_path) -> None:
    def stop(running: study_schedule.Schedule) -> None:
        if attempts(tmp_path, "takes long"):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        schedule(node(tmp_path, "takes long"), node(tmp_path, "never", "takes long"), progress=stop)
    assert (tmp_path / "takes long" / "saved").exists()
    assert not (tmp_path / "never").exists()


def test_a_cell_that_no_machine_can_hold_is_refused(schedule, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(study_schedule, "cpus", lambda node: [{"CPU": 1.0}] * 9)
    with pytest.raises(ValueError, match="a cell needs 9 CPUs, but the cluster has 4"):
        schedule(node(tmp_path, "large"))
    assert attempts(tmp_path, "large") == 0
