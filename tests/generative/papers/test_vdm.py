"""VDM's loss in the paper's notation, its gradients, and what is trained."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from generative.noise import GlobalBatch
from generative.papers.vdm import VDM, Elbo, prior_nats
from generative.pixels import scale
from generative.schedules import LearnedSchedule
from tests.generative.papers.small import LEVELS, SHAPE, SMALL, U_NET, batch, pictures, stubbed, vdm


def as_in_the_paper(model: VDM, k: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """The three parts in bits per dimension: gamma is -log_snr, gamma' by autograd, the decoder over all levels."""

    def gamma(t: Tensor) -> Tensor:
        return -model.schedule(t)

    def expand(value: Tensor) -> Tensor:
        return value[:, None, None, None]

    x, unit, steps = 2 * (k.double() + 0.5) / LEVELS - 1, math.prod(SHAPE) * math.log(2), model.config.num_steps
    offset = torch.rand((), generator=generator, dtype=torch.float64)
    t = ((torch.arange(len(k)) / len(k)).double() + offset) % 1
    eps, eps_0 = (torch.randn(x.shape, generator=generator).double() for _ in range(2))
    if steps:
        t = torch.ceil(t * steps) / steps
        weight = steps * torch.expm1(gamma(t) - gamma(t - 1 / steps))
    else:
        t.requires_grad_()
        (weight,) = torch.autograd.grad(gamma(t).sum(), t)
    g_t = gamma(t.detach())
    alpha, sigma = torch.sigmoid(-g_t).sqrt(), torch.sigmoid(g_t).sqrt()
    z = expand(alpha) * x + expand(sigma) * eps
    eps_hat = (z - expand(alpha) * model.denoise(z.float(), -g_t, None)) / expand(sigma)
    diffusion = 0.5 * weight * (eps - eps_hat).square().sum((1, 2, 3))
    g_0, g_1 = gamma(torch.tensor([0.0, 1.0], dtype=torch.float64))
    variance = torch.sigmoid(g_1)
    prior = 0.5 * ((1 - variance) * x**2 + variance - torch.log(variance) - 1).sum((1, 2, 3))
    rescaled = x + torch.exp(0.5 * g_0) * eps_0
    values = 2 * (torch.arange(LEVELS).double() + 0.5) / LEVELS - 1
    log_p = torch.log_softmax(-0.5 * ((rescaled[..., None] - values) * torch.exp(-0.5 * g_0)) ** 2, -1)
    reconstruction = -log_p.gather(-1, k.long()[..., None]).sum((1, 2, 3, 4))
    return {
        "diffusion_bpd": (diffusion / unit).detach(),
        "prior_bpd": (prior / unit).detach(),
        "reconstruction_bpd": (reconstruction / unit).detach(),
    }


@pytest.mark.parametrize("num_steps", [0, 6])
@pytest.mark.parametrize(
    "schedule",
    [{"kind": "linear"}, {"kind": "cosine"}, {"kind": "learned"}, {"kind": "learned", "learn_endpoints": True}],
)
def test_losses_are_the_papers(schedule: dict, num_steps: int) -> None:
    model, k = vdm(num_steps=num_steps, log_snr_max=6.0, **schedule), pictures(6)
    found = model.losses({"x": k}, torch.Generator().manual_seed(5))
    expected = as_in_the_paper(model, k, torch.Generator().manual_seed(5))
    for name, value in expected.items():
        assert found[name].shape == (6,)
        assert not found[name].requires_grad
        torch.testing.assert_close(found[name].double(), value, rtol=2e-4, atol=2e-6)
    torch.testing.assert_close(found["loss"].double(), sum(expected.values()), rtol=2e-4, atol=2e-6)
    assert torch.equal(found["loss"].detach(), found["bpd"])
    assert set(found) == {"loss", "bpd", *expected}


def test_prior_is_the_divergence_of_two_gaussians() -> None:
    x, log_snr = scale(pictures(3), LEVELS), torch.tensor(-2.0, dtype=torch.float64)
    latent = torch.distributions.Normal(torch.sigmoid(log_snr).sqrt() * x.double(), torch.sigmoid(-log_snr).sqrt())
    distance = torch.distributions.kl_divergence(latent, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(prior_nats(x, log_snr), distance.sum((1, 2, 3)))


def test_prior_far_out_is_not_lost_to_rounding() -> None:
    """sum(alpha^2 x^2) / 2 is what is left when alpha^2 is tiny."""
    x = torch.full((1, 10), 0.5)
    assert prior_nats(x, torch.tensor(-20.0).double()).item() == pytest.approx(1.25 * math.exp(-20), rel=1e-6)


def test_many_steps_cost_what_continuous_time_costs() -> None:
    def diffusion(num_steps: int) -> Tensor:
        model = stubbed(num_steps=num_steps, kind="linear")
        return model.losses({"x": pictures(8)}, torch.Generator().manual_seed(2))["diffusion_bpd"]

    exact = diffusion(0)
    coarse, fine = (((diffusion(steps) - exact) / exact).abs().max() for steps in (100, 10_000))
    assert 0.02 < coarse < 0.2
    assert fine < coarse / 20


def test_times_are_spread_over_the_global_batch() -> None:
    """Four workers with three pictures each ask for twelve evenly spread levels, as one does."""
    model = stubbed(kind="linear")
    for rank in range(4):
        model.losses({"x": pictures(12)[3 * rank : 3 * rank + 3]}, GlobalBatch(0, 7, 3 * rank, 3 * rank + 3, 12))
    log_snr = torch.cat(model.denoise.asked).sort().values  # pyright: ignore[reportArgumentType]
    gaps = log_snr.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, 13 / 12))


@pytest.mark.parametrize("net", [SMALL, U_NET], ids=["VDM", "ADM"])
def test_losses_of_slices_are_those_of_the_whole_batch(net: Any) -> None:
    model, whole = vdm(net), batch(12)
    expected = model(whole, GlobalBatch(3, 1, 0, 12, 12))
    for start, stop in ((0, 12), (0, 5), (5, 7), (7, 12)):
        part = {name: value[start:stop] for name, value in whole.items()}
        found = model.losses(part, GlobalBatch(3, 1, start, stop, 12))
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name][start:stop], rtol=1e-4, atol=1e-5)


def differences(model: VDM, parameter: Tensor, place: int, what: str) -> float:
    """d mean(what) / d parameter[place] by a central difference; "square": of diffusion_bpd squared."""

    def measure() -> float:
        terms = model.losses({"x": pictures(8)}, torch.Generator().manual_seed(2))
        value = terms["diffusion_bpd"].square() if what == "square" else terms[what]
        return value.mean().item()

    with torch.no_grad():
        parameter.view(-1)[place] += 1e-5
        up = measure()
        parameter.view(-1)[place] -= 2e-5
        down = measure()
        parameter.view(-1)[place] += 1e-5
    return (up - down) / 2e-5


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures, and with them all that follows, in float64."""
    monkeypatch.setattr("generative.papers.vdm.scale", lambda k, num_levels: scale(k, num_levels).double())


@pytest.mark.usefixtures("float64")
def test_one_loss_trains_each_parameter_on_its_own_objective() -> None:
    """The interior of the schedule on the square of the diffusion loss, its ends and the network on the loss."""
    model = stubbed(kind="learned", learn_endpoints=True, log_snr_max=5.0)
    model.losses({"x": pictures(8)}, torch.Generator().manual_seed(2))["loss"].mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        place = int(parameter.grad.abs().argmax())
        expected = differences(model, parameter, place, "square" if "interior" in name else "loss")
        assert parameter.grad.view(-1)[place].item() == pytest.approx(expected, rel=1e-4), name
        assert abs(expected) > 1e-5


@pytest.mark.usefixtures("float64")
def test_in_discrete_time_the_whole_schedule_is_trained_on_the_loss() -> None:
    model = stubbed(kind="learned", num_steps=5)
    model.losses({"x": pictures(8)}, torch.Generator().manual_seed(2))["loss"].mean().backward()
    for name, parameter in model.schedule.named_parameters():  # pyright: ignore[reportAttributeAccessIssue]
        if "interior" in name:
            place = int(parameter.grad.abs().argmax())
            expected = differences(model, parameter, place, "loss")
            assert parameter.grad.view(-1)[place].item() == pytest.approx(expected, rel=1e-4), name


def test_fixed_ends_are_not_trained() -> None:
    model = stubbed(kind="learned")
    terms = model.losses({"x": pictures(4)}, torch.Generator().manual_seed(2))
    terms["loss"].mean().backward()
    assert isinstance(model.schedule, LearnedSchedule)
    assert model.schedule.log_snr_max.grad is None
    assert model.schedule.raw_span.grad is None


def test_bfloat16_stays_inside_the_network() -> None:
    model = vdm()
    plain = model.losses({"x": pictures(8)}, torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16):
        low = model.losses({"x": pictures(8)}, torch.Generator().manual_seed(2))
    for name in ("prior_bpd", "reconstruction_bpd"):
        torch.testing.assert_close(low[name], plain[name], rtol=1e-6, atol=0)
    torch.testing.assert_close(low["diffusion_bpd"], plain["diffusion_bpd"], rtol=0.05, atol=0)
    assert (low["diffusion_bpd"] != plain["diffusion_bpd"]).all()


def test_groups_of_parameters_are_all_that_is_trained() -> None:
    model = vdm()
    groups = model.parameter_groups()
    assert [(name, kind) for name, _, kind in groups] == [("network", "network"), ("schedule", "schedule")]
    found = [id(parameter) for _, parameters, _ in groups for parameter in parameters]
    assert len(set(found)) == len(found)
    assert set(found) == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    assert [name for name, _, _ in vdm(kind="cosine").parameter_groups()] == ["network"]


@pytest.mark.parametrize("kind", ["linear", "cosine", "betas", "learned"])
def test_ends_are_the_configurations(kind: str) -> None:
    ends = vdm(kind=kind).ends()
    assert [end.item() for end in ends] == pytest.approx([8.0, -5.0], abs=1e-12)
    assert all(end.dtype == torch.float64 and end.ndim == 0 for end in ends)


def test_parts_of_a_bound_add_up() -> None:
    ones = torch.ones(2, dtype=torch.float64)
    assert Elbo(ones, 2 * ones, 4 * ones, ones[:, None]).bits.tolist() == [7.0, 7.0]


def test_a_deep_copy_and_a_state_dict_hold_the_model() -> None:
    model = vdm(kind="learned", learn_endpoints=True)
    with torch.no_grad():
        model.schedule.log_snr_max += 0.5  # pyright: ignore[reportAttributeAccessIssue, reportOperatorIssue]
    other = vdm(kind="learned", learn_endpoints=True)
    other.load_state_dict(model.state_dict())
    k = pictures(2)
    assert torch.equal(other.elbo(k, times=2).bits, model.elbo(k, times=2).bits)
    assert other.ends()[0].item() == pytest.approx(8.5)
