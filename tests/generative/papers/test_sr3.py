"""SR3: its condition, the search for a schedule, and its networks' sizes."""

import pytest
import torch

from experiments.presets import image_to_image
from generative import models
from generative.papers.sr3 import SR3, SR3Config, candidates, enlarged, reduced, search
from generative.resize import resize
from tests.generative.test_image_to_image import NET, model, pictures


def test_the_network_is_told_the_same_in_training_and_in_sampling() -> None:
    made, x = model(), pictures(3)
    trained = made.given({"x": x}, torch.Generator())["image"]
    asked = made.asked(reduced(x, 4, 256), [])["image"]
    assert trained.equal(asked)
    assert trained.shape == x.shape


def test_what_comes_back_reduces_to_what_was_given() -> None:
    """The consistency of a perfect answer is zero: a flat picture is its own enlargement."""
    flat = torch.full((1, 3, 4, 4), 77, dtype=torch.uint8)
    assert reduced(((enlarged(flat, 2, 256) + 1) * 128).to(torch.uint8), 4, 256).equal(flat)
    smooth = torch.linspace(-0.5, 0.5, 8).expand(1, 1, 8, 8)
    assert (resize(resize(smooth, (16, 16)), (8, 8)) - smooth)[..., 2:-2].abs().max() < 0.01


def test_the_search_takes_the_best_of_what_reaches_noise() -> None:
    seen = []
    best = search(lambda s: abs(s.beta_end - 0.2) + s.beta_start, 50, lambda s, score: seen.append((s, score)))
    assert (best.beta_start, best.beta_end, best.beta_steps) == (1e-6, 0.2, 50)
    for steps in (20, 50, 1000, 5000):
        assert all(-100 <= schedule.log_snr_min <= -3 for schedule in candidates(steps))
        assert list(candidates(steps))
    assert len(seen) == len(list(candidates(50)))
    with pytest.raises(ValueError, match="no schedule of 2 steps reaches noise; give more"):
        search(lambda _: 0.0, 2)


@pytest.mark.parametrize("low", [3, 8, 16, 0])
def test_sides_that_are_no_whole_factor(low: int) -> None:
    with pytest.raises(ValueError, match="low must"):
        SR3(SR3Config(net=NET, low=low), (3, 8, 8))


@pytest.mark.parametrize(
    ("make", "side", "paper", "measured"),
    [
        (image_to_image.faces128, 128, 550e6, 575e6),
        (image_to_image.imagenet256, 256, 625e6, 634e6),
        (image_to_image.faces512, 512, 625e6, 618e6),
        (image_to_image.faces1024, 1024, 150e6, 150e6),
    ],
)
def test_the_papers_networks_have_the_papers_sizes(make, side: int, paper: float, measured: float) -> None:
    with torch.device("meta"):
        made = models.make(make().model, (3, side, side), 256)
    count = sum(parameter.numel() for parameter in made.parameters())
    assert abs(count / paper - 1) < 0.05
    assert abs(count / measured - 1) < 0.005


def test_the_papers_settings() -> None:
    """Sec 2.1 to 2.4 and 3: L1, betas of training, large variance, batch, rate, warm-up; dropout for faces at 128."""
    config = image_to_image.faces1024()
    model, optim = config.model, config.optim
    assert isinstance(model, SR3Config)
    assert (model.power, model.prediction, model.variance) == (1, "eps", 1.0)
    schedule = model.schedule
    assert (schedule.kind, schedule.beta_steps, schedule.beta_start, schedule.beta_end) == ("betas", 2000, 1e-6, 1e-2)
    assert (optim.batch, optim.learning_rate, optim.warmup_steps, optim.grad_clip) == (256, 1e-4, 10_000, None)
    assert (optim.decay, optim.ema, config.steps, model.inference_steps) == ("constant", 0.9999, 1_000_000, 100)
    assert (model.net.rescale_skips, model.net.attention_resolutions) == (True, (16,))
    baseline = image_to_image.regression(config, 10)
    assert baseline.optim.learning_rate == pytest.approx(1e-5)
    names = {row["name"] for row in image_to_image.rows()}
    assert names >= {"sr3-faces128-regression", "sr3-faces1024-regression", "sr3-imagenet256-regression"}
    assert all(config.data.smaller == "skip" for config in (image_to_image.faces1024(), image_to_image.faces_base()))
    rows = (image_to_image.faces128, image_to_image.imagenet256, image_to_image.faces512, image_to_image.faces1024)
    assert [row().model.net.dropout for row in rows] == [0.2, 0, 0, 0]
    assert [row().model.low for row in rows] == [16, 64, 64, 256]  # pyright: ignore
