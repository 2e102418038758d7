"""The predictive objective: targets and losses by slow loops, cells by enumeration, trivial predictors on paths made by
hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from agents import NetworkConfig, ObservationSpec, TeamNetwork
from agents.network import Predicted
from marl.losses.prediction import (
    Targets,
    cell_of,
    kinds_that_count,
    prediction_loss,
    prediction_sums,
    prediction_term,
    summarise,
    targets,
)

T, A, K, RADIUS, C = 12, 3, 3, 1, 9
KINDS = ("teammate", "teammate", "opponent", "ball")
E = len(KINDS)
SCALE = torch.tensor([0.1, 0.25], dtype=torch.float64)


def chunk(seed=0, present=0.8):
    """Steps of about a step_scale, so that every cell occurs."""
    g = torch.Generator().manual_seed(seed)
    positions = (torch.randn(T + 1, E, 2, generator=g, dtype=torch.float64) * SCALE).cumsum(0)
    return positions, torch.rand(T + 1, E, generator=g) < present


def guess(seed=5, horizon=K, cells=C):
    g = torch.Generator().manual_seed(seed)
    said = torch.randn(T, A, E, horizon, 2 + cells, generator=g, dtype=torch.float64)
    return Predicted(said[..., :2], said[..., 2:]), torch.rand(T, A, generator=g) < 0.6


@pytest.mark.parametrize("restart", [0.0, 2.0])
def test_targets_are_the_slow_loop(restart):
    positions, mask = chunk()
    got = targets(positions, mask, SCALE, K, restart=restart)

    def unusual(t):
        """Somebody goes further than a player can from t to t + 1."""
        far = ((positions[t + 1] - positions[t]) / SCALE).abs().amax(-1) > restart
        return bool(restart and (far & mask[t] & mask[t + 1]).any())

    assert [tuple(field.shape) for field in got] == [(T, E, K, 2), (T, E, K)] * 2
    for t in range(T):
        for e in range(E):
            for h in range(1, K + 1):
                here = t + h <= T and all(mask[i, e] for i in range(t, t + h + 1))
                here = here and not any(unusual(i) for i in range(t, t + h))
                before = bool(here and t > 0 and mask[t - 1, e] and not unusual(t - 1))
                at = (t, e, h - 1)
                assert bool(got.mask[at]) == here
                assert bool(got.velocity_mask[at]) == before
                moved = (positions[t + h, e] - positions[t, e]) / (h * SCALE) if here else torch.zeros(2)
                assert got.displacement[at].tolist() == pytest.approx(moved.tolist(), abs=1e-12)
                if before:  # the last step's displacement times h, in units of h steps
                    steady = h * (positions[t, e] - positions[t - 1, e]) / (h * SCALE)
                    assert got.velocity[at].tolist() == pytest.approx(steady.tolist(), abs=1e-12)
    assert (got.mask.sum((0, 1))[1:] < got.mask.sum((0, 1))[:-1]).all()
    assert 0 < sum(unusual(t) for t in range(T)) < T / 2 or not restart


def test_a_chunk_shorter_than_the_horizon_is_masked_not_guessed():
    got = targets(torch.zeros(3, 1, 2), torch.ones(3, 1, dtype=torch.bool), torch.ones(2), 5)
    assert got.mask[:, 0].tolist() == [[True, True, False, False, False], [True, False, False, False, False]]
    assert got.velocity_mask[:, 0].tolist() == [[False] * 5, [True, False, False, False, False]]


@pytest.mark.parametrize("garbage", [torch.inf, torch.nan, 1e30])
def test_positions_of_the_absent_reach_no_target(garbage):
    positions, mask = chunk()
    clean = targets(positions.masked_fill(~mask[..., None], 0), mask, SCALE, K)
    dirty = targets(positions.masked_fill(~mask[..., None], garbage), mask, SCALE, K)
    for a, b in zip(clean, dirty, strict=True):
        assert (a == b).all()


def test_an_entity_that_returns_has_no_velocity_until_it_was_there_twice():
    mask = torch.tensor([True, True, False, True, True, True])[:, None]
    target = targets(torch.zeros(6, 1, 2), mask, torch.ones(2), 2)
    assert target.mask[:, 0, 0].tolist() == [True, False, False, True, True]
    assert target.mask[:, 0, 1].tolist() == [False, False, False, True, False]  # gone in between: not a motion
    assert target.velocity_mask[:, 0, 0].tolist() == [False, False, False, False, True]


def slow_cell(moves, h, radius):
    """The nearest of the cells by exact arithmetic; of two, the inner. moves: x and y in step_scale."""
    width = max(Fraction(1), Fraction(h, radius))
    options = range(-radius, radius + 1)
    x, y = (min(options, key=lambda c, m=m: (abs(Fraction(m) / width - c), abs(c))) for m in moves)
    return (y + radius) * (2 * radius + 1) + x + radius


@pytest.mark.parametrize("side", [4, 13, 30])
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_on_a_grid_every_walk_ends_in_the_cell_of_exact_arithmetic(side, radius):
    horizon = min(4, side - 1)
    places = torch.arange(side, dtype=torch.float32) * 2 / (side - 1) - 1
    scale, there = torch.tensor([2 / (side - 1)] * 2), torch.ones(horizon + 1, 1, dtype=torch.bool)
    for h in range(1, horizon + 1):
        for start in (0, side // 2, side - 1):
            for end in range(max(0, start - h - 1), min(side, start + h + 2)):
                path = torch.full((horizon + 1, 1, 2), places[start])
                path[h] = torch.tensor([places[end], places[side - 1 - end] - places[side - 1 - start] + places[start]])
                got = cell_of(targets(path, there, scale, horizon).displacement, radius)[0, 0, h - 1]
                assert int(got) == slow_cell((end - start, start - end), h, radius)


def test_cells_are_numbered_along_x_first():
    at = torch.tensor([[0.0, 0.0], [1, 0], [-1, 0], [0, 1], [0, -1], [9, 9], [-9, -9]])
    assert cell_of(at[:, None], 1)[:, 0].tolist() == [4, 5, 3, 7, 1, 8, 0]
    assert cell_of(at[:, None], 2)[:, 0].tolist() == [12, 13, 11, 17, 7, 24, 0]


def smooth_l1(error):
    return sum(0.5 * d * d if abs(d) <= 1 else abs(d) - 0.5 for d in error.tolist())


def slow_rows(predicted, target, agents):
    """One dictionary per guess that counts: its entity, its horizon, and each measure of it."""
    rows = []
    for n, a, e, k in np.ndindex(T, A, E, K):
        if not (agents[n, a] and target.mask[n, e, k]):
            continue
        truth, steady = target.displacement[n, e, k], target.velocity[n, e, k]
        cell, steady_cell = (
            slow_cell([Fraction(x) * (k + 1) for x in d.tolist()], k + 1, RADIUS) for d in (truth, steady)
        )
        logits = predicted.cells[n, a, e, k].tolist()
        row = {
            "error": smooth_l1(predicted.displacement[n, a, e, k] - truth),
            "error_no_move": smooth_l1(truth),
            "nats": math.log(sum(map(math.exp, logits))) - logits[cell],
            "accuracy": logits[cell] == max(logits),
            "accuracy_no_move": cell == slow_cell((0, 0), k + 1, RADIUS),
        }
        if target.velocity_mask[n, e, k]:
            row |= {f"{name}_same_rows": row[name] for name in ("error", "nats", "accuracy")}
            row |= {
                "error_constant_velocity": smooth_l1(truth - steady),
                "accuracy_constant_velocity": cell == steady_cell,
            }
        rows.append((KINDS[e], k, row))
    return rows


def mean(rows, name):
    values = [row[name] for _, _, row in rows if name in row]
    assert values
    return sum(values) / len(values)


def best_constant_nats(hits):
    """Nats of the best constant confidence, by brute force over the confidence."""
    p = np.linspace(1e-9, 1 - 1e-9, 200_001)
    return float((-hits * np.log(p) - (1 - hits) * np.log((1 - p) / (C - 1))).min())


def slow_summary(rows):
    expected = {}
    for group in ("", *dict.fromkeys(KINDS)):
        some = [row for row in rows if group in ("", row[0])]
        kind = f"/{group}" if group else ""
        for name in sorted({name for row in some for name in row[2]}):
            measure, _, suffix = name.partition("_")
            value, end = mean(some, name), f"_{suffix}" if suffix else ""
            expected[f"prediction_{measure}{kind}{end}"] = value
            if name in ("accuracy_no_move", "accuracy_constant_velocity"):
                expected[f"prediction_nats{kind}{end}"] = best_constant_nats(value)
    return expected


def numbers(stats):
    return {name: float(value) for name, value in stats.items()}


def test_losses_and_statistics_are_the_slow_loop():
    target, (predicted, agents) = targets(*chunk(), SCALE, K), guess()
    rows = slow_rows(predicted, target, agents)
    expected = slow_summary(rows)
    assert len(expected) == 12 * (1 + 3)
    absent = (~agents[..., None, None] & target.mask[:, None]).any(1)
    assert 0 in cell_of(target.displacement, RADIUS)[absent]  # what an absent agent's blank guess would hit
    loss, stats = prediction_loss(predicted, target, agents, entity_kinds=KINDS)
    assert numbers(stats) == pytest.approx(expected, abs=1e-8)
    assert float(loss) == pytest.approx(mean(rows, "error") + mean(rows, "nats"), abs=1e-12)
    for alone, measure in ((Predicted(predicted[0], None), "error"), (Predicted(None, predicted[1]), "nats")):
        loss, stats = prediction_loss(alone, target, agents, entity_kinds=KINDS)
        assert float(loss) == pytest.approx(mean(rows, measure), abs=1e-12)
        assert numbers(stats) == pytest.approx({k: expected[k] for k in stats}, abs=1e-8)
        assert any("error" in name for name in stats) == (measure == "error")


def test_sums_of_batches_add_and_a_column_is_one_horizon():
    target, (predicted, agents) = targets(*chunk(), SCALE, K), guess()
    whole = prediction_sums(predicted, target, agents)
    halves = [
        prediction_sums(Predicted(*(x[half] for x in predicted)), Targets(*(x[half] for x in target)), agents[half])
        for half in (slice(0, 5), slice(5, T))
    ]
    added = {name: halves[0][name] + halves[1][name] for name in whole}
    rows = slow_rows(predicted, target, agents)
    for k in range(K):
        column = {name: value[:, k : k + 1] for name, value in added.items()}
        stats = numbers(summarise(column, KINDS, KINDS, C))
        assert stats == pytest.approx(slow_summary([row for row in rows if row[1] == k]), abs=1e-8)


def test_entities_may_come_in_any_order():
    (positions, mask), (predicted, agents) = chunk(), guess()
    order = [3, 1, 0, 2]
    loss, stats = prediction_loss(predicted, targets(positions, mask, SCALE, K), agents, entity_kinds=KINDS)
    other, other_stats = prediction_loss(
        Predicted(*(said[:, :, order] for said in predicted)),
        targets(positions[:, order], mask[:, order], SCALE, K),
        agents,
        entity_kinds=[KINDS[i] for i in order],
    )
    assert float(other) == pytest.approx(float(loss), abs=1e-12)
    assert numbers(other_stats) == pytest.approx(numbers(stats), abs=1e-12)


def test_kinds_that_do_not_count_change_and_get_nothing():
    target, (predicted, agents) = targets(*chunk(), SCALE, K), guess()
    rows = [row for row in slow_rows(predicted, target, agents) if row[0] != "opponent"]
    said = Predicted(*(x.clone().requires_grad_() for x in predicted))
    loss, stats = prediction_loss(said, target, agents, entity_kinds=KINDS, kinds=("ball", "teammate"))
    loss.backward()
    assert loss.item() == pytest.approx(mean(rows, "error") + mean(rows, "nats"), abs=1e-12)
    assert float(stats["prediction_error"]) == pytest.approx(mean(rows, "error"), abs=1e-12)
    assert not any("opponent" in name for name in stats)
    for part in said:
        assert (part.grad[:, :, 2] == 0).all()
        assert all((part.grad[:, :, e] != 0).any() for e in (0, 1, 3))


def test_kinds_that_an_environment_does_not_have_are_refused():
    assert kinds_that_count(KINDS, ("ball", "referee", "teammate")) == ["teammate", "ball"]
    message = r"^prediction kinds must name one of teammate here, got opponent, ball$"
    with pytest.raises(ValueError, match=message):
        kinds_that_count(("teammate", "teammate"), ("opponent", "ball"))
    target, (predicted, agents) = targets(*chunk(), SCALE, K), guess()
    with pytest.raises(ValueError, match=message):
        prediction_loss(predicted, target, agents, entity_kinds=("teammate",) * E, kinds=("opponent", "ball"))


def scores(positions, horizon=1):
    positions = torch.as_tensor(positions, dtype=torch.float64)
    rows, entities = len(positions) - 1, positions.shape[1]
    target = targets(positions, torch.ones(positions.shape[:2], dtype=torch.bool), SCALE, horizon)
    said = torch.zeros(rows, 1, entities, horizon, 2 + C, dtype=torch.float64)
    there = torch.ones(rows, 1, dtype=torch.bool)
    kinds = ("teammate",) * entities
    return numbers(prediction_loss(Predicted(said[..., :2], said[..., 2:]), target, there, entity_kinds=kinds)[1])


@pytest.mark.parametrize("horizon", [1, 4])
def test_who_moves_uniformly_is_foreseen_by_constant_velocity_and_not_by_no_move(horizon):
    t = torch.arange(9, dtype=torch.float64)
    stats = scores(torch.stack([0.1 * t, -0.25 * t], -1)[:, None], horizon)  # one step_scale per step on both axes
    assert stats["prediction_error_constant_velocity"] == pytest.approx(0, abs=1e-20)
    assert stats["prediction_error_no_move"] == pytest.approx(0.5 + 0.5)
    assert stats["prediction_accuracy_constant_velocity"] == 1
    assert stats["prediction_nats_constant_velocity"] == 0
    assert stats["prediction_accuracy_no_move"] == 0
    assert stats["prediction_nats_no_move"] == pytest.approx(math.log(C - 1))
    assert stats["prediction_nats"] == pytest.approx(math.log(C))  # says the same of every cell


def test_who_stands_still_is_foreseen_by_both():
    stats = scores(torch.full((6, 2, 2), 0.3), 2)
    for suffix in ("no_move", "constant_velocity"):
        assert stats[f"prediction_error_{suffix}"] == stats[f"prediction_nats_{suffix}"] == 0
        assert stats[f"prediction_accuracy_{suffix}"] == 1


def test_who_turns_back_every_step_is_foreseen_better_by_no_move():
    x = 0.1 * (torch.arange(7) % 2)
    stats = scores(torch.stack([x, torch.zeros(7)], -1)[:, None])
    assert stats["prediction_error_no_move"] == pytest.approx(0.5)
    assert stats["prediction_error_constant_velocity"] == pytest.approx(2 - 0.5)
    assert stats["prediction_accuracy_no_move"] == stats["prediction_accuracy_constant_velocity"] == 0


@pytest.mark.parametrize("garbage", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_garbage_under_the_masks_changes_no_loss_statistic_or_gradient(garbage):
    target, (predicted, agents) = targets(*chunk(), SCALE, K), guess()
    both = agents[..., None, None] & target.mask[:, None]

    def evaluate(fill):
        said = Predicted(*(x.masked_fill(~both[..., None], fill).requires_grad_() for x in predicted))
        wild = Targets(
            target.displacement.masked_fill(~target.mask[..., None], fill),
            target.mask,
            target.velocity.masked_fill(~target.velocity_mask[..., None], fill),
            target.velocity_mask,
        )
        loss, stats = prediction_loss(said, wild, agents, entity_kinds=KINDS)
        loss.backward()
        return [loss, *stats.values(), *(part.grad for part in said)]

    for clean, dirty in zip(evaluate(0.0), evaluate(garbage), strict=True):
        assert clean.isfinite().all()
        assert (clean == dirty).all()


def test_nobody_present_gives_zeros():
    target, (predicted, _) = targets(*chunk(present=0.0), SCALE, K), guess()
    said = Predicted(*(x.clone().requires_grad_() for x in predicted))
    loss, stats = prediction_loss(said, target, torch.ones(T, A, dtype=torch.bool), entity_kinds=KINDS)
    loss.backward()
    assert loss.item() == 0
    assert all((part.grad == 0).all() for part in said)
    assert set(numbers(stats).values()) == {0.0}


def term(coeff):
    """The term of a learner, the gradient of its tokens and of the head."""
    spec = ObservationSpec(
        env="fake",
        view="features",
        num_agents=A,
        num_actions=5,
        entity_kinds=KINDS,
        shapes={"view": (A, 7)},
        dtypes={"view": "float32"},
    )
    torch.manual_seed(0)
    network = TeamNetwork(spec, NetworkConfig(width=8, hidden=8, prediction="both", horizon=K)).double()
    tokens = torch.rand(T, A, 8, dtype=torch.float64, requires_grad=True)
    agents = guess()[1]
    batch = targets(*chunk(), SCALE, K)._asdict() | {"other": tokens}
    loss, stats = prediction_term(network, tokens, batch, agents, coeff=coeff, kinds=("teammate", "ball"))
    loss.backward()
    return loss, stats, tokens.grad, [p.grad for p in network.predictor.parameters()]


def test_without_weight_the_head_learns_from_tokens_that_it_does_not_shape():
    loss, stats, tokens, head = term(1.0)
    weighted, weighted_stats, weighted_tokens, _ = term(0.3)
    probe, probe_stats, probe_tokens, probe_head = term(0.0)
    torch.testing.assert_close(weighted, 0.3 * loss)
    torch.testing.assert_close(weighted_tokens, 0.3 * tokens)
    assert (tokens != 0).any()
    assert probe_tokens is None
    assert probe == loss
    for a, b in zip(probe_head, head, strict=True):
        assert (a == b).all()
    assert numbers(stats) == numbers(weighted_stats) == numbers(probe_stats)
    assert {name.split("/")[1].split("_")[0] for name in stats if "/" in name} == {"teammate", "ball"}
