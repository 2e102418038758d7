"""Pictures given pictures: noise levels, the loss, the sampler and tiles, against slow loops and closed forms."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.testing import assert_close

from generative import noise, process, schedules, watch
from generative.config import WatchSettings
from generative.data import ImageSet
from generative.denoiser import Denoiser
from generative.image_to_image import ImageToImageConfig, log_snr_of, with_known
from generative.nets.layers import Embedding
from generative.nets.unet import UNetConfig
from generative.papers.cascade import CascadeConfig, CascadeStage
from generative.papers.palette import Palette, PaletteConfig
from generative.papers.sr3 import SR3, SR3Config
from generative.pixels import scale
from generative.tiling import starts, tiled

NET = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_resolutions=(), dropout=0.0)


def model(cls: type[Any] = SR3, shape: tuple[int, int, int] = (3, 8, 8), **fields: Any) -> Any:
    """With random weights everywhere: a fresh network answers 0."""
    torch.manual_seed(0)
    config = {SR3: SR3Config, Palette: PaletteConfig, CascadeStage: CascadeConfig}[cls]
    made = cls(config(net=NET, **({} if cls is Palette else {"low": 4}), **fields), shape)
    for parameter in made.denoise.parameters():
        nn.init.normal_(parameter, std=0.1)
    return made.eval()


def pictures(count: int, *shape: int) -> Tensor:
    size = (count, *(shape or (3, 8, 8)))
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def test_the_papers_schedules_end_where_their_betas_lead() -> None:
    """gamma_T by the plain product of 1 - beta in float64."""
    for start, end, steps, gamma in ((1e-6, 1e-2, 2000, 4.39e-5), (1e-4, 0.09, 1000, 6.6e-21)):
        config = schedules.linear_betas(start, end, steps)
        product = np.cumprod(1 - np.linspace(start, end, steps))
        places = torch.linspace(0, 1, steps, dtype=torch.float64)
        assert_close(torch.sigmoid(schedules.make(config)(places)).numpy(), product, rtol=1e-8, atol=0)
        assert product[-1] == pytest.approx(gamma, rel=0.01)


@pytest.mark.parametrize("steps", [5, 40])
def test_p_of_gamma_is_uniform_in_gamma_between_the_steps(steps: int) -> None:
    """A slow loop draws t, then gamma: the same distribution, up to 1 and within every interval."""
    config = schedules.linear_betas(1e-3, 0.3, steps)
    gammas = np.concatenate([[1.0], np.cumprod(1 - np.linspace(1e-3, 0.3, steps))])
    rng = np.random.default_rng(0)
    t = rng.integers(1, steps + 1, 20_000)
    slow = rng.uniform(gammas[t], gammas[t - 1])
    place = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = torch.sigmoid(log_snr_of(place, schedules.make(config), steps)).numpy()
    assert stats.ks_2samp(slow, ours).pvalue > 0.01
    for low, high in zip(gammas[1:], gammas[:-1], strict=True):
        inside = (ours > low) & (ours < high)
        assert inside.mean() == pytest.approx(1 / steps, abs=0.02)
        assert stats.kstest((ours[inside] - low) / (high - low), "uniform").pvalue > 1e-3
    assert ours.max() > gammas[1]


def test_the_cleanest_levels_have_no_infinite_log_snr() -> None:
    place = torch.tensor([0.0, 1e-17, 1 - 2**-53], dtype=torch.float64)
    found = log_snr_of(place, schedules.make(SR3Config().schedule), 2000)
    assert_close(found[[0, 2]], torch.tensor([30.0, SR3Config().schedule.log_snr_min], dtype=torch.float64))
    assert bool(found.isfinite().all())


def test_every_picture_of_a_batch_has_a_level_of_its_own() -> None:
    seen: list[Tensor] = []
    made = model()
    made.denoise.register_forward_hook(lambda _, inputs, __: seen.append(inputs[1]))
    made.losses({"x": pictures(6)}, torch.Generator().manual_seed(0))
    assert len(set(seen[0].tolist())) == 6


def test_the_embedding_tells_small_gammas_apart() -> None:
    """Fed to a sinusoid as it is, gamma 1e-4 and 1e-3 are 1e-3 apart; as log_snr they are not the same level at all."""
    embed = Embedding(64, (-10.0, 13.8))
    levels = torch.logit(torch.tensor([1e-4, 1e-3], dtype=torch.float64))
    first, second = embed._position(levels)
    assert float((first - second).norm()) > 3


def test_the_network_is_told_levels_that_it_was_trained_at() -> None:
    seen: list[Tensor] = []

    class Net(nn.Module):
        def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
            seen.append(log_snr)
            return torch.zeros_like(z)

    z, levels = torch.ones(3, 1, 2, 2), torch.tensor([-46.0, 0.0, 25.0])
    x0 = Denoiser(Net(), "eps", (-10.0, 13.8))(z, levels)
    assert seen[0].tolist() == pytest.approx([-10.0, 0.0, 13.8])
    assert_close(x0[2, 0, 0, 0], 1 / process.alpha_sigma(levels[2])[0])  # converted at the true level


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_the_loss_is_the_error_of_what_is_predicted(prediction: str, power: int) -> None:
    """The raw output of the network against the quantity, numbers drawn in the same order by hand."""
    made, x = model(prediction=prediction, power=power), pictures(4)
    raw: list[Tensor] = []
    made.denoise.net.register_forward_hook(lambda _, __, output: raw.append(output))
    loss = made.losses({"x": x}, torch.Generator().manual_seed(3))["loss"]
    generator = torch.Generator().manual_seed(3)
    place = noise.low_discrepancy_times(generator, 4, device="cpu")
    log_snr = log_snr_of(place, made.schedule, 2000)
    eps, data = torch.randn(x.shape, generator=generator), scale(x, 256)
    alpha, sigma = (value[:, None, None, None].float() for value in process.alpha_sigma(log_snr))
    wanted = {"eps": eps, "v": alpha * eps - sigma * data, "x0": data}[prediction]
    expected = (wanted - raw[0]).abs().pow(power).mean((1, 2, 3))
    assert_close(loss.float(), expected, rtol=2e-3, atol=1e-5)


def test_regression_is_the_same_network_without_noise() -> None:
    made, x = model(regression=True, power=2), pictures(4)
    image = made.given({"x": x}, torch.Generator())["image"]
    low = torch.full((4,), made.config.schedule.log_snr_min)
    answer = made.denoise.net(torch.zeros_like(image), low, {"image": image})
    loss = made.losses({"x": x}, torch.Generator())["loss"]
    assert_close(loss.float(), (scale(x, 256) - answer).square().mean((1, 2, 3)))
    assert made.steps == 1
    small = x[:, :, ::2, ::2]
    first, second = (made.restore(small, seed=seed) for seed in (0, 1))
    assert first.equal(second)


def test_sampling_is_algorithm_2() -> None:
    """y_(t-1) = (y_t - (1 - a_t) / sqrt(1 - g_t) f) / sqrt(a_t) + sqrt(1 - a_t) z, without z at t = 1, in a slow loop
    with the schedule's own betas; x0_hat stays inside the range of pictures, so clipping does nothing."""
    betas = np.linspace(1e-3, 0.4, 12)
    made = model(inference=schedules.linear_betas(1e-3, 0.4, 12), inference_steps=12)
    a, g = 1 - betas, np.cumprod(1 - betas)
    small = pictures(2, 3, 4, 4)
    image = made.asked(small, [])["image"]
    generators = noise.per_example(noise.mix(7, noise.ANSWERS), range(2))
    y = torch.stack([torch.randn(3, 8, 8, generator=one) for one in generators])

    class Small(nn.Module):
        """eps of an x0_hat that is well inside (-1, 1)."""

        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.zeros(()))

        def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
            x0 = 0.3 * torch.tanh(z) + 0.2 * torch.tanh(cond["image"])
            return process.eps_from_x0(z, x0, log_snr)

    made.denoise = Denoiser(Small(), "eps")
    for t in range(12, 0, -1):
        gamma, alpha = g[t - 1], a[t - 1]
        level = torch.full((2,), math.log(gamma / (1 - gamma)), dtype=torch.float64)
        f = Small()(y, level, {"image": image})
        y = (y - (1 - alpha) / math.sqrt(1 - gamma) * f) / math.sqrt(alpha)
        if t > 1:
            y = y + math.sqrt(1 - alpha) * torch.stack([torch.randn(3, 8, 8, generator=one) for one in generators])
    last: list[Tensor] = []
    made.restore(small, seed=7, draw={"callback": lambda step: last.append(step["z"])})
    assert len(last) == 12
    assert_close(last[-1], y.float(), rtol=0, atol=1e-4)


def test_a_picture_depends_on_its_seed_and_number_alone() -> None:
    made, small = model(inference_steps=4), pictures(5, 3, 4, 4)
    whole = made.restore(small, seed=3)
    assert whole.shape == (5, 3, 8, 8)
    parts = torch.cat([made.restore(small[:2], seed=3), made.restore(small[2:], seed=3, first=2)])
    assert parts.equal(whole)
    assert not made.restore(small, seed=4).equal(whole)
    assert not made.restore(small[[0, 0]], seed=3)[0].equal(made.restore(small[[0, 0]], seed=3)[1])


def test_known_pixels_stay_bit_for_bit() -> None:
    made, x = model(Palette, tasks=("inpaint",), inference_steps=5), pictures(3)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3:7] = True
    mean = model(Palette, tasks=("inpaint",), regression=True)
    for restorer, options in ((made, {}), (made, {"sampler": "ddim"}), (mean, {})):
        out = restorer.restore(x, mask=mask, draw=options)
        assert out[..., ~mask].equal(x[..., ~mask])
        assert not out[..., mask].equal(x[..., mask])


def test_the_loss_knows_the_hole_alone_and_not_its_size() -> None:
    """Errors outside the hole change nothing; where every number has the same error, its size changes nothing."""
    made = model(Palette, tasks=("inpaint",), prediction="x0", power=2)
    made.denoise.forward = lambda z, log_snr, cond=None: torch.zeros_like(z)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, :2, :2], mask[1, :, 1:, 1:] = 1, 1
    x = torch.full((2, 3, 8, 8), 200, dtype=torch.uint8)
    batch = {"x": x, "image": torch.zeros(2, 3, 8, 8), "mask": mask}
    loss = made.losses(batch, torch.Generator())["loss"]
    assert_close(loss, scale(x, 256)[:, 0, 0, 0].double() ** 2)
    changed = torch.where(mask > 0, x, pictures(2))
    assert made.losses({**batch, "x": changed}, torch.Generator())["loss"].equal(loss)


def test_known_pixels_of_x0_hat_are_the_known_ones() -> None:
    cond = {"image": torch.full((1, 1, 2, 2), 0.5), "mask": torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])}
    answer = with_known(lambda z, log_snr, cond=None: z)(torch.zeros(1, 1, 2, 2), torch.zeros(1), cond)
    assert answer.flatten().tolist() == [0.0, 0.5, 0.5, 0.0]


@pytest.mark.parametrize("size", [(8, 8), (8, 13), (21, 17)])
def test_tiles_of_a_denoiser_that_looks_at_single_pixels_change_nothing(size: tuple[int, int]) -> None:
    """Five tiles at a time, those of pictures that come after two others."""
    z, image = torch.randn(2, 3, *size), torch.randn(2, 3, *size)

    def pixelwise(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        assert z.shape == (5, 3, 8, 8)
        return (0.3 * z + cond["image"]) * cond["label"][:, None, None, None] + log_snr[:, None, None, None]

    cond, level = {"image": image, "label": torch.tensor([1.0, 2.0])}, torch.tensor([0.1, 0.2])
    direct = (0.3 * z + image) * cond["label"][:, None, None, None] + level[:, None, None, None]
    assert_close(tiled(pixelwise, (8, 8), rows=5, first=2)(z, level, cond), direct)


@pytest.mark.parametrize("size", [(8, 8), (8, 13), (21, 17)])
def test_a_tile_s_place_in_a_call_depends_on_its_number_alone(size: tuple[int, int]) -> None:
    """What a denoiser makes of a row may depend on the row's place: the same bits for any split of the pictures."""

    def place_sensitive(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        return z + torch.arange(len(z))[:, None, None, None]

    z = torch.randn(7, 3, *size, dtype=torch.float64)
    whole = tiled(place_sensitive, (8, 8), rows=5, first=3)(z, torch.zeros(7))
    parts = [
        tiled(place_sensitive, (8, 8), rows=5, first=3 + a)(z[a:b], torch.zeros(b - a))
        for a, b in pairwise((0, 1, 3, 7))
    ]
    assert torch.cat(parts).equal(whole)


@pytest.mark.parametrize(
    ("length", "side", "overlap"), [(8, 8, 0.5), (9, 8, 0.5), (100, 8, 0.5), (100, 8, 0.0), (64, 32, 0.9)]
)
def test_tiles_cover_everything_with_their_overlap(length: int, side: int, overlap: float) -> None:
    begins = starts(length, side, overlap)
    assert (begins[0], begins[-1]) == (0, length - side)
    assert all(later - earlier <= max(1, side * (1 - overlap)) for earlier, later in pairwise(begins))
    assert {pixel for begin in begins for pixel in range(begin, begin + side)} == set(range(length))


@pytest.mark.parametrize("size", [(4, 4), (8, 8), (7, 9), (3, 2), (1, 1)])
@pytest.mark.parametrize(
    ("cls", "fields"),
    [
        (SR3, {}),
        *((CascadeStage, {"augmentation": kind}) for kind in ("none", "blur")),
        *((CascadeStage, {"noise_at": where}) for where in ("lowres", "target")),
    ],
)
def test_pictures_of_any_size_come_back_enlarged(cls: Any, fields: dict[str, Any], size: tuple[int, int]) -> None:
    out = model(cls, inference_steps=2, **fields).restore(pictures(2, 3, *size))
    assert out.shape == (2, 3, 2 * size[0], 2 * size[1])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"net": replace(NET, cond_channels=3)}, "cond_channels, masked, out_channels and augmented follow"),
        ({"schedule": schedules.ScheduleConfig()}, "the schedule must be fixed"),
        ({"power": 3}, "power must be 1 or 2, got 3"),
        ({"noise_steps": 1}, "noise_steps must be 2 and inference_steps 1"),
        ({"variance": 1.5}, r"variance interpolates and must be in \[0, 1\], got 1.5"),
    ],
)
def test_what_does_not_fit(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ImageToImageConfig(**fields)


def test_what_cannot_be_asked() -> None:
    made = model()
    with pytest.raises(ValueError, match="makes pictures of pictures: use restore"):
        made.sample(3)
    with pytest.raises(ValueError, match="sampler 'euler' does not exist"):
        made.restore(pictures(1, 3, 4, 4), draw={"sampler": "euler"})
    with pytest.raises(ValueError, match=r"pictures must be level indices \[B, 3, 4, 4\]"):
        made.restore(pictures(1, 1, 4, 4))
    with pytest.raises(ValueError, match=r"overlap must be from 0 to 0.9, got 1"):
        made.restore(pictures(1, 3, 9, 9), draw={"overlap": 1})


def test_a_square_of_a_picture_is_the_same_square_of_what_is_told() -> None:
    """Every pixel says where it is from, so a cut that differed between pictures would show."""
    made = model(shape=(3, 16, 16), crop=8)
    place = torch.arange(256).reshape(16, 16).float().expand(64, 3, 16, 16)
    which = torch.arange(64).float()[:, None, None, None] * 1000
    x, cond = made._cropped(place + which, {"image": 2 * (place + which), "level": torch.arange(64)}, torch.Generator())
    assert x.shape == (64, 3, 8, 8)
    assert cond["image"].equal(2 * x)
    assert cond["level"].equal(torch.arange(64))
    corners = set()
    for number, square in enumerate(x):
        top, left = divmod(int(square[0, 0, 0]) - 1000 * number, 16)
        assert square.equal((place + which)[number, :, top : top + 8, left : left + 8])
        corners.add((top, left))
    assert {top for top, _ in corners} | {left for _, left in corners} == set(range(9))
    loss = made.losses({"x": pictures(4, 3, 16, 16)}, torch.Generator().manual_seed(0))["loss"]
    assert loss.shape == (4,)
    with pytest.raises(ValueError, match="crop must be 0 \\(none\\) or a multiple of the network's 2, got 7"):
        SR3Config(net=NET, crop=7)
    with pytest.raises(ValueError, match="crop must be at most the side of the pictures, 8, got 16"):
        model(crop=16)


def test_a_network_that_knows_nothing_of_pure_noise_still_gives_pictures() -> None:
    """Palette's own schedule of inference ends where 1 / alpha is 1e10: x0_hat stays in the range of pictures at every
    step, and the network is never told a level that it was not trained at."""
    made, x = model(Palette, tasks=("jpeg",), inference_steps=25), pictures(2)
    told: list[Tensor] = []
    seen: list[float] = []
    made.denoise.net.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1]))
    made.restore(x, draw={"callback": lambda step: seen.append(float(step["x0_hat"].abs().max()))})
    assert len(seen) == 25
    assert max(seen) <= 1
    low, high = made.config.schedule.log_snr_min, made.config.schedule.log_snr_max
    assert all(bool(((level >= low) & (level <= high)).all()) for level in told)
    assert float(told[0].max()) == pytest.approx(low)


def test_tiles_are_clipped_before_they_are_blended() -> None:
    """One whose answer is far out of range outvotes no other: where it fades, so does it."""
    made = model(prediction="x0", inference_steps=1)
    made.denoise.forward = lambda z, log_snr, cond: torch.where(  # pyright: ignore[reportOptionalSubscript]
        cond["image"].mean((1, 2, 3), keepdim=True) > 0, torch.full_like(z, 1e6), torch.full_like(z, -0.5)
    )
    small = torch.cat([torch.full((1, 3, 4, 4), 255), torch.zeros(1, 3, 4, 4)], 3).to(torch.uint8)
    across = scale(made.restore(small), 256)[0, 0, 0]
    assert across[0] == scale(torch.tensor([255]), 256)
    assert float(across[-1]) == pytest.approx(-0.5, abs=0.01)
    shares = torch.tensor([4, 3, 2, 1]) / 5  # of the first tile, where the second begins to cover it
    assert_close(across[4:8], shares - 0.5 * (1 - shares), atol=0.01, rtol=0)


def test_few_steps_begin_with_the_noisiest_level_and_end_with_the_cleanest() -> None:
    made, levels = model(), []
    made.restore(
        pictures(1, 3, 4, 4), draw={"steps": 50, "callback": lambda step: levels.append(float(step["log_snr"]))}
    )
    told: list[float] = []
    made.denoise.net.register_forward_pre_hook(lambda _, inputs: told.append(float(inputs[1][0])))
    made.restore(pictures(1, 3, 4, 4), draw={"steps": 50})
    assert told[0] == pytest.approx(made.config.schedule.log_snr_min)
    assert told[-1] == pytest.approx(made.config.schedule.log_snr_max)
    assert len(told) == 50


def test_z_is_noisy_on_known_pixels_in_training_as_in_sampling() -> None:
    """And in sampling it is what noise makes of them, at every step and with the largest variance too."""
    made = model(Palette, shape=(3, 16, 16), tasks=("uncrop",), inference_steps=12)
    seen: list[tuple[Tensor, Tensor]] = []
    made.denoise.net.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[1])))
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:, 8:] = True
    flat = torch.full((64, 3, 16, 16), 200, dtype=torch.uint8)
    hole = mask.float().expand(64, 1, 16, 16)
    image = torch.where(hole > 0, torch.zeros(()), scale(flat, 256))
    made.losses({"x": flat, "image": image, "mask": hole}, torch.Generator().manual_seed(0))
    z, level = seen.pop()
    alpha, sigma = (value.float()[:, None, None, None] for value in process.alpha_sigma(level))
    eps = (z - alpha * scale(flat, 256)) / sigma
    inside = level < made.config.schedule.log_snr_max
    assert float(eps[inside][..., :8].std()) == pytest.approx(1, abs=0.02)
    seen.clear()
    schedule = schedules.make(made.config.schedule)
    for asked in ({}, {"variance": 1.0}, {"variance": 0.3}):
        made.restore(flat, mask=mask, draw={"chunk": 64, "schedule": schedule, **asked})
    assert len(seen) == 36
    for z, level in seen:
        alpha, sigma = process.alpha_sigma(level[0])
        known = (z[..., :8] - alpha.float() * scale(flat, 256)[..., :8]) / sigma.float()
        assert float(known.std()) == pytest.approx(1, abs=0.03), float(level[0])
        assert float(known.mean()) == pytest.approx(0, abs=0.03)


def test_known_pixels_have_no_part_in_the_loss_at_each_level() -> None:
    """By the loss written out over the hole alone: elsewhere no training ever told the network what to say."""
    made = model(Palette, tasks=("uncrop",), prediction="v", schedule=schedules.ScheduleConfig(kind="cosine"))
    x = pictures(6)
    names = [str(i) for i in range(6)]
    images = ImageSet(name="noise", split="test", pixels=x.numpy(), names=names, group_names=names)
    log_snrs, losses = watch.level_losses(made, images, levels=3, count=None, seed=4)
    told = made.config.degrade(x, noise.per_example(noise.mix(4, noise.DEGRADATION), range(6)))
    eps = noise.normal_like(noise.per_example(noise.mix(4, noise.LEVELS), range(6)), scale(x, 256))
    for log_snr, loss in zip(log_snrs, losses, strict=True):
        alpha, sigma = (value.float() for value in process.alpha_sigma(log_snr))
        z = alpha * scale(x, 256) + sigma * eps
        with torch.no_grad():
            off = (eps - (z - alpha * made.denoise(z, log_snr.expand(6), told)) / sigma)[
                told["mask"].bool().expand_as(x)
            ]
        assert float(loss) == pytest.approx(float(off.square().sum()) / 2 / 6 / x[0].numel() / math.log(2), rel=1e-4)


def test_the_noise_in_a_hole_is_not_that_of_z() -> None:
    made, first = model(Palette, shape=(3, 32, 32), tasks=("uncrop",), inference_steps=2), []
    made.denoise.net.register_forward_pre_hook(
        lambda _, inputs, options: first.append((inputs[0], options["cond"]["image"])), with_kwargs=True
    )
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[:, 16:] = True
    made.restore(pictures(8, 3, 32, 32), mask=mask, draw={"chunk": 8})
    z, image = (entry[..., 16:].flatten() for entry in first[0])
    assert float(image.std()) == pytest.approx(1, abs=0.03)
    assert abs(float(torch.corrcoef(torch.stack([z, image]))[0, 1])) < 0.03
    answers = torch.corrcoef(first[0][1][..., 16:].flatten(1)) - torch.eye(8)  # each has noise of its own
    assert float(answers.abs().max()) < 0.15


def test_models_that_share_a_seed_do_not_share_their_noise() -> None:
    """A base's z and that of the stage behind it."""
    first: list[Tensor] = []
    made = model(inference_steps=2)
    made.denoise.net.register_forward_pre_hook(lambda _, inputs: first.append(inputs[0]))
    made.restore(pictures(1, 3, 4, 4), seed=5, draw={"chunk": 1})
    base = noise.normal(
        noise.per_example(noise.mix(5, noise.SAMPLES), [0]), (1, 3, 8, 8), device="cpu", dtype=torch.float32
    )
    assert abs(float(torch.corrcoef(torch.stack([first[0].flatten(), base.flatten()]))[0, 1])) < 0.3


@pytest.mark.parametrize(("cls", "fields"), [(SR3, {}), (Palette, {"tasks": ("inpaint",)}), (CascadeStage, {})])
@pytest.mark.parametrize("regression", [False, True])
def test_a_look_shows_what_was_given_made_and_meant(cls: Any, fields: dict[str, Any], regression: bool) -> None:
    made = model(cls, regression=regression, **fields)
    images = ImageSet(
        name="x", split="test", pixels=pictures(6).numpy(), names=list("abcdef"), group_names=list("abcdef")
    )
    settings = WatchSettings(samples=4, times=2, sample_steps=3)
    metrics, view = watch.look(made, images, settings)
    assert view.given is not None
    assert view.samples.shape == view.given.shape == (4, 3, 8, 8)
    assert view.truth is not None
    assert view.truth.equal(images.batch([0, 1, 3, 4])["x"])
    assert view.strips.shape[0] == 8
    assert {"eval/loss", "eval/psnr"} <= set(metrics)
