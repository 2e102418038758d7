"""Recordings: the same whatever plays side by side, replayable by hand, resumable, and suspicious of files."""

import errno
import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import envs
from agents import NetworkConfig, ObservationSpec, Policy, TeamNetwork
from envs.team import OWN_SEEDS
from marl import players, recording
from marl.recording import open_recording, record
from marl.seeds import record_seed

HARVEST = envs.config("lab2d/commons_harvest", players=2, steps=12)


def policy_for(env, seed=0):
    team = envs.make_team(env)
    spec = ObservationSpec.from_team(team.spec)
    team.close()
    torch.manual_seed(seed)
    network = TeamNetwork(spec, NetworkConfig(width=16, hidden=24))
    torch.nn.init.normal_(network.policy[-1].weight)
    return Policy(network)


def everything(opened):
    return [episode for part in range(len(opened.parts)) for episode in opened.episodes(part)]


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert a[key].dtype == b[key].dtype
            np.testing.assert_array_equal(a[key], b[key])


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit(folder, **changes):
    data = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**data, **changes}))


def edit_part(folder, **changes):
    parts = json.loads((folder / "manifest.json").read_text())["parts"]
    edit(folder, parts=[{**parts[0], **changes}, *parts[1:]])


@pytest.fixture
def recorded(meeting, tmp_path):
    """A recording of 5 episodes in parts of 2."""
    record("random", meeting(absent=0.3), tmp_path / "data", episodes=5, episodes_per_part=2)
    return tmp_path / "data"


def test_an_episode_is_what_the_environment_showed(meeting, tmp_path):
    env = meeting(players=2, side=2, absent=0.3)
    opened = record("random", env, tmp_path / "data", episodes=8, episodes_per_part=3, seed=1)
    team = envs.make_team(env)
    episodes, returns = everything(open_recording(tmp_path / "data")), []
    for number, episode in enumerate(episodes):
        seed = record_seed(1, number)
        assert seed < OWN_SEEDS
        rng, seen, total, over = np.random.default_rng((seed, 3)), [team.reset(seed)], 0.0, False
        while not over:
            obs, rewards, terminated, truncated, _ = team.step(rng.integers(5, size=2))
            seen.append(obs)
            total, over = total + float(rewards.mean()), terminated or truncated
        same([episode], [{key: np.stack([obs[key] for obs in seen]) for key in seen[0]}])
        returns.append(total)
    assert len({len(episode["mask"]) for episode in episodes}) > 1
    assert opened.return_mean == pytest.approx(np.mean(returns))
    assert opened.num_episodes == 8
    assert opened.num_steps == sum(len(episode["mask"]) - 1 for episode in episodes)
    assert opened.num_bytes == sum(path.stat().st_size for path in (tmp_path / "data").glob("*.parquet"))


def test_any_reader_of_parquet_sees_moments_without_actions_and_rewards(recorded):
    table = pq.read_table(recorded / "part-00001.parquet")
    assert table.column_names == ["episode", "step", "view", "mask", "who", "positions", "entity_mask"]
    episode, step = (table[name].to_numpy() for name in ("episode", "step"))
    (third, fourth) = open_recording(recorded).episodes(1)
    assert episode.tolist() == [2] * len(third["mask"]) + [3] * len(fourth["mask"])
    assert step.tolist() == [*range(len(third["mask"])), *range(len(fourth["mask"]))]
    positions = np.array(table["positions"].to_pylist(), np.float32).reshape(-1, 3, 2)
    np.testing.assert_array_equal(positions, np.concatenate([third["positions"], fourth["positions"]]))
    assert str(table.schema.field("mask").type) == "fixed_size_list<element: bool>[3]"


@pytest.mark.parametrize("who", ["random", "mixture"])
def test_a_recording_does_not_depend_on_how_it_was_made(who, meeting, tmp_path):
    env = meeting(players=2, side=2, absent=0.3)
    whos = [policy_for(env), "random", "idle"] if who == "mixture" else who
    made = [
        everything(record(whos, env, tmp_path / str(n), episodes=7, episodes_per_part=parts, num_envs=n))
        for n, parts in ((1, 7), (3, 2), (20, 5))
    ]
    assert len({len(episode["mask"]) for episode in made[0]}) > 1
    same(made[0], made[1])
    same(made[0], made[2])


def test_several_players_take_turns_by_episode(meeting, tmp_path):
    env = meeting(side=9)
    alone = {who: everything(record(who, env, tmp_path / who, episodes=6)) for who in ("random", "idle")}
    opened = record(["idle", "random"], env, tmp_path / "both", episodes=6)
    same(everything(opened), [alone[("idle", "random")[n % 2]][n] for n in range(6)])
    assert [policy["name"] for policy in opened.manifest["policy"]] == ["idle", "random"]
    still = everything(opened)[0]["positions"]
    assert (still == still[0]).all()


@pytest.mark.engine("lab2d")
def test_processes_change_nothing(tmp_path):
    whos = [policy_for(HARVEST).save(tmp_path / "policy"), "random"]
    told = []
    options = {"episodes": 5, "episodes_per_part": 2}
    shared = record(whos, HARVEST, tmp_path / "a", workers=2, progress=lambda *at: told.append(at), **options)
    alone = record(whos, HARVEST, tmp_path / "b", **options)
    same(everything(shared), everything(alone))
    assert shared.manifest == alone.manifest
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert everything(shared)[0]["view"].dtype == np.uint8
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["manifest.json", *PARTS]
    assert shared.env == HARVEST


PARTS = [f"part-0000{n}.parquet" for n in range(3)]


class Interrupted:
    """Progress that is interrupted after a number of episodes."""

    def __init__(self, after):
        self.after = after

    def __call__(self, done, total):
        if done == self.after:
            raise KeyboardInterrupt


def test_an_interrupted_recording_has_whole_parts_only_and_goes_on(meeting, tmp_path):
    env, folder = meeting(), tmp_path / "data"
    options = {"episodes": 6, "episodes_per_part": 2}
    with pytest.raises(KeyboardInterrupt):
        record("random", env, folder, progress=Interrupted(5), **options)
    begun = open_recording(folder)
    assert [part["file"] for part in begun.parts] == PARTS[:2]
    assert not begun.manifest["complete"]
    before = files_of(folder)
    assert sorted(before) == ["manifest.json", *PARTS[:2]]
    done = []
    finished = record("random", env, folder, progress=lambda *at: done.append(at), **options)
    assert done == [(5, 6), (6, 6)]
    assert finished.manifest["complete"]
    after = files_of(folder)
    assert all(after[name] == before[name] for name in PARTS[:2])
    same(everything(finished), everything(record("random", env, tmp_path / "other", **options)))


def test_more_episodes_extend_and_fewer_change_nothing(meeting, tmp_path):
    env, folder = meeting(), tmp_path / "data"
    record("random", env, folder, episodes=3, episodes_per_part=2)
    before = files_of(folder)
    more = record("random", env, folder, episodes=6, episodes_per_part=2)
    assert [part["episodes"] for part in more.parts] == [2, 1, 2, 1]
    same(everything(more), everything(record("random", env, tmp_path / "other", episodes=6)))
    grown = files_of(folder)
    assert all(grown[name] == before[name] for name in PARTS[:2])
    assert record("random", env, folder, episodes=2).num_episodes == 6
    assert files_of(folder) == grown


def test_leftovers_of_a_killed_process_are_cleared_away(recorded, meeting):
    (recorded / ".part-00003.parquet.77.writing").write_text("half")
    record("random", meeting(absent=0.3), recorded, episodes=5)
    assert sorted(files_of(recorded)) == ["manifest.json", *PARTS]


@pytest.mark.parametrize(
    ("who", "env", "options", "message"),
    [
        ("idle", {}, {}, r"another policy \(\['random'\], asked for \['idle'\]\)"),
        (["random", "idle"], {}, {}, "another policy"),
        ("random", {"absent": 0.0}, {}, r"another environment \(absent 0.3, asked for absent 0.0\)"),
        ("random", {"players": 4}, {}, r"another environment \(players 3, asked for players 4\)"),
        ("random", {}, {"seed": 1}, r"another seed \(0, asked for 1\)"),
    ],
)
def test_a_folder_with_other_settings_is_refused_and_stays_as_it_is(who, env, options, message, recorded, meeting):
    before = files_of(recorded)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(recorded))} holds a recording of {message}"):
        record(who, meeting(**{"absent": 0.3, **env}), recorded, episodes=9, **options)
    assert files_of(recorded) == before


def test_parts_are_counted_with_those_that_are_there(recorded, meeting, monkeypatch):
    monkeypatch.setattr(recording, "MOST_PARTS", 4)
    before = files_of(recorded)
    with pytest.raises(
        ValueError, match=r"^a recording has at most 4 parts: there is no room for 3 episodes with 2 of"
    ):
        record("random", meeting(absent=0.3), recorded, episodes=8, episodes_per_part=2)
    assert files_of(recorded) == before
    assert len(record("random", meeting(absent=0.3), recorded, episodes=7, episodes_per_part=2).parts) == 4


def test_a_huge_recording_begins_at_once_and_can_be_interrupted(meeting, tmp_path):
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        record("random", meeting(), tmp_path, episodes=10**9, episodes_per_part=10_000, progress=Interrupted(3))
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("failing", ["write_table", "close"])
def test_a_full_disk_is_one_sentence_and_keeps_what_is_whole(recorded, meeting, monkeypatch, failing):
    before = files_of(recorded)

    def full(self, *args, **options):
        self.is_open = False
        raise OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, failing, full)
    with pytest.raises(ValueError, match=r"^cannot write .*part-00003.parquet: No space left on device$"):
        record("random", meeting(absent=0.3), recorded, episodes=7, episodes_per_part=2)
    assert files_of(recorded) == before


def test_a_policy_is_its_weights_wherever_they_lie(meeting, tmp_path):
    env, folder = meeting(), tmp_path / "data"
    policy_for(env).save(tmp_path / "here")
    record(tmp_path / "here", env, folder, episodes=1)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert record(tmp_path / "there", env, folder, episodes=2).num_episodes == 2
    before = files_of(folder)
    with pytest.raises(ValueError, match="another policy"):
        record(policy_for(env, seed=1), env, folder, episodes=3)
    with pytest.raises(ValueError, match=r"another choice of actions \(deterministic False, asked for .* True\)"):
        record(tmp_path / "there", env, folder, episodes=3, deterministic=True)
    assert files_of(folder) == before


def test_a_folder_of_something_else_is_refused_and_stays_as_it_is(meeting, tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty and holds no recording; give another folder$"):
        record("random", meeting(), tmp_path, episodes=1)
    with pytest.raises(ValueError, match=r"^cannot write to .*letter.txt: "):
        record("random", meeting(), tmp_path / "letter.txt", episodes=1)
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    with pytest.raises(ValueError, match=r"cannot be read as a manifest: it has no field 'format'"):
        record("random", meeting(), tmp_path, episodes=1)
    assert sorted(files_of(tmp_path)) == ["letter.txt", "manifest.json"]


def test_one_process_at_a_time(meeting, tmp_path):
    def inner(done, total):
        with pytest.raises(ValueError, match=r"^another process is at work in .*; wait for it, or give another"):
            record("random", meeting(), tmp_path, episodes=2)

    assert record("random", meeting(), tmp_path, episodes=2, progress=inner).num_episodes == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episodes": 0}, "episodes must be at least 1, got 0"),
        ({"episodes_per_part": 0}, "episodes_per_part must be at least 1, got 0"),
        ({"num_envs": 0}, "num_envs must be at least 1, got 0"),
        ({"workers": -1}, "workers must be at least 1, got -1"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"episodes_per_part": 10**9}, "episodes_per_part must be at most 10,000, got 1,000,000,000"),
        ({"num_envs": 10**9}, "num_envs must be at most 1,000, got 1,000,000,000"),
        ({"workers": 10**9}, "workers must be at most 256, got 1,000,000,000"),
        (
            {"episodes": 10**9},
            "a recording has at most 100,000 parts: there is no room for 1,000,000,000 episodes with 20 of them in "
            "each; give fewer episodes, or more episodes_per_part",
        ),
    ],
)
def test_counts_are_checked_before_anything_is_written(options, message, meeting, tmp_path):
    with pytest.raises(ValueError, match=rf"^{message}$"):
        record("random", meeting(), tmp_path / "data", **{"episodes": 1, **options})
    with pytest.raises(ValueError, match=r"^a recording needs somebody who plays"):
        record([], meeting(), tmp_path / "data", episodes=1)
    with pytest.raises(ValueError, match=r"^the policy does not fit fake/meet: num_agents is 4"):
        record(policy_for(meeting()), meeting(players=4), tmp_path / "data", episodes=1)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "tandem-recording-9"}, "its format is 'tandem-recording-9', this version reads"),
        ({"parts": {}}, "parts must be a list, got {}"),
        ({"parts": [3]}, "part 0 is no table of fields"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"seed": 10**400}, "the number 1000"),
        ({"seed": float("nan")}, "NaN in it is no finite number"),
        ({"spec": {"env": "x"}}, "the description of an observation has no field"),
        ({"policy": ["random"]}, "a policy is no table of fields"),
    ],
)
def test_a_bad_manifest_is_one_sentence(changes, message, recorded):
    edit(recorded, **changes)
    with pytest.raises(ValueError, match=rf"manifest.json cannot be read as a manifest: {message}") as caught:
        open_recording(recorded)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": {"view": [3, 19]}}, "some are missing"),
        ({"num_agents": 4}, r"the shape of 'mask' is \(3,\), not \(4,\)"),
        ({"dtypes": {"view": "object"}}, "the dtype of 'view' is 'object'"),
        ({"shapes": {"view": [3, 2**40]}}, "the shape of 'view' is"),
        ({"shapes": {"view": [3, -1]}}, "the shape of 'view' is"),
    ],
)
def test_an_impossible_observation_is_one_sentence(changes, message, recorded):
    spec = json.loads((recorded / "manifest.json").read_text())["spec"]
    merged = {
        k: {**spec[k], **v} if isinstance(v, dict) and "missing" not in message else v for k, v in changes.items()
    }
    edit(recorded, spec={**spec, **merged})
    with pytest.raises(ValueError, match=f"cannot be read as a manifest: .*{message}"):
        open_recording(recorded)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "[" * 100_000, "\x00\xff"])
def test_a_manifest_that_is_none_is_one_sentence(text, recorded):
    (recorded / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest.json cannot be read as a manifest: ") as caught:
        open_recording(recorded)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_a_pipe_keeps_nobody_waiting(recorded):
    (recorded / "manifest.json").unlink()
    os.mkfifo(recorded / "manifest.json")
    with pytest.raises(ValueError, match=r"is not a recording: it has no manifest.json"):
        open_recording(recorded)


def test_an_environment_with_fields_of_another_type_is_one_sentence(recorded):
    edit(recorded, env={"suite": "football", "level": "academy_3_vs_1_with_keeper", "left_agents": "three"})
    with pytest.raises(ValueError, match=r"left_agents"):
        _ = open_recording(recorded).env


def test_a_folder_without_manifest_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"is not a recording: it has no manifest.json"):
        open_recording(tmp_path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "part-00001.parquet", "part-00000.parquet.bak"])
def test_a_part_lies_in_the_folder_under_its_own_name(name, recorded):
    edit_part(recorded, file=name)
    with pytest.raises(ValueError, match=r"part 0 is called '.*', not 'part-00000.parquet'$"):
        open_recording(recorded)


def test_damaged_parts_are_one_sentence_each(recorded):
    path = recorded / "part-00001.parquet"
    good = path.read_bytes()
    path.unlink()
    with pytest.raises(ValueError, match=r"part-00001.parquet is missing; the manifest names it$"):
        open_recording(recorded, verify=False)
    path.write_bytes(good[:-100])
    with pytest.raises(ValueError, match=r"part-00001.parquet is truncated: \d+ bytes, the manifest says \d+$"):
        open_recording(recorded)
    path.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    open_recording(recorded, verify=False)
    with pytest.raises(ValueError, match=r"part-00001.parquet was changed or damaged: its checksum is not the one"):
        open_recording(recorded)
    path.write_bytes(good)
    assert len(everything(open_recording(recorded))) == 5


def replace_part(folder, data):
    """Puts `data` where part 0 is, with a manifest that agrees: what remains to notice is in the file itself."""
    (folder / "part-00000.parquet").write_bytes(data)
    edit_part(folder, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def test_a_part_that_is_no_part_is_one_sentence(recorded):
    good = (recorded / "part-00000.parquet").read_bytes()
    replace_part(recorded, good[:-100])
    with pytest.raises(ValueError, match=r"part-00000.parquet cannot be read as a part of a recording: ") as caught:
        open_recording(recorded).episodes(0)
    assert "\n" not in str(caught.value)
    replace_part(recorded, b"")
    with pytest.raises(ValueError, match=r"part-00000.parquet cannot be read as a part of a recording: "):
        open_recording(recorded).episodes(0)
    replace_part(recorded, (recorded / "part-00002.parquet").read_bytes())
    with pytest.raises(ValueError, match=r"its numbers of episodes and rows are not those of the manifest$"):
        open_recording(recorded).episodes(0)
    pq.write_table(pq.read_table(recorded / "part-00001.parquet").drop(["who"]), recorded / "part-00000.parquet")
    replace_part(recorded, (recorded / "part-00000.parquet").read_bytes())
    with pytest.raises(ValueError, match=r"its columns are not those of the manifest's observations$"):
        open_recording(recorded).episodes(0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("who", 3, "'who' points beyond the 3 entities"),
        ("who", -2, "'who' points beyond the 3 entities"),
        ("positions", np.nan, "'positions' has a value that is not finite"),
        ("view", np.inf, "'view' has a value that is not finite"),
    ],
)
def test_numbers_that_would_break_a_network_are_refused(key, value, message, meeting, tmp_path):
    env = meeting()
    opened = record("random", env, tmp_path, episodes=1)
    episode = opened.episodes(0)[0]
    episode[key] = episode[key].copy()
    episode[key][2].flat[0] = value
    writer = recording.PartWriter(tmp_path / "bad", opened.spec)
    writer.add(0, episode, 0.0)
    writer.finish("part-00000.parquet")
    replace_part(tmp_path, (tmp_path / "bad").read_bytes())
    with pytest.raises(ValueError, match=f"cannot be read as a part of a recording: {message}$"):
        open_recording(tmp_path).episodes(0)


def test_what_does_not_fit_a_network_is_one_sentence(recorded, meeting, tmp_path):
    opened = open_recording(recorded)
    opened.check_fits(opened.spec)
    opened.check_fits(replace(opened.spec, step_scale=(1.0, 1.0)))
    for changes, message in (
        ({"env": "lab2d/clean_up"}, r"is a recording of fake/meet, not of lab2d/clean_up$"),
        ({"view": "layer"}, r"does not fit fake/meet: view is 'features', the network was built for 'layer'$"),
        ({"num_agents": 4}, r"does not fit fake/meet: num_agents is 3, the network was built for 4$"),
        ({"shapes": {**opened.spec.shapes, "view": (3, 20)}}, r"shape of 'view' is \(3, 19\)"),
    ):
        with pytest.raises(ValueError, match=message):
            opened.check_fits(replace(opened.spec, **changes))
    with pytest.raises(KeyboardInterrupt):
        record("random", meeting(), tmp_path / "begun", episodes=1, progress=Interrupted(1))
    begun = open_recording(tmp_path / "begun")
    with pytest.raises(ValueError, match=r"begun holds no episode yet"):
        begun.check_fits(opened.spec)


def test_ids_beyond_the_vocabulary_are_refused(recorded):
    spec = json.loads((recorded / "manifest.json").read_text())["spec"]
    edit(recorded, spec={**spec, "view_vocab": 1})
    with pytest.raises(ValueError, match=r"'view' has id 1.0, beyond the 1 known ids"):
        open_recording(recorded).episodes(0)


@pytest.mark.engine("football")
def test_the_built_in_ai_plays_and_the_environment_stays_the_one_to_train_on(tmp_path):
    env = envs.config("football/academy_empty_goal_close", opponents=1)
    opened = record(players.make("builtin_ai"), env, tmp_path, episodes=2)
    assert opened.env == env
    assert not opened.manifest["env"]["builtin_ai"]
    team = envs.make_team(env)
    opened.check_fits(ObservationSpec.from_team(team.spec))
    team.close()
    assert opened.spec.num_actions == 19
    episode = opened.episodes(0)[0]
    assert (episode["positions"][0] != episode["positions"][-1]).any()
    assert record("idle", envs.config("football/academy_empty_goal_close", builtin_ai=True), tmp_path / "own",
                  episodes=1).spec.num_actions == 20  # fmt: skip
