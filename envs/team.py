"""The contract of every environment here: one team, stepped together.

A `TeamEnv` is what training sees: plain NumPy in, plain NumPy out, no dictionaries keyed by agent, no torch.
`envs.make` wraps one in PettingZoo's ParallelEnv for people. Axes: A agents of the team, E tracked entities
(teammates first, then opponents, then the ball).

An observation is a dictionary of arrays whose shapes and dtypes `TeamSpec.spaces` fixes:

| key           | shape    | meaning                                                                                  |
|---------------|----------|------------------------------------------------------------------------------------------|
| `view`        | [A, ...] | what each agent sees, in the engine's native dtype                                       |
| `shared`      | [...]    | what all teammates see alike, stored once (only the views that have such a part)         |
| `mask`        | [A]      | bool: this agent is on the pitch and obeys its action                                    |
| `who`         | [A]      | int16: the row of `positions` that agent a moves *at this step* (-1 where masked)        |
| `positions`   | [E, 2]   | float32 in [-1, 1], seen from the own team (own goal at x = -1)                          |
| `entity_mask` | [E]      | bool: the entity is there; positions of absent entities are 0                            |
"""

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

Obs = dict[str, np.ndarray]
AGENT_KEYS = ("view", "mask", "who")
"""Keys of an observation whose first axis is the agent axis; every other key is common to the team."""

OWN_SEEDS = 2**30
"""Seeds that an environment or a training run draws itself are below this; those above are for evaluation."""


class EngineMissing(RuntimeError):
    """A game engine is not installed. The message names the extra that brings it."""


@dataclass(frozen=True, kw_only=True)
class TeamSpec:
    """What is fixed for the life of a `TeamEnv`."""

    env: str
    """Full name, such as "football/academy_3_vs_1_with_keeper"."""
    view: str
    """Name of the view, such as "features" or "layer"; it decides which encoder a policy needs."""
    num_agents: int
    """A, the agents that take an action every step."""
    action_names: tuple[str, ...]
    """The discrete actions, the same for every agent; an action is an index into it."""
    spaces: dict[str, gym.spaces.Box]
    """Shape and dtype of every array of an observation."""
    entity_kinds: tuple[str, ...]
    """One of "teammate", "opponent", "ball" for each of the E rows of `positions`."""
    step_scale: tuple[float, float]
    """About the largest ordinary displacement (x, y) of an entity in one step, in units of `positions`:
    the unit in which displacements are predicted and errors reported."""
    max_steps: int
    """Steps after which an episode is truncated."""
    view_vocab: int | None = None
    """Number of distinct ids where `view` holds categorical ids (to be embedded), else None."""
    metrics: tuple[str, ...] = ()
    """Names of the numbers in `info["episode"]` at the end of an episode."""
    num_opponents: int = 0
    """Opponents that the caller controls too (0: the engine plays them)."""
    meta: dict[str, Any] = field(default_factory=dict)
    """Facts for drawing and reports only (field size, level map and so on); JSON-serialisable."""

    @property
    def num_actions(self) -> int:
        return len(self.action_names)

    @property
    def num_entities(self) -> int:
        return len(self.entity_kinds)

    def empty(self, *lead: int) -> Obs:
        """Zeroed arrays for observations with leading axes `lead`, for buffers that `reset` and `step` write into."""
        return {key: np.zeros((*lead, *box.shape), box.dtype) for key, box in self.spaces.items()}


@runtime_checkable
class TeamEnv(Protocol):
    """One team, stepped together.

    `out` is an observation-shaped dictionary of arrays to write into (a slice of a rollout buffer); without it fresh
    arrays are returned. Either way the returned dictionary holds the new observation, and no array that was handed out
    changes later unless the caller passes it as `out` again.
    """

    spec: TeamSpec

    def reset(self, seed: int | None = None, out: Obs | None = None) -> Obs:
        """Starts an episode. The same seed and actions give the same episode, in this object or a fresh one.
        Without a seed the next one of this object's own sequence is used."""
        ...

    def step(self, actions: np.ndarray, out: Obs | None = None) -> tuple[Obs, np.ndarray, bool, bool, dict[str, Any]]:
        """actions: int [A]. Returns obs, rewards float32 [A], terminated, truncated, info.

        The observation of the last step is the final one of the episode, never that of a reset. A time limit is a
        truncation. On the last step `info["episode"]` maps `spec.metrics` to floats.

        Raises: ValueError for a wrong shape or an action out of range; RuntimeError when the episode is over or has
        not begun.
        """
        ...

    def draw(self, attention: np.ndarray | None = None) -> np.ndarray:
        """A picture of the present state, uint8 [H, W, 3], without GPU or display.

        attention: [A, A] weights, drawn as lines from the agent that asks to the one that answers.
        """
        ...

    def close(self) -> None:
        """Gives the engine back. Calling it twice is fine."""
        ...


def check_actions(actions: np.ndarray, spec: TeamSpec) -> np.ndarray:
    """`actions` as an integer array [A]. Raises ValueError that names the offending agent and value."""
    actions = np.asarray(actions)
    if actions.shape != (spec.num_agents,) or actions.dtype.kind not in "iu":
        raise ValueError(
            f"actions of {spec.env} must be {spec.num_agents} integers, one per agent; "
            f"got shape {actions.shape}, dtype {actions.dtype}"
        )
    if actions.min() < 0 or actions.max() >= spec.num_actions:
        agent = int(np.argmax((actions < 0) | (actions >= spec.num_actions)))
        raise ValueError(
            f"action {int(actions[agent])} of agent {agent} does not exist in {spec.env}; "
            f"allowed: 0 to {spec.num_actions - 1}"
        )
    return actions


def one_of(what: str, value: object, allowed: list[str] | tuple[str, ...]) -> None:
    """Raises ValueError naming the value and what is allowed unless `value` is in `allowed`."""
    if value not in allowed:
        raise ValueError(f"{what} {value!r} does not exist; allowed: {', '.join(allowed)}")
