"""Elo ratings: SciPy's optimum of the same likelihood, simulated players recovered, intervals that cover."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from marl.ratings import ELO, rate, strengths


def simulated(rng, theta, pairs, draws=0.3):
    """Scores of a round robin: each game is a draw with probability `draws`, else decided as Bradley and Terry say."""
    scores = {}
    for a in range(len(theta)):
        for b in range(a + 1, len(theta)):
            won = rng.random((pairs, 2)) < expit(theta[a] - theta[b])
            drawn = rng.random((pairs, 2)) < draws * 4 * expit(theta[a] - theta[b]) * expit(theta[b] - theta[a])
            scores[f"p{a}", f"p{b}"] = np.where(drawn, 0.5, won).mean(1)
    return scores


def test_strengths_are_the_optimum_that_scipy_finds():
    rng = np.random.default_rng(0)
    points, prior = rng.integers(0, 9, (3, 5, 5)).astype(float), rng.exponential(size=(3, 5))

    def loss(theta, points, prior):
        total = 0.0
        for a in range(5):
            total += prior[a] / 2 * (log_expit(theta[a]) + log_expit(-theta[a]))
            for b in range(5):
                total += points[a, b] * log_expit(theta[a] - theta[b]) if a != b else 0
        return -total

    ours = strengths(points, prior)
    for row in range(3):
        best = minimize(loss, np.zeros(5), (points[row], prior[row]), method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(ours[row], best.x, atol=1e-5)


@pytest.mark.parametrize("games", [10, 10_000, 10_000_000])
def test_two_players_have_the_closed_form(games):
    """By symmetry theta_a = -theta_b = t, where wins = games x sigmoid(2 t) + sigmoid(t) - 1/2."""
    t = strengths(np.array([[[0, games], [0, 0.0]]]), np.ones((1, 2)))[0]
    assert t[0] == pytest.approx(-t[1])
    assert games == pytest.approx(games * expit(2 * t[0]) + expit(t[0]) - 0.5, rel=1e-9)


def test_a_player_that_wins_everything_is_finite_and_uncertain():
    first, second = rate({("a", "b"): np.ones(20)})
    assert (first.name, first.score, second.score, first.games) == ("a", 1, 0, 40)
    assert 1650 < first.elo < 2300
    assert first.low < first.elo - 50 < first.elo + 50 < first.high
    assert first.elo + second.elo == pytest.approx(3000)


def test_simulated_ratings_are_recovered():
    theta = np.array([1.2, 0.4, -0.3, -1.3])
    # Draws as half wins: with independent draws of any share the expected score is no longer exactly the sigmoid,
    # so the ratings that are recovered are those without draws.
    table = rate(simulated(np.random.default_rng(1), theta, 4000, draws=0.0), resamples=50)
    assert [row.name for row in table] == ["p0", "p1", "p2", "p3"]
    np.testing.assert_allclose([row.elo for row in table], 1500 + ELO * theta, atol=8)


def test_draws_of_equals_are_equal_ratings():
    table = rate({("a", "b"): np.full(9, 0.5), ("b", "c"): np.full(9, 0.5), ("a", "c"): np.full(9, 0.5)})
    assert [row.elo for row in table] == pytest.approx([1500] * 3)


@pytest.mark.parametrize("draws", [0.0, 0.7])
def test_intervals_cover_the_truth_of_19_in_20_players(draws):
    """Pairs of equal players, so that the truth is 1500 whatever the share of draws."""
    rng, inside = np.random.default_rng(2), []
    for _ in range(150):
        table = rate(simulated(rng, np.zeros(3), 20, draws), resamples=300, seed=int(rng.integers(2**31)))
        inside += [row.low <= 1500 <= row.high for row in table]
    assert 0.92 < np.mean(inside) < 0.98


def test_pairs_that_repeat_one_game_make_intervals_as_wide_as_half_the_games():
    rng = np.random.default_rng(3)
    game = (rng.random((50, 2)) < 0.5).astype(float)
    twice = rate({("a", "b"): game[:, 0]})[0]
    independent = rate({("a", "b"): game.mean(1)})[0]
    assert 1.2 < (twice.high - twice.low) / (independent.high - independent.low) < 1.7


def test_an_anchor_is_exactly_1500_and_shifts_the_others():
    scores = simulated(np.random.default_rng(4), np.array([0.5, 0, -0.5]), 40)
    free = {row.name: row for row in rate(scores)}
    fixed = {row.name: row for row in rate(scores, anchor="p2")}
    assert (fixed["p2"].elo, fixed["p2"].low, fixed["p2"].high) == (1500, 1500, 1500)
    assert fixed["p0"].elo - 1500 == pytest.approx(free["p0"].elo - free["p2"].elo)


def test_the_same_scores_give_the_same_table():
    scores = simulated(np.random.default_rng(5), np.zeros(3), 5)
    assert rate(scores, seed=1) == rate(scores, seed=1)
    assert [row.elo for row in rate(scores, seed=1)] == [row.elo for row in rate(scores, seed=2)]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ({}, "at least one match"),
        ({("a", "a"): [1.0]}, "two different players"),
        ({("a", "b"): [1.0], ("b", "a"): [1.0]}, "each two of them once"),
        ({("a", "b"): [1.5]}, "between 0 and 1"),
        ({("a", "b"): []}, "between 0 and 1"),
        ({("a", "b"): [float("nan")]}, "between 0 and 1"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        rate(scores)


def test_an_anchor_that_did_not_play_is_refused():
    with pytest.raises(ValueError, match=r"^anchor 'c' did not play; allowed: a, b$"):
        rate({("a", "b"): np.ones(3)}, anchor="c")
