"""The actions of football: names, the engine's codes, mirroring and the sticky ones.

A direction, sprint or dribble is sticky: it stays on until it is replaced or released. The engine changes these states
only when an action is performed, so they are tracked here (a test holds them against the engine's own).
"""

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


def mirrored(action: int) -> int:
    """The action whose effect on the right team is that of `action` on the left one."""
    return (action + 3) % 8 + 1 if LEFT <= action <= LEFT + 7 else action


def _effects() -> list[tuple[int, int, int] | None]:
    """For every action: the sticky slots it clears (from, to) and the one it sets (-1 for none), or None."""
    everything, directions = (0, NUM_STICKY), (0, 8)
    effects: list[tuple[int, int, int] | None] = [None] * (len(ACTION_NAMES) + 1)
    for action in range(LEFT, LEFT + 8):
        effects[action] = (*directions, action - LEFT)
    for name in ("sprint", "dribble"):
        slot = STICKY_NAMES.index(name)
        effects[ACTION_NAMES.index(name)] = (slot, slot + 1, slot)
        effects[ACTION_NAMES.index(f"release_{name}")] = (slot, slot + 1, -1)
    effects[ACTION_NAMES.index("release_direction")] = (*directions, -1)
    effects[len(ACTION_NAMES)] = (*everything, -1)  # builtin_ai
    return effects


_EFFECTS = _effects()


def update_sticky(state: list[float], actions: list[int]) -> None:
    """Applies one action per agent to the sticky states (agent after agent, NUM_STICKY each), in place."""
    for agent, action in enumerate(actions):
        effect = _EFFECTS[action]
        if effect is not None:
            first, end, on = effect
            base = agent * NUM_STICKY
            state[base + first : base + end] = [0.0] * (end - first)
            if on >= 0:
                state[base + on] = 1.0
