"""`tandem bench sampling`: pictures per second with few steps and with many, beside diffusers' DDIM pipeline.

The speed of a network does not depend on its weights, so nothing is trained here.
"""

from collections.abc import Callable
from typing import Any

import torch

from experiments import bench_timing, presets
from experiments.bench_timing import BenchCommand
from generative import models
from generative.nets.unet import UNetConfig
from generative.papers.progressive_distillation import Diffusion
from generative.train import pick_device

PRESET, SHAPE = "pd-mnist", (1, 32, 32)
MANY, FEW = 256, 4
LABELS = (f"student, {FEW} steps", f"teacher, {MANY} steps", f"diffusers, {FEW} steps", f"diffusers, {MANY} steps")


def bench_sampling(command: BenchCommand) -> None:
    """Pictures per second of few steps and of many, ours and diffusers'."""
    device = pick_device("auto")
    pictures = command.steps or (16 if device == "cpu" else 1024)
    drawn, sizes = loops(device, command.seed)
    speeds = bench_timing.alternate("sampling", drawn, pictures, command.repeats, device)
    first = next(iter(speeds.values()))
    rows = [
        (
            key,
            f"{sizes[key]:,}",
            bench_timing.spread(values),
            bench_timing.spread([a / b for a, b in zip(first, values, strict=True)]),
        )
        for key, values in speeds.items()
    ]
    bench_timing.show(
        f"{'x'.join(map(str, SHAPE))}, {device}: {pictures} pictures at a time, {command.repeats} repeats; "
        "median (min to max)", ("", "parameters", "pictures/s", "the student is faster by"), rows,
    )  # fmt: skip


def loops(device: str, seed: int) -> tuple[dict[str, Callable[[int], Any]], dict[str, int]]:
    """LABELS -> what draws n pictures, and the parameters of each network. Raises ValueError without diffusers."""
    model = models.make(presets.get(PRESET).make().model, SHAPE, 256).to(device).eval()
    assert isinstance(model, Diffusion)
    pipeline = _pipeline(model, device)
    generator = torch.Generator(device).manual_seed(seed)

    def ours(steps: int) -> Callable[[int], Any]:
        return lambda n: model.sample(n, steps=steps, seed=seed, chunk=n)

    def theirs(steps: int) -> Callable[[int], Any]:
        return lambda n: pipeline(batch_size=n, num_inference_steps=steps, generator=generator, output_type="np")

    draw = (ours(FEW), ours(MANY), theirs(FEW), theirs(MANY))
    sizes = [sum(p.numel() for p in net.parameters()) for net in (model, model, pipeline.unet, pipeline.unet)]
    return dict(zip(LABELS, draw, strict=True)), dict(zip(LABELS, sizes, strict=True))


def _pipeline(model: Diffusion, device: str) -> Any:
    """diffusers' DDIM with a network of the same plan: widths, blocks, attention at the same resolutions."""
    try:
        from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel  # pyright: ignore
    except ImportError:
        raise ValueError("this benchmark needs diffusers: pip install -e '.[bench]'") from None
    plan = model.config.net
    assert isinstance(plan, UNetConfig)
    sides = [SHAPE[1] // 2**level for level in range(len(plan.multipliers))]
    attend = ["Attn" * (side in plan.attention_resolutions) for side in sides]
    build: Any = UNet2DModel  # whose annotations ask for tuples of a fixed length
    net = build(
        sample_size=SHAPE[1], in_channels=SHAPE[0], out_channels=SHAPE[0], layers_per_block=plan.blocks,
        block_out_channels=[plan.channels * multiplier for multiplier in plan.multipliers],
        down_block_types=[f"{kind}DownBlock2D" for kind in attend],
        up_block_types=[f"{kind}UpBlock2D" for kind in reversed(attend)],
        norm_num_groups=min(32, plan.channels // 2),
    )  # fmt: skip
    pipeline = DDIMPipeline(net.eval(), DDIMScheduler()).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
