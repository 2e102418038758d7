"""The page of a study says what the numbers say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from experiments import study_page, study_results
from experiments.presets.study import SIZES
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
