"""Where random numbers come from: explicit generators, so that a result does not depend on how a batch was split.

torch.Generator                 one stream for the whole tensor
a list of torch.Generator       one per example (sampling, evaluation): example i is the same in any batch
GlobalBatch                     a slice of a training batch that several workers or micro-batches share
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

ORDER, DROPOUT, AUGMENTATION, TRAINING, EVALUATION, SAMPLES, LEVELS, DEGRADATION, ANSWERS = range(1, 10)
"""What a run draws random numbers for. Mixed into its seed, so that one purpose never meets another's numbers."""


def mix(*numbers: int) -> int:
    """One 63-bit seed from several non-negative integers (SplitMix64), so that nearby inputs give unrelated streams.

    torch's CPU generators use 32 bits of it: of 100,000 streams, one or two pairs are the same.
    """
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


@dataclass
class GlobalBatch:
    """Random numbers for examples start..stop of a batch of `total`, the same for every split of that batch.

    Every holder of a slice draws the numbers of the whole batch and keeps its own: drawing costs next to nothing
    beside a network's step, and one worker and eight then train on the same noise.
    """

    seed: int
    step: int
    start: int
    stop: int
    total: int
    device: torch.device | str = "cpu"
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop <= self.total:
            raise ValueError(f"a slice needs 0 <= start < stop <= total, got {self.start}, {self.stop}, {self.total}")
        self.generator = torch.Generator(self.device).manual_seed(mix(self.seed, self.step))


Source: TypeAlias = torch.Generator | Sequence[torch.Generator] | GlobalBatch


def per_example(seed: int, indices: Sequence[int], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """One generator per example, seeded by (seed, index) alone."""
    return [torch.Generator(device).manual_seed(mix(seed, index)) for index in indices]


def normal(source: Source, shape: Sequence[int], *, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Standard normal numbers [B, ...]."""
    return _draw(torch.randn, source, shape, device, dtype)


def uniform(source: Source, shape: Sequence[int], *, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    """Numbers [B, ...] uniform in [0, 1)."""
    return _draw(torch.rand, source, shape, device, dtype)


def normal_like(source: Source, like: Tensor) -> Tensor:
    """Standard normal numbers with the shape, dtype and device of `like`."""
    return normal(source, like.shape, device=like.device, dtype=like.dtype)


def low_discrepancy_times(source: Source, batch: int, *, device: torch.device | str) -> Tensor:
    """t [B] in float64, evenly spread over [0, 1) with one random offset u: t_i = (u + i / B) mod 1. VDM App I.1.

    With a GlobalBatch, i runs over the whole batch; if every worker drew its own grid, all would ask the network about
    the same levels. With one generator per example there is no common offset: the times are then independent.
    """
    if isinstance(source, GlobalBatch):
        place = torch.arange(source.start, source.stop, dtype=torch.float64, device=device) / source.total
        offset = torch.rand((), generator=source.generator, device=source.device, dtype=torch.float64).to(device)
        return (place + offset) % 1
    if isinstance(source, torch.Generator):
        place = torch.arange(batch, dtype=torch.float64, device=device) / batch
        offset = torch.rand((), generator=source, device=source.device, dtype=torch.float64).to(device)
        return (place + offset) % 1
    return uniform(source, (batch,), device=device, dtype=torch.float64)


def _draw(function, source: Source, shape: Sequence[int], device, dtype: torch.dtype) -> Tensor:
    if isinstance(source, GlobalBatch):
        whole = function((source.total, *shape[1:]), generator=source.generator, device=source.device, dtype=dtype)
        return whole[source.start : source.stop].to(device)
    if isinstance(source, torch.Generator):
        return function(tuple(shape), generator=source, device=source.device, dtype=dtype).to(device)
    if len(source) != shape[0]:
        raise ValueError(f"one generator per example: got {len(source)} generators for {shape[0]} examples")
    rows = [function(tuple(shape[1:]), generator=g, device=g.device, dtype=dtype) for g in source]
    return torch.stack(rows).to(device)
