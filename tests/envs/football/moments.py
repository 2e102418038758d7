"""Made-up moments of a game, for tests that need no engine."""

import numpy as np

from envs.football.frame import Frame


def moment(own=3, other=2, *, seed=0, controlled=(1, 2), absent=(), owner=-1, **numbers):
    """A random frame; `absent` rows have been sent off."""
    rng = np.random.default_rng(seed)
    rows = own + other
    table = np.zeros((rows + 1, 7))
    table[:, 0] = rng.uniform(-1, 1, rows + 1)
    table[:, 1] = rng.uniform(-0.42, 0.42, rows + 1)
    table[:, 2:4] = rng.normal(scale=0.01, size=(rows + 1, 2))
    table[:rows, 4] = rng.integers(2, size=rows)
    table[:, 5] = 1
    table[:rows, 6] = rng.uniform(size=rows)
    table[list(absent), 5] = 0
    return Frame(
        num_own=own,
        num_other=other,
        roles=rng.integers(10, size=rows).tolist(),
        controlled=list(controlled),
        other_controlled=[0],
        values=table.astype(np.float32).ravel().tolist(),
        complete=not absent,
        owner=owner,
        **numbers,
    )
