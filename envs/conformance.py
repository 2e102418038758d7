"""A conformance check for any `TeamEnv`, stricter than PettingZoo's.

    from envs.conformance import check
    check(lambda: MyTeamEnv(...))           # raises ConformanceError at the first broken rule

Build the environment with short episodes (or give enough `steps`), so that their ends are reached.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from envs.team import AGENT_KEYS, Obs, TeamEnv, TeamSpec

_KINDS = ("teammate", "opponent", "ball")
_OTHER_KEYS = ("shared", "positions", "entity_mask")


class ConformanceError(AssertionError):
    """An environment breaks a rule of `envs.team`. The message says which one, and where."""


@dataclass
class _Episode:
    """One episode as it was handed out: T + 1 observations, T of everything else."""

    seed: int
    obs: list[Obs]
    copies: list[Obs]
    """The observations as they were when they were handed out."""
    rewards: list[np.ndarray] = field(default_factory=list)
    ends: list[tuple[bool, bool]] = field(default_factory=list)
    infos: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return bool(self.ends) and any(self.ends[-1])


def check(make_env: Callable[[], TeamEnv], *, episodes: int = 2, steps: int = 200, seed: int = 0) -> tuple[str, ...]:
    """Plays a few episodes several times over and checks every rule of `envs.team`.

    Args: make_env: makes a fresh environment; episodes: number of seeds; steps: most steps per episode; seed: first.
    Returns: the rules that no episode got far enough to check (empty: all were checked).
    Raises: ConformanceError naming the broken rule and where.
    """
    env, twin = make_env(), make_env()
    spec = env.spec
    _check_spec(env)
    _expect_runtime_error(env, "step before the first reset")
    played = []
    for number in range(episodes):
        actions = np.random.default_rng([seed, number]).integers(0, spec.num_actions, (steps, spec.num_agents))
        first = _play(env, seed + number, actions)
        _check_episode(first, spec)
        if first.ended:
            _expect_runtime_error(env, "step after the end of an episode")
        _compare("two objects with the same seed and actions", first, _play(twin, seed + number, actions, draw=True))
        _compare("the same object, reset with the same seed", first, _play(env, seed + number, actions, provoke=True))
        _compare("`out` instead of fresh arrays", first, _play_into(twin, first, actions))
        _check_next_seed(env, twin)
        for t, (handed, copy) in enumerate(zip(first.obs, first.copies, strict=True)):
            _compare_obs("an array that was handed out changed later", handed, copy, f"step {t}, {_of(first)}")
        played.append((first, actions))
    _check_seeds_differ([episode for episode, _ in played])
    ended = [(episode, actions) for episode, actions in played if episode.ended]
    _check_final_observation(twin, ended)
    for each in (env, env, twin, twin):
        each.close()
    _expect_runtime_error(env, "step after close")
    missed = () if ended else ("step after the end", "final observation", "info of the last step")
    return missed if any(episode.ends[-1][1] for episode, _ in ended) else (*missed, "truncation")


def _fail(rule: str, what: str, where: str) -> None:
    raise ConformanceError(f"{rule}: {what} ({where})")


def _of(episode: _Episode) -> str:
    return f"episode with seed {episode.seed}"


def _act(env: TeamEnv, actions: np.ndarray, out: Obs | None = None) -> tuple[Obs, np.ndarray, bool, bool, dict]:
    """A step; opponents, where the caller controls them, do the first action."""
    if not env.spec.num_opponents:
        return env.step(actions, out)
    return cast(Any, env).step(actions, out, opponent_actions=np.zeros(env.spec.num_opponents, np.int64))


def _play(env: TeamEnv, seed: int, actions: np.ndarray, *, draw: bool = False, provoke: bool = False) -> _Episode:
    """An episode with fresh arrays. draw: look at pictures on the way; provoke: try bad actions on the way."""
    obs = env.reset(seed)
    episode = _Episode(seed, [obs], [_copy(obs)])
    for t, action in enumerate(actions):
        if draw and t < 3:
            _check_picture(env.draw())
            _check_opponents(env)
        if provoke and t < 3:
            _check_bad_actions(env)
        obs, rewards, terminated, truncated, info = _act(env, action)
        episode.obs.append(obs)
        episode.copies.append(_copy(obs))
        episode.rewards.append(np.copy(rewards))
        episode.ends.append((terminated, truncated))
        episode.infos.append(info)
        if terminated or truncated:
            break
    return episode


def _play_into(env: TeamEnv, like: _Episode, actions: np.ndarray) -> _Episode:
    """The same episode again, written into arrays that hold something wrong everywhere."""
    into = [{key: _other(value) for key, value in obs.items()} for obs in like.copies]
    returned = env.reset(like.seed, out=into[0])
    episode = _Episode(like.seed, into, [_copy(into[0])])
    for t, action in enumerate(actions[: len(like.ends)]):
        _compare_obs("the returned observation differs from `out`", returned, into[t], f"step {t}, {_of(like)}")
        returned, rewards, terminated, truncated, info = _act(env, action, into[t + 1])
        episode.copies.append(_copy(into[t + 1]))
        episode.rewards.append(np.copy(rewards))
        episode.ends.append((terminated, truncated))
        episode.infos.append(info)
    return episode


def _copy(obs: Obs) -> Obs:
    return {key: np.copy(value) for key, value in obs.items()}


def _other(value: np.ndarray) -> np.ndarray:
    """An array of the same shape and dtype that differs from `value` everywhere."""
    return ~value if value.dtype == np.bool_ else (value + 1).astype(value.dtype)


def _check_spec(env: TeamEnv) -> None:
    spec, where = env.spec, "spec"
    if not isinstance(env, TeamEnv):
        _fail("protocol", "reset, step, draw, close or spec is missing", where)
    for key in (*AGENT_KEYS, "positions", "entity_mask"):
        if key not in spec.spaces:
            _fail("spaces", f"{key!r} is missing", where)
    for key in spec.spaces:
        if key not in (*AGENT_KEYS, *_OTHER_KEYS):
            _fail("spaces", f"{key!r} is not a key of the contract", where)
    agents, entities = spec.num_agents, spec.num_entities
    shapes = {"mask": (agents,), "who": (agents,), "positions": (entities, 2), "entity_mask": (entities,)}
    dtypes = {"mask": np.bool_, "who": np.int16, "positions": np.float32, "entity_mask": np.bool_}
    for key, shape in shapes.items():
        if spec.spaces[key].shape != shape or spec.spaces[key].dtype != dtypes[key]:
            _fail("spaces", f"{key!r} must be {np.dtype(dtypes[key]).name} {shape}, is {spec.spaces[key]}", where)
    if spec.spaces["view"].shape[:1] != (agents,):
        _fail("spaces", f"the first axis of 'view' must be the {agents} agents, is {spec.spaces['view']}", where)
    if list(spec.entity_kinds) != sorted(spec.entity_kinds, key=_KINDS.index):
        _fail("entity_kinds", f"teammates, opponents, ball must come in this order; got {spec.entity_kinds}", where)
    if len(set(spec.action_names)) != spec.num_actions or spec.num_actions < 1:
        _fail("action_names", f"must be distinct and at least one; got {spec.action_names}", where)
    if spec.view_vocab is not None and spec.spaces["view"].high.max() != spec.view_vocab - 1:
        _fail("view_vocab", f"{spec.view_vocab} ids do not fit the space {spec.spaces['view']}", where)
    if spec.max_steps < 1 or min(spec.step_scale) <= 0:
        _fail("spec", f"max_steps {spec.max_steps} and step_scale {spec.step_scale} must be positive", where)


def _check_episode(episode: _Episode, spec: TeamSpec) -> None:
    for t, obs in enumerate(episode.obs):
        check_observation(obs, spec, f"step {t}, {_of(episode)}")
    rows = zip(episode.rewards, episode.ends, episode.infos, strict=True)
    for t, (rewards, (terminated, truncated), info) in enumerate(rows, start=1):
        where = f"step {t}, {_of(episode)}"
        if rewards.dtype != np.float32 or rewards.shape != (spec.num_agents,) or not np.isfinite(rewards).all():
            _fail("rewards", f"must be finite float32 [{spec.num_agents}]; got {rewards.dtype} {rewards!r}", where)
        if type(terminated) is not bool or type(truncated) is not bool:
            _fail("ends", f"terminated and truncated must be bool; got {terminated!r}, {truncated!r}", where)
        if terminated and truncated:
            _fail("ends", "terminated and truncated at once", where)
        if truncated and t != spec.max_steps:
            _fail("ends", f"truncated before max_steps {spec.max_steps}", where)
        if t >= spec.max_steps and not (terminated or truncated):
            _fail("ends", f"neither terminated nor truncated at max_steps {spec.max_steps}", where)
        _check_info(info, terminated or truncated, spec, where)


def check_observation(obs: Obs, spec: TeamSpec, where: str) -> None:
    """Checks one observation against `spec`. Raises: ConformanceError; `where` ends its message."""
    if set(obs) != set(spec.spaces):
        _fail("keys", f"must be {sorted(spec.spaces)}, are {sorted(obs)}", where)
    for key, box in spec.spaces.items():
        value = obs[key]
        if not isinstance(value, np.ndarray) or value.dtype != box.dtype or value.shape != box.shape:
            got = f"{getattr(value, 'dtype', type(value).__name__)} {np.shape(value)}"
            _fail("shape and dtype", f"{key!r} must be {box.dtype} {box.shape}, is {got}", where)
        if not box.contains(value):
            _fail("space", f"{key!r} is outside {box}: {value.min()} to {value.max()}", where)
    present = obs["entity_mask"]
    if obs["positions"][~present].any():
        row = int(np.flatnonzero(~present & obs["positions"].any(1))[0])
        _fail("positions", f"entity {row} is absent and its position is {obs['positions'][row]}, not 0", where)
    _check_who(obs, spec, where)


def _check_who(obs: Obs, spec: TeamSpec, where: str) -> None:
    rows = []
    for agent, (here, row) in enumerate(zip(obs["mask"].tolist(), obs["who"].tolist(), strict=True)):
        if not here and row != -1:
            _fail("who", f"agent {agent} is absent and moves entity {row}; must be -1", where)
        if here and not 0 <= row < spec.num_entities:
            _fail(
                "who", f"agent {agent} is present and moves entity {row}; allowed: 0 to {spec.num_entities - 1}", where
            )
        if here and spec.entity_kinds[row] != "teammate":
            _fail("who", f"agent {agent} moves entity {row}, which is a {spec.entity_kinds[row]}", where)
        rows += [row] if here else []
    if len(set(rows)) != len(rows):
        _fail("who", f"two agents move the same entity: {rows}", where)


def _check_info(info: dict[str, Any], over: bool, spec: TeamSpec, where: str) -> None:
    if not over:
        if "episode" in info:
            _fail("info", "'episode' before the end", where)
        return
    numbers = info.get("episode")
    if not isinstance(numbers, dict) or set(numbers) != set(spec.metrics):
        _fail("info", f"'episode' must have exactly {sorted(spec.metrics)}; got {numbers}", where)
    for name, value in cast(dict, numbers).items():
        if type(value) is not float or not np.isfinite(value):
            _fail("info", f"metric {name!r} must be a finite float; got {value!r}", where)


def _check_picture(picture: np.ndarray) -> None:
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        got = f"{getattr(picture, 'dtype', type(picture).__name__)} {np.shape(picture)}"
        _fail("draw", f"must be uint8 [H, W, 3], is {got}", "draw()")


def _check_opponents(env: TeamEnv) -> None:
    """Where the caller controls opponents, they see arrays like the team's, with an axis of their own number."""
    if not env.spec.num_opponents:
        return
    obs = cast(Any, env).observe_opponents()
    if set(obs) != set(env.spec.spaces):
        _fail("opponents", f"keys must be {sorted(env.spec.spaces)}, are {sorted(obs)}", "observe_opponents()")
    for key, box in env.spec.spaces.items():
        shape = (env.spec.num_opponents, *box.shape[1:]) if key in AGENT_KEYS else box.shape
        if obs[key].shape != shape or obs[key].dtype != box.dtype:
            got = f"{obs[key].dtype} {obs[key].shape}"
            _fail("opponents", f"{key!r} must be {box.dtype} {shape}, is {got}", "observe_opponents()")


def _check_bad_actions(env: TeamEnv) -> None:
    spec = env.spec
    good = np.zeros(spec.num_agents, np.int64)
    for value in (-1, spec.num_actions):
        bad = good.copy()
        bad[-1] = value
        _expect_value_error(env, bad, str(value))
    _expect_value_error(env, np.zeros(spec.num_agents + 1, np.int64), str(spec.num_agents + 1))
    _expect_value_error(env, good + 0.5, "float64")


def _expect_value_error(env: TeamEnv, actions: np.ndarray, named: str) -> None:
    try:
        _act(env, actions)
    except ValueError as error:
        if named not in str(error):
            _fail("bad actions", f"the message for {actions} does not name {named}: {error}", "step")
        return
    except Exception as error:
        raise ConformanceError(f"bad actions: {actions} raised {error!r}, not ValueError (step)") from error
    _fail("bad actions", f"{actions} was accepted", "step")


def _expect_runtime_error(env: TeamEnv, rule: str) -> None:
    try:
        _act(env, np.zeros(env.spec.num_agents, np.int64))
    except RuntimeError:
        return
    except Exception as error:
        raise ConformanceError(f"{rule}: raised {error!r}, not RuntimeError (step)") from error
    _fail(rule, "was accepted, must raise RuntimeError", "step")


def _compare_obs(rule: str, one: Obs, other: Obs, where: str) -> None:
    for key in one:
        if not np.array_equal(one[key], other[key], equal_nan=one[key].dtype.kind == "f"):
            _fail(rule, f"{key!r} differs", where)


def _compare(rule: str, one: _Episode, other: _Episode) -> None:
    if len(one.ends) != len(other.ends):
        _fail(rule, f"{len(one.ends)} steps against {len(other.ends)}", _of(one))
    for t, (left, right) in enumerate(zip(one.copies, other.copies, strict=True)):
        _compare_obs(rule, left, right, f"step {t}, {_of(one)}")
    for t in range(len(one.ends)):
        where = f"step {t + 1}, {_of(one)}"
        if not np.array_equal(one.rewards[t], other.rewards[t]):
            _fail(rule, f"rewards {one.rewards[t]} against {other.rewards[t]}", where)
        if one.ends[t] != other.ends[t] or one.infos[t].get("episode") != other.infos[t].get("episode"):
            _fail(rule, "the ends or the episode numbers differ", where)


def _same(one: Obs, other: Obs) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in one)


def _check_next_seed(env: TeamEnv, twin: TeamEnv) -> None:
    """Two objects with the same history go on alike without a seed."""
    _compare_obs("reset without a seed", env.reset(), twin.reset(), "after the same history")


def _check_seeds_differ(played: list[_Episode]) -> None:
    if len(played) > 1 and all(_same(a, b) for a, b in zip(played[0].copies, played[1].copies, strict=False)):
        _fail("seeds", "two seeds give the same observations", f"seeds {played[0].seed} and {played[1].seed}")


def _check_final_observation(env: TeamEnv, ended: list[tuple[_Episode, np.ndarray]]) -> None:
    """The last observation is not that of the reset that would follow. By chance a tiny game may end as it begins, so
    only all episodes together count."""
    for episode, actions in ended:
        env.reset(episode.seed)
        for action in actions[: len(episode.ends) - 1]:
            _act(env, action)
        following = env.reset()  # what an environment that resets itself would have shown
        if not any(_same(episode.copies[-1], start) for start in (episode.copies[0], following)):
            return
    if ended:
        _fail("final observation", "the last observation of the episode is that of a reset", _of(ended[0][0]))
