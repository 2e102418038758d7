"""`tandem eval`: what a run has learnt, measured by the half that it belongs to."""

from itertools import pairwise
from pathlib import Path

from experiments import halves
from experiments.flags import say

MANIFEST = "chain.json"
"""What a folder of `tandem distill` has."""


def eval_command(args: list[str]) -> int:
    """Plays held-out episodes (a team), or measures bits per dimension on test pictures (a diffusion model)."""
    paths = [arg for before, arg in pairwise(["", *args]) if not arg.startswith("-") and before != "--output"]
    _check_alike([path for path in paths if "://" in path or (Path(path) / "config.json").is_file()])
    if not paths and {"-h", "--help"} & set(args):
        return _both_helps(args)
    if any((Path(path) / MANIFEST).is_file() for path in paths):
        from experiments.evaluate_chain import eval_command as score

        return score(args)
    generative = [path for path in paths if halves.name_at(path) == halves.GENERATIVE]
    if generative:
        from experiments.evaluate_generative import eval_command as measure
        from experiments.evaluate_restoration import eval_command as compare
        from experiments.evaluate_restoration import restores

        return compare(args) if restores(generative[0]) else measure(args)
    from experiments.evaluate_marl import eval_command as play

    return play(args)


def _check_alike(runs: list[str]) -> None:
    """Raises ValueError for runs that are measured in different ways."""
    kinds = [_kind(run) for run in runs] if len(runs) > 1 else []
    for run, kind in zip(runs, kinds, strict=False):
        if kind != kinds[0]:
            raise ValueError(f"{runs[0]} is {kinds[0]}, {run} is {kind}: they make no table together")


def _kind(run: str) -> str:
    if (Path(run) / MANIFEST).is_file():
        return "a chain of students"
    if halves.name_at(run) != halves.GENERATIVE:
        return "a team"
    from experiments.evaluate_restoration import restores

    return "a model of pictures given pictures" if restores(run) else "a diffusion model"


def _both_helps(args: list[str]) -> int:
    from experiments.evaluate_generative import eval_command as measure
    from experiments.evaluate_marl import eval_command as play
    from experiments.evaluate_restoration import eval_command as compare

    for what, command in (
        ("a team", play), ("a diffusion model", measure), ("models of pictures given pictures", compare)
    ):  # fmt: skip
        say(f"\n=== {what}")
        try:
            command(args)
        except SystemExit:  # tyro prints the flags and exits
            continue
    return 0


def interval(numbers: dict[str, float]) -> str:
    """A mean with its 95% interval."""
    return f"{numbers['mean']:.3g} [{numbers['low']:.3g}, {numbers['high']:.3g}]"
