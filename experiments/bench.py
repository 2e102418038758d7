"""`tandem bench`: speed and memory beside the peers, alternating in one process, as medians with the spread.

CPU seconds of this thread, not wall seconds: other work on the machine then disturbs less.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

import envs
from agents import NetworkConfig
from experiments import flags
from experiments.flags import say
from experiments.progress import Steps


@dataclass(frozen=True, kw_only=True)
class BenchCommand:
    """Flags of `tandem bench`."""

    name: tyro.conf.Positional[Literal["envs", "runner", "memory", "sampling"]]
    """envs: share of a football step inside the engine, DMLab2D steps per second; runner: rollouts beside the bare
    environment loop and RLlib's stock runner; memory: resident memory over many steps; sampling: pictures per second
    with 4 steps and with 256, beside diffusers."""
    repeats: int = 5
    """Alternations; each number is the median over them."""
    steps: int | None = None
    """Steps per measurement, or pictures of sampling; a sensible number for each benchmark if omitted."""
    seed: int = 0
    """Seed of actions and episodes."""


def bench_command(args: list[str]) -> int:
    """Measures speed and memory beside the peers."""
    command = flags.parse(
        BenchCommand,
        args,
        prog="tandem bench",
        example="tandem bench runner --repeats 7",
        about=bench_command.__doc__ or "",
    )
    if command.repeats < 1 or (command.steps is not None and command.steps < 1):
        raise ValueError(f"repeats and steps must be at least 1, got {command.repeats} and {command.steps}")
    import torch

    torch.set_num_threads(1)
    benches = {"envs": bench_envs, "runner": bench_runner, "memory": bench_memory, "sampling": bench_sampling}
    benches[command.name](command)
    return 0


def _spread(values: list[float], digits: int = 3) -> str:
    return f"{statistics.median(values):.{digits}g} ({min(values):.{digits}g} to {max(values):.{digits}g})"


def _rows(title: str, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


FOOTBALL_LEVELS = (("academy_3_vs_1_with_keeper", 3), ("5_vs_5", 4), ("11_vs_11_stochastic", 11))


def bench_envs(command: BenchCommand) -> None:
    """Share of a football step spent inside the C++ engine, beside FootballEnv; DMLab2D beside its own wrapper."""
    from envs.football.bench import engine_share

    steps = command.steps or 1000
    rows: list[tuple[str, ...]] = []
    with Steps("football", len(FOOTBALL_LEVELS) * command.repeats) as progress:
        for index, (level, players) in enumerate(FOOTBALL_LEVELS):
            ours, peer = [], []
            for repeat in range(command.repeats):
                seed = command.seed + repeat
                ours.append(engine_share(level, players, steps, seed))
                peer.append(engine_share(level, players, steps // 2, seed, peer=True))
                progress.update(index * command.repeats + repeat + 1)
            for name, found in (("tandem", ours), ("FootballEnv", peer)):
                columns = [[one[key] for one in found] for key in ("share", "ms_per_step", "steps_per_s")]
                rows.append((f"{level}, {players} players", name, *map(_spread, columns)))
    _rows(
        f"football, features: {steps} random steps, {command.repeats} repeats; median (min to max), resets apart",
        ("level", "adapter", "share in engine", "ms per step", "steps/s"), rows,
    )  # fmt: skip
    _bench_lab2d(command)


def _bench_lab2d(command: BenchCommand) -> None:
    steps = command.steps or 4000
    rows = []
    for level, players in (("commons_harvest", 4), ("clean_up", 7)):
        loops = {"tandem": _lab2d_ours(level, players), "dmlab2d.Environment": _lab2d_peer(level, players)}
        speeds: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(command.repeats):
            for name, loop in loops.items():
                speeds[name].append(_speed(loop, steps))
        ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
        for name, values in speeds.items():
            rows.append(
                (f"{level}, {players} players", name, _spread(values), _spread(ratios) if name == "tandem" else "")
            )
    _rows(
        f"DMLab2D, layer view of all players, rewards and positions: {steps} random steps, {command.repeats} repeats",
        ("level", "adapter", "steps/s", "ratio"), rows,
    )  # fmt: skip


def _speed(loop: Callable[[int], Any], steps: int, device: str = "cpu") -> float:
    """Steps per second of this thread's CPU time, or of the clock where a GPU does the work."""
    import torch

    clock = time.thread_time if device == "cpu" else time.perf_counter
    wait = (lambda: None) if device == "cpu" else torch.cuda.synchronize
    wait()
    began = clock()
    loop(steps)
    wait()
    return steps / (clock() - began)


def _alternate(
    what: str, loops: dict[str, Callable[[int], Any]], steps: int, repeats: int, device: str = "cpu"
) -> dict[str, list[float]]:
    """Steps per second of each loop, in turns; a round before them warms caches and allocators up."""
    speeds: dict[str, list[float]] = {key: [] for key in loops}
    with Steps(what, (repeats + 1) * len(loops)) as progress:
        for repeat in range(repeats + 1):
            for index, (key, loop) in enumerate(loops.items()):
                speed = _speed(loop, steps, device)
                speeds[key] += [speed] * bool(repeat)
                progress.update(repeat * len(loops) + index + 1)
    return speeds


def _lab2d_ours(level: str, players: int) -> Callable[[int], None]:
    env = envs.make_team(f"lab2d/{level}", players=players)
    out, rng = env.spec.empty(), np.random.default_rng(0)
    env.reset(0, out)

    def loop(steps: int) -> None:
        for action in rng.integers(env.spec.num_actions, size=(steps, players)):
            _, _, terminated, truncated, _ = env.step(action, out)
            if terminated or truncated:
                env.reset(None, out)

    return loop


def _lab2d_peer(level: str, players: int) -> Callable[[int], None]:
    """DeepMind's own dm_env wrapper, asked for the same observations; moves only, no beams."""
    import dmlab2d
    from dmlab2d import runfiles_helper

    numbers = range(1, players + 1)
    names = [f"{n}.{what}" for n in numbers for what in ("LAYER", "REWARD", "POSITION")]
    lab = dmlab2d.Lab2d(runfiles_helper.find(), {"levelName": level, "numPlayers": str(players)})
    env, rng = dmlab2d.Environment(lab, names, seed=0), np.random.default_rng(0)
    idle = {name: np.zeros((), np.int32) for name in env.action_spec()}
    env.reset()

    def loop(steps: int) -> None:
        moves, turns = rng.integers(5, size=(steps, players)), rng.integers(-1, 2, size=(steps, players))
        for move, turn in zip(moves, turns, strict=True):
            chosen = {f"{n}.move": move[n - 1] for n in numbers} | {f"{n}.turn": turn[n - 1] for n in numbers}
            if env.step({**idle, **chosen}).last():
                env.reset()

    return loop


RUNNER_CASES: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "commons_harvest, 4 players": ("lab2d/commons_harvest", {"players": 4}, 64, 64),
    "3v1": ("football/team_3_vs_1_with_keeper", {"players": 3, "reset_pool": 16}, 8, 64),
}
"""Case -> environment, options, E, vector steps per measurement."""


def bench_runner(command: BenchCommand) -> None:
    """Environment steps per CPU second: our runner and RLlib's stock runner over the bare loop."""
    for case, (name, options, num_envs, steps) in RUNNER_CASES.items():
        env = envs.config(name, **options)
        loops = dict(_runner_loops(env, num_envs, command.seed))
        count = command.steps or steps
        found = _alternate(case, loops, count, command.repeats)
        speeds = {key: [num_envs * speed for speed in values] for key, values in found.items()}
        rows = []
        for key, values in speeds.items():
            over_bare = [a / b for a, b in zip(values, speeds["bare loop"], strict=True)]
            over_stock = [a / b for a, b in zip(values, speeds["stock runner"], strict=True)]
            rows.append((key, _spread(values), _spread(over_bare), _spread(over_stock)))
        _rows(
            f"{case}, E = {num_envs}: {count} vector steps, {command.repeats} repeats; median (min to max), CPU time",
            ("", "env steps/s", "over bare loop", "over stock runner"), rows,
        )  # fmt: skip


def _runner_loops(env: envs.EnvConfig, num_envs: int, seed: int) -> Iterator[tuple[str, Callable[[int], Any]]]:
    """Three ways to play the same environments: without a policy, with our runner, with RLlib's."""
    from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

    import marl
    from marl.algorithm import ppo_config, team_spec
    from marl.runner import TeamVecRunner

    config = marl.TrainConfig(
        env=env,
        network=NetworkConfig(hidden=64),
        runners=marl.RunnerSettings(num_runners=0, num_envs=num_envs),
        seed=seed,
    )
    settings = ppo_config(config, team_spec(env))
    teams = [envs.make_team(env) for _ in range(num_envs)]
    rng, spec = np.random.default_rng(seed), teams[0].spec
    outs = [spec.empty() for _ in teams]
    for index, team in enumerate(teams):
        team.reset(index, outs[index])

    def bare(steps: int) -> None:
        for actions in rng.integers(spec.num_actions, size=(steps, num_envs, spec.num_agents)):
            for team, action, out in zip(teams, actions, outs, strict=True):
                _, _, terminated, truncated, _ = team.step(action, out)
                if terminated or truncated:
                    team.reset(None, out)

    yield "bare loop", bare
    ours = TeamVecRunner(config=settings, worker_index=1)
    yield "TeamVecRunner", lambda steps: ours.sample(num_timesteps=steps * num_envs)
    stock = SingleAgentEnvRunner(config=settings.copy(copy_frozen=False), worker_index=1)
    yield "stock runner", lambda steps: stock.sample(num_timesteps=steps * num_envs)


def bench_sampling(command: BenchCommand) -> None:
    """Pictures per second of few steps and of many, ours and diffusers'."""
    from experiments import bench_sampling as sampling
    from generative.train import pick_device

    device = pick_device("auto")
    pictures = command.steps or (16 if device == "cpu" else 1024)
    loops, sizes = sampling.loops(device, command.seed)
    speeds = _alternate("sampling", loops, pictures, command.repeats, device)
    first = next(iter(speeds.values()))
    rows = [
        (key, f"{sizes[key]:,}", _spread(values), _spread([a / b for a, b in zip(first, values, strict=True)]))
        for key, values in speeds.items()
    ]
    _rows(
        f"{'x'.join(map(str, sampling.SHAPE))}, {device}: {pictures} pictures at a time, {command.repeats} repeats; "
        "median (min to max)", ("", "parameters", "pictures/s", "the student is faster by"), rows,
    )  # fmt: skip


MEMORY_CASES = (
    ("lab2d/commons_harvest", {"players": 4}),
    ("football/academy_3_vs_1_with_keeper", {"players": 3}),
    ("football/team_3_vs_1_with_keeper", {"players": 3, "reset_pool": 16}),
)


def bench_memory(command: BenchCommand) -> None:
    """Resident memory over many steps, each environment in a fresh process."""
    from multiprocessing import get_context

    steps = command.steps or 50_000
    rows = []
    for name, options in MEMORY_CASES:
        say(f"{name}, {steps:,} steps")
        with get_context("spawn").Pool(1) as pool:
            settled, most, last, resets = pool.apply(_memory, (name, options, steps, command.seed))
        shown = ", ".join(f"{key}={value}" for key, value in options.items())
        rows.append(
            (
                f"{name}, {shown}",
                f"{resets:,}",
                f"{settled:.1f}",
                f"{most:.1f}",
                f"{last:.1f}",
                f"{last / settled - 1:+.2%}",
            )
        )
    _rows(
        f"resident memory over {steps:,} random steps [MB]; settled: after the first tenth",
        ("environment", "resets", "settled", "largest", "last", "growth"), rows,
    )  # fmt: skip


def _memory(name: str, options: dict[str, Any], steps: int, seed: int) -> tuple[float, float, float, int]:
    import psutil

    env, rng, process = envs.make_team(name, **options), np.random.default_rng(seed), psutil.Process()
    out = env.spec.empty()
    env.reset(seed, out)
    sizes, resets = [], 0
    for step in range(steps):
        _, _, terminated, truncated, _ = env.step(rng.integers(env.spec.num_actions, size=env.spec.num_agents), out)
        if terminated or truncated:
            env.reset(None, out)
            resets += 1
        if (step + 1) % max(1, steps // 50) == 0:
            sizes.append(process.memory_info().rss / 2**20)
    after = sizes[len(sizes) // 10 :]
    return after[0], max(after), after[-1], resets
