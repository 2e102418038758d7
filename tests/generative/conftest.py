"""A folder of small pictures, and a configuration that trains on it in a second."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from generative.config import OptimSettings, TrainConfig, WatchSettings
from generative.data import DataConfig
from generative.nets.unet import UNetConfig
from generative.papers.vdm import VDMConfig


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 8x8 grey pictures: stripes that lie and stripes that stand, with noise."""
    root, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label, name in enumerate(("lying", "standing")):
        (root / name).mkdir()
        for number in range(40):
            wave = 120 + 80 * np.sin(np.arange(8) * 1.5 + rng.uniform(0, 6))
            picture = np.tile(wave, (8, 1)) if label else np.tile(wave[:, None], (1, 8))
            noisy = (picture + rng.normal(0, 8, (8, 8))).clip(0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(root / name / f"{number:02d}.png")
    return root


@pytest.fixture
def tiny(pictures: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Twelve steps of a network with 4,000 parameters."""
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path_factory.getbasetemp() / "data"))
    net = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_resolutions=(), dropout=0.0, residual=True)
    return TrainConfig(
        model=VDMConfig(net=net),
        data=DataConfig(name="folder", path=str(pictures)),
        optim=OptimSettings(batch=8, warmup_steps=2, learning_rate=1e-3),
        watch=WatchSettings(interval_s=0, images=8, final_images=8, times=2, samples=4, sample_steps=4),
        steps=12,
        checkpoint_interval_steps=5,
        report_interval_s=1e-6,
        threads=1,
    )


@pytest.fixture
def tiny_with_dropout(tiny: TrainConfig) -> TrainConfig:
    """Dropout draws from torch's global generator, which a checkpoint does not hold."""
    assert isinstance(tiny.model.net, UNetConfig)
    return replace(tiny, model=replace(tiny.model, net=replace(tiny.model.net, dropout=0.3)))
