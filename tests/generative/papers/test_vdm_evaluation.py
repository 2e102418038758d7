"""VDM evaluated and sampled: the same results however a set is cut."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from generative import noise
from generative.papers.vdm import VDM, VDMConfig
from generative.pixels import scale
from generative.samplers import SAMPLERS
from generative.schedules import Cosine, Linear
from tests.generative.papers.small import LEVELS, SHAPE, SMALL, U_NET, Stub, batch, pictures, stubbed, vdm


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


def test_requests_that_make_no_sense_are_refused() -> None:
    model, k = vdm(U_NET), pictures(2)
    label = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"num_steps must be 0 \(continuous time\) to 1,000,000, got -1"):
        VDMConfig(num_steps=-1)
    with pytest.raises(ValueError, match="num_levels must be from 2 to 256, got 1"):
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
    """elbo's first random numbers are (seed, first + i)'s: z_0 is made of them. A sample's numbers are others."""
    model, k = stubbed(kind="linear"), pictures(2)
    found = model.elbo(k, seed=9, first=5, times=1, chunk=2)
    sources = noise.per_example(noise.mix(9, noise.EVALUATION), [5, 6])
    noise.normal_like(sources, scale(k, LEVELS))
    offset = noise.uniform(sources, (2,), device="cpu", dtype=torch.float64)
    asked = torch.cat(model.denoise.asked)  # pyright: ignore[reportArgumentType]
    assert {round(value, 9) for value in (8 - 13 * offset).tolist()} <= {round(value, 9) for value in asked.tolist()}
    assert found.bits.shape == (2,)
