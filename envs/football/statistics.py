"""What a coach counts: possession, passes, interceptions and shots of both teams, from the moments of a game alone.

The engine tells who has the ball, not what anybody meant to do, and what its own players decide is not told at all. So
everything is defined by what the ball does, alike for both teams, and counts in open play only:

- The ball is in flight from the moment it leaves its owner until somebody has it or the game stops. Touches in between
  (a header, a parry) have no owner and are not counted.
- possession: of the steps in which somebody has the ball, the share of the own team; 0 where nobody ever has it.
- A shot is a flight that begins within SHOT_RANGE_M of the goal line, with SHOT_SPEED_M a step or more, along a line
  that meets the goal line within SHOT_WIDTH half widths of the goal from its middle (on target: within 1, however high
  the ball), unless a teammate receives it untouched. A goal is a shot on target of the player who last had the ball.
- A pass is attempted by any other flight that ends at another player PASS_M or more away, or with the game stopped (as
  far as that may be), and completed if it ends at a teammate; pass_accuracy is the share completed, 0 where none was
  attempted. A tackle that sends the ball away looks like a failed pass, and counts as one.
- An interception is an attempt of the other team that ends at an own player.
"""

from math import hypot
from typing import Any

from envs.football.frame import DX, GAME_MODES, GOAL_HALF_WIDTH, METRES, NUM_COLUMNS, Frame, X, Y

NAMES = (
    "possession", "passes", "pass_accuracy", "interceptions", "shots", "shots_on_target",
    "passes_against", "pass_accuracy_against", "shots_against", "shots_on_target_against",
)  # fmt: skip
"""Numbers of an episode; "against" are the other team's."""
PASS_M = 2.0
SHOT_RANGE_M = 35.0
SHOT_SPEED_M = 2.0
"""Metres per step of 0.1 s."""
SHOT_WIDTH = 3.0
_TOUCHED = 0.5
"""A shot that has less than this share of its first speed towards the goal has been touched: drag takes 3 % a step."""
_NORMAL = GAME_MODES.index("normal")
_LENGTH_M, _WIDTH_M = (float(metres) for metres in METRES)
_BALL = -NUM_COLUMNS
_NO_SHOT, _MAYBE, _SHOT = range(3)


class Statistics:
    """The counts of one episode, fed a frame after every step. Pairs are (own team, other team)."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Forgets everything: a new episode."""
        self.owned, self.passes, self.attempts = [0, 0], [0, 0], [0, 0]
        self.interceptions, self.shots, self.on_target = [0, 0], [0, 0], [0, 0]
        self._owner, self._side = -1, 0  # who has or last had the ball since play began, and the team
        self._left_x = self._left_y = 0.0  # where the ball was when that player last had it
        self._flying, self._shot, self._aimed, self._speed = False, _NO_SHOT, False, 0.0
        self._goals_for = self._goals_against = 0

    def step(self, frame: Frame) -> None:
        """Takes note of a step."""
        owner, values = frame.owner, frame.values
        if frame.mode != _NORMAL or frame.goals_for != self._goals_for or frame.goals_against != self._goals_against:
            self._stop(frame)
        elif owner >= 0:
            side = 0 if owner < frame.num_own else 1
            if owner != self._owner:
                self._receive(owner, side, values)
            elif self._flying:
                self._land(returned=True)
            self.owned[side] += 1
            self._left_x, self._left_y = values[_BALL + X], values[_BALL + Y]
        elif self._flying:
            if self._shot == _MAYBE and self._towards_goal(values) < _TOUCHED * self._speed:
                self._count_shot(self._aimed)
        elif self._owner >= 0:
            self._leave(values)

    @property
    def last_side(self) -> int:
        """0 if the own team has or last had the ball in this stretch of play, 1 for the other one, -1 for nobody."""
        return self._side if self._owner >= 0 else -1

    def _towards_goal(self, values: list[float]) -> float:
        return values[_BALL + DX] if self._side == 0 else -values[_BALL + DX]

    def _leave(self, values: list[float]) -> None:
        """The ball leaves its owner: is it a shot?"""
        self._flying, self._shot = True, _NO_SHOT
        x, y, dx, dy = values[_BALL : _BALL + 4]
        forwards = self._towards_goal(values)
        ahead = 1 - x if self._side == 0 else 1 + x
        if forwards <= 0 or ahead * _LENGTH_M > SHOT_RANGE_M or hypot(dx * _LENGTH_M, dy * _WIDTH_M) < SHOT_SPEED_M:
            return
        miss = abs(y + dy / forwards * ahead) / GOAL_HALF_WIDTH
        if miss <= SHOT_WIDTH:
            self._shot, self._aimed, self._speed = _MAYBE, miss <= 1, forwards

    def _receive(self, owner: int, side: int, values: list[float]) -> None:
        """Another player has the ball."""
        last, before = self._owner, self._side
        if last >= 0:
            far = self._is_far(values)
            if self._shot == _MAYBE and side != before:
                self._count_shot(self._aimed)
            if self._shot != _SHOT and far:
                self.attempts[before] += 1
                if side == before:
                    self.passes[side] += 1
                else:
                    self.interceptions[side] += 1
        self._owner, self._side = owner, side
        self._flying, self._shot = False, _NO_SHOT

    def _land(self, *, returned: bool) -> None:
        """A flight that no other player ended: the player has the ball again, or the game has stopped."""
        if self._shot == _MAYBE:
            self._count_shot(self._aimed)
        elif self._shot == _NO_SHOT and not returned:
            self.attempts[self._side] += 1
        self._flying, self._shot = False, _NO_SHOT

    def _is_far(self, values: list[float]) -> bool:
        """Whether the ball is PASS_M or more from where it left its owner."""
        way = (values[_BALL + X] - self._left_x) * _LENGTH_M, (values[_BALL + Y] - self._left_y) * _WIDTH_M
        return hypot(*way) >= PASS_M

    def _count_shot(self, on_target: bool) -> None:
        self._shot = _SHOT
        self.shots[self._side] += 1
        self.on_target[self._side] += on_target

    def _stop(self, frame: Frame) -> None:
        """The game stops: a goal, the ball out of play, a foul, an offside; or it waits for its restart."""
        scored = (frame.goals_for > self._goals_for, frame.goals_against > self._goals_against)
        self._goals_for, self._goals_against = frame.goals_for, frame.goals_against
        if self._owner >= 0 and scored[self._side]:
            counted = self._shot == _SHOT
            self.shots[self._side] += not counted
            self.on_target[self._side] += not (counted and self._aimed)
        elif self._flying:
            self._land(returned=False)
        self._owner, self._flying, self._shot = -1, False, _NO_SHOT

    def numbers(self) -> dict[str, float]:
        """The numbers of NAMES so far."""
        accuracy = [done / tried if tried else 0.0 for done, tried in zip(self.passes, self.attempts, strict=True)]
        mine = (self.passes[0], accuracy[0], self.interceptions[0], self.shots[0], self.on_target[0])
        theirs = (self.passes[1], accuracy[1], self.shots[1], self.on_target[1])
        possession = self.owned[0] / max(sum(self.owned), 1)
        return dict(zip(NAMES, map(float, (possession, *mine, *theirs)), strict=True))

    def memory(self) -> dict[str, Any]:
        """All of it as JSON."""
        return dict(vars(self))

    def remember(self, memory: dict[str, Any]) -> None:
        """Takes back what `memory` returned."""
        vars(self).update(memory)
