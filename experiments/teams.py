"""The commands of the MARL half: train, eval, video."""

import json
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

import envs
import marl
from experiments import flags, presets, runs
from experiments.flags import say
from experiments.progress import Steps
from marl.evaluation import RANDOM, Episode, evaluate, summarise, write_jsonl


class RunFailed(RuntimeError):
    """A run ended by an error after its folder was made; the message says how to go on."""


@dataclass(frozen=True, kw_only=True)
class TrainCommand:
    """Flags of `tandem train`."""

    config: Annotated[marl.TrainConfig, tyro.conf.arg(name="")]
    runs_dir: Path = Path("runs")
    """Where run folders go."""
    dry_run: bool = False
    """Print the resolved configuration and stop."""
    clip_steps: int = 200
    """Steps of an episode in each clip; 0 makes no clip."""


EXAMPLE = "tandem train lab2d-harvest-acam --env-steps 500000 --ppo.learning-rate 3e-4 --seed 1"


def train_command(args: list[str]) -> int:
    """Trains a preset, or goes on with a run."""
    name, rest = flags.split_name(args, "train", "PRESET")
    resume, rest = _take(rest, "--resume")
    if name is None and resume is None:
        say(f"usage: tandem train PRESET [--field value ...] | tandem train --resume RUN\n\nExample: {EXAMPLE}\n")
        say("`tandem train PRESET --help` lists the fields. Presets: " + ", ".join(presets.all_presets()))
        if {"-h", "--help"} & set(args):
            return 0
        raise flags.FlagError("no preset was named")
    if name is not None and resume is not None:
        raise flags.FlagError(f"give a preset or --resume RUN, not both (got {name!r} and --resume {resume})")
    if resume is not None:
        run = Path(resume)
        preset, stored = runs.read(run)
    else:
        assert name is not None
        run, preset, stored = None, name, presets.get(name).make()
    command = flags.parse(
        TrainCommand, rest, prog=f"tandem train {name or '--resume RUN'}", example=EXAMPLE,
        default=TrainCommand(config=stored), about=f"Trains {preset}; the defaults are the preset's.",
    )  # fmt: skip
    if command.dry_run:
        say(json.dumps({"preset": preset, "config": runs.config_to_json(command.config)}, indent=2))
        return 0
    if run is not None:
        _check_resumable(run, stored, command.config)
    train_run(preset, command.config, command.runs_dir, clip_steps=command.clip_steps, resume=run, args=args)
    return 0


def _take(args: list[str], flag: str) -> tuple[str | None, list[str]]:
    """Takes `flag VALUE` or `flag=VALUE` out of `args`."""
    for index, arg in enumerate(args):
        if arg == flag:
            if index + 1 == len(args):
                raise flags.FlagError(f"{flag} needs a value: a run folder")
            return args[index + 1], args[:index] + args[index + 2 :]
        if arg.startswith(flag + "="):
            return arg.partition("=")[2], args[:index] + args[index + 1 :]
    return None, args


def _check_resumable(run: Path, stored: marl.TrainConfig, asked: marl.TrainConfig) -> None:
    """A run goes on with its own environment, network and seed; budget and pace may change."""
    for name in ("env", "network", "seed"):
        if getattr(stored, name) != getattr(asked, name):
            raise ValueError(
                f"{name} of {run} cannot change when it goes on (it is {getattr(stored, name)}, asked {getattr(asked, name)})"
            )


def train_run(
    preset: str,
    config: marl.TrainConfig,
    runs_dir: Path,
    *,
    clip_steps: int = 200,
    resume: Path | None = None,
    args: list[str] | None = None,
) -> Path:
    """Trains, evaluates and pictures one run; returns its folder. Raises before anything is written if it cannot."""
    from marl import checkpoint  # imports RLlib
    from marl.algorithm import team_spec

    team_spec(config.env)  # a missing engine or an impossible environment, before there is a folder
    run = resume or runs.create(runs_dir, preset, config, ["tandem", *(["train", preset] if args is None else ["train", *args])])
    source = checkpoint.newest(run) if resume else None
    if resume:
        runs.rewrite_config(run, config)
        where = f"{checkpoint.progress_of(source)['env_steps']:,} environment steps" if source else "the beginning"
        say(f"going on with {run} from {where}")
    else:
        say(f"run folder: {run}")
    before = signal.signal(signal.SIGTERM, _interrupt)  # a stopped job saves what it has, as Ctrl-C does
    try:
        _train_and_look(preset, config, run, clip_steps, checkpoint.progress_of(source)["env_steps"] if source else None)
    except KeyboardInterrupt:
        say(f"stopped; go on with: tandem train --resume {run}")
        raise
    except Exception as error:
        detail = traceback.format_exc()
        raise RunFailed(f"{detail}\nthe run ended with {type(error).__name__}; after mending it, go on with: tandem train --resume {run}") from None
    finally:
        signal.signal(signal.SIGTERM, before)
    return run


def _interrupt(signum: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _train_and_look(preset: str, config: marl.TrainConfig, run: Path, clip_steps: int, resume_step: int | None) -> None:
    from experiments.tracking import Tracker  # imports TensorBoard

    metric = presets.get(preset).metric if preset in presets.all_presets() else "return_mean"
    tracker = Tracker(run, resume_step)
    say(f"watch it: tensorboard --logdir {run.parent.parent}")
    try:
        with Steps("training", config.env_steps) as steps:

            def report(done: int, metrics: dict[str, float]) -> None:
                tracker.scalars(done, metrics)
                value = metrics.get(f"train/{metric}", metrics.get("train/return_mean"))
                shown = "" if value is None else f"{metric} {value:.2f}, "
                steps.update(done, f"{done:,} steps, {shown}{metrics['time/env_steps_per_s']:.0f} steps/s")

            def look(done: int, policy: Any) -> None:
                picture(tracker, policy, config, done, clip_steps)

            policy = marl.train(config, run, report=report, look=look, resume=resume_step is not None)
        done = policy.meta["env_steps"]
        summary = summarise(run_evaluation(run, policy, config))
        tracker.scalars(done, {f"eval/{n}{s}": v[k] for n, v in summary.items() for s, k in (("", "mean"), ("_low", "low"), ("_high", "high"))})
        picture(tracker, policy, config, done, clip_steps)
        tracker.hparams(runs.config_to_json(config), {f"eval/{name}": v["mean"] for name, v in summary.items()})
        say(f"{metric}: {_interval(summary[metric])} in {config.evaluation.episodes} held-out episodes, after {done:,} environment steps")
        say(f"again: tandem eval {run}    a clip: tandem video {run}    go on: tandem train --resume {run} --env-steps {2 * config.env_steps}")
    finally:
        tracker.close()


def run_evaluation(run: Path, policy: Any, config: marl.TrainConfig) -> list[Episode]:
    """The evaluation at the end of a run, with every episode kept in evaluation.jsonl."""
    settings = config.evaluation
    with Steps("evaluating", settings.episodes) as steps:
        episodes = evaluate(
            policy,
            config.env,
            episodes=settings.episodes,
            deterministic=settings.deterministic,
            num_envs=settings.num_envs,
            progress=lambda done, total: steps.update(done),
        )
    write_jsonl(run / "evaluation.jsonl", episodes)
    return episodes


def picture(tracker: Any, policy: Any, config: marl.TrainConfig, step: int, clip_steps: int) -> Path | None:
    """Clip and attention maps of one held-out episode into TensorBoard and media/. Returns the clip."""
    from experiments import media

    if clip_steps == 0:
        return None
    frames = list(media.play(policy, config.env, steps=clip_steps, deterministic=config.evaluation.deterministic))
    tracker.image("attention", step, media.attention_figure(frames, f"attention after {step:,} environment steps"))
    return tracker.video("clip", step, [frame.picture for frame in frames], fps=FPS)


FPS = 12


def _interval(numbers: dict[str, float]) -> str:
    return f"{numbers['mean']:.3g} [{numbers['low']:.3g}, {numbers['high']:.3g}]"


@dataclass(frozen=True, kw_only=True)
class EvalCommand:
    """Flags of `tandem eval`."""

    run: tyro.conf.Positional[Path]
    """A run folder (its newest checkpoint), a checkpoint, or a policy folder."""
    episodes: int | None = None
    """Held-out episodes; the run's own number if omitted."""
    seed: int = 0
    """Which set of held-out seeds."""
    deterministic: bool | None = None
    """Most likely actions instead of samples; the run's own choice if omitted."""
    env: str | None = None
    """Another environment of the same observations, such as football/academy_3_vs_1_with_keeper."""
    random: bool = True
    """Play the random policy on the same seeds beside it."""
    workers: int = 1
    """Processes that play."""
    output: Path | None = None
    """Also write every episode as JSON lines here."""


def eval_command(args: list[str]) -> int:
    """Evaluates a trained policy on held-out seeds, beside the random policy."""
    command = flags.parse(
        EvalCommand, args, prog="tandem eval", example="tandem eval runs/football-empty-goal/20260101-120000-0 --episodes 100",
        about=eval_command.__doc__ or "",
    )  # fmt: skip
    for name in ("episodes", "workers"):
        value = getattr(command, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} must be at least 1, got {value}")
    import agents

    env = envs.config(command.env) if command.env else runs.environment_of(command.run)
    policy = agents.load(command.run)
    stored = runs.read(command.run)[1].evaluation if (command.run / "config.json").is_file() else marl.EvalSettings()
    count = command.episodes or stored.episodes
    choice = command.deterministic
    deterministic = bool(policy.meta.get("deterministic", False)) if choice is None else choice
    results: dict[str, list[Episode]] = {}
    who: dict[str, Any] = {"trained": str(agents.policy.find(command.run))} | ({RANDOM: RANDOM} if command.random else {})
    for name, what in who.items():
        with Steps(f"evaluating {name}", count) as steps:
            results[name] = evaluate(
                what, env, episodes=count, seed=command.seed, deterministic=deterministic and name != RANDOM,
                workers=command.workers, progress=lambda done, total: steps.update(done),
            )  # fmt: skip
    print_comparison({name: summarise(episodes) for name, episodes in results.items()}, count, envs.to_json(env)["name"])
    if command.output:
        write_jsonl(command.output, results["trained"])
        say(f"episodes: {command.output}")
    return 0


def print_comparison(summaries: dict[str, dict[str, dict[str, float]]], count: int, title: str) -> None:
    """A table: one row per number, one column per policy, means with 95% intervals."""
    table = Table(title=f"{title}, {count} held-out episodes, mean [95% interval]")
    table.add_column("")
    for name in summaries:
        table.add_column(name, justify="right")
    first = next(iter(summaries.values()))
    for metric in first:
        table.add_row(metric, *(_interval(summary[metric]) for summary in summaries.values()))
    Console().print(table)


@dataclass(frozen=True, kw_only=True)
class VideoCommand:
    """Flags of `tandem video`."""

    run: tyro.conf.Positional[Path]
    """A run folder (its newest checkpoint), a checkpoint, or a policy folder."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("clip.mp4")
    """Where to write: .mp4, .gif or .webp."""
    episode: int = 0
    """Which held-out episode (the same numbers as in `tandem eval`)."""
    steps: int | None = 300
    """Steps at most; None plays to the end."""
    fps: int = FPS
    """Frames per second."""
    deterministic: bool | None = None
    """Most likely actions instead of samples; the run's own choice if omitted."""
    attention: bool = True
    """Draw who attends to whom."""


def video_command(args: list[str]) -> int:
    """Writes a clip of a trained team, with its attention maps beside it."""
    command = flags.parse(
        VideoCommand, args, prog="tandem video", example="tandem video runs/football-empty-goal/20260101-120000-0 -o clip.mp4",
        about=video_command.__doc__ or "",
    )  # fmt: skip
    if command.output.suffix.lower() not in (".mp4", ".gif", ".webp"):
        raise ValueError(f"cannot write a video as {command.output.name!r}; allowed suffixes: .mp4, .gif, .webp")
    if command.fps < 1 or (command.steps is not None and command.steps < 1) or command.episode < 0:
        raise ValueError(f"fps and steps must be at least 1, episode at least 0; got {command.fps}, {command.steps}, {command.episode}")
    import agents
    from experiments import media, tracking

    env, policy = runs.environment_of(command.run), agents.load(command.run)
    choice = command.deterministic
    deterministic = bool(policy.meta.get("deterministic", False)) if choice is None else choice
    frames = []
    with Steps("drawing", command.steps or 0) as steps:
        for frame in media.play(
            policy, env, episode=command.episode, steps=command.steps, deterministic=deterministic, draw_attention=command.attention
        ):  # fmt: skip
            frames.append(frame)
            steps.update(len(frames) - 1)
    from PIL import Image

    tracking.write_video(command.output, [frame.picture for frame in frames], command.fps)
    maps = command.output.with_name(command.output.stem + "-attention.png")
    Image.fromarray(media.attention_figure(frames, f"attention in episode {command.episode}")).save(maps)
    say(f"{command.output} ({len(frames)} frames) and {maps}")
    if frames[-1].episode:
        say("the episode ended with " + ", ".join(f"{name} {value:.3g}" for name, value in frames[-1].episode.items()))
    return 0


