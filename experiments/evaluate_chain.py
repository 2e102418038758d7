"""`tandem eval` of a chain: how good few steps look, beside samplers of the undistilled model with as many steps."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from experiments import chain_page, files, flags, tables
from experiments.chain_scores import METHODS, ORIGINAL, STUDENT, TUNING, Judge, Row, Scores, compute
from experiments.data import load_set
from experiments.flags import say
from experiments.progress import Lines, goes_on
from experiments.sample_quality import network, pictures_of
from generative import chain_manifest, loading
from generative import config as configs
from generative.checkpoint import Store
from generative.config import Device
from generative.metrics import lpips
from generative.model import PictureModel
from generative.train import pick_device

EXAMPLE = "tandem eval runs/pd-mnist-distill/20260101-120000-0 --samples 1000 --output page"
SAID = ("samples", "tune_samples", "real", "seed")
"""Flags that a page names in every case."""
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
    """distilled; ddim; heun and dpm++, whose levels are chosen for each number of steps; ancestral (stochastic), whose
    variance is."""
    tune_samples: int = 500
    """Other samples on which settings are chosen."""
    real: int = 5000
    """Test pictures that samples are compared with, evenly spread; all if there are fewer."""
    seed: int = 0
    """Of the noise that the samples start from; the second chain's is one more, and so on."""
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


@goes_on()
def eval_command(args: list[str]) -> int:
    """Scores a chain's students beside samplers of the undistilled model with as many steps; goes on where it was."""
    command = flags.parse(
        ChainEvalCommand, args, prog="tandem eval", example=EXAMPLE, about=eval_command.__doc__ or ""
    )  # fmt: skip
    _check(command)
    for run in command.chains:
        chain_manifest.check_files(run, chain_manifest.read_manifest(run))  # before anything takes time or is written
    output = command.output or command.chains[0] / "scores"
    flags.check_writable(output / "few-steps.md")
    judge = _judge(command)
    with ExitStack() as locks:
        for run in command.chains:
            locks.enter_context(Store(run / "scores").locked("scores this chain"))
        everything = [Scores(run, judge, pick_device(command.device)) for run in command.chains]
        steps = command.steps or (everything[0].all_steps, *everything[0].students)
        _check_chains(command, everything, steps)
        for scores in everything:
            scores.tuner = next(one for one in everything if one.weights[0] == scores.weights[0])
        rows = [[*_measured(command, scores, steps, number)] for number, scores in enumerate(everything)]
        _write(command, output, steps, everything, rows)
    return 0


def _check_chains(command: ChainEvalCommand, everything: list[Scores], steps: tuple[int, ...]) -> None:
    """Raises ValueError for chains that make no table together, or a table without a student."""
    first = everything[0]
    if command.methods == (STUDENT,) and not set(steps) & set(first.students):
        known = ", ".join(map(str, first.students))
        raise ValueError(f"{first.run} has no student with such --steps; it has {known}")
    for other in everything[1:]:
        for what, has, needed in (
            ("students", other.students, first.students),
            ("set of pictures", _set_of(other.teacher), _set_of(first.teacher)),
        ):
            if has != needed:
                raise ValueError(f"{other.run} makes no table with {first.run}: its {what} are {has}, not {needed}")
    last = [scores.hash_of(STUDENT, first.students[-1]) for scores in everything]
    if len(set(last)) < len(last):
        raise ValueError("two of the chains are the same: their last students have equal weights")


def title(command: ChainEvalCommand, scores: Scores) -> str:
    """The chain's preset, and the folder of its pictures if they were placed by hand."""
    place = command.data_path or configs.from_json(scores.teacher.meta["config"]).data.path
    name = scores.run.resolve().parent.name
    return name if place is None else f"{name}, pictures of {Path(place).name}"


def _set_of(teacher: PictureModel) -> str:
    data = configs.from_json(teacher.meta["config"]).data
    return f"{data.name} {'x'.join(map(str, teacher.shape))}"


def _check(command: ChainEvalCommand) -> None:
    for name, least in (("samples", 4), ("tune_samples", 4), ("real", 4), ("seed", 0)):
        if getattr(command, name) < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {getattr(command, name)}")
    if odd := [method for method in command.methods if method not in METHODS]:
        raise ValueError(f"method {odd[0]!r} does not exist; allowed: {', '.join(METHODS)}")
    if odd := [count for count in command.steps if not 1 <= count <= 1_000_000]:
        raise ValueError(f"--steps must be from 1 to 1,000,000, got {odd[0]}")
    if command.seed + len(command.chains) > TUNING:
        raise ValueError(f"--seed must be below {TUNING:,}, where settings are chosen, got {command.seed}")
    if len({run.resolve() for run in command.chains}) < len(command.chains):
        raise ValueError("a chain is named twice: intervals come from different ones")
    if not command.chains:
        raise flags.FlagError(f"no chain was named; for example: {EXAMPLE}")


def _judge(command: ChainEvalCommand) -> Judge:
    teacher = loading.load(command.chains[0] / chain_manifest.TEACHER)
    config = configs.from_json(teacher.meta["config"])
    if command.data_path is not None:
        config = replace(config, data=replace(config.data, path=command.data_path))
    test, training = load_set(config.data, "test"), load_set(config.data, "train")
    real, groups = pictures_of(test, command.real)
    trained, trained_groups = pictures_of(training, command.samples)
    device, perceptual = pick_device(command.device), None
    if command.perceptual and min(teacher.shape[1:]) >= SMALLEST_LPIPS:
        with Lines("LPIPS") as tell:
            tell("the network of LPIPS, fetched once")
            perceptual = lpips.lpips(device=device)
    return Judge(
        network(command.features, device), perceptual, real["x"], _set_of(teacher), teacher.num_levels, groups=groups,
        trained=(trained["x"], trained_groups),
    )  # fmt: skip


def _measured(command: ChainEvalCommand, scores: Scores, steps: tuple[int, ...], number: int) -> Iterator[Row]:
    options = {"seed": command.seed + number, "samples": command.samples, "tune": command.tune_samples}
    if scores.converted and len(command.methods) > 1:
        yield scores.score(ORIGINAL, scores.all_steps, **options)
    for count in sorted(set(steps), reverse=True):
        for method in command.methods:
            if method == STUDENT and count not in scores.students:
                continue
            row = scores.score(method, count, **options)
            which = f"{method} ({row.setting})" if row.setting else method
            say(f"{scores.run.name}: {count} steps, {which}: FID {row.fid:.2f}, KID {row.kid:.5f} ± {row.kid_se:.5f}")
            yield row


def _write(
    command: ChainEvalCommand, output: Path, steps: tuple[int, ...], everything: list[Scores], rows: list[list[Row]]
) -> None:
    from experiments.tracking import write_png  # imports TensorBoard

    first = everything[0]
    spent, chain_spent = compute(first.run)
    students = ", ".join(map(str, [n for n in first.students if any(r.steps == n for r in rows[0])]))
    fewest = ", ".join(str(n) for n in sorted(first.students)[:3][::-1] if any(r.steps == n for r in rows[0]))
    about = {
        "title": title(command, first),
        "all_steps": first.all_steps,
        "teacher_passes": spent,
        "chain_passes": chain_spent,
        "strip": f"{first.all_steps} steps of DDIM, students with {students} steps, DDIM with {fewest} steps",
        "floor": first.judge.floor,
        "teachers": len({scores.weights[0] for scores in everything}),
        "converted": first.converted,
        "stages": [chain_manifest.read_manifest(scores.run) for scores in everything],
        "command": flags.said("tandem eval", replace(command, steps=steps), SAID),
    }
    chain_page.figure(output / "scores.png", rows, f"FID by sampling steps, {about['title']}")
    write_png(output / "strip.png", chain_page.strip(first, rows[0]))
    files.write_text(output / "few-steps.md", chain_page.text(rows, about))
    head, *lines = chain_page.table(rows, "fid", 2)
    tables.show("FID", head, lines)
    say(f"training the teacher took {spent:,.0f} forward passes of a picture, the chain {chain_spent:,.0f}")
    say(f"{output / 'few-steps.md'}, scores.png and strip.png beside it")
