"""`tandem bench sampling`: what is timed are as many steps as its lines say, of networks with the same plan."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from experiments import bench_sampling


class Net(nn.Linear):
    """In the place of diffusers' network."""

    def __init__(self, **plan: Any) -> None:
        super().__init__(2, 3)
        self.plan = plan


class Pipeline:
    """In the place of diffusers' pipeline."""

    def __init__(self, unet: Net, scheduler: Any) -> None:
        self.unet, self.calls = unet, []

    def to(self, device: str) -> "Pipeline":
        return self

    def set_progress_bar_config(self, disable: bool) -> None:
        assert disable

    def __call__(self, **asked: Any) -> None:
        self.calls.append((asked["batch_size"], asked["num_inference_steps"]))


def test_the_lines_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Pipeline] = []
    stand_in: Any = ModuleType("diffusers")
    stand_in.UNet2DModel, stand_in.DDIMScheduler = Net, SimpleNamespace
    stand_in.DDIMPipeline = lambda net, scheduler: made.append(Pipeline(net, scheduler)) or made[-1]
    monkeypatch.setitem(sys.modules, "diffusers", stand_in)
    monkeypatch.setattr(bench_sampling, "PRESET", "tiny-pd-mnist")
    rows: list[int] = []
    forward = bench_sampling.Diffusion.sample

    def counted(self: Any, n: int, **options: Any) -> torch.Tensor:
        hook = self.denoise.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
        drawn = forward(self, n, **options)
        hook.remove()
        return drawn

    monkeypatch.setattr(bench_sampling.Diffusion, "sample", counted)
    drawn, sizes = bench_sampling.loops("cpu", 0)
    student, teacher, theirs, theirs_long = drawn.values()
    assert tuple(drawn) == ("student, 4 steps", "teacher, 256 steps", "diffusers, 4 steps", "diffusers, 256 steps")
    student(3)
    assert rows == [3] * 4
    rows.clear()
    teacher(2)
    assert rows == [2] * 256
    for loop, steps in ((theirs, 4), (theirs_long, 256)):
        loop(5)
        assert made[0].calls.pop() == (5, steps)
    plan = made[0].unet.plan  # pyright: ignore[reportAttributeAccessIssue]
    ours = bench_sampling.presets.get("tiny-pd-mnist").make().model.net
    assert plan["block_out_channels"] == [ours.channels * multiplier for multiplier in ours.multipliers]
    assert [kind.startswith("Attn") for kind in plan["down_block_types"]] == [
        32 // 2**level in ours.attention_resolutions for level in range(len(ours.multipliers))
    ]
    assert list(sizes.values())[2:] == [9, 9]


def test_without_diffusers_it_says_what_to_install(tandem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    status, _, err = tandem("bench", "sampling")
    assert (status, err) == (2, "tandem: this benchmark needs diffusers: pip install -e '.[bench]'\n")
