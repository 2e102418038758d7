"""`make run`: both teams and a diffusion model trained, evaluated and pictured, with a table at the end."""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments import flags, halves, presets
from experiments.evaluate import interval
from experiments.evaluate_marl import evaluate_with_progress
from experiments.flags import say
from experiments.train import train_run

TEAMS = ("lab2d-harvest-acam", "football-empty-goal")
PICTURES = "vdm-digits"


@dataclass(frozen=True, kw_only=True)
class QuickstartCommand:
    """Flags of `tandem quickstart`."""

    runs_dir: Path = Path("runs")
    """Where run folders go."""
    seed: int = 0
    """Seed of the runs."""
    tiny: bool = False
    """A few seconds of each, to see that everything works."""


def quickstart_command(args: list[str]) -> int:
    """Trains a team on DMLab2D, a team on football and a diffusion model of digits, and says what came out."""
    command = flags.parse(
        QuickstartCommand,
        args,
        prog="tandem quickstart",
        example="tandem quickstart",
        about=quickstart_command.__doc__ or "",
    )
    from marl.evaluation import RANDOM, summarise

    table = Table(title="held-out episodes: mean [95% interval]")
    for heading in ("measure", "random", "trained", "env steps", "training"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "measure")
    done: list[Path] = []
    for name in TEAMS:
        preset = presets.get(f"tiny-{name}" if command.tiny else name)
        config = replace(preset.make(), seed=command.seed)
        say(f"\n== {name}: {preset.summary}")
        run = train_run(preset.name, config, command.runs_dir)
        facts = _facts(run, preset.metric)
        episodes, workers = config.evaluation.episodes, os.cpu_count() or 1
        what = "the random policy on the same seeds"
        baseline = summarise(evaluate_with_progress(what, RANDOM, config.env, episodes=episodes, workers=workers))
        table.add_row(
            f"{name}\n{preset.metric}", interval(baseline[preset.metric]), interval(facts["trained"]),
            f"{facts['steps']:,}", time.strftime("%M:%S", time.gmtime(facts["seconds"])),
        )  # fmt: skip
        done.append(run)
    digits, bits = _digits(command)
    say("")
    Console().print(table)
    say(f"{PICTURES}: {interval(bits)} bits per dimension of test pictures")
    say(f"\nTensorBoard:  .venv/bin/tensorboard --logdir {command.runs_dir}")
    for run in done:
        say(f"clip:         {max((run / 'media').glob('clip-*.mp4'))}")
        say(f"evaluate:     .venv/bin/tandem eval {run}")
    say(f"samples:      {max((digits / 'media').glob('samples-*.png'))}")
    say(f"beside codecs: .venv/bin/tandem eval {digits}")
    say(f"a longer clip: .venv/bin/tandem video {done[-1]} -o clip.mp4")
    say(f"go on:        .venv/bin/tandem train --resume {done[0]} --env-steps 1000000")
    say("other tasks:  .venv/bin/tandem presets")
    return 0


def _digits(command: QuickstartCommand) -> tuple[Path, dict[str, float]]:
    """The run of the diffusion model and its bits per dimension."""
    preset = presets.get(f"tiny-{PICTURES}" if command.tiny else PICTURES)
    config = replace(preset.make(), seed=command.seed)
    say(f"\n== {PICTURES}: {preset.summary}")
    run = train_run(preset.name, config, command.runs_dir)
    return run, halves.of(config).outcome(run, preset.metric)


def _facts(run: Path, metric: str) -> dict:
    """What a finished run wrote down: its last evaluation, steps and seconds."""
    import json

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    last = next(line for line in reversed(lines) if f"eval/{metric}" in line)
    seconds = max(line.get("time/train_s", 0.0) for line in lines)
    numbers = {"mean": last[f"eval/{metric}"], "low": last[f"eval/{metric}_low"], "high": last[f"eval/{metric}_high"]}
    return {"trained": numbers, "steps": last["step"], "seconds": seconds}
