"""Evaluation on held-out seeds.

Every episode has its own engine seed and its own generator for sampled actions, so the result of an episode does not
depend on how many are played side by side.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

import agents
import envs
from agents.policy import gumbel
from marl.seeds import eval_seed

RANDOM = "random"
"""Name of the policy that draws every action uniformly."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One finished episode."""

    number: int
    seed: int
    length: int
    """Environment steps."""
    return_mean: float
    """Undiscounted return, mean over agents."""
    metrics: dict[str, float]
    """The environment's own numbers (goals, social metrics)."""

    def values(self) -> dict[str, float]:
        return {"return_mean": self.return_mean, "episode_length": float(self.length), **self.metrics}


def confidence_interval(values: np.ndarray) -> tuple[float, float]:
    """95% interval of a mean. For values in {0, 1} Wilson's score interval (1927), else Student's t.

    A single value, or equal values that are not 0 or 1, give an interval of no width.
    """
    values = np.asarray(values, dtype=np.float64)
    count, mean = len(values), float(values.mean())
    if np.isin(values, (0.0, 1.0)).all():
        z2 = 1.959964**2
        centre = (mean + z2 / (2 * count)) / (1 + z2 / count)
        half = np.sqrt(z2 * (mean * (1 - mean) / count + z2 / (4 * count**2))) / (1 + z2 / count)
        return float(max(0.0, centre - half)), float(min(1.0, centre + half))
    if count < 2:
        return mean, mean
    from scipy.stats import t  # scipy takes a second to import, and only this line needs it

    half = float(t.ppf(0.975, count - 1)) * values.std(ddof=1) / np.sqrt(count)
    return mean - half, mean + half


def summarise(episodes: list[Episode]) -> dict[str, dict[str, float]]:
    """Each number's mean and 95% interval: {name: {"mean", "low", "high"}}."""
    summary = {}
    for name in episodes[0].values():
        column = np.array([episode.values()[name] for episode in episodes])
        low, high = confidence_interval(column)
        summary[name] = {"mean": float(column.mean()), "low": low, "high": high}
    return summary


class _Slot:
    """One environment and the episode it is playing."""

    def __init__(self, env: envs.TeamEnv) -> None:
        self.env = env

    def start(self, number: int, seed: int) -> None:
        self.number, self.seed = number, eval_seed(seed, number)
        self.rng = np.random.default_rng((self.seed, 2))
        self.obs = self.env.reset(self.seed)
        self.length, self.total = 0, np.zeros(self.env.spec.num_agents)

    def step(self, actions: np.ndarray) -> Episode | None:
        self.obs, rewards, terminated, truncated, info = self.env.step(actions)
        self.length += 1
        self.total += rewards
        if not (terminated or truncated):
            return None
        return Episode(
            number=self.number,
            seed=self.seed,
            length=self.length,
            return_mean=float(self.total.mean()),
            metrics=dict(info.get("episode", {})),
        )


def _actions(policy: agents.Policy | None, slots: list[_Slot], deterministic: bool) -> np.ndarray:
    """[len(slots), A]"""
    spec = slots[0].env.spec
    if policy is None:
        return np.stack([slot.rng.integers(spec.num_actions, size=spec.num_agents) for slot in slots])
    batch = {key: np.stack([slot.obs[key] for slot in slots]) for key in spec.spaces}
    logits = policy.output(batch).logits.cpu().numpy()
    if not deterministic:
        noise = np.stack([slot.rng.random(logits.shape[1:], dtype=np.float32) for slot in slots])
        logits = logits + gumbel(noise)
    return logits.argmax(-1)


def play(
    policy: agents.Policy | None,
    env: envs.EnvConfig,
    numbers: list[int],
    *,
    seed: int = 0,
    deterministic: bool = False,
    num_envs: int = 20,
) -> Iterator[Episode]:
    """Plays the episodes `numbers`, up to `num_envs` side by side, and yields each as it ends.

    Args: policy: None plays uniformly random actions; env: snapshot pools are switched off.
    Raises: ValueError where the policy was made for other observations or actions.
    """
    env = envs.for_evaluation(env)
    slots = [_Slot(envs.make_team(env)) for _ in range(min(num_envs, len(numbers)))]
    try:
        if policy is not None:
            differences = policy.spec.differences(agents.ObservationSpec.from_team(slots[0].env.spec))
            if differences:
                raise ValueError(f"the policy does not fit {slots[0].env.spec.env}: {differences[0]}")
        waiting = list(numbers)
        for slot in slots:
            slot.start(waiting.pop(0), seed)
        playing = list(slots)
        while playing:
            done = []
            for slot, action in zip(playing, _actions(policy, playing, deterministic), strict=True):
                episode = slot.step(action)
                if episode is None:
                    continue
                yield episode
                if waiting:
                    slot.start(waiting.pop(0), seed)
                else:
                    done.append(slot)
            playing = [slot for slot in playing if slot not in done]
    finally:
        for slot in slots:
            slot.env.close()


def _play_share(args: tuple[str | None, envs.EnvConfig, list[int], dict[str, Any]]) -> list[Episode]:
    folder, env, numbers, options = args
    torch.set_num_threads(1)
    return list(play(agents.load(folder) if folder else None, env, numbers, **options))


def evaluate(
    policy: agents.Policy | str | Path,
    env: envs.EnvConfig,
    *,
    episodes: int,
    seed: int = 0,
    deterministic: bool = False,
    num_envs: int = 20,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Episode]:
    """Plays `episodes` held-out episodes and returns them in order.

    Args:
        policy: a policy, a folder that `agents.load` understands, or "random".
        workers: processes; more than one needs `policy` as a folder or "random".
        progress: called with (done, total) as episodes end.
    Raises: ValueError for a count below 1, and as `agents.load` and `play`.
    """
    for name, count in (("episodes", episodes), ("num_envs", num_envs), ("workers", workers)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    options = {"seed": seed, "deterministic": deterministic, "num_envs": num_envs}
    done: list[Episode] = []

    def collect(part: list[Episode]) -> None:
        done.extend(part)
        if progress:
            progress(len(done), episodes)

    if workers > 1 and not isinstance(policy, agents.Policy):
        folder = None if policy == RANDOM else str(policy)
        shares = [list(range(start, episodes, 4 * workers)) for start in range(min(4 * workers, episodes))]
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for part in pool.map(_play_share, [(folder, env, share, options) for share in shares]):
                collect(part)
    else:
        loaded = policy if isinstance(policy, agents.Policy) else None if policy == RANDOM else agents.load(policy)
        for episode in play(loaded, env, list(range(episodes)), **options):
            collect([episode])
    return sorted(done, key=lambda episode: episode.number)


def write_jsonl(path: Path, episodes: list[Episode]) -> None:
    """One line per episode, so that any statistics can be redone."""
    lines = [json.dumps({"number": e.number, "seed": e.seed, **e.values()}) for e in episodes]
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text("\n".join(lines) + "\n")
    temporary.replace(path)


def read_jsonl(path: Path) -> list[Episode]:
    """The inverse of `write_jsonl`. Raises ValueError if the file is damaged."""
    episodes = []
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            fixed = {name: row.pop(name) for name in ("number", "seed", "return_mean")}
            episodes.append(Episode(length=int(row.pop("episode_length")), metrics=row, **fixed))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read as episodes: {error}") from None
    return episodes
