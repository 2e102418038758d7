"""The conformance check passes a good environment and catches one broken in a single way, rule by rule."""

from dataclasses import replace
from itertools import count

import gymnasium as gym
import numpy as np
import pytest

from envs.conformance import ConformanceError, check
from envs.fakes import FakeTeamEnv, make_spec

SPEC = make_spec(
    gym.spaces.Box(0, 8, (3, 4, 4), np.uint8),
    name="layer",
    vocab=9,
    shared=gym.spaces.Box(-1, 1, (4,), np.float32),
    others=("opponent", "ball"),
    steps=8,
)
OBJECTS = count()


class Broken(FakeTeamEnv):
    """A good environment; each subclass breaks one rule."""

    def __init__(self, spec=SPEC, **options):
        super().__init__(spec, absent=0.2, **options)
        self.number = next(OBJECTS)
        self.seed = None
        self.steps = 0

    def reset(self, seed=None, out=None):
        self.seed, self.steps = seed, 0
        return self.tamper(super().reset(seed, out))

    def step(self, actions, out=None):
        obs, *rest = super().step(actions, out)
        self.steps += 1
        return self.tamper(obs), *rest

    def tamper(self, obs):
        return obs


def breaks(rule):
    """Registers a broken environment with the message that `check` must give."""

    def register(kind):
        CASES.append(pytest.param(kind, rule, id=kind.__name__))
        return kind

    return register


CASES = []


def _spaces(**changes):
    return {"spaces": {k: v for k, v in (SPEC.spaces | changes).items() if v is not None}}


WRONG_SPECS = [
    (_spaces(who=None), r"spaces: 'who' is missing"),
    (_spaces(extra=gym.spaces.Box(0, 1, (2,))), r"spaces: 'extra' is not a key"),
    (_spaces(positions=gym.spaces.Box(-1, 1, (4, 2), np.float32)), r"spaces: 'positions' must be float32 \(5, 2\)"),
    (_spaces(view=gym.spaces.Box(0, 8, (4, 4, 3), np.uint8)), r"spaces: the first axis of 'view' must be the 3 agents"),
    ({"entity_kinds": ("ball", *SPEC.entity_kinds[:4])}, r"entity_kinds: .* must come in this order"),
    ({"action_names": ("a", "b", "a")}, r"action_names: must be distinct"),
    ({"view_vocab": 10}, r"view_vocab: 10 ids do not fit"),
    ({"step_scale": (0.0, 0.1)}, r"spec: max_steps 8 and step_scale \(0.0, 0.1\) must be positive"),
]


@breaks(r"protocol: reset, step, draw, close or spec is missing")
class NoDrawing:
    spec = SPEC
    reset = step = close = None


@breaks(r"keys: must be .* \(step 0, episode with seed 0\)")
class MissingKey(Broken):
    def tamper(self, obs):
        return {key: value for key, value in obs.items() if key != "shared"}


@breaks(r"shape and dtype: 'view' must be uint8 \(3, 4, 4\), is int64")
class WrongType(Broken):
    def tamper(self, obs):
        return obs | {"view": obs["view"].astype(int)}


@breaks(r"shape and dtype: 'shared' must be float32 \(4,\), is float32 \(1, 4\)")
class WrongShape(Broken):
    def tamper(self, obs):
        return obs | {"shared": obs["shared"][None]}


@breaks(r"space: 'view' is outside .* \(step 3,")
class OutsideItsSpace(Broken):
    def tamper(self, obs):
        obs["view"][1, 2, 3] = 9 if self.steps == 3 else 0
        return obs


@breaks(r"space: 'shared' is outside")
class NotANumber(Broken):
    def tamper(self, obs):
        obs["shared"][2] = np.nan
        return obs


@breaks(r"positions: entity \d is absent and its position is .*, not 0")
class AbsentButSomewhere(Broken):
    def tamper(self, obs):
        obs["positions"][~obs["entity_mask"]] = 0.5
        return obs


@breaks(r"who: agent \d is absent and moves entity \d; must be -1")
class AbsentButMoves(Broken):
    def tamper(self, obs):
        obs["who"][:] = np.arange(3)
        return obs


@breaks(r"who: agent \d is present and moves entity -1; allowed: 0 to 4")
class PresentButMovesNobody(Broken):
    def tamper(self, obs):
        obs["who"][:] = -1
        return obs


@breaks(r"who: agent \d moves entity 4, which is a ball")
class MovesTheBall(Broken):
    def tamper(self, obs):
        obs["who"][obs["mask"]] = 4
        return obs


@breaks(r"who: two agents move the same entity")
class TwoMoveOne(Broken):
    def tamper(self, obs):
        obs["who"][obs["mask"]] = 0
        return obs


class Step(Broken):
    """Breaks what a step returns besides the observation."""

    def step(self, actions, out=None):
        return self.change(*super().step(actions, out))


@breaks(r"rewards: must be finite float32 \[3\]; got float64")
class DoubleRewards(Step):
    def change(self, obs, rewards, *rest):
        return obs, rewards.astype(float), *rest


@breaks(r"rewards: must be finite")
class InfiniteRewards(Step):
    def change(self, obs, rewards, *rest):
        return obs, rewards + np.float32(np.inf), *rest


@breaks(r"ends: terminated and truncated must be bool; got np.False_")
class NumpyEnds(Step):
    def change(self, obs, rewards, terminated, *rest):
        return obs, rewards, np.bool_(terminated), *rest


@breaks(r"ends: terminated and truncated at once \(step 8,")
class TwoEnds(Step):
    def change(self, obs, rewards, terminated, truncated, info):
        return obs, rewards, truncated, truncated, info


@breaks(r"ends: truncated before max_steps 9 \(step 8,")
class TruncatedEarly(Broken):
    def __init__(self):
        super().__init__()
        self.true, self.spec = self.spec, replace(self.spec, max_steps=9)

    def step(self, actions, out=None):
        announced, self.spec = self.spec, self.true
        try:
            return super().step(actions, out)
        finally:
            self.spec = announced


@breaks(r"ends: neither terminated nor truncated at max_steps 7 \(step 7,")
class TruncatedLate(TruncatedEarly):
    def __init__(self):
        super().__init__()
        self.spec = replace(self.spec, max_steps=7)


@breaks(r"info: 'episode' before the end \(step 1,")
class TalksEarly(Step):
    def change(self, obs, rewards, terminated, truncated, info):
        return obs, rewards, terminated, truncated, {"episode": {"team_return": 0.0}}


@breaks(r"info: 'episode' must have exactly \['team_return'\]; got None")
class SaysNothing(Step):
    def change(self, obs, rewards, terminated, truncated, info):
        return obs, rewards, terminated, truncated, {}


@breaks(r"info: metric 'team_return' must be a finite float; got np.float32")
class NumpyMetric(Step):
    def change(self, obs, rewards, terminated, truncated, info):
        info = {"episode": {"team_return": np.float32(1)}} if info else info
        return obs, rewards, terminated, truncated, info


@breaks(r"two objects with the same seed and actions: 'shared' differs \(step 0,")
class EachObjectItsOwn(Broken):
    def tamper(self, obs):
        obs["shared"][0] = 1 / (1 + self.number)
        return obs


@breaks(r"two objects with the same seed and actions: rewards")
class EachObjectItsOwnRewards(Step):
    def change(self, obs, rewards, *rest):
        return obs, rewards + np.float32(self.number), *rest


@breaks(r"the same object, reset with the same seed: 'shared' differs")
class RemembersEpisodes(Broken):
    def reset(self, seed=None, out=None):
        self.resets = getattr(self, "resets", 0) + 1
        return super().reset(seed, out)

    def tamper(self, obs):
        obs["shared"][0] = 1 / self.resets
        return obs


@breaks(r"the same object, reset with the same seed: .* \(step 1, ")
class BadActionsCountAsSteps(Broken):
    def step(self, actions, out=None):
        self.refused = getattr(self, "refused", 0)
        try:
            return super().step(actions, out)
        except ValueError:
            self.refused += 1
            raise

    def tamper(self, obs):
        obs["shared"][1] = min(1.0, getattr(self, "refused", 0) / 100)
        return obs


@breaks(r"seeds: two seeds give the same observations \(seeds 0 and 1\)")
class IgnoresTheSeed(Broken):
    def reset(self, seed=None, out=None):
        return super().reset(5, out)


@breaks(r"reset without a seed: '\w+' differs \(after the same history\)")
class UnseededIsRandom(Broken):
    def reset(self, seed=None, out=None):
        return super().reset(self.number if seed is None else seed, out)


@breaks(r"an array that was handed out changed later: 'view' differs")
class ReusesItsArrays(Broken):
    def tamper(self, obs):
        if not hasattr(self, "kept"):
            self.kept = obs["view"].copy()
        self.kept[...] = obs["view"]
        return obs | {"view": self.kept}

    def reset(self, seed=None, out=None):
        return super().reset(seed, out) if out is None else FakeTeamEnv.reset(self, seed, out)

    def step(self, actions, out=None):
        return super().step(actions, out) if out is None else FakeTeamEnv.step(self, actions, out)


@breaks(r"the returned observation differs from `out`: 'mask' differs|`out` instead of fresh arrays: 'mask' differs")
class ForgetsOneKeyOfOut(Broken):
    def _observe(self, out):
        if out is None:
            return super()._observe(out)
        before = out["mask"].copy()
        super()._observe(out)
        out["mask"][...] = before
        return out


@breaks(r"the returned observation differs from `out`: 'view' differs|`out` instead of fresh arrays: 'view' differs")
class IgnoresOut(Broken):
    def _observe(self, out):
        return super()._observe(None)


@breaks(r"final observation: the last observation of the episode is that of a reset")
class ResetsItself(Step):
    def change(self, obs, rewards, terminated, truncated, info):
        if terminated or truncated:
            fresh = self.reset()
            for key, value in fresh.items():
                obs[key][...] = value
            self._step = None
        return obs, rewards, terminated, truncated, info


@breaks(r"step before the first reset: was accepted, must raise RuntimeError")
class RunsBeforeReset(Broken):
    def __init__(self):
        super().__init__()
        self._step = 0


@breaks(r"step after the end of an episode: was accepted")
class RunsOn(Step):
    def change(self, *returned):
        if returned[2] or returned[3]:
            self._step = 1
        return returned


@breaks(r"step after close: was accepted")
class RunsAfterClose(Broken):
    def close(self):
        self._step = 0


@breaks(r"TypeError|close")
class ClosesOnce(Broken):
    def close(self):
        super().close()
        if self.seed == "closed":
            raise ConformanceError("close: cannot be called twice")
        self.seed = "closed"


@breaks(r"bad actions: .* was accepted")
class TakesAnyAction(Broken):
    def step(self, actions, out=None):
        return super().step(np.resize(actions, 3).astype(int) % 5, out)


@breaks(r"bad actions: .* raised IndexError\(.*\), not ValueError")
class RaisesSomethingElse(Broken):
    def step(self, actions, out=None):
        try:
            return super().step(actions, out)
        except ValueError:
            raise IndexError("oops") from None


@breaks(r"bad actions: the message for .* does not name -1: no")
class SaysOnlyNo(Broken):
    def step(self, actions, out=None):
        try:
            return super().step(actions, out)
        except ValueError:
            raise ValueError("no") from None


@breaks(r"draw: must be uint8 \[H, W, 3\], is float64 \(4, 4, 3\)")
class DrawsFloats(Broken):
    def draw(self):
        return np.zeros((4, 4, 3))


class Match(FakeTeamEnv):
    def __init__(self):
        super().__init__(replace(SPEC, num_opponents=3))


@breaks(r"opponents: 'mask' must be bool \(3,\), is bool \(2,\)")
class TooFewOpponents(Match):
    def observe_opponents(self):
        obs = super().observe_opponents()
        return obs | {"mask": obs["mask"][:2]}


@breaks(r"opponents: keys must be")
class OpponentsWithoutView(Match):
    def observe_opponents(self):
        return {"mask": super().observe_opponents()["mask"]}


@breaks(r"two objects with the same seed and actions: .* differs \(step 1,")
class DrawingPlays(Broken):
    def draw(self):
        self._rng.random()
        return super().draw()


@pytest.mark.parametrize(("changes", "message"), WRONG_SPECS)
def test_a_wrong_spec_is_caught(changes, message):
    def make():
        env = Broken()
        env.spec = replace(SPEC, **changes)
        return env

    with pytest.raises(ConformanceError, match=message):
        check(make)


@pytest.mark.parametrize(("kind", "message"), CASES)
def test_a_broken_rule_is_caught(kind, message):
    with pytest.raises(ConformanceError, match=message):
        check(kind)


def test_the_good_environment_passes():
    assert check(Broken) == ()
    assert check(Match) == ()
    assert check(lambda: Broken(ends=0.1), episodes=6) == ()


def test_what_was_not_reached_is_said():
    assert check(Broken, steps=7) == (
        "step after the end",
        "final observation",
        "info of the last step",
        "truncation",
    )
    assert check(lambda: Broken(ends=1.0)) == ("truncation",)
