"""Seeds of episodes. Training and evaluation draw from halves of the range that do not overlap."""

import numpy as np

from envs.team import OWN_SEEDS


def train_seed(*key: int) -> int:
    """A seed in [0, 2^30) that depends on all of `key` (run seed, runner, start, environment, episode)."""
    return int(np.random.SeedSequence(key).generate_state(1)[0] % OWN_SEEDS)


def record_seed(seed: int, episode: int) -> int:
    """A seed in [0, 2^30), so none of evaluation's, for episode number `episode` of recording `seed`."""
    return int(np.random.SeedSequence((seed, episode, 2)).generate_state(1)[0] % OWN_SEEDS)


def eval_seed(seed: int, episode: int) -> int:
    """A seed in [2^30, 2^31), never used in training, for episode number `episode` of evaluation `seed`."""
    return OWN_SEEDS + int(np.random.SeedSequence((seed, episode, 1)).generate_state(1)[0] % OWN_SEEDS)
