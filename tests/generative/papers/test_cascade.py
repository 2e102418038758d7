"""Cascades: conditioning augmentation against closed forms, and stages that do not fit."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from experiments.presets import cascades, image_to_image
from generative import models, noise, process
from generative.augmentations import Blur, blurred
from generative.nets.unet import UNetConfig
from generative.oracle import GaussianOracle
from generative.papers.cascade import CascadeConfig, CascadeStage, check_fits, other_reductions, time_of, truncated
from generative.papers.progressive_distillation import Diffusion, DiffusionConfig
from generative.papers.sr3 import reduced
from generative.pixels import nearest_level, scale
from generative.resize import resize
from generative.schedules import Cosine, ScheduleConfig

TINY = UNetConfig(channels=8, multipliers=(1,), blocks=1, attention_resolutions=(), dropout=0.0)
SPREAD, BASE_MEAN, BASE_STD, COUNT = 0.25, 0.1, 0.15, 4000


def stage(shape: tuple[int, int, int] = (1, 2, 2), low: int = 1, **fields: Any) -> CascadeStage:
    torch.manual_seed(0)
    made = CascadeStage(CascadeConfig(net=TINY, low=low, **fields), shape)
    for parameter in made.denoise.parameters():
        nn.init.normal_(parameter, std=0.1)
    return made.eval()


class Exact(nn.Module):
    """E[u | z, y] for a picture whose pixels all are u ~ N(0, SPREAD^2), told y = alpha u + sigma n at its level."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(()))
        self.told: list[Tensor] = []

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        z, y, level = z.double(), cond["image"].double().mean((1, 2, 3)), cond["level"].double()
        self.told.append(level)
        pixels = z[0].numel()
        (alpha, _), (alpha_y, _) = process.alpha_sigma(log_snr.double()), process.alpha_sigma(level)
        weights = 1 / SPREAD**2 + pixels * log_snr.exp() + level.exp()
        known = log_snr.exp() * z.flatten(1).sum(1) / alpha + level.exp() * y / alpha_y
        return (known / weights)[:, None, None, None].expand_as(z).float()


def exact_stage(**fields: Any) -> CascadeStage:
    made = stage(
        inference_steps=256, schedule=ScheduleConfig(kind="cosine", log_snr_max=15.0, log_snr_min=-15.0), **fields
    )
    made.denoise = Exact()  # pyright: ignore[reportAttributeAccessIssue]
    return made


def weak_pictures() -> Tensor:
    """What a weak base draws: N(BASE_MEAN, BASE_STD^2) where the truth is N(0, SPREAD^2), as 1 x 1 pictures."""
    u = BASE_MEAN + BASE_STD * torch.randn(COUNT, 1, 1, 1, generator=torch.Generator().manual_seed(3))
    return nearest_level(u, 256).to(torch.uint8)


def closed_form(
    level: float, labelled: bool = True, mean: float = BASE_MEAN, std: float = BASE_STD, spread: float = SPREAD
) -> tuple[float, float]:
    """Mean and variance of an exact stage's pictures given the weak base's, with noise of log_snr `level` added; if not
    labelled, given them clean, but told that level. u | y has mean share y / alpha, variance (1 - share) spread^2."""
    snr = math.exp(level)
    share = snr / (snr + 1 / spread**2)
    variance = std**2 + (1 / snr if labelled else 0.0)
    scaling = 1.0 if labelled else 1 / math.sqrt(1 / (1 + math.exp(-level)))  # clean pictures are not shrunk by alpha
    return share * scaling * mean, share**2 * scaling**2 * variance + (1 - share) * spread**2


@pytest.mark.parametrize("s", [0.0, 0.15, 0.5])
def test_noise_brings_a_weak_base_nearer_to_the_truth_as_much_as_it_must(s: float) -> None:
    made = exact_stage()
    level = float(made.augmentation.log_snr(torch.tensor([s], dtype=torch.float64)))
    drawn = scale(made.restore(weak_pictures(), level=s, draw={"chunk": 1000}), 256).double().flatten(1).mean(1)
    mean, variance = closed_form(level)
    assert drawn.mean() == pytest.approx(mean, abs=4 * math.sqrt(variance / COUNT))
    assert drawn.var() == pytest.approx(variance, rel=4 * math.sqrt(2 / COUNT))
    assert made.denoise.told[0].tolist() == pytest.approx([level] * 1000)  # the same s is told


@pytest.mark.parametrize(
    ("kept", "noisy", "clean"),
    [(0.95, 0.214, 0.240), (0.8, 0.110, 0.167), (0.5, 0.027, 0.073), (0.2, 0.0034, 0.021), (0.05, 0.0002, 0.0043)],
)
def test_the_closed_form_is_the_known_table(kept: float, noisy: float, clean: float) -> None:
    """What the stage is held to above, against numbers worked out for N(0.4, 0.6^2) in place of N(0, 1), `kept` being
    alpha^2. Pictures that are labelled noisy and are clean come less near."""
    level = math.log(kept / (1 - kept))
    for labelled, expected in ((True, noisy), (False, clean)):
        mean, variance = closed_form(level, labelled, 0.4, 0.6, 1.0)
        divergence = 0.5 * (variance + mean**2 - 1 - math.log(variance))  # KL(N(mean, variance) || N(0, 1))
        assert divergence == pytest.approx(expected, rel=0.03, abs=5e-5)  # it has two digits


def exact_base() -> Diffusion:
    model = Diffusion(DiffusionConfig(net=TINY), (1, 1, 1))
    oracle = GaussianOracle(torch.full((1, 1, 1), BASE_MEAN), torch.tensor([BASE_STD**2]))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.zeros(()))

        def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
            return oracle(z, log_snr)

    model.denoise = Net()  # pyright: ignore[reportAttributeAccessIssue]
    return model.eval()


@pytest.mark.parametrize("s", [0.3, 0.6])
def test_stopping_early_and_noising_again_hand_over_the_same(s: float) -> None:
    """Both are N(alpha m, alpha^2 v + sigma^2), with the same level told."""
    base, made = exact_base(), stage()
    short = truncated(base, made, COUNT, s, steps=256)
    sources = noise.per_example(noise.mix(9, noise.DEGRADATION), range(COUNT))
    whole = made.asked(base.sample(COUNT, steps=256, sampler="ancestral"), sources, level=s)
    level = float(made.augmentation.log_snr(torch.tensor([s], dtype=torch.float64)))
    alpha, sigma = (float(value) for value in process.alpha_sigma(torch.tensor(level)))
    for told in (short, whole):
        z = told["image"].double().mean((1, 2, 3))
        variance = alpha**2 * BASE_STD**2 + sigma**2
        assert z.mean() == pytest.approx(alpha * BASE_MEAN, abs=4 * math.sqrt(variance / COUNT))
        assert z.var() == pytest.approx(variance, rel=0.09)
        assert_close(told["level"], torch.full((COUNT,), level, dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_level_of_its_own_for_each_picture_up_to_the_largest() -> None:
    made, x = stage((1, 4, 4), 2, most=0.5), torch.zeros(64, 1, 4, 4, dtype=torch.uint8)
    levels = made.given({"x": x}, torch.Generator().manual_seed(0))["level"]
    assert len(set(levels.tolist())) == 64
    assert float(levels.min()) > float(made.augmentation.log_snr(torch.tensor([0.5])))
    assert float(levels.min()) < float(made.augmentation.log_snr(torch.tensor([0.45])))


def test_noise_after_the_enlargement_spoils_less() -> None:
    """Seen at the small size, noise added at the large one is averaged away: about a third of it is left at 4x."""
    left = {}
    for where in ("lowres", "target"):
        made = stage((1, 64, 64), 16, noise_at=where)
        told = made.asked(torch.full((8, 1, 16, 16), 128, dtype=torch.uint8), noise.per_example(0, range(8)), level=0.3)
        left[where] = float(resize(told["image"], (16, 16)).std())
    assert 2.5 < left["lowres"] / left["target"] < 4


def test_blurring_is_a_gaussian_filter_in_training_alone() -> None:
    x = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.4, 0.9], dtype=torch.float64)
    for picture, width, ours in zip(x, sigma, blurred(x, sigma), strict=True):
        weights = torch.exp(-torch.tensor([[i * i + j * j for j in (-1, 0, 1)] for i in (-1, 0, 1)]) / (2 * width**2))
        weights = weights / weights.sum()
        padded = nn.functional.pad(picture[None], (1, 1, 1, 1), mode="reflect")[0]
        slow = sum(weights[i, j] * padded[:, i : i + 6, j : j + 6] for i in range(3) for j in range(3))
        assert_close(ours, slow.float())  # pyright: ignore[reportAttributeAccessIssue]
    dot = torch.zeros(50, 1, 5, 5)
    dot[:, :, 2, 2] = 1
    place = torch.rand(50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    soft, level = Blur(sigma=(0.4, 0.6), share=1.0).training(dot, place, torch.Generator(), lambda small: small)
    width = 0.4 + 0.2 * place[:, 0]  # of each picture's own filter
    assert_close(soft[:, 0, 2, 2].double(), (1 + 2 * torch.exp(-0.5 / width**2)) ** -2, atol=1e-6, rtol=0)
    assert level is None
    made = stage((1, 8, 8), 4, augmentation="blur")
    k = torch.randint(0, 256, (200, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    sharp = resize(scale(reduced(k, 4, 256), 256), (8, 8))
    same = (made.given({"x": k}, torch.Generator().manual_seed(0))["image"] == sharp).flatten(1).all(1)
    assert 70 < int(same.sum()) < 130
    assert made.asked(reduced(k, 4, 256), [])["image"].equal(sharp)


@pytest.mark.parametrize(
    ("make", "side", "millions"),
    [
        (cascades.cdm_base32, 32, 825.5), (cascades.cdm_64, 64, 750.6), (lambda: cascades.cdm_large(128), 128, 575.3),
        (lambda: cascades.cdm_large(256), 256, 634.0), (image_to_image.faces256, 256, 634.0),
    ],
)  # fmt: skip
def test_sizes_of_the_papers_networks(make: Any, side: int, millions: float) -> None:
    """SR3's are within 5% of its Table A.1 (test_sr3.py); of the others the paper gives no number: this pins ours."""
    with torch.device("meta"):
        made = models.make(make().model, (3, side, side), 256)
    count = sum(parameter.numel() for parameter in made.parameters())
    assert count / 1e6 == pytest.approx(millions, rel=1e-3)


def test_the_papers_stages_fit_each_other() -> None:
    """32 to 64 to 256, and 64 to 128; blurring at 128 and 256, noise at 64 (Sec 3.1, 3.2); L2; no clipped gradients."""
    with torch.device("meta"):
        base, small, large, other = (
            models.make(make.model, (3, side, side), 256)
            for make, side in (
                (cascades.cdm_base32(), 32), (cascades.cdm_64(), 64), (cascades.cdm_large(256), 256),
                (cascades.cdm_large(128), 128),
            )
        )  # fmt: skip
    for before, after in ((base, small), (small, large), (small, other)):
        check_fits(before, after)
    configs = cascades.cdm_64(), cascades.cdm_large(128), cascades.cdm_large(256)
    assert [config.model.augmentation for config in configs] == ["gaussian", "blur", "blur"]  # pyright: ignore
    assert [config.model.power for config in configs] == [2, 2, 2]  # pyright: ignore
    assert [config.optim.grad_clip for config in (cascades.cdm_base32(), *configs)] == [None] * 4
    assert [config.optim.batch for config in (cascades.cdm_base32(), *configs)] == [2048, 2048, 1024, 1024]
    rates = [(config.optim.learning_rate, config.steps) for config in (cascades.cdm_base32(), *configs)]
    assert rates == [(1e-4, 700_000), (1e-4, 400_000), (1e-4, 500_000), (1e-4, 500_000)]
    assert {config.optim.warmup_steps for config in configs} == {10_000}
    blurs = [config.model for config in (*configs[1:], image_to_image.faces256())]
    assert [(blur.augmentation, blur.blur_sigma, blur.blur_share) for blur in blurs] == [  # pyright: ignore
        ("blur", (0.4, 0.6), 0.5), ("blur", (0.4, 0.6), 0.5), ("blur", (0.4, 0.6), 1.0),
    ]  # fmt: skip
    first = cascades.cdm_base32().model
    assert isinstance(first, DiffusionConfig)
    assert (first.prediction, first.weighting, first.net.dropout) == ("eps", "snr", 0.1)
    with torch.device("meta"):
        faces = models.make(image_to_image.faces_base().model, (3, 64, 64), 256)
        check_fits(faces, models.make(image_to_image.faces256().model, (3, 256, 256), 256))


def test_levels_that_were_not_trained_are_refused() -> None:
    small = torch.zeros(1, 1, 1, 1, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"level must be from 0 to 0.5, what training went to, got 0.6"):
        stage(most=0.5).restore(small, level=0.6)
    with pytest.raises(ValueError, match="trained without noise on what it enlarges: it has no levels"):
        stage(augmentation="none").restore(small, level=0.1)


def test_pictures_that_were_reduced_in_other_steps_are_told_apart() -> None:
    before, after = stage((1, 4, 4), 2), stage((1, 8, 8), 4)
    others = "reduced from 16 to 8 to 4, where the next stage knows pictures that were reduced from 16 to 4"
    for ours, theirs, says in (
        ((16, 8, 4), (16, 8), ""), ((16, 4), (16,), ""), ((32, 4), (16,), ""), ((16, 8, 4), (16,), others)
    ):  # fmt: skip
        for model, (size, *sides) in ((before, ours), (after, theirs)):
            data = {"name": "mnist", "path": None, "downscale": 1, "size": size, "reduced": sides}
            model.meta = {"config": {"data": data}}
        assert other_reductions(before, after) == says
    for other in ({"path": "elsewhere"}, {"downscale": 2}, {"name": "emoji"}):
        before.meta = {"config": {"data": {**before.meta["config"]["data"], **other}}}
        assert other_reductions(before, after) == ""
    for lacking in (
        {},
        {"config": {}},
        {"config": {"data": {"name": "mnist", "path": None, "downscale": 1, "size": 16}}},
    ):
        before.meta = lacking  # such as of a model that was saved before there was `reduced`
        assert other_reductions(before, after) == ""


def test_time_of_a_level() -> None:
    schedule = Cosine()
    for t in (0.01, 0.4, 0.99):
        assert time_of(schedule, float(schedule(torch.tensor([t], dtype=torch.float64)))) == pytest.approx(t, abs=1e-12)
    assert time_of(schedule, 50.0) == pytest.approx(0)


def test_stages_that_do_not_fit() -> None:
    base = Diffusion(DiffusionConfig(net=TINY), (1, 1, 1))
    check_fits(base, stage())
    for other, says in (
        (stage((1, 4, 4), 2), r"one draws pictures of 1x1x1 of 256 levels, the next takes 1x2x2"),
        (stage((3, 2, 2), 1), "one draws pictures of 1x1x1 of 256 levels, the next takes 3x1x1"),
        (base, "a stage after the first enlarges pictures"),
    ):
        with pytest.raises(ValueError, match=says):
            check_fits(base, other)
    named = UNetConfig(channels=8, multipliers=(1,), blocks=1, attention_resolutions=(), dropout=0.0, classes=3)
    labelled = CascadeStage(CascadeConfig(net=named, low=1), (1, 2, 2))
    with pytest.raises(ValueError, match="one has 0 classes, the next 3"):
        check_fits(base, labelled)
    base = Diffusion(DiffusionConfig(net=named), (1, 1, 1))
    check_fits(base, labelled)
    base.meta, labelled.meta = {"classes": ["a", "b", "c"]}, {"classes": ["a", "c", "b"]}
    with pytest.raises(ValueError, match="one has the classes a, b, c, the next a, c, b"):
        check_fits(base, labelled)


@pytest.mark.parametrize("where", ["lowres", "target"])
def test_training_spoils_a_picture_as_sampling_does(where) -> None:
    """The same small picture, level and numbers lead to the same condition; pictures are scaled, then noised."""
    made = stage((1, 8, 8), 4, noise_at=where)
    x = torch.randint(0, 256, (5, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    source = noise.per_example(4, range(5))
    place = noise.uniform(source, (5, 2), device="cpu", dtype=torch.float64)
    small, levels = scale(reduced(x, 4, 256), 256), made.augmentation.log_snr(place[:, 0])  # pyright: ignore
    if where == "lowres":
        expected = resize(process.diffuse(small, levels, noise.normal_like(source, small)), (8, 8))
    else:
        large = resize(small, (8, 8))
        expected = process.diffuse(large, levels, noise.normal_like(source, large))
    found = made.given({"x": x}, noise.per_example(4, range(5)))
    assert found["image"].equal(expected)
    assert found["level"].equal(levels)
    sources = noise.per_example(7, range(5))
    asked = made.asked(reduced(x, 4, 256), sources, level=0.0)["image"]  # next to no noise
    assert float((asked - resize(scale(reduced(x, 4, 256), 256), (8, 8))).abs().max()) < 0.02


def test_the_network_hears_the_level() -> None:
    made = stage((1, 8, 8), 4)
    z, image, level = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8), torch.zeros(2, dtype=torch.float64)
    answers = [made.denoise(z, level, {"image": image, "level": level + shift}) for shift in (0.0, 5.0)]
    assert not torch.allclose(answers[0], answers[1])
    with pytest.raises(ValueError, match="cond must hold 'level'"):
        made.denoise(z, level, {"image": image})


def test_a_stage_before_that_stops_at_once_hands_over_noise() -> None:
    base, made = (
        exact_base(),
        stage(augmentation_schedule=ScheduleConfig(kind="cosine", log_snr_max=20.0, log_snr_min=-20.0)),
    )
    told = truncated(base, made, 50, 1.0, steps=16)
    sources = noise.per_example(noise.mix(0, noise.SAMPLES), range(50))
    z = noise.normal(sources, (50, 1, 1, 1), device="cpu", dtype=torch.float32)
    assert told["image"].mean((1, 2, 3)).allclose(z.flatten(), atol=1e-6)


def test_a_base_that_stops_early_is_clipped_like_one_that_ends() -> None:
    base, made = exact_base(), stage()
    base.denoise.forward = lambda z, log_snr, cond=None: torch.full_like(z, 50.0)
    told = truncated(base, made, 200, 0.3, steps=64)
    alpha, sigma = process.alpha_sigma(told["level"][0])
    assert float(told["image"].mean()) == pytest.approx(float(alpha), abs=4 * float(sigma) / 200**0.5)


def test_the_network_hears_of_no_level_beyond_its_own() -> None:
    made = stage()
    ends = made.config.schedule.log_snr_min, made.config.schedule.log_snr_max
    far = torch.tensor([ends[0] - 50, 0.0, ends[1] + 50])
    assert made.handed(torch.zeros(3, 1, 1, 1), far)["level"].tolist() == pytest.approx([ends[0], 0.0, ends[1]])
