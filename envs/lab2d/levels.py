"""What is known about the five DMLab2D levels without the engine: sizes, actions, ids, options.

The numbers are those of dmlab2d 1.0.2; `tests/envs/lab2d/test_levels.py` compares each of them with the engine.
"""

from dataclasses import dataclass

MOVES = ("noop", "forward", "back", "left", "right", "turn_left", "turn_right")
COMPASS = ("north", "south", "west", "east")

SUB_ACTIONS: dict[str, tuple[str, int]] = {
    "forward": ("move", 1), "right": ("move", 2), "back": ("move", 3), "left": ("move", 4),
    "turn_left": ("turn", -1), "turn_right": ("turn", 1),
    "north": ("MOVE", 1), "east": ("MOVE", 2), "south": ("MOVE", 3), "west": ("MOVE", 4),
    "clean": ("fireClean", 1), "fine": ("fireFine", 1),
}  # fmt: skip
"""Our action name -> the engine's sub-action and its value (for "zap" see `Level.zap_name`)."""


@dataclass(frozen=True, kw_only=True)
class Level:
    """Facts of one level."""

    players: tuple[int, int]
    """Fewest and most players: as many as the map has spawn points, and the engine has colours."""
    default_players: int
    """Players where the configuration names none."""
    steps: int
    """Length of an episode [steps]."""
    sprite_size: int
    """Side of a cell in the engine's pictures [px]."""
    map_size: tuple[int, int]
    """Width and height of the map, walls included [cells]."""
    layer_shape: tuple[int, int, int]
    """Height, width [cells] and layers of the layer view."""
    sprites: int
    """Sprites besides the players' own; each sprite takes four consecutive ids, one per facing."""
    beams: tuple[str, ...] = ()
    """Beams that are always there."""
    zap_name: str = "zap"
    """The engine's name of the zap."""
    option: str = ""
    """The punishing beam, an option that is off by default: "zap", "fine", or none."""
    moves: tuple[str, ...] = MOVES
    """Actions besides the beams; the first does nothing new."""
    solo: bool = False
    """A single-player level: it has observations of the world only, and moves by an absolute compass."""
    player_id: tuple[int, int] = (0, 0)
    """Single-player levels: the layer of the avatar and the first of its four ids."""
    tracked: bool = True
    """The engine lets us know exactly where every player is."""
    metrics: tuple[str, ...] = ()
    """Names of the episode numbers besides the returns."""

    def view_vocab(self, players: int) -> int:
        """Number of ids of the layer view, 0 (empty) included."""
        return 1 + 4 * (self.sprites + players)


_SOCIAL = ("equality", "sustainability", "peace", "apples")

LEVELS: dict[str, Level] = {
    "clean_up": Level(
        players=(1, 20), default_players=7, steps=3600, sprite_size=16, map_size=(30, 21), layer_shape=(11, 11, 5),
        sprites=9, beams=("clean",), option="fine", metrics=(*_SOCIAL, "cleaned", "fines"),
    ),
    "commons_harvest": Level(
        players=(1, 20), default_players=4, steps=1000, sprite_size=8, map_size=(28, 26), layer_shape=(11, 11, 4),
        sprites=6, option="zap", metrics=(*_SOCIAL, "zaps"),
    ),
    "running_with_scissors": Level(
        players=(2, 15), default_players=2, steps=1000, sprite_size=16, map_size=(23, 15), layer_shape=(5, 5, 4),
        sprites=9, beams=("zap",), zap_name="fireZap", tracked=False, metrics=("duel",),
    ),
    "pushbox": Level(
        players=(1, 1), default_players=1, steps=120, sprite_size=8, map_size=(10, 10), layer_shape=(10, 10, 2),
        sprites=4, solo=True, moves=("noop", *COMPASS), player_id=(0, 13), metrics=("solved",),
    ),
    "chase_eat": Level(
        players=(1, 1), default_players=1, steps=3000, sprite_size=16, map_size=(9, 9), layer_shape=(9, 9, 3),
        sprites=5, solo=True, moves=("keep", *COMPASS), player_id=(1, 21), metrics=("caught",),
    ),
}  # fmt: skip
"""Every level, by name."""
