"""`tandem attention`: figures, numbers and clip of a policy; errors in one sentence; what its figures show."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

import envs
from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from envs.fakes import meet
from experiments import attention_figures
from experiments.attention import table
from experiments.video import picture
from marl.attention_maps import Look
from marl.phases import FOOTBALL, Scene

SCENE = Scene(
    kind="football",
    phases=FOOTBALL,
    players=("goalkeeper", "left back", "centre forward"),
    scale=(54.4, 35.1),
    half_size=(54.4, 35.1),
    unit="m",
)


def a_look(weights, steps=20, phase=4, seed=0):
    """Two agents who move players 1 and 2; `weights` [2, 2] all the time, in one head."""
    rng = np.random.default_rng(seed)
    return Look(
        attention=np.broadcast_to(weights, (steps, 1, 2, 2)).astype(np.float32),
        mask=np.ones((steps, 2), bool),
        who=np.tile([1, 2], (steps, 1)),
        positions=rng.uniform(-1, 1, (steps, 6, 2)),
        phase=np.full(steps, phase),
        holder=np.full(steps, 2),
    )


LOOKS = [a_look([[0.1, 0.9], [0.4, 0.6]], seed=0), a_look([[0.3, 0.7], [0.4, 0.6]], seed=1, phase=4)]


def test_the_table_names_phase_and_players():
    rows = {(row["asks"], row["answers"]): row for row in table(LOOKS, SCENE)}
    assert set(rows) == {(a, b) for a in SCENE.players[1:] for b in SCENE.players[1:]}
    row = rows["left back", "centre forward"]
    assert (row["phase"], row["head"], row["moments"], row["episodes"]) == ("own ball, own half", 0, 40, 2)
    assert row["mean"] == pytest.approx(0.8, abs=1e-5)
    assert row["low"] < 0.8 < row["high"] == 1.0
    assert {row["low"] for row in table(LOOKS[:1], SCENE)} == {None}


def test_labels_carry_the_number_of_the_clip_unless_it_changes():
    rows = np.array([1, 2])
    assert attention_figures.player_labels(LOOKS, SCENE, rows) == ["0: left back", "1: centre forward"]
    swapped = Look(**{**vars(LOOKS[0]), "who": LOOKS[0].who[:, ::-1]})
    assert attention_figures.player_labels([LOOKS[0], swapped], SCENE, rows) == ["left back", "centre forward"]


def test_figures_are_red_where_there_is_more_than_the_equal_share_and_blue_where_less():
    def reds_and_blues(weight):
        seen = [a_look([[1 - weight, weight], [weight, 1 - weight]], steps=60, seed=seed) for seed in range(2)]
        drawn = attention_figures.field_figure(seen, SCENE, "title").astype(int)[60:, :380]
        return int((drawn[..., 0] - drawn[..., 2] > 40).sum()), int((drawn[..., 2] - drawn[..., 0] > 40).sum())

    more, less = reds_and_blues(0.9), reds_and_blues(0.1)
    assert more[0] > 5 * more[1]
    assert less[1] > 5 * less[0]


def saved(folder, spec, env=None, **network):
    torch.manual_seed(0)
    net = TeamNetwork(ObservationSpec.from_team(spec), NetworkConfig(width=16, hidden=16, **network))
    meta = {"env": envs.to_json(env or envs.Lab2dConfig(level="commons_harvest", players=3, steps=25))}
    return Policy(net, meta).save(folder)


def test_errors_are_one_sentence(tandem, tmp_path):
    alone = saved(tmp_path / "alone", meet(2).spec, arm="independent")
    status, out, err = tandem("attention", alone, "-o", tmp_path / "out")
    assert (status, out) == (2, "")
    assert err == (
        'tandem: the policy is of the arm "independent", whose agents attend to nobody; allowed: acam, meanpool\n'
    )
    for flags, message in (
        (("--episodes", 0), "--episodes must be at least 1, got 0"),
        (("--clip-steps", -1), "--clip-steps must be at least 0, got -1"),
        (("--fps", 121), "--fps must be at most 120, got 121"),
    ):
        assert tandem("attention", alone, *flags)[::2] == (2, f"tandem: {message}\n")
    status, _, err = tandem("attention", tmp_path / "nothing")
    assert status == 2
    assert "does not exist" in err
    assert not (tmp_path / "out").exists()
    assert "Example: tandem attention runs/" in tandem("attention", "--help")[1]


@pytest.mark.engine("football")
def test_a_single_agent_has_nobody_to_attend_to(tandem, tmp_path):
    env = envs.FootballConfig(level="team_empty_goal_close")
    alone = saved(tmp_path / "alone", env.build().spec, env)
    status, _, err = tandem("attention", alone, "-o", tmp_path / "out")
    assert status == 2
    assert err.endswith("plays a single agent, which has nobody to attend to\n")


@pytest.mark.engine("lab2d")
def test_the_command_writes_figures_numbers_and_a_clip(tandem, tmp_path):
    env = envs.Lab2dConfig(level="commons_harvest", players=3, steps=25)
    policy, out = saved(tmp_path / "policy", env.build().spec, env), tmp_path / "out"
    status, said, err = tandem("attention", policy, "--episodes", 2, "--clip-steps", 6, "-o", out)
    assert (status, err) == (0, "")
    assert {path.name for path in out.iterdir()} == {"phases.png", "pitch.png", "attention.json", "clip.mp4"}
    assert all(str(path) in said for path in out.iterdir())
    record = json.loads((out / "attention.json").read_text())
    assert record["phases"] == ["first third", "second third", "last third"]
    assert len(record["rows"]) == 3 * 2 * 3 * 3  # phases, heads, asks, answers
    assert sum(row["moments"] for row in record["rows"]) == 2 * 26 * 2 * 9  # the final observations too
    for phase, head, asks in {(row["phase"], row["head"], row["asks"]) for row in record["rows"]}:
        mine = [row for row in record["rows"] if (row["phase"], row["head"], row["asks"]) == (phase, head, asks)]
        assert sum(row["mean"] for row in mine) == pytest.approx(1, abs=1e-4)
    assert len(iio.imread(out / "clip.mp4")) == 7
    assert all(np.asarray(Image.open(out / name)).std() > 5 for name in ("phases.png", "pitch.png"))


@pytest.mark.engine("lab2d")
def test_training_puts_maps_of_the_field_beside_its_clip(tmp_path):
    import agents
    from experiments.tracking import Tracker
    from marl import TrainConfig

    env = envs.Lab2dConfig(level="commons_harvest", players=2, steps=10)
    tracker = Tracker(tmp_path)
    for step, arm in enumerate(("acam", "independent")):
        policy = agents.load(saved(tmp_path / arm, env.build().spec, env, arm=arm))
        picture(tracker, policy, TrainConfig(env=env), step, 12)
    tracker.close()
    names = {path.name for path in (tmp_path / "media").iterdir()}
    both = {f"{tag}-{step:012d}" for step in range(2) for tag in ("attention", "clip")}
    assert {name.partition(".")[0] for name in names} == both | {
        f"{tag}-{0:012d}" for tag in ("attention_pitch", "attention_phases")
    }


def test_a_team_of_one_has_colours_too() -> None:
    """An agent alone attends to itself: 1, which is both the even share and the end of the scale."""
    colours = attention_figures._colours(1)["norm"]
    assert (float(colours(0)), float(colours(1))) == (0, 1)
