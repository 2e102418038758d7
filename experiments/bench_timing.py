"""What the benchmarks share: their flags, loops that alternate, medians with the spread.

CPU seconds of this thread, not wall seconds: other work on the machine then disturbs less.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from experiments.progress import Steps


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Flags of `tandem bench`."""

    name: tyro.conf.Positional[Literal["envs", "runner", "memory", "sampling", "training"]]
    """envs: share of a football step inside the engine, DMLab2D steps per second; runner: rollouts beside the bare
    environment loop and RLlib's stock runner; memory: resident memory over many steps; sampling: pictures per second
    with 4 steps and with 256, beside diffusers; training: milliseconds per optimiser step of presets of diffusion
    models, on a GPU with bf16 and compiled too."""
    repeats: int = 5
    """Alternations; each number is the median over them."""
    steps: int | None = None
    """Steps per measurement, or pictures of sampling; a sensible number for each benchmark if omitted."""
    seed: int = 0
    """Seed of actions and episodes."""
    presets: tuple[str, ...] = ()
    """Presets that `training` measures; a choice of the small ones if omitted."""


def spread(values: list[float], digits: int = 3) -> str:
    """Median (smallest to largest)."""
    return f"{statistics.median(values):.{digits}g} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def show(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A table on the terminal."""
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def speed_of(loop: Callable[[int], Any], steps: int, device: str = "cpu") -> float:
    """Steps per second of this thread's CPU time, or of the clock where a GPU does the work."""
    import torch

    clock = time.thread_time if device == "cpu" else time.perf_counter
    wait = (lambda: None) if device == "cpu" else torch.cuda.synchronize
    wait()
    began = clock()
    loop(steps)
    wait()
    return steps / (clock() - began)


def alternate(
    what: str, loops: dict[str, Callable[[int], Any]], steps: int, repeats: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Steps per second of each loop, in turns; a round before them warms caches and allocators up."""
    speeds: dict[str, list[float]] = {key: [] for key in loops}
    with Steps(what, (repeats + 1) * len(loops)) as progress:
        for repeat in range(repeats + 1):
            for index, (key, loop) in enumerate(loops.items()):
                speed = speed_of(loop, steps, device)
                speeds[key] += [speed] * bool(repeat)
                progress.update(repeat * len(loops) + index + 1)
    return speeds
