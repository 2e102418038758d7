"""Policies for teams, in plain torch.

    policy = agents.load("runs/lab2d-harvest-acam/20260101-120000-0")
    actions = policy.act(observations)

Importing this package imports neither Ray nor a game engine.
"""

from agents.network import NetworkConfig, TeamNetwork, TeamOutput
from agents.policy import Policy, load
from agents.spec import ObservationSpec

__all__ = ["NetworkConfig", "ObservationSpec", "Policy", "TeamNetwork", "TeamOutput", "load"]
