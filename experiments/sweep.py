"""`tandem sweep`: several seeds of a preset through Ray Tune, as many at a time as the cluster has CPUs for."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from experiments import flags, halves, presets, runs
from experiments.evaluate import interval
from experiments.flags import say
from experiments.train import train_run

Config = TypeVar("Config")
EXAMPLE = "tandem sweep lab2d-harvest-acam --seeds 0 1 2 --ppo.learning-rate 3e-4"
OTHERS = (
    "tandem sweep aug-level runs/cdm-mnist8/TIME-0 runs/cdm-mnist16/TIME-0 --levels 0 0.1 0.2 0.4 0.8",
    "tandem sweep schedule runs/sr3-photos64/TIME-0 --steps 8",
)


@dataclass(frozen=True, kw_only=True)
class SweepCommand(Generic[Config]):
    """Flags of `tandem sweep`, for the configurations of either half."""

    config: Annotated[Config, tyro.conf.arg(name="")]
    seeds: tuple[int, ...] = (0, 1, 2)
    """One run for each."""
    runs_dir: Path = Path("runs")
    """Where run folders go."""
    max_failures: int = 2
    """How often a run that died goes on from its last checkpoint."""


def sweep_command(args: list[str]) -> int:
    """Trains a preset with several seeds and prints the results side by side.

    `aug-level` varies the noise between the stages of a trained cascade, `schedule` where a sampler's steps lie."""
    name, rest = flags.split_name(args)
    if name == "aug-level":
        from experiments import sweep_aug_level

        return sweep_aug_level.command(rest)
    if name == "schedule":
        from experiments import sweep_schedule

        return sweep_schedule.command(rest)
    if name is None:
        if {"-h", "--help"} & set(args):
            say("usage: tandem sweep PRESET [--seeds 0 1 2] [--field value ...] | tandem sweep aug-level RUN RUN ...")
            say("       tandem sweep schedule RUN --steps N")
            say(f"\n{sweep_command.__doc__}")
            say("\n" + "\n".join(f"Example: {example}" for example in (EXAMPLE, *OTHERS)))
            return 0
        raise flags.FlagError("no preset was named; usage: tandem sweep PRESET [--seeds 0 1 2] [--field value ...]")
    preset = presets.get(name)
    default = SweepCommand(config=preset.make())
    command: SweepCommand[Any] = flags.parse(
        SweepCommand[type(default.config)],
        rest,
        prog=f"tandem sweep {name}",
        example=EXAMPLE,
        default=default,
        about=preset.summary,
    )
    if not command.seeds or min(command.seeds) < 0 or len(set(command.seeds)) < len(command.seeds):
        raise ValueError(f"--seeds must be different numbers of 0 or more, got {command.seeds}")
    results = _tune(preset, command)
    table = Table(title=f"{preset.name}: {preset.metric} on held-out data, mean [95% interval]")
    for heading in ("seed", preset.metric, "run"):
        table.add_column(heading, overflow="fold")
    for seed, row in sorted(results.items()):
        table.add_row(str(seed), interval(row["summary"]) if "summary" in row else "failed", row.get("run", ""))
    Console().print(table)
    return 0 if all("summary" in row for row in results.values()) else 1


def _tune(preset: presets.Preset, command: SweepCommand) -> dict[int, dict[str, Any]]:
    """Runs every seed as a Tune trial. Returns per seed its run folder and the summary of its evaluation."""
    import ray
    from ray import tune

    half = halves.of(command.config)
    cpus = sum(bundle["CPU"] for bundle in half.bundles(command.config, gpu=False))
    half.start_ray(max(int(cpus), os.cpu_count() or 1))
    bundles = half.bundles(command.config, gpu=ray.cluster_resources().get("GPU", 0) > 0)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(
                _trial, preset=preset.name, config=command.config, runs_dir=str(command.runs_dir.absolute())
            ),
            tune.PlacementGroupFactory(bundles),
        ),
        param_space={"seed": tune.grid_search(list(command.seeds))},
        run_config=tune.RunConfig(
            name=preset.name,
            storage_path=str((command.runs_dir / ".tune").absolute()),
            failure_config=tune.FailureConfig(max_failures=command.max_failures),
            verbose=1,
        ),
    )
    found: dict[int, dict[str, Any]] = {seed: {} for seed in command.seeds}
    for result in tuner.fit():
        if result.metrics and result.error is None:
            metrics = result.metrics
            found[metrics["config"]["seed"]] = {"run": metrics["run"], "summary": metrics["summary"]}
    return found


def _trial(trial: dict[str, Any], *, preset: str, config: Any, runs_dir: str) -> None:
    """One seed, inside a Tune trial. A trial that is tried again goes on with its run."""
    from ray import tune

    half = halves.of(config)
    # Trials are told apart by their folders; the note says which run belongs to this one.
    note = Path(tune.get_context().get_trial_dir()) / "run.txt"
    earlier = Path(note.read_text()) if note.is_file() else None
    seeded = replace(config, seed=trial["seed"])
    run = earlier or runs.create(Path(runs_dir), preset, seeded, ["tandem", "sweep", preset])
    note.write_text(str(run))
    train_run(preset, seeded, Path(runs_dir), resume=run, **half.trial_options())
    tune.report({"run": str(run), "summary": half.outcome(run, presets.get(preset).metric)})
