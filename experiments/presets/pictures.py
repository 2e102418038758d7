"""Presets of the generative half: a model, a set of pictures and a budget.

The first five run on any machine. The rest are the rows of the VDM paper (arXiv 2107.00630, Sec 6 and App B) with its
hyper-parameters, for a cluster with GPUs:

    tandem submit --address http://HEAD:8265 train vdm-cifar10 --data.path /mnt/cifar10 --workers 8 --runs-dir /mnt/runs
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from generative.config import OptimSettings, TrainConfig, WatchSettings
from generative.data.config import DataConfig
from generative.nets.unet import UNetConfig
from generative.nets.vdm_unet import VDMUNetConfig
from generative.papers.vdm import VDMConfig
from generative.schedules import ScheduleConfig

METRIC = "bpd"


def base() -> TrainConfig:
    """What every preset starts from: a learned schedule with fixed ends, a short moving average, half a cosine."""
    return TrainConfig(optim=OptimSettings(learning_rate=1e-3, decay="cosine", ema=0.999))


def digits() -> TrainConfig:
    """8x8 digits with 17 levels. At the top of log_snr the noise per level is what 13.3 leaves with 256 levels, and the
    Fourier features have periods of about two levels and one, as the paper's have there."""
    return replace(
        base(),
        model=VDMConfig(
            net=UNetConfig(
                channels=32, multipliers=(1, 2), attention_resolutions=(4,), dropout=0.1, fourier=(2, 3), residual=True
            ),
            schedule=ScheduleConfig(log_snr_max=8.0),
        ),
        data=DataConfig(name="digits"),
        optim=replace(base().optim, batch=64, learning_rate=2e-3, warmup_steps=50, ema=0.995),
        watch=WatchSettings(times=16),
        steps=1600,
    )


def mnist() -> TrainConfig:
    """28x28 grey digits, complete."""
    return replace(
        base(),
        model=VDMConfig(
            net=UNetConfig(
                channels=32, multipliers=(1, 2, 2), attention_resolutions=(), dropout=0.0, fourier=(6, 7), residual=True
            )
        ),
        data=DataConfig(name="mnist"),
        watch=WatchSettings(interval_s=300, final_images=2000),
        steps=3000,
    )


def photos(size: int) -> TrainConfig:
    """Crops of photographs, `size` pixels wide, from photographs at half their size."""
    net = UNetConfig(
        channels=48,
        multipliers=(1, 2, 2) if size <= 32 else (1, 2, 2, 2),
        attention_resolutions=(8,),
        heads=2,
        dropout=0.0,
        fourier=(6, 7),
        residual=True,
    )
    optim = replace(
        base().optim, batch=16, learning_rate=8e-4, warmup_steps=200, ema=0.9995, channels_last=True
    )  # many small steps: on two cores the number of steps is what is short
    return replace(
        base(),
        model=VDMConfig(net=net),
        data=DataConfig(name="photos", size=size, downscale=2, channels=3, flip=True),
        optim=optim,
        watch=WatchSettings(interval_s=600, times=4, final_images=1000),
        steps=11_000,
    )


def folder() -> TrainConfig:
    """Any folder of pictures, cut to 32 pixels."""
    return replace(photos(32), data=DataConfig(name="folder", size=32))


def paper() -> TrainConfig:
    """What the rows of the paper share: its optimiser and its average from step 0, float32, and the network's shape."""
    return replace(
        base(),
        model=VDMConfig(
            net=VDMUNetConfig(channels=256, blocks=32, dropout=0.1, attention="mid", fourier=(6, 7)),
            schedule=ScheduleConfig(kind="linear", learn_endpoints=True),
        ),
        optim=OptimSettings(
            batch=128,
            learning_rate=2e-4,
            schedule_learning_rate=2e-4,
            decay="constant",
            warmup_steps=100,
            beta1=0.9,
            beta2=0.99,
            weight_decay=0.01,
            grad_clip=None,
            ema=0.9999,
            ema_warmup=False,
            bf16=False,
        ),
        watch=WatchSettings(interval_s=3600, images=1024, sample_steps=256),
        steps=10_000_000,
        checkpoint_interval_s=900,
    )


def cifar10() -> TrainConfig:
    """2.65 bits per dimension in the paper."""
    config = paper()
    net = replace(config.model.net, channels=128)
    return replace(config, model=replace(config.model, net=net), data=DataConfig(name="cifar10"))


def cifar10_aug() -> TrainConfig:
    """2.49 in the paper: a wider network with attention behind every block, a neural schedule, mirrored and turned."""
    config = paper()
    model = VDMConfig(
        net=replace(config.model.net, dropout=0.05, attention="all"),
        schedule=ScheduleConfig(kind="learned", learn_endpoints=True),
    )
    data = DataConfig(name="cifar10", flip=True, rotate=True)
    return replace(config, model=model, data=data, optim=replace(config.optim, batch=1024), steps=100_000_000)


def imagenet32() -> TrainConfig:
    """3.72 in the paper."""
    return replace(paper(), data=DataConfig(name="imagenet32"))


def imagenet64() -> TrainConfig:
    """3.40 in the paper."""
    config = paper()
    model = replace(config.model, net=replace(config.model.net, blocks=64))
    return replace(config, model=model, data=DataConfig(name="imagenet64"))


ROWS: tuple[tuple[str, str, Callable[[], TrainConfig]], ...] = (
    ("vdm-digits", "8x8 digits, 17 levels; about 3 minutes on 2 cores", digits),
    ("vdm-mnist", "MNIST, complete, 28x28", mnist),
    ("vdm-photos32", "32x32 crops of photographs, split by photograph", lambda: photos(32)),
    ("vdm-photos64", "64x64 crops of photographs, split by photograph", lambda: photos(64)),
    ("vdm-folder", "a folder of pictures or of class folders; needs --data.path", folder),
    ("vdm-cifar10", "the paper's CIFAR-10 row (2.65 there); needs --data.path", cifar10),
    ("vdm-cifar10-aug", "the paper's augmented CIFAR-10 row (2.49 there); needs --data.path", cifar10_aug),
    ("vdm-imagenet32", "the paper's ImageNet 32x32 row (3.72 there); needs --data.path", imagenet32),
    ("vdm-imagenet64", "the paper's ImageNet 64x64 row (3.40 there); needs --data.path", imagenet64),
)
"""Preset, what it is, its configuration."""

EXPECTED: dict[str, str] = {
    "vdm-digits": "1.81 +- 0.02, all 165 test pictures, seed 0; Gaussian 2.27, WebP 3.12, JPEG XL 2.56 as one mosaic; "
    "`tandem train vdm-digits`, `tandem eval RUN`",
    "vdm-photos32": "2.44 +- 0.10, 1,000 test crops from 25 photographs, seed 0; WebP 3.23, JPEG XL 2.81 per crop; "
    "`tandem train vdm-photos32`, `tandem eval RUN --images 1000 --times 8`",
}
"""Preset -> measured result and the command that shows it."""


def tiny(config: TrainConfig) -> TrainConfig:
    """A few steps of a small network of the same kind, on the same set."""
    net = replace(config.model.net, channels=8, blocks=1)
    if isinstance(net, UNetConfig):
        net = replace(net, multipliers=(1, 1), head_channels=None, heads=1)
    return replace(
        config,
        model=replace(config.model, net=net),
        optim=replace(config.optim, batch=8, micro_batches=1, warmup_steps=2),
        watch=WatchSettings(interval_s=0, images=8, final_images=8, times=2, samples=4, sample_steps=4),
        steps=6,
        threads=1,
        report_interval_s=0.01,
    )


def listed(
    rows: Iterable[tuple[str, str, Callable[[], TrainConfig]]], metric: str, expected: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """The dictionaries of rows (preset, what it is, its configuration); expected: what was measured, where it was."""
    for name, summary, make in rows:
        row = {"name": name, "summary": summary, "make": make, "metric": metric, "tiny": tiny}
        yield row | ({"expected": expected[name]} if name in expected else {})


def rows() -> Iterator[dict[str, Any]]:
    """One dictionary per preset, in the order of the list."""
    return listed(ROWS, METRIC, EXPECTED)
