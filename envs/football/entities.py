"""The view `entities`: a table of everything on the pitch, stored once for the team, and each agent's own extras.

`shared` [E, 24] float32 has a row per entity (own players, other players, ball) and the columns ENTITY_NAMES; rows of
absent entities are zero. `view` [A, 20] holds the agent's sticky actions and the state of the game; `who` says which
row is the agent's own player.
"""

import numpy as np

from envs.football.actions import NUM_STICKY, STICKY_NAMES
from envs.football.features import BALL_HEIGHT_M, GAME_NAMES, MOVE_SCALE, Seen, unbounded, write_game
from envs.football.frame import ACTIVE, DX, ROLES, TIRED

ENTITY_NAMES = (
    "present", "is_teammate", "is_opponent", "is_ball", "x", "y", "dx", "dy", "z", "dz", "has_ball", "tired",
    "yellow_card", "controlled", *(f"role_{role}" for role in ROLES),
)  # fmt: skip
"""Columns of `shared`; positions and displacements are scaled as in the view `features`."""
EXTRA_NAMES = (*(f"sticky_{name}" for name in STICKY_NAMES), *GAME_NAMES)
"""Columns of `view`."""
_X, _DX, _Z, _HAS_BALL, _TIRED, _CONTROLLED, _ROLE = (
    ENTITY_NAMES.index(name) for name in ("x", "dx", "z", "has_ball", "tired", "controlled", f"role_{ROLES[0]}")
)


class Entities:
    """Writes the view for one team."""

    def __init__(self, num_agents: int, own: int, other: int, max_steps: int) -> None:
        entities = own + other + 1
        self.boxes = {
            "view": unbounded(num_agents, len(EXTRA_NAMES)),
            "shared": unbounded(entities, len(ENTITY_NAMES)),
        }
        self._max_steps = max_steps
        self._scratch = np.zeros((entities, len(ENTITY_NAMES)), np.float32)
        kinds = np.repeat(np.arange(3), (own, other, 1))
        self._scratch[np.arange(entities), 1 + kinds] = 1
        self._kinds = self._scratch[:, 1:4].copy()
        self._one_hot_roles = np.eye(len(ROLES), dtype=np.float32)

    def write(self, seen: Seen, out: dict[str, np.ndarray]) -> None:
        """Fills out["view"] and out["shared"]."""
        frame, table, players = seen.frame, self._scratch, seen.frame.num_players
        source = frame.table
        table[:, 0] = source[:, ACTIVE]
        table[:, 1:4] = self._kinds
        table[:, _X : _X + 2] = seen.positions
        np.multiply(source[:, DX : DX + 2], MOVE_SCALE, out=table[:, _DX : _DX + 2])
        table[players, _Z] = frame.ball_z / BALL_HEIGHT_M
        table[players, _Z + 1] = frame.ball_dz / BALL_HEIGHT_M
        table[:, _HAS_BALL] = 0
        if frame.owner >= 0:
            table[frame.owner, _HAS_BALL] = 1
        table[:, _TIRED : _TIRED + 2] = source[:, TIRED : TIRED + 2]
        table[:, _CONTROLLED] = 0
        table[seen.who[seen.mask], _CONTROLLED] = 1
        table[:players, _ROLE:] = self._one_hot_roles[frame.roles]
        np.multiply(table, table[:, :1], out=out["shared"])
        view = out["view"]
        view[:, :NUM_STICKY] = seen.sticky
        write_game(frame, self._max_steps, view[:, NUM_STICKY:])
        if not seen.mask.all():
            view[~seen.mask] = 0
