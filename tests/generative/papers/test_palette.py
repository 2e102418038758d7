"""Palette: what is asked, panoramas, the generalist, and the network's size."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from experiments.presets import image_to_image
from generative import models, noise, process
from generative.batches import prepared
from generative.config import OptimSettings, TrainConfig
from generative.degradations import grey
from generative.papers.palette import Palette, PaletteConfig, degrade, extended, panorama
from generative.pixels import scale
from tests.generative.test_image_to_image import NET, model, pictures


def test_the_papers_network_has_the_papers_size() -> None:
    with torch.device("meta"):
        made = models.make(image_to_image.palette_row(("inpaint",)).model, (3, 256, 256), 256)
    assert sum(parameter.numel() for parameter in made.parameters()) == pytest.approx(552.8e6, rel=5e-4)


def test_a_generalist_meets_its_tasks_evenly() -> None:
    """Told apart by what they leave: grey has equal channels, a hole has a mask."""
    red = torch.tensor([220, 30, 60], dtype=torch.uint8)[:, None, None].expand(600, 3, 16, 16)
    found = degrade(red, ("colorize", "inpaint", "jpeg"), torch.Generator().manual_seed(0))
    kinds = Counter(
        "inpaint" if not mask.all() else "colorize" if image[0].equal(image[1]) else "jpeg"
        for image, mask in zip(found["image"], found["mask"], strict=True)
    )
    assert set(kinds) == {"colorize", "inpaint", "jpeg"}
    assert max(abs(count - 200) for count in kinds.values()) < 45


def test_holes_are_filled_with_noise_that_z_does_not_share() -> None:
    x = pictures(200, 3, 16, 16)
    source = noise.per_example(5, range(200))
    found = degrade(x, ("inpaint",), source)
    hole = (found["mask"] > 0).expand_as(x)
    inside, outside = found["image"][hole], found["image"][~hole]
    assert inside.mean().abs() < 0.02
    assert inside.std() == pytest.approx(1, abs=0.02)
    assert outside.equal(scale(x, 256)[~hole])
    z = noise.normal(
        noise.per_example(noise.mix(0, noise.ANSWERS), range(200)), x.shape, device="cpu", dtype=torch.float32
    )
    fill = noise.normal(
        noise.per_example(noise.mix(0, noise.DEGRADATION), range(200)), x.shape, device="cpu", dtype=torch.float32
    )
    for other in (inside, fill[hole]):
        assert np.corrcoef(other.numpy(), z[hole].numpy())[0, 1] == pytest.approx(0, abs=0.02)


def test_in_training_too_the_fill_of_a_hole_is_not_the_noise_of_z() -> None:
    """Else the network would read the answer off its condition, and see nothing of the kind when it is asked."""
    count = 64
    config = TrainConfig(model=PaletteConfig(net=NET, tasks=("inpaint",)), optim=OptimSettings(batch=count))
    made, seen = Palette(config.model, (3, 16, 16)), []  # pyright: ignore[reportArgumentType]
    batch = prepared({"x": pictures(count, 3, 16, 16)}, config, 3, slice(0, count))
    answer = made.denoise.forward

    def forward(z: torch.Tensor, log_snr: torch.Tensor, cond: Any) -> torch.Tensor:
        seen.append((z, log_snr))
        return answer(z, log_snr, cond)

    made.denoise.forward = forward  # pyright: ignore[reportAttributeAccessIssue]
    made.losses(batch, noise.GlobalBatch(noise.mix(config.seed, noise.TRAINING), 3, 0, count, total=count))
    ((z, log_snr),) = seen
    eps = process.eps_from_x0(z, scale(batch["x"], 256), log_snr)
    hole = (batch["mask"] > 0).expand_as(eps) & (log_snr < 5)[:, None, None, None]
    assert eps[hole].std() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(eps[hole].numpy(), batch["image"][hole].numpy())[0, 1] == pytest.approx(0, abs=0.03)


def test_a_degraded_picture_does_not_depend_on_its_batch() -> None:
    x = pictures(5, 3, 16, 16)
    tasks = ("colorize", "inpaint", "uncrop", "jpeg")
    whole = degrade(x, tasks, noise.GlobalBatch(1, 2, 0, 5, total=5))
    part = degrade(x[2:4], tasks, noise.GlobalBatch(1, 2, 2, 4, total=5))
    for name in whole:
        assert whole[name][2:4].equal(part[name])


def test_colorize_sees_no_colour_and_jpeg_sees_what_it_is_given() -> None:
    made, x = model(Palette, tasks=("colorize", "jpeg")), pictures(2)
    told = made.asked(x, [], task="colorize")["image"]
    expected = np.stack([grey(one) for one in x.numpy()])
    assert told.equal(scale(torch.from_numpy(expected), 256))
    assert made.asked(x, [], task="jpeg")["image"].equal(scale(x, 256))


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom", "all"])
def test_an_extended_picture_holds_the_old_one(side) -> None:
    x = pictures(1)
    canvas, mask = extended(x, side, 3)
    assert canvas[..., ~mask].equal(x.flatten(2))
    grown = {"left": (8, 11), "right": (8, 11), "top": (11, 8), "bottom": (11, 8), "all": (14, 14)}
    assert tuple(mask.shape) == grown[side]


def test_the_network_is_told_where_the_hole_is() -> None:
    """Each tile of a picture that is larger than one is told its own part of the mask."""
    x, seen = torch.full((1, 3, 8, 12), 100, dtype=torch.uint8), []
    made = Palette(PaletteConfig(net=NET, inference_steps=2, mask_channel=True), (3, 8, 8))
    made.denoise.net.conv_in.register_forward_pre_hook(lambda _, given: seen.append(given[0][:, 6:]))
    mask = torch.zeros(8, 12, dtype=torch.bool)
    mask[2:5, 1:7] = True
    out = made.restore(x, mask=mask)
    assert out[..., ~mask].equal(x[..., ~mask])
    tiles = {tuple(tile.flatten().tolist()) for call in seen for tile in call}
    assert tiles == {tuple(mask[:, left : left + 8].float().flatten().tolist()) for left in (0, 4)}


def test_a_panorama_grows_and_keeps_what_it_had() -> None:
    made, x = model(Palette, tasks=("uncrop",), inference_steps=2), pictures(2)
    wide = panorama(made, x, "right", 3)
    assert wide.shape == (2, 3, 8, 8 + 3 * 4)
    assert wide[..., :8].equal(x)
    assert panorama(made, x, "right", 2).equal(wide[..., :16])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tasks": ()}, "tasks must be one or more different ones, got none"),
        ({"tasks": ("inpaint", "inpaint")}, "tasks must be one or more different ones"),
        ({"tasks": ("jpeg",), "mask_channel": True}, "mask_channel is for inpaint and uncrop: jpeg hides every pixel"),
        ({"crop": 8}, "crop is for models that enlarge"),
        ({"tasks": ("deblur",)}, "task 'deblur' does not exist; allowed: colorize, inpaint, uncrop, jpeg"),
    ],
)
def test_tasks_that_do_not_exist(fields, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PaletteConfig(net=NET, **fields)


def test_numpy_is_taken_as_torch_is() -> None:
    made, x = model(Palette, inference_steps=2), pictures(2)
    hole = np.zeros((8, 8), bool)
    hole[2:5, 3:6] = True
    assert made.restore(x.numpy(), mask=hole).equal(made.restore(x, mask=torch.from_numpy(hole)))


def test_what_cannot_be_asked() -> None:
    made, x = model(Palette, tasks=("inpaint", "jpeg")), pictures(2)
    hole = torch.ones(8, 8, dtype=torch.bool)
    for asked, says in (
        ({}, "knows several tasks, name one of inpaint, jpeg"),
        ({"task": "colorize"}, "trained to inpaint, jpeg, not to colorize"),
        ({"task": "inpaint"}, "inpaint needs a mask"),
        ({"task": "jpeg", "mask": hole}, "jpeg takes no mask"),
        ({"task": "inpaint", "mask": hole[:4]}, "the mask is 8 x 4, the picture 8 x 8"),
        ({"task": "inpaint", "mask": ~hole}, "the mask is empty"),
        ({"task": "inpaint", "mask": hole[None, None]}, r"a mask must be \[h, w\] or \[2, h, w\]"),
    ):
        with pytest.raises(ValueError, match=says):
            made.restore(x, **asked)
    for variance in (-1.0, 5.0, float("nan")):
        with pytest.raises(ValueError, match="variance interpolates and must be in"):
            made.restore(x, task="inpaint", mask=hole, draw={"variance": variance})
    with pytest.raises(ValueError, match="Palette needs RGB pictures of 256 levels, got 1 channels of 17"):
        Palette(PaletteConfig(net=NET), (1, 8, 8), 17)


def test_the_papers_settings() -> None:
    """Sec 4 and App B: L2, 2,000 betas in training and 1,000 other ones in sampling, a batch of 1,024."""
    config = image_to_image.palette_row(("colorize",))
    model, optim = config.model, config.optim
    assert isinstance(model, PaletteConfig)
    assert (model.power, model.prediction, model.variance, model.inference_steps) == (2, "eps", 1.0, 1000)
    for schedule, betas in ((model.schedule, (2000, 1e-6, 1e-2)), (model.inference, (1000, 1e-4, 0.09))):
        assert schedule is not None
        assert (schedule.kind, schedule.beta_steps, schedule.beta_start, schedule.beta_end) == ("betas", *betas)
    assert (optim.batch, optim.learning_rate, optim.warmup_steps, optim.grad_clip) == (1024, 1e-4, 10_000, None)
    assert (optim.decay, optim.ema, config.steps) == ("constant", 0.9999, 1_000_000)
    assert (model.net.dropout, model.net.head_channels, model.net.attention_resolutions) == (0, 64, (32, 16, 8))


def test_the_papers_rows_are_told_of_holes_by_noise_alone_and_the_small_ones_by_the_mask_too() -> None:
    told = {row["name"]: row["make"]().model for row in image_to_image.rows() if row["name"].startswith("palette-")}
    assert {name for name, model in told.items() if model.mask_channel} == {
        *(f"palette-{task}64{more}" for task in ("inpaint", "uncrop", "all") for more in ("", "-regression")),
        "palette-inpaint64-l1",
    }
    assert told["palette-all64"].tasks == told["palette-all256"].tasks == ("colorize", "inpaint", "jpeg")
