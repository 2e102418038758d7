"""Errors of a predictor, beside a slow loop over everything that is predicted."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy.stats import entropy

from agents import NetworkConfig, ObservationSpec, TeamNetwork
from agents.network import Predicted
from envs.fakes import make_spec
from marl.losses.prediction import cell_of, targets
from marl.pretrain_data import Rows, join
from marl.pretrain_errors import errors, unit_of

KINDS = ("teammate", "opponent", "ball")


@pytest.fixture
def network():
    view = gym.spaces.Box(-np.inf, np.inf, (2, 4), np.float32)
    torch.manual_seed(0)
    spec = ObservationSpec.from_team(make_spec(view, players=2, others=("opponent", "ball")))
    return TeamNetwork(spec, NetworkConfig(width=8, hidden=8, horizon=2))


@pytest.fixture
def parts(network):
    """Two parts of five episodes; agents and entities come and go."""
    generator = torch.Generator().manual_seed(1)

    def episode(number):
        positions = 0.1 * torch.randn(7, 4, 2, generator=generator).cumsum(0)
        there = torch.rand(7, 4, generator=generator) < 0.9
        obs = {
            "view": torch.randn(6, 2, 4, generator=generator),
            "mask": torch.rand(6, 2, generator=generator) < 0.8,
            "who": torch.arange(2, dtype=torch.int16).expand(6, 2),
            "positions": positions[:-1],
            "entity_mask": there[:-1],
        }
        known = targets(positions, there, torch.tensor(network.spec.step_scale), 2)
        return Rows(obs, known, torch.full((6,), number))

    return [join([episode(number) for number in range(start, start + 5)]) for start in (0, 5)]


def slow_means(network, parts):
    """{(kind, horizon): {predictor: (mean Huber, mean distance)}}, one guess at a time."""
    found = {}
    for rows in parts:
        said = network.predict(network.encode(rows.obs)[0]).displacement.detach().double().numpy()
        for n, a, e, k in np.ndindex(*said.shape[:4]):
            if not (rows.obs["mask"][n, a] and rows.targets.velocity_mask[n, e, k]):
                continue
            truth = rows.targets.displacement[n, e, k].double().numpy()
            guesses = {
                "model": said[n, a, e, k],
                "no_move": np.zeros(2),
                "constant_velocity": rows.targets.velocity[n, e, k].double().numpy(),
            }
            for name, guess in guesses.items():
                off = np.abs(guess - truth)
                huber = np.where(off < 1, off**2 / 2, off - 0.5).sum()
                distance = np.hypot(*off) * (k + 1)
                key = (network.spec.entity_kinds[e], k + 1)
                found.setdefault(key, {}).setdefault(name, []).append((huber, distance))
    return {key: {name: np.mean(values, 0) for name, values in each.items()} for key, each in found.items()}


def test_means_are_those_of_a_slow_loop(network, parts):
    expected = slow_means(network, parts)
    rows = errors(network, parts, kinds=KINDS)
    assert len(rows) == 2 * 3 * 2
    for row in rows:
        column = ("huber", "distance").index(row.measure)
        for name in ("model", "no_move", "constant_velocity"):
            assert getattr(row, name) == pytest.approx(expected[row.kind, row.horizon][name][column], rel=1e-4)
        assert row.share == pytest.approx(row.model / row.constant_velocity)
        assert row.episodes == 10
        assert row.unit == ("step_scale" if row.measure == "distance" else "")


def test_nats_of_cells_are_those_of_a_slow_loop(parts):
    """The trivial predictors' are the entropy of the answer given a guess that is right so often, others evenly."""
    view = gym.spaces.Box(-np.inf, np.inf, (2, 4), np.float32)
    torch.manual_seed(0)
    spec = ObservationSpec.from_team(make_spec(view, players=2, others=("opponent", "ball")))
    network = TeamNetwork(spec, NetworkConfig(width=8, hidden=8, horizon=2, prediction="cells", cell_radius=1))
    said, answers = {}, {}
    for rows in parts:
        logits = network.predict(network.encode(rows.obs)[0]).cells.detach().double().numpy()
        cells = [cell_of(guess, 1).numpy() for guess in (rows.targets.displacement, rows.targets.velocity)]
        for n, a, e, k in np.ndindex(*logits.shape[:4]):
            if rows.obs["mask"][n, a] and rows.targets.velocity_mask[n, e, k]:
                key, truth = (network.spec.entity_kinds[e], k + 1), cells[0][n, e, k]
                p = np.exp(logits[n, a, e, k]) / np.exp(logits[n, a, e, k]).sum()
                said.setdefault(key, []).append(-np.log(p[truth]))
                answers.setdefault(key, []).append((truth == 4, truth == cells[1][n, e, k]))
    rows = [row for row in errors(network, parts, kinds=KINDS) if row.measure == "nats"]
    assert len(rows) == 3 * 2
    for row in rows:
        key = (row.kind, row.horizon)
        assert row.model == pytest.approx(np.mean(said[key]), rel=1e-4)
        for share, found in zip(np.mean(answers[key], 0), (row.no_move, row.constant_velocity), strict=True):
            expected = entropy([share, *[(1 - share) / 8] * 8])
            assert found == pytest.approx(expected, rel=1e-4)
        low, high = row.difference
        assert low < row.model - row.constant_velocity < high


def test_intervals_hold_the_estimate_and_shrink_with_the_episodes(network, parts):
    few = errors(network, parts, kinds=("ball",))[0]
    copies = [Rows(p.obs, p.targets, p.episode + 10 * copy) for copy in range(25) for p in parts]
    many = errors(network, copies, kinds=("ball",))[0]
    for row in (few, many):
        low, high = row.difference
        assert low < row.model - row.constant_velocity < high
        assert row.share_interval[0] < row.share < row.share_interval[1]
    assert many.model == pytest.approx(few.model, rel=1e-5)
    width = lambda row: row.difference[1] - row.difference[0]  # noqa: E731
    assert width(many) == pytest.approx(width(few) / 5, rel=0.25)


def say(network, monkeypatch, how):
    """Makes the network say what `how` finds in the targets."""
    monkeypatch.setattr(network, "encode", lambda obs: (obs["said"], None))
    monkeypatch.setattr(network, "predict", lambda tokens: Predicted(tokens, None))
    return lambda parts: [
        Rows({**p.obs, "said": how(p.targets)[:, None].expand(-1, 2, -1, -1, -1)}, p.targets, p.episode) for p in parts
    ]


def test_constant_velocity_is_no_better_than_itself(network, parts, monkeypatch):
    told = say(network, monkeypatch, lambda target: target.velocity)(parts)
    for row in errors(network, told, kinds=KINDS):
        assert row.model == pytest.approx(row.constant_velocity)
        assert row.difference == pytest.approx((0, 0))
        assert row.share_interval == pytest.approx((1, 1))


def test_the_truth_is_better_than_everything(network, parts, monkeypatch):
    told = say(network, monkeypatch, lambda target: target.displacement)(parts)
    for row in errors(network, told, kinds=KINDS):
        assert row.model == pytest.approx(0, abs=1e-6)
        assert row.better
        assert row.to_json()["better"] is True


def test_kinds_that_do_not_count_and_kinds_that_are_not_there_have_no_row(network, parts):
    assert {row.kind for row in errors(network, parts, kinds=("opponent",))} == {"opponent"}
    nobody = [Rows(p.obs, p.targets._replace(velocity_mask=p.targets.velocity_mask & False), p.episode) for p in parts]
    assert errors(network, nobody, kinds=KINDS) == []
    assert errors(network, [], kinds=KINDS) == []


def test_metres_of_a_pitch():
    """A pitch of the engine is 2 x 54.4 m long, and 2 x 0.42 x 83.6 m wide."""
    view = gym.spaces.Box(-np.inf, np.inf, (3, 4), np.float32)
    spec = ObservationSpec.from_team(make_spec(view))
    assert unit_of(spec)[0] == "step_scale"
    unit, length = unit_of(replace(spec, env="football/5_vs_5", step_scale=(0.015, 0.022)))
    assert unit == "m"
    assert length == pytest.approx([0.015 * 54.4, 0.022 * 0.42 * 83.6])
    assert unit_of(replace(spec, env="lab2d/clean_up"))[0] == "cells"
