"""`tandem study` as a command: flags, what it says, one at a time, the search, and going on after a kill."""

import json
from pathlib import Path

import pytest

from experiments import study, study_cells, study_plan, study_schedule
from experiments.presets.study import ARMS, SIZES
from experiments.study_plan import Node
from marl.files import alone

TASK = "lab2d-harvest"


@pytest.fixture
def done_at_once(monkeypatch) -> list[str]:
    """Nodes are done in this process without Ray or an engine: a cell scores ten times its learning rate. Returns the
    keys of what was done, in order; a test may put keys that fail into `failing`."""
    order: list[str] = []

    def run(nodes: list[Node], tell, progress) -> dict[str, str]:
        for node in nodes:
            how = study_cells.state(node)
            if how == "done":
                continue
            if how == "stale":
                study_cells.set_aside(node)
            order.append(node.key)
            _finish(node)
        return {}

    monkeypatch.setattr(study_schedule, "run", run)
    monkeypatch.setattr(study_plan, "parameters", lambda config: 1000)
    return order


def _finish(node: Node) -> None:
    from experiments import runs

    if node.kind != "cell":
        study_cells._write(node, {"episodes": {"per_capita_return": [0.0, 0.0]}, "unseen": {}})
        return
    if not node.folder.exists():
        runs.create_at(node.folder, f"{TASK}-acam", node.config, ["tandem"])
    values = {"per_capita_return": [10 * node.config.ppo.learning_rate] * 3}
    result = {
        "config": runs.config_to_json(node.config), "metric": "per_capita_return", "parameters": 1000, "train_s": 1.0,
        "pretraining": study_cells._of_pretraining(node) if node.config.pretrained else "", "starts": 1,
        "env_steps": node.config.env_steps, "git_sha": "abc",
        "curve": [{"step": 0, "episodes": values}], "final": values,
    }  # fmt: skip
    study_cells._write(node, result)


def _folder(root: Path) -> Path:
    return root / "study" / "agent-centric-tiny"


def test_a_study_is_done_once_and_goes_on_where_it_stopped(tandem, tmp_path, done_at_once) -> None:
    flags = ("study", "agent-centric", "--size", "tiny", "--runs-dir", tmp_path)
    status, out, err = tandem(*flags)
    assert (status, err) == (0, "")
    assert "the page:" in out
    cells = [key for key in done_at_once if key.split("/")[1] in ARMS]
    assert len(cells) == 2 * len(ARMS)
    done_at_once.clear()
    (_folder(tmp_path) / TASK / "acam" / "1" / "result.json").unlink()  # killed before it was written
    tandem(*flags)
    assert done_at_once == [f"{TASK}/acam/1"]
    page = (_folder(tmp_path) / "report" / "agent-centric.md").read_text()
    assert "not done" not in page


def test_a_terminal_obeys_no_failure(tandem, tmp_path, done_at_once, monkeypatch) -> None:
    work = study_schedule.run

    def run(nodes: list[Node], tell, progress) -> dict[str, str]:
        work(nodes, tell, progress)
        tell("one failed: \x1b[2J\x9b\udc80")
        return {"two": "\x1b[2J\u202e"}

    monkeypatch.setattr(study_schedule, "run", run)
    status, out, _ = tandem("study", "agent-centric", "--size", "tiny", "--runs-dir", tmp_path)
    assert status == 1
    assert "one failed: \\x1b[2J\\x9b\\udc80\n" in out
    assert "two: \\x1b[2J\\u202e\n" in out


def test_the_page_counts_only_what_is_done(tandem, tmp_path, done_at_once) -> None:
    tandem("study", "agent-centric", "--size", "tiny", "--runs-dir", tmp_path)
    (_folder(tmp_path) / TASK / "acam" / "1" / "result.json").unlink()
    out = tmp_path / "page"
    flags = ("--size", "tiny", "--runs-dir", tmp_path, "--report-only", "--output", out)
    assert tandem("study", "agent-centric", *flags)[0] == 0
    found = json.loads((out / "agent-centric" / "results.json").read_text())
    assert found["missing"] == [f"{TASK}/acam/1"]
    assert len(found["tasks"][TASK]["cells"]) == 2 * len(ARMS) - 1
    assert "1 cells are not done" in (out / "agent-centric.md").read_text()


def test_the_search_takes_the_best_factor_and_the_study_uses_it(tandem, tmp_path, done_at_once) -> None:
    flags = ("study", "agent-centric", "--size", "tiny", "--runs-dir", tmp_path, "--arms", "acam", "independent")
    assert tandem(*flags, "--tune")[::2] == (0, "")
    tuning = json.loads((_folder(tmp_path) / "tuning.json").read_text())
    assert {arm: row["factor"] for arm, row in tuning["tasks"][TASK].items()} == {"acam": 3.0, "independent": 3.0}
    assert tuning["tasks"][TASK]["acam"]["scores"] == {"0.3": [pytest.approx(0.003)], "1": [0.01], "3": [0.03]}
    config = json.loads((_folder(tmp_path) / TASK / "acam" / "0" / "config.json").read_text())["config"]
    assert config["ppo"]["learning_rate"] == pytest.approx(3e-3)
    done_at_once.clear()
    assert tandem(*flags, "--tune")[0] == 0
    assert done_at_once == []


def test_a_dry_run_shows_the_grid_and_writes_nothing(tandem, tmp_path, done_at_once) -> None:
    status, out, _ = tandem("study", "agent-centric", "--size", "2core", "--dry-run", "--runs-dir", tmp_path)
    assert status == 0
    assert "lab2d-harvest: 0 of 30" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "no study was named"),
        (("other",), "study 'other' does not exist in this study; allowed: agent-centric"),
        (("agent-centric", "--size", "huge"), "invalid choice"),
        (("agent-centric", "--tasks", "chess"), "task 'chess' does not exist in this study; allowed: lab2d-harvest"),
        (("agent-centric", "--arms", "acam", "acam"), "arms must differ"),
        (("agent-centric", "--seeds", "1", "1"), "seeds must be different numbers"),
        (("agent-centric", "--seeds", "1000"), "seed 1000 is the search's own"),
        (("agent-centric", "--report-only"), "no study of this size has begun there"),
    ],
)
def test_wrong_flags_are_answered_in_one_sentence(tandem, tmp_path, flags, message) -> None:
    status, _, err = tandem("study", *flags, *(("--runs-dir", tmp_path) if flags else ()))
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_one_command_at_a_time(tandem, tmp_path) -> None:
    with alone(_folder(tmp_path)):
        status, _, err = tandem("study", "agent-centric", "--size", "tiny", "--runs-dir", tmp_path)
    assert (status, f"another process is at work in {_folder(tmp_path)}" in err) == (2, True)


@pytest.mark.parametrize("taken", ["page", "page/agent-centric", "page/agent-centric.md/x"])
@pytest.mark.parametrize("only", [(), ("--report-only",)])
def test_a_page_that_cannot_be_written_is_noticed_before_the_work(tandem, tmp_path, done_at_once, taken, only) -> None:
    (tmp_path / taken).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / taken).touch()
    _folder(tmp_path).mkdir(parents=True)
    flags = ("--size", "tiny", "--runs-dir", tmp_path, "--output", tmp_path / "page", *only)
    status, _, err = tandem("study", "agent-centric", *flags)
    assert (status, err.startswith(f"tandem: cannot write {tmp_path / 'page'}")) == (2, True)
    assert len(err.splitlines()) == 1
    assert done_at_once == []


_ROW = {"factor": 1.0, "scores": {"1": [0.5]}}
_SEARCH = {"env_steps": {TASK: 64}, "seeds": {TASK: [1000]}, "tasks": {TASK: {"acam": _ROW}}}


@pytest.mark.parametrize(
    "written",
    [
        "{",
        "[" * 100_000,
        "[]",
        '{"tasks": []}',
        json.dumps({**_SEARCH, "tasks": {TASK: {"acam": {**_ROW, "factor": "1"}}}}),
        json.dumps({**_SEARCH, "tasks": {TASK: {"acam": {**_ROW, "factor": float("inf")}}}}),
        json.dumps({**_SEARCH, "tasks": {TASK: {"acam": {**_ROW, "scores": {"1": ["a"]}}}}}),
        json.dumps({**_SEARCH, "tasks": {TASK: {"acam": {**_ROW, "scores": {"1": [10**400]}}}}}),
        json.dumps({**_SEARCH, "seeds": 3}),
        json.dumps({**_SEARCH, "seeds": {}}),
        json.dumps({name: value for name, value in _SEARCH.items() if name != "env_steps"}),
    ],
)
def test_a_damaged_search_is_said(tandem, tmp_path, written) -> None:
    _folder(tmp_path).mkdir(parents=True)
    flags = ("study", "agent-centric", "--size", "tiny", "--runs-dir", tmp_path, "--dry-run")
    (_folder(tmp_path) / "tuning.json").write_text(json.dumps(_SEARCH))
    assert tandem(*flags)[0] == 0
    (_folder(tmp_path) / "tuning.json").write_text(written)
    status, _, err = tandem(*flags)
    assert (status, "cannot be read as the result of a search" in err) == (2, True)
    assert len(err.splitlines()) == 1


def test_help_shows_an_example(tandem) -> None:
    status, out, _ = tandem("study", "--help")
    assert status == 0
    assert study.EXAMPLE in out


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.engine("lab2d")
def test_the_tiny_study_runs(ray_session, tandem, tmp_path) -> None:
    flags = ("study", "agent-centric", "--size", "tiny", "--runs-dir", tmp_path, "--seeds", "0")
    status, out, _ = tandem(*flags, "--arms", "independent", "acam+pretrain")
    assert status == 0, out
    record = json.loads((_folder(tmp_path) / TASK / "acam+pretrain" / "0" / "result.json").read_text())
    assert [point["step"] for point in record["curve"]] == [0, 64, 128]
    assert record["env_steps"] == SIZES["tiny"][TASK].env_steps
    assert len(record["final"]["per_capita_return"]) == SIZES["tiny"][TASK].episodes
    assert "done in" not in tandem(*flags, "--arms", "independent", "acam+pretrain")[1]
