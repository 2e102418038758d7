"""The actions of football: names, the engine's codes, mirroring and the sticky ones.

A direction, sprint or dribble is sticky: it stays on until it is replaced or released. The engine changes these states
only when an action is performed, so they are tracked here (a test holds them against the engine's own).
"""

from collections.abc import Sequence

import numpy as np

ACTION_NAMES = (
    "idle", "left", "top_left", "top", "top_right", "right", "bottom_right", "bottom", "bottom_left", "long_pass",
    "high_pass", "short_pass", "shot", "sprint", "release_direction", "release_sprint", "sliding", "dribble",
    "release_dribble",
)  # fmt: skip
"""gfootball's default action set, in its order; directions are as seen by a team that plays from left to right."""
BUILTIN_AI = "builtin_ai"
STICKY_NAMES = (*ACTION_NAMES[1:9], "sprint", "dribble")
NUM_STICKY = len(STICKY_NAMES)

IDLE, LEFT, RIGHT, SHORT_PASS = (ACTION_NAMES.index(name) for name in ("idle", "left", "right", "short_pass"))
_SPRINT, _DRIBBLE = STICKY_NAMES.index("sprint"), STICKY_NAMES.index("dribble")


def mirrored(action: int) -> int:
    """The action whose effect on the right team is that of `action` on the left one."""
    return (action + 3) % 8 + 1 if LEFT <= action <= LEFT + 7 else action


def _effects() -> tuple[np.ndarray, np.ndarray]:
    """keep [20, 10] and set [20, 10]: sticky state after action a is `state * keep[a] + set[a]`."""
    names = (*ACTION_NAMES, BUILTIN_AI)
    keep = np.ones((len(names), NUM_STICKY), np.float32)
    on = np.zeros_like(keep)
    for action, name in enumerate(names):
        if LEFT <= action <= LEFT + 7:
            keep[action, :8] = 0
            on[action, action - LEFT] = 1
        elif name == "release_direction":
            keep[action, :8] = 0
        elif name == BUILTIN_AI:
            keep[action] = 0
        elif name.removeprefix("release_") in ("sprint", "dribble"):
            slot = _SPRINT if name.endswith("sprint") else _DRIBBLE
            keep[action, slot] = 0
            on[action, slot] = not name.startswith("release_")
    return keep, on


_KEEP, _ON = _effects()


def update_sticky(state: np.ndarray, actions: Sequence[int]) -> None:
    """Applies actions [A] to the sticky states [A, 10], in place."""
    state *= _KEEP[np.asarray(actions)]
    state += _ON[np.asarray(actions)]
