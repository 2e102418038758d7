"""The predictive objective: targets by a slow loop, trivial predictors on paths made by hand."""

import inspect

import pytest
import torch

from marl.losses.prediction import Targets, prediction_loss, targets

T, A, E = 12, 3, 4
SCALE = torch.tensor([0.1, 0.25], dtype=torch.float64)


def chunk(seed=0, present=0.7):
    g = torch.Generator().manual_seed(seed)
    positions = torch.rand(T + 1, E, 2, generator=g, dtype=torch.float64) * 2 - 1
    mask = torch.rand(T + 1, E, generator=g) < present
    return positions, mask


def test_targets_are_the_slow_loop():
    positions, mask = chunk()
    got = targets(positions, mask, SCALE)
    for t in range(T):
        for e in range(E):
            here = bool(mask[t, e] and mask[t + 1, e])
            before = bool(here and t > 0 and mask[t - 1, e])
            assert bool(got.mask[t, e]) == here
            assert bool(got.velocity_mask[t, e]) == before
            if here:
                assert got.displacement[t, e].tolist() == ((positions[t + 1, e] - positions[t, e]) / SCALE).tolist()
            if before:
                assert got.velocity[t, e].tolist() == ((positions[t, e] - positions[t - 1, e]) / SCALE).tolist()


@pytest.mark.parametrize("garbage", [torch.inf, torch.nan, 1e30])
def test_positions_of_the_absent_reach_no_target(garbage):
    positions, mask = chunk()
    clean = targets(positions.masked_fill(~mask[..., None], 0), mask, SCALE)
    dirty = targets(positions.masked_fill(~mask[..., None], garbage), mask, SCALE)
    for a, b in zip(clean, dirty, strict=True):
        assert (a == b).all()


def test_targets_come_from_observations_alone():
    assert list(inspect.signature(targets).parameters) == ["positions", "entity_mask", "step_scale"]


def smooth_l1(error):
    return sum(0.5 * d * d if abs(d) <= 1 else abs(d) - 0.5 for d in error.tolist())


def test_loss_and_statistics_are_the_slow_loop():
    target = targets(*chunk(), SCALE)
    g = torch.Generator().manual_seed(5)
    predicted = torch.randn(T, A, E, 2, generator=g, dtype=torch.float64)
    agents = torch.rand(T, A, generator=g) < 0.6
    loss, stats = prediction_loss(predicted, target, agents)
    every, same, still, steady = [], [], [], []
    for t in range(T):
        for a in range(A):
            for e in range(E):
                if not (agents[t, a] and target.mask[t, e]):
                    continue
                every.append(smooth_l1(predicted[t, a, e] - target.displacement[t, e]))
                still.append(smooth_l1(target.displacement[t, e]))
                if target.velocity_mask[t, e]:
                    same.append(every[-1])
                    steady.append(smooth_l1(target.displacement[t, e] - target.velocity[t, e]))
    assert 0 < len(same) < len(every)
    expected = {
        "prediction_error": every,
        "prediction_error_no_move": still,
        "prediction_error_same_rows": same,
        "prediction_error_constant_velocity": steady,
    }
    assert float(loss) == pytest.approx(sum(every) / len(every), abs=1e-12)
    assert {k: float(v) for k, v in stats.items()} == pytest.approx({k: sum(v) / len(v) for k, v in expected.items()})


def scores(positions, mask=None):
    positions = torch.as_tensor(positions, dtype=torch.float64)
    mask = torch.ones(positions.shape[:2], dtype=torch.bool) if mask is None else mask
    target = targets(positions, mask, SCALE)
    rows = len(positions) - 1
    predicted = torch.zeros(rows, 1, positions.shape[1], 2, dtype=torch.float64)
    return prediction_loss(predicted, target, torch.ones(rows, 1, dtype=torch.bool))[1]


def test_who_moves_uniformly_is_foreseen_by_constant_velocity_and_not_by_no_move():
    t = torch.arange(6, dtype=torch.float64)
    stats = scores(torch.stack([0.1 * t, -0.25 * t], -1)[:, None])  # one step_scale per step on both axes
    assert float(stats["prediction_error_constant_velocity"]) == pytest.approx(0, abs=1e-20)
    assert float(stats["prediction_error_no_move"]) == pytest.approx(0.5 + 0.5)


def test_who_stands_still_is_foreseen_by_both():
    stats = scores(torch.full((6, 2, 2), 0.3))
    assert float(stats["prediction_error_no_move"]) == float(stats["prediction_error_constant_velocity"]) == 0


def test_who_turns_back_every_step_is_foreseen_better_by_no_move():
    x = 0.1 * (torch.arange(7) % 2)
    stats = scores(torch.stack([x, torch.zeros(7)], -1)[:, None])
    assert float(stats["prediction_error_no_move"]) == pytest.approx(0.5)
    assert float(stats["prediction_error_constant_velocity"]) == pytest.approx(2 - 0.5)


def test_an_entity_that_returns_has_no_velocity_until_it_was_there_twice():
    mask = torch.tensor([True, True, False, True, True, True])[:, None]
    target = targets(torch.zeros(6, 1, 2), mask, torch.ones(2))
    assert target.mask[:, 0].tolist() == [True, False, False, True, True]
    assert target.velocity_mask[:, 0].tolist() == [False, False, False, False, True]


@pytest.mark.parametrize("garbage", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_garbage_under_the_masks_changes_no_loss_statistic_or_gradient(garbage):
    target = targets(*chunk(), SCALE)
    g = torch.Generator().manual_seed(5)
    predicted = torch.randn(T, A, E, 2, generator=g, dtype=torch.float64)
    agents = torch.rand(T, A, generator=g) < 0.6
    both = agents[..., None] & target.mask[:, None]

    def evaluate(fill):
        guess = predicted.masked_fill(~both[..., None], fill).requires_grad_()
        wild = Targets(
            target.displacement.masked_fill(~target.mask[..., None], fill),
            target.mask,
            target.velocity.masked_fill(~target.velocity_mask[..., None], fill),
            target.velocity_mask,
        )
        loss, stats = prediction_loss(guess, wild, agents)
        loss.backward()
        return [loss, *stats.values(), guess.grad]

    for clean, dirty in zip(evaluate(0.0), evaluate(garbage), strict=True):
        assert clean.isfinite().all()
        assert (clean == dirty).all()


def test_nobody_present_gives_zeros():
    target = targets(*chunk(present=0.0), SCALE)
    predicted = torch.ones(T, A, E, 2, dtype=torch.float64, requires_grad=True)
    loss, stats = prediction_loss(predicted, target, torch.ones(T, A, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert (predicted.grad == 0).all()
    assert all(float(v) == 0 for v in stats.values())
