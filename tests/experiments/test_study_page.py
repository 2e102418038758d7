"""The page of a study says what the numbers say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from experiments import statistics, study, study_figures, study_method, study_page, study_results
from experiments.presets.study import ARMS, SIZES
from experiments.study_plan import Grid
from tests.experiments.studied import document

BUDGETS = {"lab2d-harvest": SIZES["tiny"]["lab2d-harvest"]}


@pytest.fixture
def write(monkeypatch, tmp_path):
    """(document) -> the text of the page that is written of it."""

    def of(found) -> str:
        monkeypatch.setattr(study_results, "gather", lambda *args: found)
        grid = Grid(folder=tmp_path, budgets=BUDGETS, rates={})
        return study_page.write([], grid, tmp_path / "out", "2core").read_text()

    return of


def test_a_page_has_an_answer_for_each_claim_and_all_its_files(write, tmp_path) -> None:
    page = write(document())
    answers = page.split("## Answers")[1].split("The rule")[0]
    assert re.findall(r"\*\*(.*?)\*\*", answers) == ["reproduced", "not reproduced", "reproduced", "reproduced"]
    assert re.search(r"\| Attention .*\+0\.2\d\d \[\+0\.2\d\d, \+0\.2\d\d\]", answers)
    for link in re.findall(r"\]\((.*?)\)", page):
        assert (tmp_path / "out" / link).is_file(), link
    for name in ("curves-football-3v1", "scores", "improvement"):
        with Image.open(tmp_path / "out" / "agent-centric" / f"{name}.png") as picture:
            assert min(picture.size) > 300
    assert json.loads((tmp_path / "out" / "agent-centric" / "marl-eval.json").read_text())


def test_a_page_says_what_is_missing(write) -> None:
    found = document()
    found["tasks"]["football-3v1"]["cells"] = found["tasks"]["football-3v1"]["cells"][:-1]
    found |= {"missing": ["football-3v1/acam+aux+pretrain/4", "football-3v1/recordings/4"], "stale": ["a/b/0"]}
    page = write(found)
    assert "1 cells are not done" in page
    assert "1 results were made for another configuration" in page
    assert "not all seeds are done" in page


def test_a_page_says_how_tuning_was_done(write) -> None:
    page = write(document())
    assert "Tuning in the study: none for any arm" in page
    assert "football-3v1: the preset's settings were found before the study in four tries" in page
    row = {"factor": 3.0, "scores": {"0.3": [0.25, 0.35], "1": [0.5, 0.5], "3": [0.75, 0.85]}}
    tuning = {"tasks": {"football-3v1": {"acam": row, "meanpool": row}}}
    tuning |= {"env_steps": {"football-3v1": 1000}, "seeds": {"football-3v1": [1000, 1001]}}
    page = write({**document(), "tuning": tuning})
    assert "football-3v1, 1,000 steps, seeds 1000, 1001, chosen (mean scores): acam 3 (0.3, 0.5, 0.8); mean" in page
    assert "football-3v1: no search; every arm has the preset's rate." in write(
        {**document(), "tuning": {**tuning, "tasks": {}}}
    )


STRONGER = (
    "built-in AI at full strength (the same AI as the level's own opponent, made stronger: difficulty 1.0 against the "
    "level's 0.6)"
)


def test_a_page_names_the_unseen_opponent(write) -> None:
    found = document()
    for cell in found["tasks"]["football-3v1"]["cells"]:
        cell["unseen"] = {"built-in AI at full strength": cell["unseen"]["stronger"]}
    answers, _, rest = write(found).partition("## All comparisons")
    comparisons, _, scores = rest.partition("## Scores")
    line = next(line for line in answers.splitlines() if line.startswith("| Generalisation"))
    assert line.endswith(f"n = 5 and 5, against {STRONGER} |")
    assert answers.count("against built-in") == 1  # the other claims are not about it
    assert comparisons.count(f"football 3 against 1, against {STRONGER} |") == 2
    assert f"Unseen opponent: {STRONGER}." in scores


def test_a_claim_over_tasks_names_the_opponents_of_those_that_are_whole(write) -> None:
    found = document()
    for number, task in enumerate(("football-5v5", "football-5v5-selfplay", "football-pass-and-shoot")):
        found["tasks"] |= document(task=task)["tasks"]
        found["tasks"][task]["title"] = task
        for cell in found["tasks"][task]["cells"]:
            cell["unseen"] = {f"opponent {number}": [0.5, 0.6]}
    for cell in found["tasks"]["football-5v5"]["cells"][:6]:
        cell["unseen"] = {}
    answers = write(found).partition("The rule")[0]
    line = next(line for line in answers.splitlines() if line.startswith("| Generalisation"))
    assert "all tasks, n = 15 and 15, against stronger (the same AI" in line
    assert "; opponent 1; opponent 2 (the same AI" in line
    assert "opponent 0" not in line


def test_a_page_says_whom_self_play_met(write) -> None:
    note = "trains against a pool of its own past selves, so no two runs meet the same opponents. All evaluations"
    assert note in write(document(task="football-5v5-selfplay"))
    assert note not in write(document())


def test_a_page_says_what_training_was_paid_for(write) -> None:
    found = document()
    assert "Rewards of training" not in write(found)  # results of before
    found["tasks"]["football-3v1"]["rewards"] = {"rewards": "scoring,checkpoints"}
    assert "Rewards of training: `rewards` scoring,checkpoints; the scores here are counted without" in write(found)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--tasks", "lab2d-harvest"),
        ("--tasks", "football-pass-and-shoot", "lab2d-harvest"),
        ("--arms", "acam", "meanpool"),
        ("--seeds", "3", "4"),
        ("--tasks", "lab2d-harvest", "--arms", "acam", "--seeds", "0", "1", "2"),
    ],
)
def test_commands_are_those_that_were_typed(flags, tmp_path) -> None:
    def grid(flags):
        found = study.parse_study(["agent-centric", "--size", "2core", "--runs-dir", str(tmp_path), *flags])[1]
        return study_results.gather([], found, "2core"), (list(found.budgets.items()), found.arms)

    document, asked = grid(flags)
    (command,) = study_method.commands(document)
    assert command == " ".join(("tandem study agent-centric --size 2core", *flags))
    assert grid(command.split()[5:])[1] == asked
    searched, other = next(iter(document["tasks"])), ARMS[0]
    document["tuning"] = {"tasks": {searched: {arm: {} for arm in ARMS}, "football-3v1": {other: {}}}}
    search, command = study_method.commands(document)
    assert search.endswith(" --tune")
    assert grid(search.split()[5:-1])[1] == ([(searched, dict(asked[0])[searched])], asked[1])


def test_searches_of_different_arms_are_different_commands(tmp_path) -> None:
    found = study_results.gather([], Grid(folder=tmp_path, budgets=SIZES["2core"], rates={}), "2core")
    found["tuning"] = {"tasks": {"lab2d-harvest": {"acam": {}}, "football-pass-and-shoot": dict.fromkeys(ARMS)}}
    start = "tandem study agent-centric --size 2core"
    assert study_method.commands(found) == [
        f"{start} --tasks lab2d-harvest --arms acam --tune", f"{start} --tasks football-pass-and-shoot --tune", start
    ]  # fmt: skip


def test_the_random_policy_never_met_the_unseen_opponent(monkeypatch, tmp_path) -> None:
    drawn = []
    monkeypatch.setattr(study_figures, "_save", lambda figure, path: drawn.append(figure))
    study_figures.bars(tmp_path / "scores.png", study_results.scores(document()))
    labels = [axes.get_xlabel() for axes in drawn[0].axes]
    assert labels[:2] == ["0: random policy, 1: reference"] * 2
    assert labels[2] == "0: random policy against the level's own\nopponent, 1: reference"


@pytest.mark.slow
@pytest.mark.parametrize("runs", sorted(study_page.COVERAGE))
def test_the_coverage_of_the_intervals_is_that_of_the_page(runs) -> None:
    assert statistics.coverage(runs) == pytest.approx(study_page.COVERAGE[runs], abs=0.03)


def test_one_arm_alone_makes_a_page(write) -> None:
    page = write(document(arms=("acam",), seeds=(0,)))
    assert page.count("not measured") == 4


def test_nothing_done_is_said(write) -> None:
    found = document()
    found["tasks"]["football-3v1"]["cells"] = []
    with pytest.raises(ValueError, match=r"nothing of the study in .* is done yet"):
        write(found)


def test_gathering_an_empty_study_counts_nothing(tmp_path: Path) -> None:
    grid = Grid(folder=tmp_path, budgets=BUDGETS, rates={})
    found = study_results.gather([], replace(grid, arms=("acam",)), "tiny")
    assert found["tasks"]["lab2d-harvest"]["cells"] == []
    assert study_results.scores(found) == []
