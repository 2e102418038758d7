"""The checkpoint reward of gfootball, made one per team.

Source: Kurach et al. 2020, Sec. 3.1 (differs: there each controlled player collects its own rings, so that a team's sum
can exceed 2; here the team collects each ring once, whichever of its players has the ball).
"""

import math

from envs.football.frame import NUM_COLUMNS, Frame

RINGS = 10
RING_REWARD = 0.1
_FAR, _NEAR = 0.99, 0.19


class Checkpoints:
    """The rings the team has collected in this episode."""

    def __init__(self) -> None:
        self.collected = 0

    def reward(self, frame: Frame, goals: int) -> float:
        """What the team earns for rings at this step; `goals` is the change of the goal difference.

        A ring is earned when a player of the team has the ball within its distance of the opponent's goal; a goal
        earns all that are left, so that scoring is worth 1 + up to 1.
        """
        before = self.collected
        if goals == 1:
            self.collected = RINGS
        elif frame.owner_side == 0:
            ball_x, ball_y = frame.values[-NUM_COLUMNS], frame.values[1 - NUM_COLUMNS]
            distance = math.hypot(ball_x - 1, ball_y)
            while self.collected < RINGS and distance <= _FAR - (_FAR - _NEAR) / (RINGS - 1) * self.collected:
                self.collected += 1
        return RING_REWARD * (self.collected - before)
