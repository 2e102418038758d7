"""Our own conformance check and PettingZoo's tests pass on football."""

import warnings

import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

import envs
from envs.conformance import check

pytestmark = pytest.mark.engine("football")


@pytest.mark.parametrize("view", ["features", "entities", "smm"])
def test_football_conforms(view):
    left = check(
        lambda: envs.make_team("football/academy_run_to_score_with_keeper", players=2, view=view), episodes=1, steps=420
    )
    assert left == () or left == ("truncation",)


def test_a_time_limit_conforms():
    assert check(lambda: envs.make_team("football/1_vs_1_easy"), episodes=1, steps=510) == ()


def test_pettingzoo_accepts_football():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parallel_api_test(envs.make("football/team_3_vs_1_with_keeper"), num_cycles=120)
        parallel_seed_test(lambda: envs.make("football/academy_3_vs_1_with_keeper", players=3), num_cycles=30)
