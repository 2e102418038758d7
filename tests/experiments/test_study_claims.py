"""The rule that answers the claims."""

import numpy as np
import pytest

from experiments import statistics, study_claims, study_results
from experiments.study_claims import CLAIMS, Comparison, answer, rows
from tests.experiments.studied import document

ATTENTION = CLAIMS[0]
PLANNED = ("football-3v1",)
BETTER = Comparison(better="acam", worse="independent", measure="area")


def tasks(**options):
    return study_results.scores(document(**options))


def both():
    """Five seeds on one task, three on another."""
    first, second = document(), document(seeds=(0, 1, 2), task="football-pass-and-shoot")
    second["tasks"]["football-pass-and-shoot"]["title"] = "another"
    return study_results.scores({**first, "tasks": first["tasks"] | second["tasks"]})


def test_a_clear_difference_is_reproduced_and_its_reverse_is_not() -> None:
    row = answer(ATTENTION, tasks(), PLANNED)
    assert row is not None
    assert row.verdict == "reproduced"
    assert float(row.difference.value) == pytest.approx((0.8 - 0.3) / 2, abs=0.02)
    assert float(row.improvement.value) == 1
    reverse = Comparison(better="independent", worse="acam", measure="area")
    assert rows(reverse, tasks())[0].verdict == "not reproduced"


def test_arms_that_are_equal_are_not_reproduced_with_little_noise_and_undecided_with_much() -> None:
    same = Comparison(better="acam+aux", worse="acam", measure="area")
    assert rows(same, tasks(noise=0.01))[0].verdict == "not reproduced"
    assert rows(same, tasks(noise=0.4))[0].verdict == "undecided"


def test_the_two_intervals_must_agree() -> None:
    """Three runs each, all of one arm better: the bootstrap is sure of it, Student's t is not."""
    found = tasks(seeds=(0, 1, 2), noise=0.0)
    curves = found[0].curves
    for arm, heights in (("acam", (0.2, 0.3, 0.9)), ("independent", (0.1, 0.1, 0.15))):
        curves[arm][:] = np.array(heights)[:, None]
    row = rows(BETTER, found)[0]
    assert statistics.verdict(float(row.difference.low), float(row.difference.high), 0.05) == "reproduced"
    assert row.welch[0] < 0
    assert (row.verdict, row.note) == ("undecided", "the two intervals disagree")


def test_a_claim_is_not_answered_while_a_seed_is_missing() -> None:
    found = document()
    cells = found["tasks"]["football-3v1"]["cells"]
    del cells[next(i for i, cell in enumerate(cells) if cell["arm"] == "independent")]
    row = answer(ATTENTION, study_results.scores(found), PLANNED)
    assert row is not None
    assert (row.verdict, row.note, row.runs) == (
        "undecided",
        "not all seeds are done of football-3v1",
        (5, 4),
    )


def test_several_tasks_are_answered_together_and_no_seed_is_left_out() -> None:
    found = rows(BETTER, both())
    assert [row.task for row in found] == ["football 3 against 1", "another", "all tasks"]
    assert found[-1].runs == (8, 8)
    singles = [float(row.difference.value) for row in found[:2]]
    assert float(found[-1].difference.value) == pytest.approx(np.mean(singles))
    assert answer(ATTENTION, both(), (*PLANNED, "football-pass-and-shoot")) == found[-1]


def test_every_claim_is_answered_by_its_first_comparison() -> None:
    for claim in CLAIMS:
        assert [comparison.answers for comparison in claim.comparisons] == [True, False]
        row = answer(claim, tasks(), PLANNED)
        assert row is not None
        assert row.comparison == claim.comparisons[0]


def test_a_claim_without_its_arms_has_no_answer() -> None:
    assert answer(CLAIMS[1], tasks(arms=("acam", "independent")), PLANNED) is None
    assert study_claims.rows(CLAIMS[1].comparisons[0], []) == []


def test_a_planned_task_that_is_not_done_leaves_every_claim_that_it_speaks_to_undecided() -> None:
    planned = (*PLANNED, "football-pass-and-shoot", "lab2d-harvest")
    row = answer(ATTENTION, both(), planned)
    assert row is not None
    assert (row.verdict, row.note) == ("undecided", "not all seeds are done of lab2d-harvest")
    generalisation = CLAIMS[3]  # which lab2d has nothing to say about
    row = answer(generalisation, both(), planned)
    assert row is not None
    assert "lab2d-harvest" not in row.note
