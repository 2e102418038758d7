"""The pool of past selves: who is in it, how strong each is, and how often each is met.

    run/pool/pool.json              members, ratings, results
             000000200000/          one member, an ordinary policy folder (agents.load)

Ratings are Elo's (Elo 1978): expected score 1 / (1 + 10 ** ((other - own) / 400)), each game moves both sides by
`ELO_STEP` times what the score was above or below it. Members that are hard to beat are met more often (the idea of
prioritised fictitious self-play, Vinyals et al. 2019). `pool.json` is replaced whole, after a member's folder is there
and before a former member's goes, so it never names a member that is missing.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import agents
from agents import Policy
from agents.reading import check_fields, json_of

FORMAT = "tandem-pool-1"
ELO_STEP = 16.0
"""Points that a game moves at most."""
START_RATING = 1000.0
"""Rating of the first member and of the learner before its first game."""
MEMORY = 0.98
"""Weight that a game keeps with every further game against the same member: about the last 50 count."""
PRIOR_GAMES = 1.0
"""Drawn games that every win rate begins with."""
_HIGHEST_RATING = 5e4
"""Far beyond what games give; much further apart, and an expected score would overflow."""
_ID = re.compile(r"[0-9]{12,18}")


class Results(NamedTuple):
    """Games of the learner against one member."""

    wins: int = 0
    draws: int = 0
    losses: int = 0


@dataclass(frozen=True, kw_only=True)
class Member:
    """One past self. Results are the learner's against it."""

    id: str
    """Name of its folder."""
    env_steps: int
    """When it joined."""
    rating: float
    wins: int = 0
    draws: int = 0
    losses: int = 0
    recent_games: float = 0.0
    """Games, older ones weighted less (`MEMORY`)."""
    recent_score: float = 0.0
    """The learner's points in them: 1 for a win, 0.5 for a draw."""

    @property
    def win_rate(self) -> float:
        """Share of the points that the learner takes from it, recent games weighted; a draw counts half."""
        return (self.recent_score + 0.5 * PRIOR_GAMES) / (self.recent_games + PRIOR_GAMES)


def expected_score(rating: float, other: float) -> float:
    """Points per game that Elo's model expects of a player with `rating` against one with `other`."""
    return 1 / (1 + 10 ** ((other - rating) / 400))


def rate(rating: float, member: Member, results: Results) -> tuple[float, Member]:
    """The learner's rating, and the member, after games of unknown order: each counts as one of the mean score."""
    games = sum(results)
    score = (results.wins + 0.5 * results.draws) / games
    other = member.rating
    for _ in range(games):
        gain = ELO_STEP * (score - expected_score(rating, other))
        rating, other = rating + gain, other - gain
    kept = MEMORY**games
    fresh = (1 - kept) / (1 - MEMORY)  # 1 + MEMORY + ... + MEMORY ** (games - 1)
    return rating, replace(
        member,
        rating=other,
        wins=member.wins + results.wins,
        draws=member.draws + results.draws,
        losses=member.losses + results.losses,
        recent_games=member.recent_games * kept + fresh,
        recent_score=member.recent_score * kept + score * fresh,
    )


def chances(members: Sequence[Member], *, latest_share: float, priority: float) -> dict[str, float]:
    """Each member's chance to play an episode; they sum to 1.

    latest_share * [newest] + (1 - latest_share) * w / sum(w), w = (1 - win rate against it) ** priority.
    Members are in order of age, the newest last.
    """
    weights = [(1 - member.win_rate) ** priority for member in members]
    total = sum(weights)
    drawn = {
        member.id: (1 - latest_share) * (weight / total if total > 0 else 1 / len(members))
        for member, weight in zip(members, weights, strict=True)
    }
    drawn[members[-1].id] += latest_share
    return drawn


class Pool:
    """Members in order of age, and the learner's rating. Owns `folder` (None: nothing is written)."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.members: list[Member] = []
        self.policies: dict[str, Policy] = {}
        """Member -> its policy."""
        self.rating = START_RATING

    @classmethod
    def load(cls, folder: Path) -> "Pool":
        """The pool in `folder`. Raises ValueError in one sentence for a damaged one, or one without a member."""
        pool = cls(folder)
        if not (folder / "pool.json").exists():
            raise ValueError(f"the pool {folder} has no member: pool.json is missing")
        with json_of(folder / "pool.json", "a pool") as data:
            if data["format"] != FORMAT:
                raise ValueError(f"its format is {data['format']!r}, this version reads {FORMAT!r}")
            check_fields(data, {"rating": float, "members": list})
            pool.rating = _rating("the pool", data["rating"])
            pool.members = [_member(row) for row in data["members"]]
            if len({member.id for member in pool.members}) < len(pool.members):
                raise ValueError("it names a member twice")
        if not pool.members:
            raise ValueError(f"the pool {folder} has no member")
        for member in pool.members:
            try:
                pool.policies[member.id] = agents.load(folder / member.id)
            except ValueError as error:
                raise ValueError(f"member {member.id} of the pool {folder} cannot be read: {error}") from None
        return pool

    def add(self, policy: Policy, env_steps: int, *, size: int) -> Member:
        """A policy joins with the learner's rating; while there are more than `size`, the weakest of the oldest half
        leaves."""
        member = Member(id=f"{env_steps:012d}", env_steps=env_steps, rating=self.rating)
        if self.folder is not None:
            _write_member(policy, self.folder / member.id)
        self.members = [old for old in self.members if old.id != member.id] + [member]
        self.policies[member.id] = policy
        while len(self.members) > size:
            oldest = self.members[: len(self.members) // 2]
            self.members.remove(min(oldest, key=lambda old: old.rating))
        self.policies = {old.id: self.policies[old.id] for old in self.members}
        self.save()
        self._remove_former()
        return member

    def record(self, results: Mapping[str, Results]) -> bool:
        """Takes note of the learner's games; members that left are ignored. Returns whether there was any."""
        changed = False
        for index, member in enumerate(self.members):
            if sum(results.get(member.id, ())):
                self.rating, self.members[index] = rate(self.rating, member, results[member.id])
                changed = True
        return changed

    def save(self) -> None:
        """Writes `pool.json`, whole."""
        if self.folder is None:
            return
        rows = [asdict(member) for member in self.members]
        text = json.dumps({"format": FORMAT, "rating": self.rating, "members": rows}, indent=2)
        temporary = self.folder / ".pool.json.writing"
        temporary.write_text(text)
        os.replace(temporary, self.folder / "pool.json")

    def _remove_former(self) -> None:
        if self.folder is None:
            return
        for path in self.folder.iterdir():
            if path.is_dir() and _ID.fullmatch(path.name) and path.name not in self.policies:
                shutil.rmtree(path)


def _write_member(policy: Policy, target: Path) -> None:
    temporary = target.with_name(".member.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    policy.save(temporary)
    if target.exists():  # left by a process that was killed before pool.json named it, or by an earlier run
        shutil.rmtree(target)
    os.replace(temporary, target)


def _rating(whose: str, rating: float) -> float:
    if abs(rating) > _HIGHEST_RATING:
        raise ValueError(f"the rating of {whose} is not possible, got {rating}")
    return float(rating)


def _member(row: Any) -> Member:
    """Raises ValueError for a row that is none."""
    kinds = get_type_hints(Member)
    check_fields(row, kinds, "a member")
    if not _ID.fullmatch(row["id"]):
        raise ValueError(f"a member's id must be 12 to 18 digits, got {row['id'][:40]!r}")
    member = Member(**{name: row[name] for name in kinds})
    counts = (member.env_steps, member.wins, member.draws, member.losses)
    if min(counts) < 0 or not 0 <= member.recent_score <= member.recent_games:
        raise ValueError(f"the results of member {member.id} are not possible")
    return replace(member, rating=_rating(f"member {member.id}", member.rating))
