"""What is looked at depends on the model, the pictures, the settings and the seed, and not on how it was cut."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from generative import schedules, watch
from generative.config import WatchSettings
from generative.data.images import ImageSet
from generative.nets.vdm_unet import VDMUNetConfig
from generative.papers.vdm import VDM, VDMConfig
from generative.schedules import Cosine, ScheduleConfig

SHAPE, LEVELS = (1, 4, 4), 17
SETTINGS = WatchSettings(times=3, samples=5, sample_steps=12)


def vdm(classes: int = 0, kind: Any = "learned") -> VDM:
    torch.manual_seed(0)
    net = VDMUNetConfig(channels=8, blocks=1, dropout=0.2, fourier=(), classes=classes)
    model = VDM(VDMConfig(net=net, schedule=ScheduleConfig(kind=kind, log_snr_max=8.0)), SHAPE, LEVELS)
    for parameter in model.denoise.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def images(count: int = 23, classes: tuple[str, ...] = ()) -> ImageSet:
    random = np.random.default_rng(0)
    return ImageSet(
        name="noise",
        split="test",
        pixels=random.integers(0, LEVELS, (count, *SHAPE)).astype(np.uint8),
        names=[f"picture {i}" for i in range(count)],
        group_names=[f"photograph {i // 4}" for i in range(count)],
        labels=np.arange(count) % len(classes) if classes else None,
        classes=classes,
        num_levels=LEVELS,
    )


def test_the_choice_is_evenly_spread_and_complete_by_default() -> None:
    assert watch.chosen(images(10), None).tolist() == list(range(10))
    assert watch.chosen(images(10), 99).tolist() == list(range(10))
    assert watch.chosen(images(10), 5).tolist() == [0, 2, 4, 6, 8]
    assert watch.chosen(images(10), 1).tolist() == [0]
    for count in (3, 4, 7, 9):
        gaps = watch.chosen(images(10), count).diff()
        assert len(gaps) == count - 1
        assert gaps.max() - gaps.min() <= 1


def test_an_evaluation_is_elbo_of_the_chosen_pictures_in_order() -> None:
    model, pictures = vdm(), images()
    found = watch.evaluate(model, pictures, times=3, count=7, seed=2, chunk=4)
    chosen = watch.chosen(pictures, 7)
    expected = model.elbo(pictures.batch(chosen)["x"], times=3, seed=2, chunk=4)
    for name in ("prior", "diffusion", "reconstruction", "draws", "bits"):
        value = getattr(found, name)
        assert value.dtype == torch.float64
        assert torch.equal(value, getattr(expected, name))
    assert found.groups == [pictures.groups()[i] for i in chosen.tolist()]
    assert found.dims == 16
    discrete = watch.evaluate(model, pictures, times=3, count=7, seed=2, chunk=4, num_steps=5)
    assert (discrete.diffusion != found.diffusion).all()


def test_a_chunk_decides_the_last_bits_at_most() -> None:
    model = vdm()
    found = [watch.evaluate(model, images(), times=2, chunk=chunk).bits for chunk in (3, 16, 64, None)]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-5)


def test_numbers_of_an_evaluation() -> None:
    """Standard error with groups as units, by a loop."""
    evaluation = watch.evaluate(vdm(), images(), times=3)
    per_dim = [value / 16 for value in evaluation.bits.tolist()]
    mean = sum(per_dim) / 23
    residuals: dict[str, float] = {}
    for value, group in zip(per_dim, evaluation.groups, strict=True):
        residuals[group] = residuals.get(group, 0.0) + value - mean
    assert len(residuals) == 6
    assert evaluation.bpd() == pytest.approx(mean)
    assert evaluation.se() == pytest.approx(math.sqrt(6 / 5 * sum(r**2 for r in residuals.values())) / 23)
    parts = evaluation.parts()
    assert list(parts) == ["prior", "diffusion", "reconstruction"]
    assert sum(parts.values()) == pytest.approx(mean)
    draws = [value / 16 for value in evaluation.draws.flatten().tolist()]
    assert len(draws) == 69
    average = sum(draws) / 69
    assert evaluation.estimator_variance() == pytest.approx(sum((d - average) ** 2 for d in draws) / 68)
    single = watch.evaluate(vdm(), images(1), times=1)
    assert math.isnan(single.estimator_variance())
    assert math.isnan(single.se())


def test_the_variance_is_that_of_the_schedule() -> None:
    """The mean of the diffusion part is the same with another schedule between the same ends, its variance is not."""
    model, pictures = vdm(), images(200)
    ours = watch.evaluate(model, pictures, times=8)
    other = watch.evaluate(model, pictures, times=8, schedule=Cosine(log_snr_max=8.0, log_snr_min=-5.0))
    se = math.sqrt((ours.draws.var() + other.draws.var()).item() / 1600)
    assert abs(ours.draws.mean() - other.draws.mean()) < 3 * se
    assert other.estimator_variance() > 1.5 * ours.estimator_variance()
    torch.testing.assert_close(ours.prior, other.prior)


def test_a_look_has_everything_and_repeats_itself() -> None:
    model, pictures = vdm(), images()
    metrics, view = watch.look(model, pictures, SETTINGS, seed=3, count=9)
    evaluation = watch.evaluate(model, pictures, times=3, count=9, seed=3)
    assert metrics == {
        "eval/bpd": evaluation.bpd(),
        "eval/bpd_se": evaluation.se(),
        "eval/prior_bpd": evaluation.parts()["prior"],
        "eval/diffusion_bpd": evaluation.parts()["diffusion"],
        "eval/reconstruction_bpd": evaluation.parts()["reconstruction"],
        "eval/estimator_variance": evaluation.estimator_variance(),
    }
    assert view.num_levels == LEVELS
    assert torch.equal(view.samples, model.sample(5, steps=12, seed=3, schedule=schedules.cosine_like(model.schedule)))
    again, same = watch.look(model, pictures, SETTINGS, seed=3, count=9)
    assert again == metrics
    for name in ("samples", "strips"):
        assert torch.equal(getattr(view, name), getattr(same, name))
    for name in ("schedule", "levels"):
        assert all(torch.equal(a, b) for a, b in zip(getattr(view, name), getattr(same, name), strict=True))
    _, other = watch.look(model, pictures, SETTINGS, seed=4, count=9)
    assert not torch.equal(other.samples, view.samples)
    assert watch.look(model, pictures, SETTINGS, num_samples=2)[1].samples.shape == (2, *SHAPE)


def test_strips_go_from_noise_to_the_sample() -> None:
    _, view = watch.look(vdm(), images(), WatchSettings(times=1, samples=6, sample_steps=64), count=1)
    assert view.strips.dtype == torch.uint8
    assert view.strips.shape == (2 * watch.STRIPS, watch.COLUMNS, *SHAPE)
    guess, noisy = view.strips[::2], view.strips[1::2]
    assert torch.equal(noisy[:, -1], view.samples[: watch.STRIPS])  # the last z is the picture, but for half a level
    distance = (noisy.float() - view.samples[: watch.STRIPS, None].float()).abs().flatten(2).mean(2)
    assert (distance[:, 0] > 2).all()
    assert (distance[:, -2] < distance[:, 0]).all()
    assert not torch.equal(guess, noisy)


def test_strips_of_a_few_steps_show_each_once() -> None:
    _, view = watch.look(vdm(), images(), WatchSettings(times=1, samples=2, sample_steps=3), count=1)
    assert view.strips.shape == (4, 3, *SHAPE)


def test_the_schedule_is_drawn_from_end_to_end() -> None:
    model = vdm()
    _, view = watch.look(model, images(), SETTINGS, count=1)
    t, log_snr = view.schedule
    assert (t[0].item(), t[-1].item()) == (0.0, 1.0)
    assert (log_snr[0].item(), log_snr[-1].item()) == pytest.approx((8.0, -5.0))
    assert torch.equal(log_snr, model.schedule(t).detach())
    assert not log_snr.requires_grad


def test_the_area_under_the_levels_is_the_diffusion_loss() -> None:
    model, pictures = vdm(), images()
    log_snr, losses = watch.level_losses(model, pictures, levels=200, count=None)
    assert log_snr.shape == losses.shape == (200,)
    assert (log_snr.diff() > 0).all()
    assert (log_snr[0].item(), log_snr[-1].item()) == pytest.approx((-5.0, 8.0))
    areas = [
        torch.trapezoid(*reversed(watch.level_losses(model, pictures, levels=50, count=None, seed=seed))).item()
        for seed in range(20)  # one draw of a picture's noise says little: its pictures are small
    ]
    evaluation = watch.evaluate(model, pictures, times=50)
    assert sum(areas) / 20 == pytest.approx(evaluation.parts()["diffusion"], rel=0.05)
    few = watch.level_losses(model, pictures, levels=2, count=None)[1]
    torch.testing.assert_close(few, losses[[0, -1]])  # a picture's noise does not depend on the levels


def test_progress_counts_up_to_all_there_is() -> None:
    told: list[tuple[int, int]] = []
    model = vdm()
    watch.look(model, images(), SETTINGS, count=9, progress=lambda done, total: told.append((done, total)))
    done = [rows for rows, _ in told]
    assert done == sorted(done)
    assert {total for _, total in told} == {9 * 3 + 5 * 12 + watch.LEVELS * 23}
    assert told[-1][0] == told[-1][1]
    told.clear()
    watch.evaluate(model, images(), times=2, count=9, chunk=4, progress=lambda done, total: told.append((done, total)))
    assert told == [(8, 18), (16, 18), (18, 18)]


def test_classes_are_sampled_in_turn_and_evaluated_with_their_labels() -> None:
    model, pictures = vdm(classes=3), images(classes=("a", "b", "c"))
    metrics, view = watch.look(model, pictures, SETTINGS, count=6)
    label, schedule = torch.tensor([0, 1, 2, 0, 1]), schedules.cosine_like(model.schedule)
    assert torch.equal(view.samples, model.sample(5, steps=12, label=label, schedule=schedule))
    batch = pictures.batch(watch.chosen(pictures, 6))
    expected = model.elbo(batch["x"], label=batch["label"], times=3).bits.mean().item() / 16
    assert metrics["eval/bpd"] == pytest.approx(expected)


def test_training_goes_on_as_before_and_nothing_is_learned() -> None:
    model = vdm()
    model.train()
    watch.look(model, images(), SETTINGS, count=2)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_requests_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="count must be positive, got 0"):
        watch.look(vdm(), images(), SETTINGS, count=0)
    with pytest.raises(ValueError, match="there are no pictures to evaluate"):
        watch.evaluate(vdm(), images(0), times=1)
    with pytest.raises(ValueError, match="times must be positive"):
        watch.evaluate(vdm(), images(), times=0)
