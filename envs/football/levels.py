"""The football levels and who can be controlled in each, known without the engine.

The counts are a copy of what the engine derives from each level; a test compares every row with it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Level:
    """How many players agents can control in a level."""

    left: int
    """Controllable players of the left team."""
    right: int
    """Controllable players of the right team."""


_ACADEMY = {
    "empty_goal_close": (2, 1),
    "empty_goal": (2, 1),
    "run_to_score": (2, 6),
    "run_to_score_with_keeper": (2, 6),
    "pass_and_shoot_with_keeper": (3, 2),
    "run_pass_and_shoot_with_keeper": (3, 2),
    "3_vs_1_with_keeper": (4, 2),
    "corner": (11, 11),
    "counterattack_easy": (11, 11),
    "counterattack_hard": (11, 11),
    "single_goal_versus_lazy": (11, 11),
}
TEAM_VARIANTS = (
    "empty_goal_close",
    "pass_and_shoot_with_keeper",
    "run_pass_and_shoot_with_keeper",
    "3_vs_1_with_keeper",
    "corner",
    "counterattack_easy",
    "counterattack_hard",
)
"""Academy levels that also exist as `team_NAME`: the same set-up, but the engine keeps both goalkeepers."""
_FULL_GAMES = ("easy_stochastic", "stochastic", "hard_stochastic", "competition", "kaggle")


def _table() -> dict[str, Level]:
    table = {f"academy_{name}": Level(left=left, right=right) for name, (left, right) in _ACADEMY.items()}
    for name in TEAM_VARIANTS:
        left, right = _ACADEMY[name]
        table[f"team_{name}"] = Level(left=left - 1, right=right - 1)
    table["1_vs_1_easy"] = Level(left=1, right=1)
    table["5_vs_5"] = Level(left=4, right=4)
    return table | {f"11_vs_11_{name}": Level(left=11, right=11) for name in _FULL_GAMES}


LEVEL_TABLE = _table()
"""Every level by name."""
