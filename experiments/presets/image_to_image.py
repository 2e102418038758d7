"""Presets of SR3 and Palette: super-resolution, and colours, holes, borders and JPEG.

Those on photographs run offline, on a laptop. The rows of the papers need pictures that you place and GPUs.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from experiments.presets import pictures
from generative.config import OptimSettings, TrainConfig, WatchSettings
from generative.data.config import DataConfig
from generative.nets.unet import UNetConfig
from generative.papers.cascade import CascadeConfig
from generative.papers.palette import MASKED, PaletteConfig
from generative.papers.progressive_distillation import DiffusionConfig
from generative.papers.sr3 import SR3Config
from generative.schedules import ScheduleConfig

METRIC = "loss"
TASKS = ("colorize", "inpaint", "uncrop", "jpeg")
GENERALIST = ("colorize", "inpaint", "jpeg")
"""The tasks that the paper trains together (App B.5)."""
DIVERSE = ("colorize", "inpaint")
"""Those of many good answers, on which L1 and L2 are told apart."""
COSINE = ScheduleConfig(kind="cosine", log_snr_max=15.0, log_snr_min=-15.0)


def small(channels: int = 24) -> UNetConfig:
    """A network that a CPU trains in an hour or two; two million numbers."""
    return UNetConfig(channels=channels, multipliers=(1, 2, 3, 4), blocks=1, attention_resolutions=(8,), dropout=0.0)


def offline(size: int) -> TrainConfig:
    """Crops of photographs, and what all presets on them share. The model is set by the caller."""
    return TrainConfig(
        data=DataConfig(name="photos", size=size, downscale=2, channels=3, flip=True),
        optim=OptimSettings(
            batch=16, learning_rate=1e-3, decay="cosine", warmup_steps=200, ema=0.999, channels_last=True
        ),
        watch=WatchSettings(interval_s=600, images=64, final_images=256, times=4, samples=16, sample_steps=32),
        steps=10_000,
    )


def sr3(low: int, size: int) -> TrainConfig:
    """v and a cosine in place of eps and betas: in pure noise an error of eps is divided by alpha, one of v is not.

    The variance of steps is the smallest, where the papers' is the largest. With few steps answers differ a little too
    little: 32 steps give a Gaussian 0.90 of its standard deviation if that is 0.5 (largest: 1.03)."""
    model = SR3Config(
        net=small(), low=low, schedule=COSINE, prediction="v", power=1, inference_steps=32, variance=0.0
    )  # fmt: skip
    return replace(offline(size), model=model)


def palette(tasks: tuple[Any, ...]) -> TrainConfig:
    """64 x 64; as for `sr3`. Such a small network is told where holes are (so a generalist also when there is none)."""
    model = PaletteConfig(
        net=small(), tasks=tasks, schedule=COSINE, prediction="v", inference=None, inference_steps=32, variance=0.0,
        mask_channel=bool(set(tasks) & set(MASKED)),
    )  # fmt: skip
    return replace(offline(64), model=model, steps=6_000)


def regression(config: TrainConfig, divisor: float = 3) -> TrainConfig:
    """The same network and data, without noise; the squared error, and smaller steps. SR3 keeps the checkpoint of the
    best PSNR; here it is the last one, averaged."""
    assert isinstance(config.model, (SR3Config, PaletteConfig))
    model = replace(config.model, regression=True, power=2)
    return replace(config, model=model, optim=replace(config.optim, learning_rate=config.optim.learning_rate / divisor))


def paper(model: Any, data: DataConfig, **optim: Any) -> TrainConfig:
    """What the papers' rows share; they speak of no clipping of gradients."""
    settings = {"batch": 256, "learning_rate": 1e-4, **optim}
    return TrainConfig(
        model=model,
        data=data,
        optim=OptimSettings(
            warmup_steps=10_000, beta2=0.999, weight_decay=0.0, ema=0.9999, grad_clip=None, **settings
        ),
        watch=WatchSettings(interval_s=3600, images=256, samples=16, sample_steps=100),
        steps=1_000_000,
        checkpoint_interval_s=900,
    )  # fmt: skip


def sr3_net(channels: int, multipliers: tuple[int, ...], blocks: int, dropout: float = 0.0) -> UNetConfig:
    """SR3's networks (App A, Table A.1): BigGAN blocks, skip connections divided by sqrt(2)."""
    return UNetConfig(
        channels=channels, multipliers=multipliers, blocks=blocks, attention_resolutions=(16,), dropout=dropout,
        scale_shift=True, resample_in_block=True, rescale_skips=True,
    )  # fmt: skip


def sr3_row(net: UNetConfig, low: int, size: int, name: str = "folder") -> TrainConfig:
    return paper(SR3Config(net=net, low=low), DataConfig(name=name, size=size, channels=3, smaller="skip"))


def faces128() -> TrainConfig:
    return sr3_row(sr3_net(128, (1, 2, 4, 8, 8), 3, dropout=0.2), 16, 128)


def imagenet256() -> TrainConfig:
    return sr3_row(sr3_net(128, (1, 2, 4, 4, 8, 8), 3), 64, 256)


def faces512() -> TrainConfig:
    return sr3_row(sr3_net(64, (1, 2, 4, 8, 8, 16, 16), 3), 64, 512)


def faces1024() -> TrainConfig:
    return sr3_row(sr3_net(16, (1, 2, 4, 8, 16, 32, 32, 32), 2), 256, 1024)


def faces_base() -> TrainConfig:
    """The start of SR3's cascade of faces, 64 to 256 to 1024 (Sec 4.4): an unconditional model at 64 x 64. The paper
    does not give its network; this is ADM's for 64 x 64 at two thirds of its width."""
    net = UNetConfig(
        channels=128, multipliers=(1, 2, 3, 4), blocks=3, attention_resolutions=(32, 16, 8), head_channels=64,
        dropout=0.1, scale_shift=True, resample_in_block=True,
    )  # fmt: skip
    wide = ScheduleConfig(kind="cosine", log_snr_max=20.0, log_snr_min=-20.0)
    model = DiffusionConfig(net=net, schedule=wide, prediction="eps", weighting="snr")
    return paper(model, DataConfig(name="folder", size=256, channels=3, reduced=(64,), smaller="skip"))


def faces256() -> TrainConfig:
    """Its second stage, which is told blurred pictures in training (Sec 4.4). How blurred is not said there: all of
    them, by the filter of cascaded diffusion."""
    net = sr3_net(128, (1, 2, 4, 4, 8, 8), 3)
    model = CascadeConfig(net=net, low=64, power=1, augmentation="blur", blur_share=1.0)
    return paper(model, DataConfig(name="folder", size=256, channels=3, smaller="skip"))


def palette_row(tasks: tuple[Any, ...]) -> TrainConfig:
    """Palette's network: ADM's for 256 x 256 without classes (Sec 4.1). Colorization is trained on the largest square
    in the middle of each picture here, on a random one in the paper (Sec 5.1)."""
    net = UNetConfig(
        channels=256, multipliers=(1, 1, 2, 2, 4, 4), blocks=2, attention_resolutions=(32, 16, 8), head_channels=64,
        dropout=0.0, scale_shift=True, resample_in_block=True,
    )  # fmt: skip
    data = DataConfig(name="folder", size=256, channels=3)
    return paper(PaletteConfig(net=net, tasks=tasks), data, batch=1024)


def _rows() -> Iterator[tuple[str, str, Callable[[], TrainConfig]]]:
    """Preset, what it is, its configuration."""
    made: list[tuple[str, str, Callable[[], TrainConfig]]] = [
        ("sr3-photos64", "photographs from 16x16 to 64x64 (SR3)", lambda: sr3(16, 64)),
        ("sr3-photos128", "photographs from 32x32 to 128x128 (SR3)", lambda: sr3(32, 128)),
        *((f"palette-{task}64", f"photographs at 64x64: {task} (Palette)", _palette((task,))) for task in TASKS),
        (
            "palette-all64",
            f"photographs at 64x64: {', '.join(GENERALIST)} (Palette's generalist)",
            _palette(GENERALIST),
        ),
    ]
    for name, summary, make in made:
        yield name, summary, make
        yield f"{name}-regression", f"{summary}: the regression baseline", _regression(make)
    for task in DIVERSE:
        summary = f"photographs at 64x64: {task} (Palette), |error| in place of its square: answers differ less"
        yield f"palette-{task}64-l1", summary, _absolute(_palette((task,)))
    needs = "; needs --data.path"
    rows: list[tuple[str, str, Callable[[], TrainConfig]]] = [
        ("sr3-faces128", "the SR3 paper's faces from 16x16 to 128x128", faces128),
        ("sr3-imagenet256", "the SR3 paper's ImageNet from 64x64 to 256x256", imagenet256),
        ("sr3-faces512", "the SR3 paper's faces from 64x64 to 512x512", faces512),
        ("sr3-faces1024", "the SR3 paper's faces from 256x256 to 1024x1024", faces1024),
    ]
    for name, summary, make in rows:
        yield name, f"{summary}{needs}", make
        yield f"{name}-regression", f"{summary}: the regression baseline{needs}", _regression(make, divisor=10)
    yield "sr3-faces64", f"the SR3 paper's faces at 64x64, the base of a cascade{needs}", faces_base
    yield "sr3-faces256", f"the SR3 paper's faces from 64x64 to 256x256, a stage of a cascade{needs}", faces256
    for task in TASKS:
        yield f"palette-{task}256", f"the Palette paper's {task} at 256x256{needs}", _palette_row((task,))
    yield "palette-all256", f"the Palette paper's generalist at 256x256{needs}", _palette_row(GENERALIST)


def _palette(tasks: tuple[str, ...]) -> Callable[[], TrainConfig]:
    return lambda: palette(tasks)


def _absolute(make: Callable[[], TrainConfig]) -> Callable[[], TrainConfig]:
    def made() -> TrainConfig:
        config = make()
        assert isinstance(config.model, PaletteConfig)
        return replace(config, model=replace(config.model, power=1))

    return made


def _palette_row(tasks: tuple[str, ...]) -> Callable[[], TrainConfig]:
    return lambda: palette_row(tasks)


def _regression(make: Callable[[], TrainConfig], divisor: float = 3) -> Callable[[], TrainConfig]:
    return lambda: regression(make(), divisor)


EXPECTED: dict[str, str] = {
    "sr3-photos64": "KID 0.030 of 400 held-out crops, beside 0.041 of its regression and 0.061 of bicubic; `tandem "
    "train sr3-photos64 --steps 3000 --optim.batch 32 --optim.bf16`, the same of sr3-photos64-regression, `tandem eval "
    "RUN RUN-regression --images 400 --reference-images 3000`",
    **{
        f"palette-{task}64": f"KID minus its regression's {gap} at 32 pixels; `tandem train palette-{task}64 "
        f"--data.size 32 --model.net.multipliers 1 2 4 --optim.bf16 --steps {steps}` and more "
        "(experiments/results/image-to-image.md)"
        for task, gap, steps in (
            ("colorize", "-0.027 ± 0.008", 7500),
            ("inpaint", "-0.002 ± 0.003 (CIFAR-10, JPEG copy, 9,000 steps: -0.003 ± 0.001)", 11_000),
            ("uncrop", "-0.004 ± 0.014 (CIFAR-10, JPEG copy, 9,000 steps: -0.009 ± 0.003)", 11_000),
            ("jpeg", "-0.005 ± 0.011 with 4 steps (CIFAR-10, JPEG copy, 9,000 steps: -0.004 ± 0.003)", 11_000),
        )
    },
}
"""Preset -> measured result and the command that shows it."""


def rows() -> Iterator[dict[str, Any]]:
    """One dictionary per preset, in the order of the list."""
    return pictures.listed(_rows(), METRIC, EXPECTED)
