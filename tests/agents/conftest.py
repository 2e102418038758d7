"""Observations of every view, without an engine."""

from collections.abc import Callable

import gymnasium as gym
import numpy as np
import pytest
import torch

from agents import NetworkConfig, ObservationSpec, TeamNetwork
from envs.fakes import FakeTeamEnv, make_spec
from envs.team import TeamSpec

OTHERS = ("opponent",) * 3 + ("ball",)
INF = np.inf
SPECS = {
    "features": make_spec(gym.spaces.Box(-INF, INF, (3, 7), np.float32), others=OTHERS),
    "entities": make_spec(
        gym.spaces.Box(-INF, INF, (3, 4), np.float32),
        name="entities",
        others=OTHERS,
        shared=gym.spaces.Box(-INF, INF, (7, 6), np.float32),
    ),
    "layer": make_spec(gym.spaces.Box(0, 40, (3, 5, 6, 2), np.uint8), name="layer", vocab=41),
    "rgb": make_spec(gym.spaces.Box(0, 255, (3, 22, 24, 3), np.uint8), name="rgb"),
    "smm": make_spec(
        gym.spaces.Box(np.zeros((3, 2), np.int16), np.full((3, 2), (22, 30), np.int16), dtype=np.int16),
        name="smm",
        others=OTHERS,
        shared=gym.spaces.Box(0, 255, (23, 31, 6), np.uint8),
    ),
}

Obs = dict[str, torch.Tensor]


@pytest.fixture(params=SPECS)
def team_spec(request: pytest.FixtureRequest) -> TeamSpec:
    """One team per view."""
    return SPECS[request.param]


@pytest.fixture
def specs() -> dict[str, TeamSpec]:
    return SPECS


@pytest.fixture
def observe() -> Callable[..., Obs]:
    """observe(spec, count, absent=..., seed=...) -> tensors with leading axis `count`."""

    def observe(spec: TeamSpec, count: int, *, absent: float = 0.0, seed: int = 0) -> Obs:
        env = FakeTeamEnv(spec, absent=absent)
        rows = [env.reset(seed + i) for i in range(count)]
        return {key: torch.from_numpy(np.stack([row[key] for row in rows])) for key in spec.spaces}

    return observe


@pytest.fixture
def network() -> Callable[..., TeamNetwork]:
    """network(spec, **fields of NetworkConfig) with reproducible weights that are far from the flat start, so that
    a difference shows."""

    def network(spec: TeamSpec, **options: object) -> TeamNetwork:
        torch.manual_seed(0)
        config = NetworkConfig(**({"width": 16, "hidden": 24} | options))  # type: ignore[arg-type]
        net = TeamNetwork(ObservationSpec.from_team(spec), config)
        with torch.no_grad():
            for head in (net.policy, net.value, net.predictor):
                head[-1].weight.normal_(0, 0.5)
        return net

    return network
