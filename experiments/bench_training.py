"""`tandem bench training`: milliseconds per optimiser step of presets, and how busy a GPU is, by way of computing.

Pictures are random: how long a step takes depends neither on them nor on the weights. A GPU is busy while a kernel
runs; what is left is the time in which it waits for Python. Steps are timed by the clock, kernels by torch's profiler.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from experiments import bench_timing, presets
from experiments.bench_timing import BenchCommand
from generative.batches import prepared
from generative.config import TrainConfig
from generative.train import pick_device
from generative.training import Training

PRESETS = ("pd-photos32", "sr3-photos64", "palette-inpaint64", "cdm-folder32", "vdm-photos32", "pd-cifar10")
WAYS: dict[str, dict[str, bool]] = {
    "float32": {"bf16": False, "compile": False},
    "bf16": {"bf16": True, "compile": False},
    "float32, compiled": {"bf16": False, "compile": True},
    "bf16, compiled": {"bf16": True, "compile": True},
    "bf16, CUDA graphs": {"bf16": True, "compile": True, "cuda_graphs": True},
}
"""On a CPU the first alone."""
SIZES = {"digits": (1, 8), "mnist": (1, 28), "cifar10": (3, 32), "imagenet32": (3, 32), "imagenet64": (3, 64)}
"""Channels and side of the sets that are taken as stored."""


@dataclass(frozen=True)
class Case:
    """One preset, computed in one way."""

    state: Training
    batch: dict[str, torch.Tensor]

    def loop(self, steps: int) -> None:
        """Makes so many optimiser steps."""
        for _ in range(steps):
            self.state.update(self.state.model, self.batch)

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.state.model.parameters())


def bench_training(command: BenchCommand) -> None:
    """Milliseconds per optimiser step, pictures per second, and how busy the GPU is."""
    device, rows = pick_device("auto"), []
    steps = command.steps or (2 if device == "cpu" else 30)
    for name in command.presets or PRESETS:
        cases = {way: case(name, options, device) for way, options in ways(device).items()}
        loops = {way: known.loop for way, known in cases.items()}
        speeds = bench_timing.alternate(f"training {name}", loops, steps, command.repeats, device)
        for way, values in speeds.items():
            batch = cases[way].state.config.optim.batch
            ms = [1000 / value for value in values]
            busy = "-" if device == "cpu" else f"{kernel_ms(loops[way], steps) / statistics.median(ms):.0%}"
            size, pictures = f"{cases[way].parameters / 1e6:.2f} M", [batch * value for value in values]
            rows.append(
                (name, size, str(batch), way, bench_timing.spread(ms, 4), bench_timing.spread(pictures, 4), busy)
            )
    where = f"{torch.cuda.get_device_name() if device == 'cuda' else 'one CPU thread'}, torch {torch.__version__}"
    bench_timing.show(
        f"{where}: {steps} steps at a time, {command.repeats} repeats; median (min to max)",
        ("preset", "parameters", "batch", "way", "ms per step", "pictures/s", "GPU busy"), rows,
    )  # fmt: skip


def ways(device: str) -> dict[str, dict[str, bool]]:
    return WAYS if device == "cuda" else dict(list(WAYS.items())[:1])


def case(name: str, options: dict[str, bool], device: str) -> Case:
    """Raises ValueError for a preset that trains no diffusion model."""
    config = presets.get(name).make()
    if not isinstance(config, TrainConfig):
        raise ValueError(f"{name} trains no diffusion model: this benchmark is of those")
    config = replace(config, optim=replace(config.optim, **options), device="cuda" if device == "cuda" else "cpu")
    channels, side = SIZES.get(config.data.name, (3, 32))
    side = config.data.reduced[-1] if config.data.reduced else config.data.size or side
    shape = (config.data.channels or channels, side, side)
    classes = tuple(str(number) for number in range(config.model.net.classes))
    state = Training(config, shape, 256, classes, device)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "x": torch.randint(0, 256, (config.optim.batch, *shape), dtype=torch.uint8, generator=generator),
        "label": torch.randint(0, max(1, len(classes)), (config.optim.batch,), generator=generator),
    }
    batch = prepared(batch, config, 0, slice(0, config.optim.batch))
    if device == "cuda":
        batch = {key: value.pin_memory() for key, value in batch.items()}
    return Case(state, batch)


def kernel_ms(loop: Callable[[int], Any], steps: int) -> float:
    """Milliseconds per step in which a kernel runs on the GPU."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        loop(steps)
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1000 / steps
