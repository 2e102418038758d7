"""Fingerprints of games, to tell whether two builds of the engine play the same football.

    python -m envs.football.engine_check [--steps 300] [--seed 0] [LEVEL ...] > hashes.json

prints one hash per level. Compiler flags may make the engine faster only as long as every hash stays the same (fused
multiply-add, for one, changes the games).
"""

import argparse
import hashlib
import json
import sys

import numpy as np

from envs.football.config import LEVELS
from envs.football.engine import episode_seed
from envs.football.levels import LEVEL_TABLE
from envs.football.match import Match


def trajectory_hash(level: str, players: int, steps: int, seed: int) -> str:
    """SHA-256 over everything read from the engine in `steps` steps of random actions, with resets where games end.

    Args: players: agents on the left team. seed: decides actions and games.
    """
    match = Match(level, players, 0)
    digest = hashlib.sha256()
    actions = np.random.default_rng(seed).integers(19, size=(steps, players)).tolist()
    episode, over = 0, True
    for chosen in actions:
        if over:
            match.reset(episode_seed(1000 * seed + episode))
            episode += 1
        _, over = match.step(chosen, [])
        frame = match.moment()
        over = over or frame.step >= match.duration
        facts = (frame.ball_z, frame.ball_dz, frame.owner, frame.goals_for, frame.goals_against, frame.mode, frame.step)
        digest.update(frame.table().tobytes())
        digest.update(np.array([*facts, *frame.controlled], np.float64).tobytes())
    match.close()
    return digest.hexdigest()


def main(arguments: list[str]) -> None:
    """Prints the hashes of the levels as JSON."""
    parser = argparse.ArgumentParser(prog="python -m envs.football.engine_check")
    parser.add_argument("levels", nargs="*", metavar="LEVEL", default=[])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    levels = options.levels or LEVELS
    for level in set(levels) - set(LEVELS):
        parser.error(f"level {level!r} does not exist; allowed: {', '.join(LEVELS)}")
    hashes = {level: trajectory_hash(level, LEVEL_TABLE[level].left, options.steps, options.seed) for level in levels}
    print(json.dumps({"steps": options.steps, "seed": options.seed, "hashes": hashes}, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
