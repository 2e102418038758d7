"""Means of attention in groups against slow loops, and intervals against the closed form for equal counts."""

import numpy as np
import pytest

from marl.attention_maps import Look, by_distance, by_offset, by_phase, by_place, cell, grouped, pairs
from marl.evaluation import confidence_interval

HEADS, AGENTS, PLAYERS = 2, 3, 4


def made_up(steps=30, seed=0):
    """A look at agents that are handed from player to player; some are absent."""
    rng = np.random.default_rng(seed)
    attention = rng.dirichlet(np.ones(AGENTS), size=(steps, HEADS, AGENTS))
    mask = rng.random((steps, AGENTS)) < 0.8
    who = np.stack([rng.permutation(PLAYERS)[:AGENTS] for _ in range(steps)])
    return Look(
        attention=attention,
        mask=mask,
        who=np.where(mask, who, -1),
        positions=rng.uniform(-1, 1, (steps, PLAYERS + 2, 2)),
        phase=rng.integers(3, size=steps),
        holder=rng.integers(-1, PLAYERS, size=steps),
    )


def slow(looks, group_of):
    """{group: [weights]} by loops. group_of(look, t, asking row, answering row) -> a key, or None to leave it out."""
    found = {}
    for look in looks:
        for t in range(len(look.mask)):
            for a in range(AGENTS):
                for b in range(AGENTS):
                    if look.mask[t, a] and look.mask[t, b]:
                        key = group_of(look, t, look.who[t, a], look.who[t, b])
                        if key is not None:
                            found.setdefault(key, []).append(look.attention[t, :, a, b])
    return found


def check(means, shape, found):
    mean, moments = means.mean.reshape(*shape, HEADS), means.moments.reshape(shape)
    assert moments.sum() == sum(map(len, found.values())) > 0
    for key in np.ndindex(*shape):
        assert moments[key] == len(found.get(key, []))
        if key in found:
            np.testing.assert_allclose(mean[key], np.mean(found[key], axis=0))
        else:
            assert np.isnan(mean[key]).all()


LOOKS = [made_up(30, 0), made_up(12, 1), made_up(25, 2)]


def test_by_phase_names_players_and_not_agents():
    means = by_phase(LOOKS, 3, PLAYERS)
    found = slow(LOOKS, lambda look, t, a, b: (look.phase[t], a, b))
    check(means, (3, PLAYERS, PLAYERS), found)
    assert ((means.low <= means.mean) & (means.mean <= means.high) | np.isnan(means.low)).all()


def test_maps_of_the_field_and_around_the_asker():
    scale, half, reach = (10.0, 6.0), (11.0, 7.0), (8.0, 5.0)

    def place(look, t, a, b):
        x, y = look.positions[t, b] * scale
        return None if a == b else (int((y + 7) // (14 / 3)), int((x + 11) // (22 / 5)))

    check(by_place(LOOKS, scale, half, (3, 5)), (3, 5), slow(LOOKS, place))

    def offset(look, t, a, b):
        x, y = (look.positions[t, b] - look.positions[t, a]) * scale
        if a == b or abs(x) > 8 or abs(y) > 5:
            return None
        return int((y + 5) // 5), int((x + 8) // 4)

    check(by_offset(LOOKS, scale, reach, (2, 4)), (2, 4), slow(LOOKS, offset))


def test_points_on_the_border_belong_to_the_outermost_cells():
    corners = np.array([(-3.0, -2.0), (3.0, -2.0), (-3.0, 2.0), (3.0, 2.0), (3.1, 0.0), (0.0, -2.1)])
    assert cell(corners, (3.0, 2.0), (2, 3)).tolist() == [0, 2, 3, 5, -1, -1]


def test_by_distance_and_who_has_the_ball():
    scale, edges = (10.0, 6.0), np.linspace(0, 15, 4)

    def group(look, t, a, b):
        far = np.hypot(*((look.positions[t, b] - look.positions[t, a]) * scale))
        if a == b or far >= 15:
            return None
        return 0 if b == look.holder[t] else 1 if a == look.holder[t] else 2, int(far // 5)

    check(by_distance(LOOKS, scale, edges), (3, 3), slow(LOOKS, group))


def test_with_equal_counts_the_interval_is_that_of_the_mean_of_episodes():
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.3, 0.6, (7, 5, 1))  # episodes, moments, heads
    means = grouped([(episode, np.zeros(5, int)) for episode in weights], 2)
    low, high = confidence_interval(weights.mean((1, 2)))
    assert (means.low[0, 0], means.high[0, 0]) == pytest.approx((low, high))
    assert (means.episodes.tolist(), means.moments.tolist()) == ([7, 0], [35, 0])


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Episodes of unequal length, each with its own level: moments are far from independent."""
    rng, hits, trials = np.random.default_rng(1), 0, 600
    for _ in range(trials):
        levels, lengths = rng.beta(4, 4, 20), rng.integers(5, 40, 20)
        parts = [(np.full((n, 1), level), np.zeros(n, int)) for level, n in zip(levels, lengths, strict=True)]
        means = grouped(parts, 1)
        hits += means.low[0, 0] <= 0.5 <= means.high[0, 0]
    assert 0.91 < hits / trials < 0.975


def test_one_episode_has_no_interval_and_absent_agents_no_pairs():
    means = by_phase(LOOKS[:1], 3, PLAYERS)
    assert np.isnan(means.low).all()
    assert np.isnan(means.high).all()
    nobody = Look(**{**vars(LOOKS[0]), "mask": np.zeros((30, AGENTS), bool)})
    assert len(pairs(nobody).weight) == 0
    assert by_phase([nobody], 3, PLAYERS).moments.sum() == 0
