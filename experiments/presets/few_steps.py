"""Presets of models to be distilled (`tandem distill RUN`): a network that predicts v, x0 or both, cosine schedule.

The first four run on any machine. The rest are the rows of Progressive Distillation (arXiv 2202.00512, App E) with its
hyper-parameters, for a cluster with GPUs. Where we differ: the noise level enters the network as its place in log_snr,
not as an angle; layers of fewer than 128 channels have fewer than 32 groups in GroupNorm (LSUN's first level);
800,000 steps of training are our guess for every row. By our count of forward passes their chains then cost 1.25 to
1.56 times what their teachers did.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from experiments.presets import pictures
from generative.config import OptimSettings, TrainConfig, WatchSettings
from generative.data.config import DataConfig
from generative.nets.unet import UNetConfig
from generative.papers.progressive_distillation import DiffusionConfig

METRIC = "loss"


def base() -> TrainConfig:
    """What every preset starts from: v with truncated SNR, one of the paper's stable choices (Table 1)."""
    return TrainConfig(
        model=DiffusionConfig(net=UNetConfig(channels=32, multipliers=(1, 2), attention_resolutions=(4,), dropout=0.0)),
        optim=OptimSettings(
            batch=64, learning_rate=1e-3, decay="cosine", ema=0.999, beta2=0.999, weight_decay=0.0, channels_last=True
        ),
        watch=WatchSettings(times=4, sample_steps=64),
    )


def digits() -> TrainConfig:
    """8x8 digits."""
    return replace(base(), data=DataConfig(name="digits"), steps=3000)


def mnist() -> TrainConfig:
    """Digits of 28 x 28, padded to 32 x 32."""
    net = UNetConfig(channels=16, multipliers=(1, 2, 4), blocks=1, attention_resolutions=(8,), dropout=0.0)
    return replace(
        base(),
        model=DiffusionConfig(net=net),
        data=DataConfig(name="mnist", size=32),
        watch=WatchSettings(interval_s=600, times=4, final_images=1000, sample_steps=64),
        steps=12_000,
    )


def photos() -> TrainConfig:
    """Crops of photographs, 32 x 32."""
    net = UNetConfig(channels=24, multipliers=(1, 2, 4), blocks=1, attention_resolutions=(8,), dropout=0.0)
    return replace(
        mnist(),
        model=DiffusionConfig(net=net),
        data=DataConfig(name="photos", size=32, downscale=2, channels=3, flip=True),
    )


def folder() -> TrainConfig:
    """Any folder of pictures, or of class folders, cut to 32 x 32 in RGB; the classes are not used."""
    return replace(photos(), data=DataConfig(name="folder", size=32, channels=3, flip=True))


def paper(net: UNetConfig, **optim: Any) -> TrainConfig:
    """What the paper's rows share."""
    settings = {"learning_rate": 3e-4, "batch": 2048, "weight_decay": 0.0, **optim}
    return TrainConfig(
        model=DiffusionConfig(
            net=replace(net, blocks=3, scale_shift=True, resample_in_block=True), prediction="both"
        ),
        optim=OptimSettings(
            warmup_steps=1000, beta2=0.999, grad_clip=1.0, ema=0.9999, ema_warmup=False, **settings
        ),
        watch=WatchSettings(interval_s=3600, images=1024, sample_steps=256),
        steps=800_000,
        checkpoint_interval_s=900,
    )  # fmt: skip


def cifar10() -> TrainConfig:
    """FID 2.57, 3.00, 4.51, 9.12 with 8, 4, 2, 1 steps in the paper."""
    net = UNetConfig(channels=256, multipliers=(1, 1, 1), attention_resolutions=(16, 8), heads=1, dropout=0.2)
    config = paper(net, learning_rate=2e-4, batch=128, weight_decay=1e-3)
    return replace(
        config, model=replace(config.model, prediction="x0"), data=DataConfig(name="cifar10", flip=True)
    )  # fmt: skip


def imagenet64() -> TrainConfig:
    """Class-conditional; a figure in the paper."""
    net = UNetConfig(
        channels=192, multipliers=(1, 2, 3, 4), attention_resolutions=(32, 16, 8), head_channels=64, dropout=0.1,
        classes=1000,
    )  # fmt: skip
    return replace(paper(net), data=DataConfig(name="imagenet64", flip=True))


def lsun() -> TrainConfig:
    """Bedrooms or churches, 128 x 128; a figure in the paper."""
    net = UNetConfig(
        channels=64, multipliers=(1, 2, 4, 6, 8), attention_resolutions=(32, 16, 8), head_channels=64, dropout=0.1
    )
    return replace(paper(net), data=DataConfig(name="folder", size=128, flip=True))


ROWS: tuple[tuple[str, str, Callable[[], TrainConfig]], ...] = (
    ("pd-digits", "8x8 digits, to be distilled", digits),
    ("pd-mnist", "MNIST padded to 32x32, to be distilled", mnist),
    ("pd-photos32", "32x32 crops of photographs, to be distilled", photos),
    ("pd-folder32", "32x32 pictures of a folder, to be distilled; needs --data.path", folder),
    ("pd-cifar10", "the distillation paper's CIFAR-10 row; needs --data.path", cifar10),
    ("pd-imagenet64", "the distillation paper's ImageNet 64x64 row; needs --data.path", imagenet64),
    ("pd-lsun128", "the distillation paper's LSUN rows (bedrooms, churches); needs --data.path", lsun),
)
"""Preset, what it is, its configuration."""

_PAPER = {"from_steps": 1024, "updates": 50_000, "learning_rate": 1e-4}
_SMALL = {"batch": 16, "learning_rate": 1e-4}  # of the settings tried at equal compute, nearest to the teacher
CHAINS: dict[str, dict[str, Any]] = {
    "pd-mnist": _SMALL,
    "pd-photos32": _SMALL,
    "pd-folder32": _SMALL,
    "pd-cifar10": {**_PAPER, "from_steps": 8192, "learning_rate": 5e-5},
    "pd-imagenet64": _PAPER,
    "pd-lsun128": _PAPER,
}
"""Preset -> how it is distilled. The paper's rows are App E's; a student of two steps or one has twice the updates."""


EXPECTED: dict[str, str] = {
    "pd-mnist": "FID of 500 samples 21.3 with 256 steps of DDIM; three chains: 29.1 with 8 steps, 38.1 with 4, 54.1 "
    "with 1; `tandem train pd-mnist`, `tandem distill RUN --optim.batch 64 --optim.learning-rate 3.3e-4`",
    "pd-photos32": "7,000 steps of 32 crops: FID of 128 samples 162 with 256 steps of DDIM; three chains: 173 with 8 "
    "steps, 182 with 4, 204 with 1; `tandem train pd-photos32 --optim.batch 32 --optim.bf16 --steps 7000`, `tandem "
    "distill RUN --updates 400`",
    "pd-folder32": "CIFAR-10 (JPEG copy), 16 channels, 3,000 steps: FID of 200 samples 184 with 256 steps of DDIM; "
    "three chains: 188 with 8 steps, 192 with 4, 209 with 1; `tandem train pd-folder32 --data.path DIR "
    "--model.net.channels 16 --steps 3000`, `tandem distill RUN`",
}
"""Preset -> measured result and the command that shows it."""


def rows() -> Iterator[dict[str, Any]]:
    """One dictionary per preset, in the order of the list."""
    return pictures.listed(ROWS, METRIC, EXPECTED)
