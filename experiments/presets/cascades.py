"""Presets of cascaded diffusion: a base of small pictures, and stages that enlarge them, each trained by itself.

`tandem sample BASE STAGE ...` draws through them. Those on MNIST, emoji and class folders run on a laptop; the paper's
rows need pictures that you place and GPUs. Of the paper's hyperparameters, those that are not in its abstract and
tables are taken from memory of its text: read them as defaults, not as a citation.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from experiments.presets import pictures
from experiments.presets.image_to_image import COSINE, sr3_net
from generative.config import OptimSettings, TrainConfig, WatchSettings
from generative.data.config import DataConfig
from generative.nets.unet import UNetConfig
from generative.papers.cascade import CascadeConfig
from generative.papers.progressive_distillation import DiffusionConfig
from generative.schedules import ScheduleConfig

METRIC = "loss"


def offline(data: DataConfig, steps: int) -> TrainConfig:
    """What the small ones share. The model is set by the caller."""
    return TrainConfig(
        data=data,
        optim=OptimSettings(
            batch=32, learning_rate=1e-3, decay="cosine", warmup_steps=200, ema=0.999, channels_last=True
        ),
        watch=WatchSettings(interval_s=600, images=128, final_images=512, times=4, samples=36, sample_steps=64),
        steps=steps,
    )


def base(data: DataConfig, classes: int, net: UNetConfig, steps: int = 12_000) -> TrainConfig:
    """The smallest pictures, from their class alone."""
    model = DiffusionConfig(net=replace(net, classes=classes), schedule=COSINE)
    return replace(offline(data, steps), model=model)


def stage(
    data: DataConfig, classes: int, low: int, net: UNetConfig, steps: int = 8_000, crop: int = 0, batch: int = 32
) -> TrainConfig:
    """A stage that enlarges pictures of side `low`."""
    model = CascadeConfig(
        net=replace(net, classes=classes), low=low, schedule=COSINE, prediction="v", power=2, inference_steps=32,
        variance=0.0, augmentation_schedule=COSINE, crop=crop,
    )  # fmt: skip
    config = offline(data, steps)
    return replace(config, model=model, optim=replace(config.optim, batch=batch))


def net(channels: int, multipliers: tuple[int, ...], attention: tuple[int, ...] = (8,)) -> UNetConfig:
    return UNetConfig(
        channels=channels, multipliers=multipliers, blocks=1, attention_resolutions=attention, dropout=0.0
    )  # fmt: skip


WIDE = ScheduleConfig(kind="cosine", log_snr_max=20.0, log_snr_min=-20.0)
MNIST, EMOJI = DataConfig(name="mnist", size=32), DataConfig(name="emoji", size=256, channels=3)
FOLDER = DataConfig(name="folder", size=32, channels=3, flip=True)


def cdm_base32() -> TrainConfig:
    """32 x 32, class-conditional. The paper's network, and that of the next stage, also learn variances."""
    wide = UNetConfig(
        channels=256, multipliers=(1, 2, 3, 4), blocks=6, attention_resolutions=(16, 8), heads=4, dropout=0.1,
        scale_shift=True, resample_in_block=True, classes=1000,
    )  # fmt: skip
    data = DataConfig(name="folder", size=256, channels=3, flip=True, reduced=(64, 32))
    return replace(paper(data, 700_000, 2048), model=DiffusionConfig(net=wide, prediction="eps", weighting="snr"))


def cdm_64() -> TrainConfig:
    """32 x 32 to 64 x 64."""
    wide = UNetConfig(
        channels=256, multipliers=(1, 2, 3, 4), blocks=5, attention_resolutions=(16, 8), heads=4, dropout=0.1,
        scale_shift=True, resample_in_block=True, classes=1000,
    )  # fmt: skip
    data = DataConfig(name="folder", size=256, channels=3, flip=True, reduced=(64,))
    return replace(paper(data, 400_000, 2048), model=CascadeConfig(net=wide, low=32, power=2, schedule=WIDE))


def cdm_large(side: int) -> TrainConfig:
    """64 x 64 to 128 x 128 or 256 x 256: SR3's networks, with blurring.

    The first enlarges what was reduced from 128 x 128, cdm-imagenet64 draws what was from 256 x 256: nearly the same.
    """
    multipliers = (1, 2, 4, 8, 8) if side == 128 else (1, 2, 4, 4, 8, 8)
    model = CascadeConfig(
        net=replace(sr3_net(128, multipliers, 3), classes=1000), low=64, power=2, augmentation="blur"
    )  # fmt: skip
    reduced = (128,) if side == 128 else ()
    data = DataConfig(name="folder", size=256, channels=3, flip=True, reduced=reduced)
    return replace(paper(data, 500_000, 1024), model=model)


def paper(data: DataConfig, steps: int, batch: int) -> TrainConfig:
    return TrainConfig(
        data=data,
        optim=OptimSettings(
            batch=batch, learning_rate=1e-4, warmup_steps=10_000, beta2=0.999, weight_decay=0.0, grad_clip=None
        ),
        watch=WatchSettings(interval_s=3600, images=256, samples=36, sample_steps=256),
        steps=steps,
        checkpoint_interval_s=900,
    )  # fmt: skip


ROWS: tuple[tuple[str, str, Callable[[], TrainConfig]], ...] = (
    ("cdm-mnist8", "digits at 8x8, by class: the base of a cascade",
        lambda: base(replace(MNIST, reduced=(16, 8)), 10, net(48, (1, 2)))),
    ("cdm-mnist16", "digits from 8x8 to 16x16, a stage of a cascade",
        lambda: stage(replace(MNIST, reduced=(16,)), 10, 8, net(32, (1, 2)))),
    ("cdm-mnist32", "digits from 16x16 to 32x32, a stage of a cascade",
        lambda: stage(MNIST, 10, 16, net(16, (1, 2, 4)))),
    ("cdm-emoji16", "emoji at 16x16, by group: the base of a cascade",
        lambda: base(replace(EMOJI, reduced=(64, 16)), 9, net(64, (1, 2, 2)), 20_000)),
    ("cdm-emoji64", "emoji from 16x16 to 64x64, a stage of a cascade",
        lambda: stage(replace(EMOJI, reduced=(64,)), 9, 16, net(24, (1, 2, 3, 4)), batch=16)),
    ("cdm-emoji256", "emoji from 64x64 to 256x256, trained on squares of 64: a stage of a cascade",
        lambda: stage(EMOJI, 9, 64, net(24, (1, 2, 3, 4), ()), 4_000, crop=64, batch=16)),
    ("cdm-folder8", "class folders at 8x8: the base of a cascade; needs --data.path, --model.net.classes if not 10",
        lambda: base(replace(FOLDER, reduced=(16, 8)), 10, net(64, (1, 2)))),
    ("cdm-folder16", "class folders from 8x8 to 16x16; needs --data.path, --model.net.classes if not 10",
        lambda: stage(replace(FOLDER, reduced=(16,)), 10, 8, net(48, (1, 2)))),
    ("cdm-folder32", "class folders from 16x16 to 32x32; needs --data.path, --model.net.classes if not 10",
        lambda: stage(FOLDER, 10, 16, net(32, (1, 2, 4)))),
    ("cdm-imagenet32", "the cascade paper's 32x32 base; needs --data.path", cdm_base32),
    ("cdm-imagenet64", "the cascade paper's 32x32 to 64x64; needs --data.path", cdm_64),
    ("cdm-imagenet128", "the cascade paper's 64x64 to 128x128; needs --data.path", lambda: cdm_large(128)),
    ("cdm-imagenet256", "the cascade paper's 64x64 to 256x256; needs --data.path", lambda: cdm_large(256)),
)  # fmt: skip
"""Preset, what it is, its configuration."""


EXPECTED: dict[str, str] = {
    "cdm-mnist32": "straight from 8x8 (`--model.low 8`) behind a base of 300 steps (`--data.reduced 8`): KID of 500 "
    "samples 0.0046 with noise of s = 0.6 on what is enlarged, 0.0195 without; `tandem sweep aug-level BASE STAGE` "
    "(experiments/results/cascades.md)",
    **{
        f"cdm-{name}{side}": f"a contact sheet of the cascade from {' to '.join(map(str, sides))} pixels after {steps} "
        "steps; `tandem sample BASE STAGE STAGE -n 36 --levels 0.1 0.1` (experiments/results/cascades.md)"
        for name, sides, steps in (
            ("folder", (8, 16, 32), "10,000, 5,000 and 4,000"),
            ("emoji", (16, 64, 256), "4,500, 4,000 and 3,000"),
        )
        for side in sides
    },
}
"""Preset -> measured result and the command that shows it."""


def rows() -> Iterator[dict[str, Any]]:
    """One dictionary per preset, in the order of the list."""
    return pictures.listed(ROWS, METRIC, EXPECTED)
