"""Going on with a run of teams through the command, on a game that needs no engine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import envs
import marl.training
from experiments import presets, runs
from marl import OpponentSettings, checkpoint
from marl.impala import StalledError
from marl.pool import Pool
from tests.marl.two_sides import SMALL, DuelConfig, policy

PRESET = "tiny-football-5v5-selfplay-acam"


class Algorithm:
    """Stands for RLlib's: writes the files that a checkpoint must have."""

    def save_to_path(self, path: str) -> None:
        for name in ("algorithm_state.pkl", "learner_group/learner/state.pkl"):
            (Path(path) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(path) / name).write_text("state")


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A self-play run with a checkpoint and a pool of two."""
    monkeypatch.setattr(envs, "make_team", lambda env, **options: DuelConfig().build())
    config = replace(
        presets.get(PRESET).make(), network=SMALL, opponent=OpponentSettings(kind="self_play"), env_steps=1000
    )
    run = runs.create(tmp_path, PRESET, config, [])
    pool = Pool(run / "pool")
    for steps in (0, 50):
        pool.add(policy(steps), steps, size=3)
    progress = {"env_steps": 100, "iterations": 2, "train_s": 1.0, "seed": 0}
    checkpoint.save(run, Algorithm(), policy(), progress, keep=2)  # type: ignore[arg-type]
    (run / "metrics.jsonl").write_text("".join(json.dumps({"step": step}) + "\n" for step in (100, 200)))
    return run


def stalled(*args, **kwargs):
    raise StalledError("no batch for 300 s")


@pytest.fixture(autouse=True)
def no_training(monkeypatch) -> None:
    monkeypatch.setattr(marl.training, "train", stalled)


def damage_list(pool: Path) -> None:
    (pool / "pool.json").write_text("{")


def damage_member(pool: Path) -> None:
    for path in (pool / f"{50:012d}").iterdir():
        path.write_bytes(b"")


def empty(pool: Path) -> None:
    (pool / "pool.json").unlink()


def another_game(pool: Path) -> None:
    Pool(pool).add(policy(players=3, others=2), 0, size=3)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_list, "pool.json cannot be read as a pool: "),
        (damage_member, "cannot be read: "),
        (empty, "has no member: pool.json is missing"),
        (another_game, "cannot play the right team of fake/duel: "),
    ],
)
def test_a_run_whose_pool_is_damaged_stays_as_it_is(damage, said, run, tandem) -> None:
    damage(run / "pool")
    before = {name: (run / name).read_bytes() for name in ("config.json", "metrics.jsonl")}
    status, _, err = tandem("train", "--resume", run, "--env-steps", 2000)
    assert (status, err.count("\n")) == (2, 1), err
    assert said in err
    assert {name: (run / name).read_bytes() for name in before} == before


def test_a_run_that_stalls_says_so_in_one_line(run, tandem) -> None:
    status, out, err = tandem("train", "--resume", run, "--env-steps", 2000)
    assert f"going on with {run} from 100 environment steps" in out
    again = f"go on from the last checkpoint with: tandem train --resume {run}"
    assert (status, err) == (1, f"tandem: no batch for 300 s; {again}\n")
