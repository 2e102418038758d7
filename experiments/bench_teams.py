"""`tandem bench envs`, `runner` and `memory`: environments and rollouts, beside the bare loop and the peers."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import envs
from agents import NetworkConfig
from experiments import bench_timing
from experiments.bench_timing import BenchCommand
from experiments.flags import say
from experiments.progress import Steps

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
                rows.append((f"{level}, {players} players", name, *map(bench_timing.spread, columns)))
    bench_timing.show(
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
                speeds[name].append(bench_timing.speed_of(loop, steps))
        ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
        for name, values in speeds.items():
            rows.append(
                (
                    f"{level}, {players} players",
                    name,
                    bench_timing.spread(values),
                    bench_timing.spread(ratios) if name == "tandem" else "",
                )
            )
    bench_timing.show(
        f"DMLab2D, layer view of all players, rewards and positions: {steps} random steps, {command.repeats} repeats",
        ("level", "adapter", "steps/s", "ratio"), rows,
    )  # fmt: skip


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
        found = bench_timing.alternate(case, loops, count, command.repeats)
        speeds = {key: [num_envs * speed for speed in values] for key, values in found.items()}
        rows = []
        for key, values in speeds.items():
            over_bare = [a / b for a, b in zip(values, speeds["bare loop"], strict=True)]
            over_stock = [a / b for a, b in zip(values, speeds["stock runner"], strict=True)]
            rows.append(
                (key, bench_timing.spread(values), bench_timing.spread(over_bare), bench_timing.spread(over_stock))
            )
        bench_timing.show(
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
    bench_timing.show(
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
