"""Policies for teams, in plain torch. Nothing here needs Ray or a game engine.

    policy = agents.load("runs/lab2d-harvest-acam/20260101-120000-0")
    actions = policy.act(observations)
"""

from agents.network import NetworkConfig, TeamNetwork, TeamOutput
from agents.policy import Policy, load
from agents.spec import ObservationSpec

__all__ = ["NetworkConfig", "ObservationSpec", "Policy", "TeamNetwork", "TeamOutput", "load"]
