"""`tandem eval LEFT --against RIGHT ...`: matches with the sides swapped, and an Elo table of several players."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

import envs
from agents.policy import find
from experiments import files, halves, runs
from experiments.evaluate import interval
from experiments.flags import say
from experiments.progress import Steps
from marl.match import SHARES, MatchResult, neutral, round_robin, write_games
from marl.players import BUILTIN_AI, NAMES
from marl.ratings import rate

if TYPE_CHECKING:
    from experiments.evaluate_marl import EvalCommand

PAIRS = 20
"""Seeds per match unless told."""
_ALIKE = ("level", "view", "players")
"""What the policies of a match must have in common; a stack of frames too, where there is one."""


def match_command(command: "EvalCommand") -> int:
    """Plays every two of the command's players against each other and prints what came out."""
    everybody = [command.run, *command.against]
    entrants = dict(zip(labels(everybody), map(located, everybody), strict=True))
    env = neutral(meeting_place(everybody, command.env))
    pairs = command.pairs or PAIRS
    _tell_about_skill(env, everybody)
    with Steps("playing", len(entrants) * (len(entrants) - 1) * pairs) as steps:
        results = round_robin(
            entrants,
            env,
            pairs=pairs,
            seed=command.seed,
            deterministic=command.deterministic,
            workers=command.workers,
            progress=lambda done, total: steps.update(done, f"game {done} of {total}"),
        )
    if len(results) == 1:
        Console().print(match_table(results[0], env.level))
    else:
        Console().print(payoff_table(results, env.level))
        Console().print(elo_table(results))
    say(f"{pairs} seeds, each played twice with the sides swapped; 95% intervals over the seeds")
    if command.output:
        with files.whole(command.output) as temporary:
            write_games(temporary, results)
        say(f"games: {command.output}")
    return 0


def located(who: str) -> str:
    """A player's name as it is, or the policy folder that a path means now (a run that goes on writes newer ones)."""
    if who in NAMES:
        return who
    if halves.name_at(who) != halves.MARL:
        raise ValueError(f"{who} is of the generative half: it plays no match")
    if not Path(who).exists():
        raise ValueError(f"player {who!r} does not exist; allowed: {', '.join(NAMES)}, or the folder of a policy")
    return str(find(who))


def labels(everybody: Sequence[str]) -> list[str]:
    """A short name for each: as much of the end of its path as tells them apart, two parts at least (a run's preset and
    time), and a number where nothing does."""
    parts = {who: Path(who).parts for who in everybody}
    size, different = 2, len(set(parts.values()))
    while len({part[-size:] for part in parts.values()}) < different:
        size += 1
    found: list[str] = []
    for who in everybody:
        label = "/".join(parts[who][-size:])
        again = sum(name == label or name.startswith(f"{label} (") for name in found)
        found.append(f"{label} ({again + 1})" if again else label)
    return found


def meeting_place(everybody: Sequence[str], name: str | None) -> envs.EnvConfig:
    """The environment of a match: what the policies were made for, at the level `name` if there is one.

    Raises: ValueError where they were made for different ones, or nothing says which.
    """
    places = {who: runs.environment_of(find(who)) for who in everybody if who not in NAMES}
    if not places:
        if name is None:
            raise ValueError(f"{' and '.join(everybody)}: no trained policy says where to play; name one with --env")
        return envs.config(name)
    (first, place), *others = places.items()
    for other, theirs in others:
        for what in (*_ALIKE, "stack") if getattr(place, "view", "") == "smm" else _ALIKE:
            ours, differs = getattr(place, what), getattr(theirs, what, None)
            if ours != differs and not (what == "level" and name is not None):
                raise ValueError(
                    f"{first} and {other} cannot meet: {what} is {ours!r} for one, {differs!r} for the other"
                )
    if name is None:
        return place
    named = envs.config(name)
    return replace(place, level=named.level) if type(named) is type(place) else named


def _tell_about_skill(env: Any, everybody: Sequence[str]) -> None:
    """The engine's AI is not equally good on both sides of some levels (gfootball sets only the right one's skill)."""
    if BUILTIN_AI in everybody and env.level.endswith("stochastic"):
        say(f"the built-in AI has its full skill on the left of {env.level}, and the level's on the right")


def match_table(result: MatchResult, level: str) -> Table:
    """Shares, goal difference and the advantage of a side, as the first named sees them."""
    table = Table(title=f"{level}: {result.first} against {result.second}, mean [95% interval]")
    table.add_column("")
    table.add_column(result.first, justify="right")
    for name, shown in _shown(result).items():
        table.add_row(name.replace("_", " "), shown)
    return table


def _shown(result: MatchResult) -> dict[str, str]:
    """The summary of a match in words. Of one pair, nothing says how much its numbers of goals vary."""
    one = len(result.games) == 2
    return {
        name: f"{numbers['mean'] + 0.0:.3g} [-]" if one and name not in SHARES else _signed(numbers)
        for name, numbers in result.summary().items()
    }


def payoff_table(results: Sequence[MatchResult], level: str) -> Table:
    """Goal difference and shares of games won, drawn and lost, of the row's player against the column's."""
    names = list(dict.fromkeys(name for result in results for name in (result.first, result.second)))
    table = Table(title=f"{level}: goal difference per game, and shares of games, mean [95% interval]", show_lines=True)
    table.caption = "   ".join(f"{number} {name}" for number, name in enumerate(names, 1))
    table.add_column("", no_wrap=True)  # long names would squeeze the numbers out
    for number in range(1, len(names) + 1):
        table.add_column(f"against {number}", justify="right", no_wrap=True)
    cells = {}
    for result in results:
        for seen in (result, _turned(result)):
            summary = seen.summary()
            shares = ["{} {mean:.0%} [{low:.0%}, {high:.0%}]".format(name, **summary[name]) for name in SHARES]
            cells[seen.first, seen.second] = "\n".join([_shown(seen)["goal_difference"], *shares])
    for number, row in enumerate(names, 1):
        table.add_row(f"{number}", *(cells.get((row, column), "") for column in names))
    return table


def _turned(result: MatchResult) -> MatchResult:
    """A match as the second named sees it, whose left side is in the second game of each pair."""
    pairs = zip(result.games[1::2], result.games[::2], strict=True)
    return MatchResult(first=result.second, second=result.first, games=tuple(game for pair in pairs for game in pair))


def _signed(numbers: dict[str, float]) -> str:
    """`interval` without a zero that has a sign."""
    return interval({name: value + 0.0 for name, value in numbers.items()})


def elo_table(results: Sequence[MatchResult]) -> Table:
    """Ratings, strongest first; the built-in AI is at 1500 if it played."""
    scores = {(result.first, result.second): result.scores for result in results}
    anchor = BUILTIN_AI if any(BUILTIN_AI in pair for pair in scores) else None
    table = Table(title=f"Elo ({anchor or 'the mean'} = 1500)")
    for heading in ("player", "Elo [95% interval]", "points per game", "games"):
        table.add_column(heading, justify="left" if heading == "player" else "right")
    for row in rate(scores, anchor=anchor):
        table.add_row(row.name, f"{row.elo:.0f} [{row.low:.0f}, {row.high:.0f}]", f"{row.score:.3f}", str(row.games))
    return table
