"""The command lines behind the pages of experiments/results about diffusion models, as data.

A job's command is what a person would type after `tandem`, with {name} for the run folder of another job (which has to
be finished first), {output} for the folder of the pages, {data} for a folder of class folders of pictures and {classes}
for their number.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PLACES = ("output", "data", "classes")
"""What stands in braces and is no job."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command."""

    name: str
    command: str

    @property
    def needs(self) -> tuple[str, ...]:
        """The jobs whose runs it uses."""
        return tuple(dict.fromkeys(name for name in re.findall(r"{([\w-]+)}", self.command) if name not in PLACES))


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much is trained and measured."""

    steps: float
    """Optimiser steps, as a multiple of what a core does in about an hour."""
    flags: str
    """Of every training."""
    samples: int
    """Pictures of a row of a table."""
    side: int
    """Of the photographs that Palette restores: at 64 pixels a CPU is too slow."""


GRAPHS = " --optim.compile --optim.cuda-graphs"
"""Without them a GPU waits for Python in networks as small as these."""
BUDGETS = {
    "small": Budget(steps=0.25, flags="", samples=256, side=32),
    "cpu": Budget(steps=1.0, flags="", samples=500, side=32),
    "gpu": Budget(steps=4.0, flags=f" --optim.bf16{GRAPHS}", samples=1000, side=64),
}
"""Name -> budget; none has been worked off to the end yet."""
LEVELS = "0 0.1 0.2 0.3 0.4 0.6 0.8"
TASKS = ("inpaint", "colorize", "jpeg", "uncrop")


def train(name: str, preset: str, steps: int, budget: Budget, more: str = "") -> Job:
    """A training; `steps` at budget 1."""
    count = max(100, round(steps * budget.steps / 100) * 100)
    return Job(name=name, command=f"train {preset} --plain --steps {count}{budget.flags}{more}")


def few_steps(preset: str, page: str, more: str = "") -> Callable[[Budget], Iterator[Job]]:
    """A teacher, three chains of students, and their table."""

    def jobs(budget: Budget) -> Iterator[Job]:
        yield train(page, preset, 6000, budget, more)
        chains = [f"{page}-chain{seed}" for seed in range(3)]
        for seed, name in enumerate(chains):
            graphs = GRAPHS if GRAPHS in budget.flags else ""
            yield Job(name=name, command=f"distill {{{page}}} --plain --to 1 --seed {seed}{graphs}")
        asked = f"--samples {budget.samples} --tune-samples 200 --steps 256 64 16 8 4 2 1"
        yield Job(name=f"{page}-page", command=f"eval {_all(chains)} {asked} --output {{output}}/{page}")

    return jobs


def super_resolution(preset: str) -> Callable[[Budget], Iterator[Job]]:
    """SR3 and its regression baseline."""

    def jobs(budget: Budget) -> Iterator[Job]:
        names = [preset, f"{preset}-regression"]
        yield from (train(name, name, 6000, budget) for name in names)
        asked = f"--images {budget.samples} --answers 4"
        yield Job(name=f"{preset}-page", command=f"eval {_all(names)} {asked} --output {{output}}/{preset}")

    return jobs


def palette(budget: Budget) -> Iterator[Job]:
    """Four specialists, their regressions, a generalist, and |error| in place of its square."""
    small = budget.side == 32
    steps, more = (24_000, " --data.size 32 --model.net.multipliers 1 2 4") if small else (6000, "")
    yield train("palette-all", "palette-all64", steps, budget, more)
    for task in TASKS:
        presets = [f"palette-{task}64", f"palette-{task}64-regression"]
        if task in ("inpaint", "colorize"):
            presets.append(f"palette-{task}64-l1")
        names = [preset.removesuffix("64").replace("64-", "-") for preset in presets]
        yield from (train(name, preset, steps, budget, more) for name, preset in zip(names, presets, strict=True))
        asked = f"--task {task} --images {budget.samples} --answers 4"
        also = [] if task == "uncrop" else ["palette-all"]
        yield Job(
            name=f"palette-{task}-page",
            command=f"eval {_all([*names, *also])} {asked} --output {{output}}/palette-{task}{budget.side}",
        )


def cascade(
    kind: str, sides: tuple[int, int, int], direct: int, weak: int, more: str = ""
) -> Callable[[Budget], Iterator[Job]]:
    """A cascade of three, and what noise does for a stage that enlarges the pictures of a deliberately weak base.

    direct: side of what a stage makes of the base's pictures at once; weak: optimiser steps of the weak base."""

    def jobs(budget: Budget) -> Iterator[Job]:
        names = [f"cdm-{kind}{side}" for side in sides]
        for name, steps in zip(names, (10_000, 6000, 6000), strict=True):
            yield train(name, name, steps, budget, more)
        base, good, stage, seen = f"cdm-{kind}-weak", names[0], names[1], more
        if direct != sides[1]:  # the stage sees pictures that were reduced at once, so its bases have to draw such
            good, stage, seen = f"cdm-{kind}-base", f"cdm-{kind}-direct", f"{more} --data.reduced {sides[0]}"
            yield train(good, names[0], 10_000, budget, seen)
            yield train(stage, f"cdm-{kind}{direct}", 6000, budget, f"{more} --model.low {sides[0]} --seed 2")
        yield Job(name=base, command=f"train {names[0]} --plain --steps {weak} --seed 1{budget.flags}{seen}")
        for first, page in ((base, "weak"), (good, "good")):
            yield Job(
                name=f"cdm-{kind}-{page}-page",
                command=f"sweep aug-level {{{first}}} {{{stage}}} --levels {LEVELS} --samples {budget.samples} "
                f"--classifiers {2 if budget.samples >= 500 else 0} --output {{output}}/cascade-{kind}/{page}",
            )
        yield Job(
            name=f"cdm-{kind}-samples",
            command=f"sample {_all(names)} -n 36 --levels 0.1 0.1 -o {{output}}/cascade-{kind}/samples.png",
        )

    return jobs


def _all(names: list[str]) -> str:
    return " ".join(f"{{{name}}}" for name in names)


FOLDER = " --data.path {data}"
PLANS: dict[str, Callable[[Budget], Iterator[Job]]] = {
    "few-steps-mnist": few_steps("pd-mnist", "few-steps-mnist"),
    "few-steps-photos32": few_steps("pd-photos32", "few-steps-photos32"),
    "few-steps-folder32": few_steps("pd-folder32", "few-steps-folder32", FOLDER),
    "sr3-photos64": super_resolution("sr3-photos64"),
    "sr3-photos128": super_resolution("sr3-photos128"),
    "palette": palette,
    "cascade-mnist": cascade("mnist", (8, 16, 32), direct=32, weak=300),
    "cascade-emoji": cascade("emoji", (16, 64, 256), direct=64, weak=500),
    "cascade-folder": cascade(
        "folder", (8, 16, 32), direct=32, weak=300, more=f"{FOLDER} --model.net.classes {{classes}}"
    ),
}
"""Name -> its jobs at a budget."""
