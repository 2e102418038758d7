"""The exchange between agents against PyTorch's own attention, slow loops, and its promises about absent agents."""

import math

import pytest
import torch
from torch import nn

from agents.attention import TeamExchange, team_softmax

BATCH, AGENTS, WIDTH, HEADS = 5, 4, 12, 3


def layer(mode="attention", *, heads=HEADS, residual=False, pre_norm=False):
    torch.manual_seed(0)
    exchange = TeamExchange(WIDTH, heads=heads, mode=mode, residual=residual, pre_norm=pre_norm)
    return exchange.double()


def team(seed=1):
    """Tokens and a mask with somebody present in every row, and all of them in the first."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(BATCH, AGENTS, WIDTH, generator=generator, dtype=torch.float64)
    mask = torch.rand(BATCH, AGENTS, generator=generator) < 0.6
    mask[torch.arange(BATCH), torch.arange(BATCH) % AGENTS] = True
    mask[0] = True
    assert not mask.all()
    return tokens, mask


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention_is_torchs_own_with_the_same_weights(heads):
    tokens, mask = team()
    exchange = layer(heads=heads)
    peer = nn.MultiheadAttention(WIDTH, heads, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([exchange.query_key.weight, exchange.value.weight]))
        peer.in_proj_bias.copy_(torch.cat([exchange.query_key.bias, exchange.value.bias]))
        peer.out_proj.load_state_dict(exchange.output.state_dict())
    got, weights = exchange(tokens, mask)
    expected, expected_weights = peer(
        tokens, tokens, tokens, key_padding_mask=~mask, need_weights=True, average_attn_weights=False
    )
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(weights, expected_weights, rtol=0, atol=1e-12)


def test_attention_is_the_slow_loop():
    tokens, mask = team()
    exchange = layer()
    got, _ = exchange(tokens, mask)
    q, k = exchange.query_key(tokens).detach().chunk(2, -1)
    v = exchange.value(tokens)
    size = WIDTH // HEADS
    for b in range(BATCH):
        there = [j for j in range(AGENTS) if mask[b, j]]
        for i in range(AGENTS):
            answer = torch.zeros(WIDTH, dtype=torch.float64)
            for h in range(HEADS):
                part = slice(h * size, (h + 1) * size)
                scores = [math.exp(float(q[b, i, part] @ k[b, j, part]) / math.sqrt(size)) for j in there]
                answer[part] = sum(s / sum(scores) * v[b, j, part] for s, j in zip(scores, there, strict=True))
            torch.testing.assert_close(got[b, i], exchange.output(answer), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["attention", "mean"])
def test_weights_of_the_absent_are_exactly_0_and_rows_sum_to_1(mode):
    tokens, mask = team()
    _, weights = layer(mode)(tokens, mask)
    assert weights.shape == (BATCH, HEADS, AGENTS, AGENTS)
    absent = ~mask[:, None, None, :].expand_as(weights)
    assert (weights[absent] == 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=0, atol=1e-12)


def test_mean_weighs_everybody_present_alike():
    tokens, mask = team()
    exchange = layer("mean")
    got, weights = exchange(tokens, mask)
    for b in range(BATCH):
        torch.testing.assert_close(weights[b], (mask[b] / mask[b].sum()).double().expand(HEADS, AGENTS, -1))
        mean = exchange.value(tokens[b, mask[b]]).mean(0)
        torch.testing.assert_close(got[b], exchange.output(mean).expand(AGENTS, -1), rtol=0, atol=1e-12)


def test_without_exchange_each_agent_keeps_to_itself():
    tokens, mask = team()
    exchange = layer("none")
    got, weights = exchange(tokens, mask)
    torch.testing.assert_close(got, exchange.output(exchange.value(tokens)), rtol=0, atol=1e-12)
    assert (weights == torch.eye(AGENTS)).all()
    assert exchange.query_key is None


@pytest.mark.parametrize("mode", ["attention", "mean", "none"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_residual_and_pre_norm_are_switches_around_the_same_exchange(mode, residual, pre_norm):
    tokens, mask = team()
    got, _ = layer(mode, residual=residual, pre_norm=pre_norm)(tokens, mask)
    centred = tokens - tokens.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    plain, _ = layer(mode)(normed if pre_norm else tokens, mask)
    torch.testing.assert_close(got, plain + tokens if residual else plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", ["attention", "mean", "none"])
@pytest.mark.parametrize("garbage", [1e30, -1e30])
def test_what_the_absent_hold_changes_nothing_for_the_present(mode, garbage):
    tokens, mask = team()
    exchange = layer(mode, residual=True, pre_norm=True)
    wild = tokens.masked_fill(~mask[..., None], garbage)
    assert (exchange(wild, mask)[0][mask] == exchange(tokens, mask)[0][mask]).all()


@pytest.mark.parametrize("mode", ["attention", "mean", "none"])
def test_a_team_with_nobody_present_stays_finite(mode):
    tokens, mask = team()
    mask[1] = False
    exchange = layer(mode, residual=True, pre_norm=True)
    tokens.requires_grad_()
    got, weights = exchange(tokens, mask)
    assert got.isfinite().all()
    if mode != "none":
        assert (weights[1] == 0).all()
    got.square().sum().backward()
    assert tokens.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in exchange.parameters())


def test_gradients_of_the_softmax_are_those_of_its_differences():
    torch.manual_seed(0)
    scores = torch.randn(3, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4])
    assert torch.autograd.gradcheck(lambda s: team_softmax(s, mask), scores)


def test_width_must_be_a_multiple_of_heads():
    with pytest.raises(ValueError, match=r"^width 10 is not a multiple of heads 4$"):
        TeamExchange(10, heads=4, mode="attention", residual=True, pre_norm=True)
