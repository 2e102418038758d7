"""`tandem eval LEFT --against RIGHT ...`: labels, where the match is played, tables, files and refusals."""

import json
import os
from typing import Any

import pytest
import torch

import envs
from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from experiments import evaluate_marl, evaluate_match
from experiments.evaluate_match import labels, meeting_place
from marl.match import Game, MatchResult
from tests.marl.duel import DuelConfig


@pytest.fixture
def saved(tmp_path):
    """(name, **options of the environment) -> path of a policy that says it was made for that environment."""

    def save(name, env="football/5_vs_5", **options):
        spec = ObservationSpec.from_team(DuelConfig().build().spec)
        torch.manual_seed(0)
        network = TeamNetwork(spec, NetworkConfig(width=16, hidden=16))
        meta = {"env": envs.to_json(envs.config(env, **options))}
        return str(Policy(network, meta).save(tmp_path / name))

    return save


@pytest.fixture
def on_duel(monkeypatch):
    """Matches on a game that needs no engine."""
    monkeypatch.setattr(evaluate_match, "meeting_place", lambda everybody, name: DuelConfig(steps=30))


def test_labels_are_short_and_different():
    assert labels(["random", "runs/a/1", "runs/b/1"]) == ["random", "a/1", "b/1"]
    assert labels(["x/p/1", "y/p/1"]) == ["x/p/1", "y/p/1"]
    assert labels(["runs/a/1", "runs/a/1", "./runs/a/1"]) == ["a/1", "a/1 (2)", "a/1 (3)"]


def test_a_match_is_where_the_policies_were_trained(saved):
    one, other = saved("one"), saved("other", opponents=4, rewards="checkpoints")
    assert meeting_place(["random", one, other], None) == envs.config("football/5_vs_5")
    assert meeting_place([one], "football/11_vs_11_kaggle").level == "11_vs_11_kaggle"
    assert meeting_place(["random", "idle"], "football/5_vs_5") == envs.config("football/5_vs_5")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "entities"}, "cannot meet: view is 'features' for one, 'entities' for the other"),
        ({"players": 3}, "cannot meet: players is 4 for one, 3 for the other"),
        (
            {"env": "football/11_vs_11_kaggle"},
            "level is '5_vs_5' for one, '11_vs_11_kaggle' for the other",
        ),
        ({"env": "lab2d/clean_up"}, "cannot meet: level is '5_vs_5' for one, 'clean_up' for the other"),
    ],
)
def test_policies_made_for_different_games_are_refused(tandem, saved, options, message):
    status, _, err = tandem("eval", saved("one"), "--against", saved("other", **options))
    assert status == 2
    assert message in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["random", "--against", "idle"], "random and idle: no trained policy says where to play; name one with --env"),
        (
            ["random", "--against", "nobody", "--env", "football/5_vs_5"],
            "player 'nobody' does not exist; allowed: random",
        ),
        (["random", "--against", "idle", "--pairs", "0"], "--pairs must be at least 1, got 0"),
        (["random", "--against", "idle", "--episodes", "3"], "--episodes does not count with --against"),
        (["random", "--pairs", "3"], "--pairs counts with --against only"),
        (["random", "--against", "idle", "--env", "lab2d/clean_up"], "clean_up has one team and no other side"),
        (["random", "--against", "idle", "--env", "football/academy_corner"], "cannot be swapped"),
        (["random"], "random plays anything; name an environment with --env"),
    ],
)
def test_a_wrong_value_is_answered_in_one_sentence(tandem, args, message):
    status, out, err = tandem("eval", *args)
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_without_a_policy_is_refused(tandem, tmp_path):
    status, _, err = tandem("eval", "random", "--against", tmp_path, "--env", "football/5_vs_5")
    assert status == 2
    assert "holds no policy" in err


def test_two_play_a_match(tandem, on_duel, tmp_path):
    status, out, err = tandem("eval", "random", "--against", "idle", "--pairs", 4, "--output", tmp_path / "games.jsonl")
    assert (status, err) == (0, "")
    assert "duel: random against idle" in out
    for row in ("win", "draw", "loss", "goal difference", "left side advantage"):
        assert row in out
    assert "Elo" not in out
    games = [json.loads(line) for line in (tmp_path / "games.jsonl").read_text().splitlines()]
    assert [(game["left"], game["right"]) for game in games] == [("random", "idle"), ("idle", "random")] * 4
    again = tandem("eval", "random", "--against", "idle", "--pairs", 4)[1]
    assert again.splitlines()[-10:-1] == out.splitlines()[-11:-2]


def test_games_follow_a_link_and_replace_nothing_but_their_file(tandem, on_duel, tmp_path):
    (tmp_path / "real.jsonl").write_text("old")
    (tmp_path / "games.jsonl").symlink_to(tmp_path / "real.jsonl")
    (tmp_path / "games.jsonl.tmp").write_text("somebody's")
    args = ("eval", "random", "--against", "idle", "--pairs", 1, "--output")
    assert tandem(*args, tmp_path / "games.jsonl")[0] == 0
    assert (tmp_path / "games.jsonl").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "games.jsonl.tmp").read_text() == "somebody's"
    os.mkfifo(tmp_path / "pipe")
    status, _, err = tandem(*args, tmp_path / "pipe")
    assert status == 2
    assert "no regular file" in err
    assert (tmp_path / "pipe").is_fifo()


def test_several_play_each_other_and_get_ratings(tandem, on_duel, saved, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, _ = tandem("eval", saved("one"), "--against", "random", "idle", "--pairs", 3)
    assert status == 0
    assert all(out.count(f" {share} ") == 6 for share in ("win", "draw", "loss"))
    assert "Elo (the mean = 1500)" in out
    assert all(name in out for name in ("1 ", "/one ", "2 random", "3 idle", "against 3"))


def result_of(*goals):
    """A match by the first's goal differences, game by game, the sides swapped in every second."""
    games = []
    for index, difference in enumerate(goals):
        names = ("one", "two") if index % 2 == 0 else ("two", "one")
        mine, theirs = max(difference, 0), max(-difference, 0)
        scored = (mine, theirs) if index % 2 == 0 else (theirs, mine)
        games.append(
            Game(
                pair=index // 2,
                seed=0,
                left=names[0],
                right=names[1],
                goals_left=scored[0],
                goals_right=scored[1],
                length=9,
            )
        )
    return MatchResult(first="one", second="two", games=tuple(games))


def cells_of(table) -> list[list[Any]]:
    return [list(column.cells) for column in table.columns]


def test_every_share_of_a_payoff_has_its_interval_and_is_turned_for_the_other():
    result = result_of(2, 1, 1, -1, 0, 0)
    summary = result.summary()
    shown = {name: ", ".join(f"{100 * n[end]:.0f}%" for end in ("low", "high")) for name, n in summary.items()}
    _, first, second = cells_of(evaluate_match.payoff_table([result], "duel"))
    goals, *shares = second[0].split("\n")
    assert goals == evaluate_match.interval(summary["goal_difference"])
    assert shares == [f"win 50% [{shown['win']}]", f"draw 33% [{shown['draw']}]", f"loss 17% [{shown['loss']}]"]
    goals, *shares = first[1].split("\n")
    assert goals.startswith("-0.5 [")
    assert shares == [f"win 17% [{shown['loss']}]", f"draw 33% [{shown['draw']}]", f"loss 50% [{shown['win']}]"]
    assert max(map(len, shares)) <= 20  # three players fit a terminal of 80 columns


def test_goals_of_a_single_pair_have_no_interval():
    pair = result_of(1, 0)
    _, rows = cells_of(evaluate_match.match_table(pair, "duel"))
    assert rows[3:] == ["0.5 [-]", "0.5 [-]"]
    assert all("," in share for share in rows[:3])
    _, first, second = cells_of(evaluate_match.payoff_table([pair], "duel"))
    assert (second[0].split("\n")[0], first[1].split("\n")[0]) == ("0.5 [-]", "-0.5 [-]")
    _, rows = cells_of(evaluate_match.match_table(result_of(1, 0, 1, 0), "duel"))
    assert rows[3] == "0.5 [0.5, 0.5]"


def test_the_engines_ai_anchors_the_ratings(on_duel, monkeypatch):
    results = evaluate_match.round_robin({name: name for name in ("random", "idle")}, DuelConfig(), pairs=2)
    assert evaluate_match.elo_table(results).title == "Elo (the mean = 1500)"
    renamed = [type(r)(first="builtin_ai", second=r.second, games=r.games) for r in results]
    assert evaluate_match.elo_table(renamed).title == "Elo (builtin_ai = 1500)"


@pytest.mark.parametrize(
    ("opponents", "title"), [(2, "duel against the built-in AI, 2 held-out"), (0, "duel, 2 held-out")]
)
def test_an_evaluation_says_who_plays_the_other_side_if_training_had_somebody_else(
    tandem, monkeypatch, opponents, title
):
    monkeypatch.setattr(evaluate_marl, "environment", lambda command: DuelConfig(opponents=opponents))
    status, out, _ = tandem("eval", "idle", "--episodes", 2)
    assert status == 0
    assert title in " ".join(out.split())
