"""VDM as a model: its loss in the paper's notation, its gradients, the same results however a set is cut."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from generative import noise
from generative.nets.unet import UNetConfig
from generative.nets.vdm_unet import VDMUNetConfig
from generative.noise import GlobalBatch
from generative.papers.vdm import VDM, Elbo, VDMConfig, prior_nats
from generative.pixels import scale
from generative.samplers import SAMPLERS
from generative.schedules import Cosine, LearnedSchedule, Linear, ScheduleConfig

SHAPE, LEVELS = (2, 4, 4), 17
SMALL = VDMUNetConfig(channels=8, blocks=1, dropout=0.3, fourier=())
U_NET = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_resolutions=(2,), dropout=0.3, classes=3)


def vdm(net: VDMUNetConfig | UNetConfig = SMALL, num_steps: int = 0, **schedule: Any) -> VDM:
    """With random weights everywhere: a fresh network answers z."""
    torch.manual_seed(0)
    options = {"log_snr_max": 8.0, "log_snr_min": -5.0} | schedule
    model = VDM(VDMConfig(net=net, num_steps=num_steps, schedule=ScheduleConfig(**options)), SHAPE, LEVELS)
    for parameter in model.denoise.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def pictures(count: int) -> Tensor:
    return torch.randint(0, LEVELS, (count, *SHAPE), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def batch(count: int) -> dict[str, Tensor]:
    return {"x": pictures(count), "label": torch.arange(count) % 3}


class Stub(nn.Module):
    """A denoiser with one parameter that remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.asked: list[Tensor] = []

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        self.asked.append(log_snr.detach())
        return (self.part * z.double() * torch.sigmoid(log_snr / 4)[:, None, None, None]).to(z.dtype)


def stubbed(num_steps: int = 0, **schedule: Any) -> VDM:
    model = vdm(num_steps=num_steps, **schedule)
    model.denoise = Stub()  # pyright: ignore[reportAttributeAccessIssue]
    return model


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


@pytest.mark.parametrize("net", [SMALL, U_NET], ids=["VDM", "ADM"])
@pytest.mark.parametrize("num_steps", [0, 5])
@pytest.mark.parametrize("cuts", [[4], [1, 2, 9]])
def test_the_bound_of_a_picture_is_the_same_bits_in_any_split(net: Any, num_steps: int, cuts: list[int]) -> None:
    model, data = vdm(net), batch(11)
    options: dict[str, Any] = {"seed": 4, "times": 3, "num_steps": num_steps, "chunk": 4}
    whole = model.elbo(data["x"], label=data["label"], first=2, **options)
    edges, parts = [0, *cuts, 11], []
    for start, stop in pairwise(edges):
        piece = slice(start, stop)
        parts.append(model.elbo(data["x"][piece], label=data["label"][piece], first=2 + start, **options))
    for name in ("prior", "diffusion", "reconstruction", "draws", "bits"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_another_chunk_changes_the_last_bits_at_most() -> None:
    model, k = vdm(), pictures(7)
    found = [model.elbo(k, times=2, chunk=chunk).bits for chunk in (1, 3, 16, None)]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-5)


def test_the_bound_is_the_mean_of_its_draws_and_of_the_losses() -> None:
    """The same picture 600 times, evaluated and as a training batch."""
    model, k = vdm(kind="linear"), pictures(1).expand(600, *SHAPE)
    elbo, dims = model.elbo(k, times=4, chunk=64), math.prod(SHAPE)
    assert elbo.draws.shape == (600, 4)
    torch.testing.assert_close(elbo.draws.mean(1), elbo.diffusion)
    torch.testing.assert_close(elbo.bits, elbo.prior + elbo.diffusion + elbo.reconstruction)
    assert elbo.bits.dtype == torch.float64
    terms = model.losses({"x": k}, torch.Generator().manual_seed(0))
    for name in ("prior", "diffusion", "reconstruction"):
        ours, theirs = getattr(elbo, name) / dims, terms[f"{name}_bpd"]
        se = ((ours.var() + theirs.var()) / 600).sqrt()
        assert (ours.mean() - theirs.mean()).abs() <= 4 * se + 1e-9


def test_as_many_times_as_steps_visit_each_step_once() -> None:
    model = stubbed(kind="linear")
    model.elbo(pictures(2), times=10, num_steps=10, chunk=2)
    asked = torch.stack(model.denoise.asked)  # pyright: ignore[reportArgumentType]
    assert asked.shape == (10, 2)
    ends = 8 - 13 * torch.arange(10, 0, -1, dtype=torch.float64) / 10
    torch.testing.assert_close(asked.sort(0).values, ends[:, None].expand(10, 2))


def test_the_bound_is_evaluated_as_trained_unless_told() -> None:
    discrete, continuous = stubbed(num_steps=4), stubbed()
    k = pictures(3)
    assert torch.equal(discrete.elbo(k).bits, continuous.elbo(k, num_steps=4).bits)
    assert torch.equal(discrete.elbo(k, num_steps=0).bits, continuous.elbo(k).bits)
    assert not torch.equal(discrete.elbo(k).bits, continuous.elbo(k).bits)


def test_the_bound_with_another_schedule() -> None:
    """With the same ends the mean of the diffusion part stays; another end moves the parts that depend on it."""
    model, k = stubbed(kind="linear"), pictures(1).expand(1000, *SHAPE)
    ours = model.elbo(k, times=4, chunk=250)
    same = model.elbo(k, times=4, chunk=250, schedule=Cosine(log_snr_max=8.0, log_snr_min=-5.0))
    assert torch.equal(same.reconstruction, ours.reconstruction)
    se = ((same.diffusion.var() + ours.diffusion.var()) / 1000).sqrt()
    assert (same.diffusion.mean() - ours.diffusion.mean()).abs() < 3 * se
    assert same.draws.var() > 2 * ours.draws.var()
    moved = model.elbo(k[:5], schedule=Linear(log_snr_max=6.0, log_snr_min=-3.0))
    assert (moved.reconstruction > ours.reconstruction[:5] + 1).all()
    assert (moved.prior > 5 * ours.prior[:5]).all()


@pytest.mark.parametrize(
    ("net", "sampler"), [*((SMALL, sampler) for sampler in SAMPLERS), (U_NET, "ancestral")], ids=[*SAMPLERS, "ADM"]
)
def test_a_sample_is_the_same_bits_in_any_split(net: Any, sampler: str) -> None:
    model, label = vdm(net), torch.arange(7) % 3
    options: dict[str, Any] = {"steps": 3, "sampler": sampler, "seed": 4, "chunk": 3}
    whole = model.sample(7, label=label, first=2, **options)
    assert whole.dtype == torch.uint8
    assert whole.shape == (7, *SHAPE)
    assert int(whole.max()) < LEVELS
    for cuts in ([4], [1, 3]):
        parts = [
            model.sample(stop - start, label=label[start:stop], first=2 + start, **options)
            for start, stop in pairwise([0, *cuts, 7])
        ]
        assert torch.equal(torch.cat(parts), whole)
    other = model.sample(7, label=label, first=2, **(options | {"seed": 5}))
    assert (other != whole).flatten(1).any(1).all()


def test_z_itself_is_the_same_bits_in_any_split() -> None:
    """Before it is rounded to levels."""
    model, seen = vdm(), []

    def watch(step: dict[str, Any]) -> None:
        seen.append(step["z"])

    model.sample(5, steps=4, chunk=2, callback=watch)
    model.sample(2, first=3, steps=4, chunk=2, callback=watch)
    for whole, part in zip(seen[:4], seen[4:], strict=True):
        assert torch.equal(whole[3:], part)
        assert whole.unique().numel() > 100


class PlaceSensitive(Stub):
    """Answers a little differently in each row, as kernels may."""

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        return super().forward(z, log_snr) + torch.arange(len(z))[:, None, None, None] * 1e-3


def test_a_picture_has_its_own_row_of_the_network() -> None:
    model, k = vdm(), pictures(7)
    model.denoise = PlaceSensitive()  # pyright: ignore[reportAttributeAccessIssue]
    seen: list[Tensor] = []
    for first, count in ((0, 7), (2, 5)):
        model.sample(count, first=first, steps=1, chunk=3, callback=lambda step: seen.append(step["z"]))
    assert torch.equal(seen[0][2:], seen[1])
    whole, part = model.elbo(k, chunk=3), model.elbo(k[2:], first=2, chunk=3)
    assert torch.equal(whole.bits[2:], part.bits)


def test_a_sample_is_the_last_z_without_its_shrinking(monkeypatch: pytest.MonkeyPatch) -> None:
    """At log_snr 1 alpha is 0.85; levels would be wrong without the division by it."""
    k = pictures(3)

    def known(denoise: Any, z: Tensor, log_snrs: Tensor, **options: Any) -> Tensor:
        assert log_snrs[-1] == 1
        return scale(k, LEVELS) * torch.sigmoid(log_snrs[-1]).sqrt().float()

    monkeypatch.setitem(SAMPLERS, "known", known)
    assert torch.equal(vdm(log_snr_max=1.0).sample(3, sampler="known"), k)


def test_samples_depend_on_their_class() -> None:
    model = vdm(U_NET)
    first, second = (model.sample(4, steps=4, label=torch.full((4,), label)) for label in (0, 2))
    assert (first != second).flatten(1).any(1).sum() > 1
    model.sample(2, steps=2, label=torch.tensor([-1, 1]))  # -1 is no class


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_in_evaluation_and_training_goes_on_as_before(training: bool) -> None:
    model, k = vdm(), pictures(4)
    expected = model.elbo(k, times=2).bits, model.sample(3, steps=3)
    model.train(training)
    assert torch.equal(model.elbo(k, times=2).bits, expected[0])
    assert torch.equal(model.sample(3, steps=3), expected[1])
    assert model.training == training
    assert all(module.training == training for module in model.modules())


def test_nearest_levels() -> None:
    model = vdm()
    k = pictures(2)
    assert torch.equal(model.levels(scale(k, LEVELS)), k)
    found = model.levels(torch.tensor([-9.0, -1 + 2.01 / LEVELS, 0.0, 9.0]))
    assert found.dtype == torch.uint8
    assert found.tolist() == [0, 1, LEVELS // 2, LEVELS - 1]


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


def test_requests_that_make_no_sense_are_refused() -> None:
    model, k = vdm(U_NET), pictures(2)
    label = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"num_steps must be 0 \(continuous time\) or positive, got -1"):
        VDMConfig(num_steps=-1)
    with pytest.raises(ValueError, match="num_levels must be at least 2, got 1"):
        VDM(VDMConfig(net=SMALL), SHAPE, 1)
    with pytest.raises(ValueError, match="times must be positive and num_steps not negative, got 0 and 0"):
        model.elbo(k, label=label, times=0)
    with pytest.raises(ValueError, match="times must be positive and num_steps not negative, got 1 and -2"):
        model.elbo(k, label=label, times=1, num_steps=-2)
    with pytest.raises(ValueError, match=r"pictures must be level indices \[B, 2, 4, 4\], got torch.uint8 \[2, 4, 4\]"):
        model.elbo(k[0], label=label)
    with pytest.raises(ValueError, match=r"level indices must be in 0\.\.16, got 200 to 200"):
        model.elbo(torch.full_like(k, 200), label=label)
    with pytest.raises(ValueError, match="sampler 'euler' does not exist; allowed: ancestral, ddim"):
        model.sample(2, sampler="euler", label=label)
    for n, steps in ((0, 4), (2, 0)):
        with pytest.raises(ValueError, match=f"n and steps must be positive, got {n} and {steps}"):
            model.sample(n, steps=steps, label=label)
    with pytest.raises(ValueError, match="rows per call must be positive, got 0"):
        model.sample(2, label=label, chunk=0)
    with pytest.raises(ValueError, match="rows per call must be positive, got 0"):
        model.elbo(k, label=label, chunk=0)


@pytest.mark.parametrize("label", [None, [0], [0, 3], [-2, 0]])
def test_labels_that_do_not_fit_are_refused(label: list[int] | None) -> None:
    model = vdm(U_NET)
    given = None if label is None else torch.tensor(label)
    with pytest.raises(ValueError, match=r"this model needs 2 labels in -1\.\.2, got"):
        model.sample(2, label=given)
    with pytest.raises(ValueError, match=r"this model needs 2 labels in -1\.\.2, got"):
        model.elbo(pictures(2), label=given)


def test_sources_are_those_of_each_picture() -> None:
    """elbo's first random numbers are (seed, first + i)'s: z_0 is made of them."""
    model, k = stubbed(kind="linear"), pictures(2)
    found = model.elbo(k, seed=9, first=5, times=1, chunk=2)
    sources = noise.per_example(9, [5, 6])
    noise.normal_like(sources, scale(k, LEVELS))
    offset = noise.uniform(sources, (2,), device="cpu", dtype=torch.float64)
    asked = torch.cat(model.denoise.asked)  # pyright: ignore[reportArgumentType]
    assert {round(value, 9) for value in (8 - 13 * offset).tolist()} <= {round(value, 9) for value in asked.tolist()}
    assert found.bits.shape == (2,)
