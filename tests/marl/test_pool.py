"""The pool: chances against the formula, ratings against a computation by hand, and what is on disk at any moment."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import agents
from marl import pool as pools
from marl.pool import ELO_STEP, START_RATING, Member, Pool, Results, chances, expected_score
from tests.marl.two_sides import policy


def member(number: int, **fields) -> Member:
    return Member(id=f"{number:012d}", env_steps=number, rating=fields.pop("rating", START_RATING), **fields)


def filled(folder: Path | None, count: int = 3, size: int = 9) -> Pool:
    pool = Pool(folder)
    for number in range(count):
        pool.add(policy(number), 100 * number, size=size)
    return pool


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_chances_are_those_of_the_formula():
    members = [
        member(0, recent_games=3, recent_score=3),  # (3 + .5) / 4 = 7/8
        member(1, recent_games=7, recent_score=3.5),  # 1/2
        member(2, recent_games=1, recent_score=0),  # .5 / 2 = 1/4
    ]
    assert [m.win_rate for m in members] == [7 / 8, 1 / 2, 1 / 4]
    drawn = chances(members, latest_share=0.3, priority=2)
    weights = [1 / 64, 16 / 64, 36 / 64]  # (1 - win rate) squared; sum 53/64
    expected = [0.7 * w * 64 / 53 for w in weights]
    assert list(drawn) == [m.id for m in members]
    assert list(drawn.values()) == pytest.approx([expected[0], expected[1], expected[2] + 0.3])
    assert list(chances(members, latest_share=0, priority=0).values()) == pytest.approx([1 / 3] * 3)
    assert list(chances(members, latest_share=1, priority=1).values()) == [0, 0, 1]
    assert chances(members[:1], latest_share=0.5, priority=1) == {members[0].id: 1}


def test_a_pool_that_is_always_beaten_is_drawn_evenly():
    members = [member(number, recent_games=1e9, recent_score=1e9) for number in range(2)]
    assert list(chances(members, latest_share=0.5, priority=100).values()) == [0.25, 0.75]


def test_the_rating_of_a_game_is_elos():
    assert expected_score(1000, 1000) == 0.5
    assert expected_score(1400, 1000) == pytest.approx(10 / 11)
    assert expected_score(1000, 1400) == pytest.approx(1 / 11)
    pool = filled(None, 2)
    first, second = (m.id for m in pool.members)
    assert pool.record({first: Results(wins=1)})
    assert (pool.rating, pool.members[0].rating) == (1008, 992)
    # Expected against 992: 1 / (1 + 10 ** (-16 / 400)) = 0.523010; a loss moves 16 x 0.523010.
    pool.record({first: Results(losses=1)})
    assert pool.rating == pytest.approx(1008 - 8.368157, abs=1e-5)
    assert pool.members[0].rating == pytest.approx(992 + 8.368157, abs=1e-5)
    before = pool.rating
    pool.record({second: Results(draws=1)})
    assert pool.rating == pytest.approx(before + ELO_STEP * (0.5 - 1 / (1 + 10 ** ((1000 - before) / 400))))
    assert sum(m.rating for m in pool.members) + pool.rating == pytest.approx(3 * START_RATING)


def test_games_of_unknown_order_count_as_their_mean():
    pool = filled(None, 1)
    own, other = START_RATING, START_RATING
    for _ in range(4):
        gain = ELO_STEP * (0.625 - 1 / (1 + 10 ** ((other - own) / 400)))
        own, other = own + gain, other - gain
    pool.record({pool.members[0].id: Results(wins=2, draws=1, losses=1)})
    assert (pool.rating, pool.members[0].rating) == pytest.approx((own, other))


def test_many_games_settle_where_the_model_expects_their_score():
    pool = filled(None, 1)
    for _ in range(200):
        pool.record({pool.members[0].id: Results(wins=15, losses=5)})
    assert expected_score(pool.rating, pool.members[0].rating) == pytest.approx(0.75, abs=1e-3)


def test_recent_games_weigh_more():
    pool, games, score = filled(None, 1), 0.0, 0.0
    for result in [Results(wins=3), Results(draws=2), Results(losses=1)]:
        pool.record({pool.members[0].id: result})
        for _ in range(sum(result)):  # one game at a time
            games = games * 0.98 + 1
            score = score * 0.98 + (result.wins + 0.5 * result.draws) / sum(result)
    found = pool.members[0]
    assert (found.wins, found.draws, found.losses) == (3, 2, 1)
    assert (found.recent_games, found.recent_score) == pytest.approx((games, score))
    assert found.win_rate == pytest.approx((score + 0.5) / (games + 1))
    assert member(0).win_rate == 0.5


def test_no_game_changes_nothing():
    pool = filled(None, 2)
    before = list(pool.members)
    assert not pool.record({})
    assert not pool.record({before[0].id: Results(), "000000009999": Results(wins=5)})
    assert (pool.members, pool.rating) == (before, START_RATING)


def test_the_newest_starts_with_the_learners_rating():
    pool = filled(None, 1)
    pool.record({pool.members[0].id: Results(wins=4)})
    assert pool.add(policy(1), 100, size=5).rating == pool.rating > START_RATING


def test_the_weakest_of_the_oldest_half_leaves(tmp_path):
    pool = filled(tmp_path, 4, size=4)
    games = (Results(losses=2), Results(wins=1), Results(wins=6), Results(wins=20))
    pool.record({m.id: result for m, result in zip(pool.members, games, strict=True)})
    assert [m.env_steps for m in sorted(pool.members, key=lambda m: m.rating)] == [300, 200, 100, 0]
    pool.add(policy(9), 900, size=4)
    assert [m.env_steps for m in pool.members] == [0, 200, 300, 900]  # the oldest half was 0 and 100
    assert set(pool.policies) == {m.id for m in pool.members}
    assert names(tmp_path) == [*sorted(pool.policies), "pool.json"]
    pool.add(policy(10), 1000, size=1)
    assert [m.env_steps for m in pool.members] == [1000]


def test_what_was_saved_comes_back(tmp_path):
    pool = filled(tmp_path)
    pool.record({pool.members[1].id: Results(2, 3, 4)})
    pool.save()
    again = Pool.load(tmp_path)
    assert again.members == pool.members
    assert again.rating == pool.rating != START_RATING
    for name, known in pool.policies.items():
        ours, theirs = known.network.state_dict(), again.policies[name].network.state_dict()
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
        assert agents.load(tmp_path / name).meta == known.meta  # an ordinary policy folder


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("module", [os, shutil])
def test_killed_at_any_moment_the_pool_can_be_read(module, tmp_path, monkeypatch):
    name = "replace" if module is os else "rmtree"
    original = getattr(module, name)
    for moment in range(9):
        folder = tmp_path / str(moment)
        pool, calls = filled(folder, 2, size=2), []

        def dying(*args, moment=moment, calls=calls, **kwargs):
            calls.append(args)
            if len(calls) > moment:
                raise Killed
            return original(*args, **kwargs)

        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            patch.setattr(module, name, dying)
            pool.add(policy(2), 200, size=2)
        again = Pool.load(folder)
        assert len(again.members) == 2
        again.add(policy(3), 200, size=2)  # what is left of the first attempt is not in its way
        assert [m.env_steps for m in Pool.load(folder).members] in ([0, 200], [100, 200])
        assert names(folder) == [*sorted(again.policies), "pool.json"]
        if len(calls) <= moment:
            return
    pytest.fail("add makes more calls than this test looks at")


def test_a_pool_without_member(tmp_path):
    with pytest.raises(ValueError, match=r"the pool .* has no member: pool.json is missing"):
        Pool.load(tmp_path)
    (tmp_path / "pool.json").write_text(json.dumps({"format": pools.FORMAT, "rating": 1000, "members": []}))
    with pytest.raises(ValueError, match=r"the pool .* has no member$"):
        Pool.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("format"), "has no field 'format'"),
        (lambda data: data.update(format="other"), "its format is 'other'"),
        (lambda data: data.update(rating="high"), "rating must be a number, got 'high'"),
        (lambda data: data.update(rating=float("nan")), "NaN in it is no finite number"),
        (lambda data: data.update(rating=10**400), "in it is too large"),
        (lambda data: data.update(rating=-1e9), "the rating of the pool is not possible, got -1000000000.0"),
        (lambda data: data.update(members=3), "members must be a list, got 3"),
        (lambda data: data.update(members={"a": 1}), "members must be a list"),
        (lambda data: data.update(members=[[]]), "a member is no table of fields"),
        (lambda data: data["members"][0].update(rating=1e300), "the rating of member .* is not possible"),
        (lambda data: data["members"][0].update(recent_games=float("inf")), "Infinity in it is no finite number"),
        (lambda data: data["members"][0].update(wins=10**400), "in it is too large"),
        (lambda data: data["members"][0].update(wins="1"), "wins must be a whole number, got '1'"),
        (lambda data: data["members"][0].update(env_steps=True), "env_steps must be a whole number, got True"),
        (lambda data: data["members"][0].pop("wins"), "has no field 'wins'"),
        (lambda data: data["members"][0].update(wins=-1), "are not possible"),
        (lambda data: data["members"][0].update(losses=0.5), "losses must be a whole number, got 0.5"),
        (lambda data: data["members"][0].update(recent_score=9), "are not possible"),
        (lambda data: data["members"][0].update(id="../secret"), "12 to 18 digits, got '../secret'"),
        (lambda data: data["members"][0].update(id="1" * 5000), "12 to 18 digits, got '1{40}'$"),
        (lambda data: data["members"].append(data["members"][0]), "names a member twice"),
    ],
)
def test_a_damaged_description_is_said_in_one_sentence(change, message, tmp_path):
    filled(tmp_path)
    data = json.loads((tmp_path / "pool.json").read_text())
    change(data)
    (tmp_path / "pool.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message) as caught:
        Pool.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000], ids=len)
def test_no_description_at_all(text, tmp_path):
    filled(tmp_path)
    (tmp_path / "pool.json").write_text(text)
    with pytest.raises(ValueError, match=r"pool.json cannot be read") as caught:
        Pool.load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["weights.safetensors", "policy.json", ""])
def test_a_member_that_is_missing(what, tmp_path):
    pool = filled(tmp_path)
    path = tmp_path / pool.members[1].id / what
    path.unlink() if what else shutil.rmtree(path)
    with pytest.raises(ValueError, match=rf"member {pool.members[1].id} of the pool .* cannot be read: ") as caught:
        Pool.load(tmp_path)
    assert "\n" not in str(caught.value)
