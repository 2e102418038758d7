"""Each encoder against a slow reading of its own description."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from agents import ObservationSpec
from agents.encoders import build, sum_embedding

WIDTH, HIDDEN = 16, 24


def encoder(spec):
    torch.manual_seed(0)
    return build(ObservationSpec.from_team(spec), WIDTH, HIDDEN)


def test_tokens_have_one_row_per_agent_and_rows_of_a_batch_do_not_meet(team_spec, observe):
    obs = observe(team_spec, 6, absent=0.3)
    encode = encoder(team_spec)
    tokens = encode(obs)
    assert tokens.shape == (6, 3, WIDTH)
    alone = torch.cat([encode({key: value[i : i + 1] for key, value in obs.items()}) for i in range(6)])
    torch.testing.assert_close(tokens, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("view", ["features", "layer", "rgb"])
def test_a_token_reads_only_its_own_agents_view(view, specs, observe):
    one, other = observe(specs[view], 4), observe(specs[view], 4, seed=100)
    mixed = one | {"view": torch.cat([one["view"][:, :2], other["view"][:, 2:]], 1)}
    before, after = encoder(specs[view])(one), encoder(specs[view])(mixed)
    torch.testing.assert_close(before[:, :2], after[:, :2], rtol=0, atol=1e-6)
    assert (before[:, 2] - after[:, 2]).abs().max() > 1e-3


def test_entities_are_a_set(specs, observe):
    obs = observe(specs["entities"], 8, absent=0.3)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    place = order.argsort()  # where each entity went
    shuffled = obs | {key: obs[key][:, order] for key in ("shared", "positions", "entity_mask")}
    shuffled["who"] = torch.where(obs["mask"], place[obs["who"].long().clamp(min=0)], -1)
    encode = encoder(specs["entities"])
    torch.testing.assert_close(encode(shuffled)[obs["mask"]], encode(obs)[obs["mask"]], rtol=0, atol=1e-6)


def test_entities_are_seen_from_each_agent_and_pooled_over_the_present(specs, observe):
    obs = observe(specs["entities"], 5, absent=0.3)
    encode = encoder(specs["entities"])
    tokens = encode(obs)
    for b, a in obs["mask"].nonzero().tolist():
        own = int(obs["who"][b, a])
        seen = [
            encode.entity(torch.cat([obs["shared"][b, e], obs["positions"][b, e] - obs["positions"][b, own]]))
            for e in range(7)
            if obs["entity_mask"][b, e]
        ]
        each = torch.stack(seen)
        parts = [each.mean(0), each.amax(0), obs["shared"][b, own], obs["view"][b, a]]
        torch.testing.assert_close(tokens[b, a], encode.token(torch.cat(parts)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("garbage", [np.inf, -np.inf, np.nan, 1e30])
def test_absent_entities_change_neither_tokens_nor_gradients(specs, observe, garbage):
    obs = observe(specs["entities"], 8, absent=0.4)
    wild = obs | {"shared": obs["shared"].masked_fill(~obs["entity_mask"][..., None], garbage)}
    grads = []
    for one in (obs | {"shared": obs["shared"].masked_fill(~obs["entity_mask"][..., None], 0)}, wild):
        encode = encoder(specs["entities"])
        encode(one).square().sum().backward()
        grads.append([p.grad for p in encode.parameters()])
    for clean, dirty in zip(*grads, strict=True):
        assert (clean == dirty).all()


def slow_cells(view, table, vocab):
    """[M, H, W, L] -> [M, H, W, D] by an embedding and a sum for every layer."""
    parts = [F.embedding(view[..., i].long(), table[i * vocab : (i + 1) * vocab]) for i in range(view.shape[-1])]
    return torch.stack(parts).sum(0)


def test_layers_are_summed_embeddings(specs, observe):
    spec = specs["layer"]
    obs, encode = observe(spec, 7), encoder(spec)
    weight = torch.randn(7, 3, WIDTH, generator=torch.Generator().manual_seed(2))
    tokens = encode(obs)
    grads = torch.autograd.grad((tokens * weight).sum(), list(encode.parameters()))
    slow = encode.net(slow_cells(obs["view"], encode.table, spec.view_vocab).flatten(2))
    torch.testing.assert_close(tokens, slow, rtol=0, atol=1e-5)
    expected = torch.autograd.grad((slow * weight).sum(), list(encode.parameters()))
    for got, want in zip(grads, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_sum_embedding_has_the_gradient_of_its_differences():
    table = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.tensor([[0, 0, 5], [1, 5, 2]], dtype=torch.int32)  # a row twice in one bag, and in two bags
    assert torch.autograd.gradcheck(lambda t: sum_embedding(ids, t), table)
    with torch.no_grad():
        without = sum_embedding(ids, table)
    torch.testing.assert_close(sum_embedding(ids, table), without, rtol=0, atol=0)
    torch.testing.assert_close(without, table[ids.long()].sum(1), rtol=0, atol=1e-12)


def test_a_layer_view_without_a_vocabulary_is_refused(specs):
    with pytest.raises(ValueError, match="view_vocab"):
        encoder(replace(specs["layer"], view_vocab=None))


def test_rgb_patches_are_cells_scaled_to_1(specs, observe):
    spec = specs["rgb"]
    obs, encode = observe(spec, 2), encoder(spec)
    first = encode.conv[0]
    patch = 22 // 11
    assert first.kernel_size == first.stride == (patch, patch)
    seen = []
    encode.conv[0].register_forward_hook(lambda module, args, out: seen.append(out))
    encode(obs)
    for b, a, row, column in [(0, 0, 0, 0), (1, 2, 10, 11), (0, 1, 3, 7)]:
        cell = obs["view"][b, a, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] / 255
        expected = torch.einsum("yxc,ocyx->o", cell, first.weight) + first.bias
        torch.testing.assert_close(seen[0][b * 3 + a, :, row, column], expected, rtol=0, atol=1e-5)


def test_smm_reads_each_stack_at_the_agents_cell(specs, observe):
    spec = specs["smm"]
    obs, encode = observe(spec, 3), encoder(spec)
    maps = []
    for stack in encode.stacks:
        stack.register_forward_hook(lambda module, args, out: maps.append(out))
    tokens = encode(obs)
    assert [m.shape[2:] for m in maps] == [(12, 16), (6, 8), (3, 4), (2, 2)]
    for b in range(3):
        whole = encode.dense(maps[-1][b].clamp(min=0).flatten()).clamp(min=0)
        for a in range(3):
            row, column = obs["view"][b, a].tolist()
            local = [m[b, :, row // 2**level, column // 2**level] for level, m in enumerate(maps, start=1)]
            place = torch.tensor([2 * row / 23 - 1, 2 * column / 31 - 1])
            expected = encode.token(torch.cat([whole, *local, place]))
            torch.testing.assert_close(tokens[b, a], expected, rtol=0, atol=1e-5)


def test_what_smm_samples_lies_around_the_agents_cell(specs):
    encode = encoder(specs["smm"])
    picture = torch.rand(1, 6, 128, 128, generator=torch.Generator().manual_seed(0), requires_grad=True)
    row, column = 70, 53
    x = picture
    for level, stack in enumerate(encode.stacks[:3], start=1):
        x = stack(x)
        sampled = x[0, :, row >> level, column >> level].sum()
        (grad,) = torch.autograd.grad(sampled, picture, retain_graph=True)
        seen = grad[0].abs().sum(0).nonzero()
        low, high = seen.amin(0), seen.amax(0)
        assert (low <= torch.tensor([row, column])).all()
        assert (high >= torch.tensor([row, column])).all()
        centre = (low + high) / 2
        assert (centre - torch.tensor([row, column])).abs().max() <= 2**level


def test_an_unknown_view_is_refused_with_the_known_ones(specs):
    with pytest.raises(
        ValueError, match=r"^no encoder for view 'radar'; allowed: features, entities, layer, rgb, smm$"
    ):
        encoder(replace(specs["features"], view="radar"))
