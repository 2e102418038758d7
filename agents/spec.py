"""What a network must know about an environment, as plain data: it travels in a checkpoint and needs no engine."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agents.reading import check_types

_LARGEST = 2**31 - 1
"""Numbers in one array of a description that comes from elsewhere, at most."""
_DTYPES = ("bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float32", "float64")


@dataclass(frozen=True, kw_only=True)
class ObservationSpec:
    """Shapes of one team's observation and action. A agents, E tracked entities."""

    env: str
    """Full name of the environment, for messages and for `tandem eval`."""
    view: str
    """Name of the view; it selects the encoder."""
    num_agents: int
    num_actions: int
    entity_kinds: tuple[str, ...]
    """Kind of each of the E entities, teammates first."""
    shapes: dict[str, tuple[int, ...]]
    """Observation key -> shape."""
    dtypes: dict[str, str]
    """Observation key -> NumPy dtype name."""
    view_vocab: int | None = None
    """Number of ids where the view is categorical."""
    step_scale: tuple[float, float] = (1.0, 1.0)
    """Unit of predicted displacements (x, y), in units of `positions`."""

    @classmethod
    def from_team(cls, spec: Any) -> "ObservationSpec":
        """From the `spec` of a team environment (its fields are read by name, so any look-alike will do)."""
        return cls(
            env=spec.env,
            view=spec.view,
            num_agents=spec.num_agents,
            num_actions=spec.num_actions,
            entity_kinds=tuple(spec.entity_kinds),
            shapes={key: tuple(box.shape) for key, box in spec.spaces.items()},
            dtypes={key: np.dtype(box.dtype).name for key, box in spec.spaces.items()},
            view_vocab=spec.view_vocab,
            step_scale=tuple(spec.step_scale),
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ObservationSpec":
        """The inverse of `to_json`. Raises ValueError naming the field that is missing, unknown, of another type, or
        does not fit the rest."""
        try:
            spec = cls(
                **{
                    **data,
                    "entity_kinds": tuple(data["entity_kinds"]),
                    "shapes": {key: tuple(shape) for key, shape in data["shapes"].items()},
                    "step_scale": tuple(data["step_scale"]),
                }
            )
        except KeyError as error:
            raise ValueError(f"the description of an observation has no field {error}") from None
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not the description of an observation: {error}") from None
        check_types(spec)
        spec._check()
        return spec

    def _check(self) -> None:
        """Raises ValueError for a description whose arrays could not exist."""
        counts = {"num_agents": self.num_agents, "num_actions": self.num_actions, "view_vocab": self.view_vocab}
        for name, count in counts.items():
            if count is not None and not 1 <= count <= _LARGEST:
                raise ValueError(f"{name} must be at least 1 and at most {_LARGEST}, got {count}")
        if min(self.step_scale) <= 0:
            raise ValueError(f"step_scale must be positive, got {self.step_scale}")
        agents, entities = self.num_agents, self.num_entities
        fixed = {"mask": (agents,), "who": (agents,), "positions": (entities, 2), "entity_mask": (entities,)}
        if set(self.shapes) != set(self.dtypes) or not {"view", *fixed} <= set(self.shapes):
            raise ValueError(f"the observation's arrays are {', '.join(self.shapes)}; some are missing")
        for key, shape in self.shapes.items():
            if min(shape, default=1) < 1 or math.prod(shape) > _LARGEST:
                raise ValueError(f"the shape of {key!r} is {shape}")
            if self.dtypes[key] not in _DTYPES:
                raise ValueError(f"the dtype of {key!r} is {self.dtypes[key]!r}")
            if shape != fixed.get(key, shape):
                raise ValueError(f"the shape of {key!r} is {shape}, not {fixed[key]}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def num_entities(self) -> int:
        return len(self.entity_kinds)

    def differences(self, other: "ObservationSpec") -> list[str]:
        """The fields in which `other` does not fit a network built for this one, as readable sentences."""
        pairs = [
            (name, getattr(other, name), getattr(self, name))
            for name in ("view", "num_agents", "num_actions", "view_vocab", "entity_kinds")
        ]
        for what, theirs, ours in (("shape", other.shapes, self.shapes), ("dtype", other.dtypes, self.dtypes)):
            pairs += [(f"{what} of {key!r}", theirs.get(key), ours.get(key)) for key in {**ours, **theirs}]
        return [
            f"{name} is {theirs!r}, the network was built for {ours!r}"
            for name, theirs, ours in pairs
            if theirs != ours
        ]
