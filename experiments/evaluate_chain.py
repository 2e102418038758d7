"""`tandem eval` of a chain: how good few steps look, beside samplers of the undistilled model with as many steps."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from experiments import chain_page, files, flags
from experiments.chain_scores import METHODS, STUDENT, Judge, Row, Scores, compute
from experiments.data import load_set
from experiments.flags import say
from experiments.progress import Lines
from experiments.sample_quality import network
from generative import config as configs
from generative.config import Device
from generative.metrics import lpips
from generative.train import pick_device

EXAMPLE = "tandem eval runs/pd-mnist-distill/20260101-120000-0 --samples 1000 --output page"
SMALLEST_LPIPS = 31
"""Sides in pixels below which LPIPS measures nothing."""


@dataclass(frozen=True, kw_only=True)
class ChainEvalCommand:
    """Flags of `tandem eval` of chains."""

    chains: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of `tandem distill`: several chains that differ in their seed are one table with intervals."""
    samples: int = 1000
    """Samples for each number of steps and each method."""
    steps: tuple[int, ...] = ()
    """Numbers of steps; those of the students and of their first teacher if omitted."""
    methods: tuple[str, ...] = METHODS
    """distilled; ddim, heun, dpm++; ancestral: the stochastic sampler, its variance tuned for each number of steps."""
    tune_samples: int = 200
    """Samples on which that variance is chosen."""
    real: int = 5000
    """Test pictures that samples are compared with, evenly spread; all if there are fewer."""
    seed: int = 0
    """Of the noise that the samples start from."""
    features: str = "inception"
    """Features of KID and FID: inception (fetched once), random (to try things out), or a TorchScript file."""
    perceptual: bool = True
    """Measure LPIPS to the undistilled model's samples from the same noise too (pictures of 31 pixels or more)."""
    data_path: str | None = None
    """Where the pictures lie now, for sets that are placed by hand; as in training if omitted."""
    device: Device = "auto"
    """Where to run."""
    output: Path | None = None
    """Folder of the page, its figure and its pictures; scores/ of the first chain if omitted."""


def eval_command(args: list[str]) -> int:
    """Scores a chain's students beside samplers of the undistilled model with as many steps; goes on where it was."""
    command = flags.parse(
        ChainEvalCommand, args, prog="tandem eval", example=EXAMPLE, about=eval_command.__doc__ or ""
    )  # fmt: skip
    _check(command)
    output = command.output or command.chains[0] / "scores"
    flags.check_writable(output / "few-steps.md")
    judge = _judge(command)
    everything = [Scores(run, judge, pick_device(command.device)) for run in command.chains]
    steps = command.steps or (everything[0].all_steps, *everything[0].students)
    for scores in everything:
        if command.methods == (STUDENT,) and not set(steps) & set(scores.students):
            known = ", ".join(map(str, scores.students))
            raise ValueError(f"{scores.run} has no student with such --steps; it has {known}")
    rows = [[*_measured(command, scores, steps)] for scores in everything]
    _write(output, everything, rows)
    return 0


def _check(command: ChainEvalCommand) -> None:
    for name, least in (("samples", 4), ("tune_samples", 4), ("real", 4), ("seed", 0)):
        if getattr(command, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(command, name)}")
    if odd := [method for method in command.methods if method not in METHODS]:
        raise ValueError(f"method {odd[0]!r} does not exist; allowed: {', '.join(METHODS)}")
    if odd := [count for count in command.steps if not 1 <= count <= 1_000_000]:
        raise ValueError(f"--steps must be from 1 to 1,000,000, got {odd[0]}")
    if not command.chains:
        raise flags.FlagError(f"no chain was named; for example: {EXAMPLE}")


def _judge(command: ChainEvalCommand) -> Judge:
    from generative import chain_manifest, loading

    teacher = loading.load(command.chains[0] / chain_manifest.TEACHER)
    config = configs.from_json(teacher.meta["config"])
    if command.data_path is not None:
        config = replace(config, data=replace(config.data, path=command.data_path))
    test = load_set(config.data, "test")
    count = min(command.real, len(test))
    real = test.batch([i * len(test) // count for i in range(count)])["x"]
    device, perceptual = pick_device(command.device), None
    if command.perceptual and min(teacher.shape[1:]) >= SMALLEST_LPIPS:
        with Lines("LPIPS") as tell:
            tell("the network of LPIPS, fetched once")
            perceptual = lpips.lpips(device=device)
    return Judge(network(command.features, device), perceptual, real, teacher.num_levels)


def _measured(command: ChainEvalCommand, scores: Scores, steps: tuple[int, ...]) -> Any:
    for count in sorted(set(steps), reverse=True):
        for method in command.methods:
            if method == STUDENT and count not in scores.students:
                continue
            row = scores.measure(method, count, seed=command.seed, samples=command.samples, tune=command.tune_samples)
            say(f"{scores.run.name}: {count} steps, {method}: FID {row.fid:.2f}, KID {row.kid:.5f} ± {row.kid_se:.5f}")
            yield row


def _write(output: Path, everything: list[Scores], rows: list[list[Row]]) -> None:
    from experiments.tracking import write_png  # imports TensorBoard

    first = everything[0]
    spent, chain_spent = compute(first.run, first.teacher)
    students = ", ".join(map(str, [n for n in first.students if any(r.steps == n for r in rows[0])]))
    about = {
        "title": first.run.parent.name,
        "all_steps": first.all_steps,
        "teacher_passes": spent,
        "chain_passes": chain_spent,
        "strip": f"{first.all_steps} steps of DDIM, students with {students} steps, DDIM with as few",
    }
    chain_page.figure(output / "scores.png", rows, f"FID by sampling steps, {about['title']}")
    write_png(output / "strip.png", chain_page.strip(first, rows[0]))
    files.write_text(output / "few-steps.md", chain_page.text(rows, about))
    table = Table(title="FID")
    head, *lines = chain_page.table(rows, "fid", 2)
    for heading in head:
        table.add_column(heading, justify="right")
    for line in lines:
        table.add_row(*line)
    Console().print(table)
    say(f"training the undistilled model took {spent:.3g} forward passes, the chain {chain_spent:.3g}")
    say(f"{output / 'few-steps.md'}, scores.png and strip.png beside it")
