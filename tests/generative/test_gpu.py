"""What only a GPU can show: `pytest -m gpu`. Left out everywhere else (pyproject.toml), not skipped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from generative import train, training
from generative.batches import prepared
from generative.config import TrainConfig
from generative.nets.unet import UNetConfig
from generative.papers.cascade import CascadeConfig
from generative.papers.palette import PaletteConfig
from generative.papers.sr3 import SR3Config
from generative.team import Meter, Team

pytestmark = pytest.mark.gpu
NET = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_resolutions=(), dropout=0.0)


def losses(config: TrainConfig, folder: Path) -> list[float]:
    said: dict[int, float] = {}

    def report(step: int, metrics: dict[str, float]) -> None:
        said[step] = metrics.get("train/loss", said.get(step, 0.0))

    train.train(config, folder, report=report)
    return [said[step] for step in sorted(said)]


def test_same_device_same_run(tiny: TrainConfig, tmp_path: Path):
    config = replace(tiny, device="cuda")
    assert losses(config, tmp_path / "a") == pytest.approx(losses(config, tmp_path / "b"), rel=1e-4)


@pytest.mark.parametrize(
    "options", [{"bf16": True}, {"compile": True}, {"compile": True, "cuda_graphs": True}, {"channels_last": True}]
)
def test_options_leave_the_loss_as_it_is(tiny: TrainConfig, tmp_path: Path, options: dict[str, Any]):
    plain = losses(replace(tiny, device="cuda"), tmp_path / "plain")
    other = losses(replace(tiny, device="cuda", optim=replace(tiny.optim, **options)), tmp_path / "other")
    assert other == pytest.approx(plain, rel=0.05)


def test_an_update_never_waits_for_the_gpu(tiny: TrainConfig):
    state = training.Training(tiny, (1, 8, 8), 256, (), "cuda")
    batch = {"x": torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8), "label": torch.zeros(8, dtype=torch.int64)}
    batch = {name: value.pin_memory() for name, value in batch.items()}
    state.update(state.model, batch)
    torch.cuda.set_sync_debug_mode("error")
    try:
        meter = Meter(Team(device="cuda"))
        meter.add(1, state.update(state.model, batch))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert meter.read()[0]["loss"] > 0


@pytest.mark.parametrize(
    "model",
    [
        SR3Config(net=NET, low=4),
        PaletteConfig(net=NET),
        CascadeConfig(net=NET, low=4, crop=8),
        CascadeConfig(net=NET, low=4, augmentation="blur"),
    ],
)
def test_an_update_of_a_restorer_never_waits_for_the_gpu(tiny: TrainConfig, model: Any):
    """Palette's pictures are spoiled on the CPU, ahead of the step."""
    config = replace(tiny, model=model)
    state = training.Training(config, (3, 16, 16), 256, (), "cuda")
    batch = {"x": torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8), "label": torch.zeros(8, dtype=torch.int64)}
    batch = {name: value.pin_memory() for name, value in prepared(batch, config, 0, slice(0, 8)).items()}
    state.update(state.model, batch)
    torch.cuda.set_sync_debug_mode("error")  # an update that waits raises
    try:
        terms = state.update(state.model, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert state.step == 2
    assert bool(terms["loss"].isfinite().all())


def test_samples_are_the_cpus_up_to_rounding(tiny: TrainConfig):
    """The same starting noise (drawn on the CPU) through the same network and the deterministic sampler."""
    from generative import samplers

    state = training.Training(tiny, (1, 8, 8), 256, (), "cpu")
    z = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        log_snrs = samplers.levels(state.average.schedule, 20)
    here = samplers.sample_ddim(state.average.denoise, z, log_snrs)
    there = samplers.sample_ddim(state.average.cuda().denoise, z.cuda(), log_snrs.cuda())
    torch.testing.assert_close(there.cpu(), here, rtol=1e-3, atol=1e-3)
