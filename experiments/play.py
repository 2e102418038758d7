"""`tandem play`: a match, or a team at work, shown in a browser as it is played."""

import os
import sys
import time
import webbrowser
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro

import envs
from experiments import flags
from experiments.evaluate_match import labels, located, meeting_place
from experiments.flags import say
from experiments.stream import Screen, serve
from marl.evaluation import Sides, Slot, arrange, as_player
from marl.players import BUILTIN_AI, RANDOM, PolicyPlayer

HOLD_S = 1.5
"""The last picture of an episode stays for so long."""


@dataclass(frozen=True, kw_only=True)
class PlayCommand:
    """Flags of `tandem play`."""

    run: tyro.conf.Positional[str] = RANDOM
    """A run folder (its newest checkpoint), a checkpoint, or a policy folder; or random, idle, scripted, builtin_ai."""
    against: str | None = None
    """Who plays the other team, likewise; the game's own AI if omitted."""
    env: str | None = None
    """Where to play, such as football/5_vs_5; what RUN was trained on if omitted."""
    episode: int = 0
    """The first held-out episode (the same numbers as in `tandem eval`)."""
    steps: int | None = None
    """Stop after so many steps; otherwise one episode follows the other until Ctrl-C."""
    fps: float = 10.0
    """Steps per second (10 is real time in football)."""
    deterministic: bool | None = None
    """Most likely actions instead of samples; each run's own choice if omitted."""
    port: int = 0
    """Port of the page on this machine; 0 takes a free one."""
    browser: bool = True
    """Open the page, where there is a screen."""


def play_command(args: list[str]) -> int:
    """Shows a match in a browser as it is played. From another machine: ssh -L PORT:localhost:PORT HOST."""
    command = flags.parse(
        PlayCommand,
        args,
        prog="tandem play",
        example="tandem play runs/football-5v5/20260101-120000-0 --against scripted",
        about=play_command.__doc__ or "",
    )
    _check(command)
    stage = _stage(command)
    try:
        screen = Screen()
        server, url = serve(screen, command.port)
        try:
            say(f"{stage.title}: {url} (Ctrl-C ends it)")
            if command.browser and _has_screen():
                webbrowser.open(url)
            perform(stage, screen, first=command.episode, steps=command.steps, pause_s=1 / command.fps)
        except KeyboardInterrupt:
            say("")
        finally:
            screen.close()
            server.shutdown()
            server.server_close()
    finally:
        stage.close()
    return 0


def _check(command: PlayCommand) -> None:
    """Raises ValueError for flags out of range."""
    for name, least in (("episode", 0), ("steps", 1)):
        value = getattr(command, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}")
    if not 0.1 <= command.fps <= 120:
        raise ValueError(f"--fps must be between 0.1 and 120, got {command.fps}")
    if not 0 <= command.port < 65536:
        raise ValueError(f"--port must be between 0 and 65535, got {command.port}")


def _has_screen() -> bool:
    """Whether a browser would show up before the person: on Linux without a display, a text browser would take over
    this terminal, and over SSH the page belongs on the other machine."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class Stage:
    """An environment, who plays in it, and the words beside its picture."""

    def __init__(self, slot: Slot, sides: Sides, left: str, right: str | None) -> None:
        self.slot, self.sides, self.left, self.right = slot, sides, left, right
        self.env: Any = slot.env
        self.over, self.last = False, ""
        self.title = f"{self.env.spec.env}, {left}" + (f" against {right}" if right else "")

    def begin(self, number: int) -> None:
        self.slot.start(number, 0)
        self.over = False

    def step(self) -> None:
        """Plays a step; `over` says whether it was the last of the episode."""
        (actions,) = self.sides.act([self.slot])
        episode = self.slot.step(*actions)
        if episode is not None:
            self.over = True
            numbers = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in episode.values().items())
            self.last = f"episode {episode.number}: {numbers}"

    def picture(self, *, attention: bool) -> np.ndarray:
        """uint8 [H, W, 3], with who attends to whom on the left team, mean over heads."""
        player = self.sides.player
        if not attention or not isinstance(player, PolicyPlayer):
            return self.env.draw()
        obs = {key: self.slot.obs[key][None] for key in player.policy.spec.shapes}
        return self.env.draw(player.policy.output(obs).attention[0].mean(0).cpu().numpy())

    def facts(self) -> dict[str, Any]:
        match = getattr(self.env, "match", None)
        frame = match.moment() if match is not None else None
        return {
            "left": self.left,
            "right": self.right,
            "score": f"{frame.goals_for} : {frame.goals_against}" if frame is not None else "",
            "state": f"{self.env.spec.env} · episode {self.slot.number} · step {self.slot.length}",
            "last": self.last,
            "attends": isinstance(self.sides.player, PolicyPlayer),
        }

    def close(self) -> None:
        self.env.close()


def _stage(command: PlayCommand) -> Stage:
    everybody = [command.run] + ([command.against] if command.against is not None else [])
    env = meeting_place(everybody, command.env)
    names = labels(everybody)
    left, *other = (as_player(located(who), command.deterministic) for who in everybody)
    right = other[0] if other else None
    slot = Slot(envs.make_team(arrange(env, left, right)))
    try:
        sides = Sides(left, right, slot)
    except ValueError:
        slot.env.close()
        raise
    engine_plays = right is None and hasattr(env, "opponents")
    return Stage(slot, sides, names[0], BUILTIN_AI if engine_plays else names[1] if right else None)


def perform(stage: Stage, screen: Screen, *, first: int, steps: int | None, pause_s: float) -> None:
    """Plays episode after episode onto the screen, until `steps` are done or the screen is closed."""
    done, number = 0, first
    while True:
        stage.begin(number)
        while True:
            _rest(stage, screen, HOLD_S if stage.over else pause_s)
            if screen.closed or (steps is not None and done >= steps):
                return
            if screen.next or stage.over:
                break
            stage.step()
            done += 1
        screen.next = False
        number += 1


def _rest(stage: Stage, screen: Screen, seconds: float) -> None:
    """Shows the present moment for `seconds`, and longer while paused; lines come and go at once."""
    until, drawn = time.monotonic() + seconds, None
    while not (screen.next or screen.closed):
        if drawn != (screen.attention, screen.paused):
            drawn = (screen.attention, screen.paused)
            screen.show(stage.picture(attention=screen.attention), stage.facts())
        left = until - time.monotonic()
        if not screen.paused and left <= 0:
            return
        screen.wait(1.0 if screen.paused else left)
