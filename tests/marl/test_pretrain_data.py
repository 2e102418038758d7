"""Rows and batches of a recording, beside slow loops over its episodes."""

import numpy as np
import pytest
import torch

from agents import ObservationSpec
from marl.losses.prediction import Targets
from marl.pretrain_data import Batches, Reader, held_out, is_held_out, join, pieces

SPEC = ObservationSpec(
    env="fake/drift",
    view="features",
    num_agents=2,
    num_actions=3,
    entity_kinds=("teammate", "teammate", "ball"),
    shapes={"view": (2, 4), "mask": (2,), "who": (2,), "positions": (3, 2), "entity_mask": (3,)},
    dtypes={"view": "float32", "mask": "bool", "who": "int16", "positions": "float32", "entity_mask": "bool"},
    step_scale=(0.1, 0.2),
)


def episode(rng, length):
    """`length` observations, everybody present; the view says which moment of which episode it is."""
    steps = rng.uniform(-0.1, 0.1, (length, 3, 2)).astype(np.float32)
    return {
        "view": rng.normal(size=(length, 2, 4)).astype(np.float32),
        "mask": np.ones((length, 2), bool),
        "who": np.tile(np.arange(2, dtype=np.int16), (length, 1)),
        "positions": steps.cumsum(0).astype(np.float32),
        "entity_mask": np.ones((length, 3), bool),
    }


class Recording:
    """Stands for a folder of parts."""

    def __init__(self, parts):
        self._parts = parts
        self.manifest = {"policy": [{"name": "random"}]}
        self.parts = [{"episodes": len(part)} for part in parts]
        self.read = []

    def episodes(self, part):
        self.read.append(part)
        return self._parts[part]


@pytest.fixture
def recording():
    rng = np.random.default_rng(0)
    return Recording([[episode(rng, int(rng.integers(2, 9))) for _ in range(5)] for _ in range(6)])


def reader(recording, **options):
    options = {"horizon": 2, "kinds": ("teammate", "ball"), "holdout": 0.2, "restart": 0.0, **options}
    return Reader(recording, SPEC, **options)


def row_keys(rows):
    """What identifies a moment."""
    return [tuple(view.flatten().tolist()) for view in rows.obs["view"]]


@pytest.mark.parametrize(("share", "players"), [(0.1, 2), (0.1, 3), (0.25, 2), (0.07, 5)])
def test_every_player_is_held_out_by_turns(share, players):
    held = [number for number in range(600) if is_held_out(number, share, players)]
    assert abs(len(held) - 600 * share) <= 1
    by = np.bincount(np.array(held) % players, minlength=players)
    assert by.max() - by.min() <= 1


@pytest.mark.parametrize("share", [0.1, 0.2, 0.25, 1 / 3, 0.5])
def test_the_share_of_episodes_is_held_out_and_spread(share):
    held = [is_held_out(number, share) for number in range(600)]
    assert abs(sum(held) - 600 * share) <= 1
    gaps = np.diff(np.flatnonzero(held))
    assert gaps.max() - gaps.min() <= 1


def test_every_moment_but_the_last_is_in_one_of_the_two_sets(recording):
    split = {True: [], False: []}
    for held in split:
        for part in range(6):
            rows = reader(recording).read(part, held_out=held)
            if rows is not None:
                split[held].append(rows)
    seen = {held: row_keys(join(rows)) for held, rows in split.items()}
    expected = {True: [], False: []}
    for number in range(30):
        views = recording.episodes(number // 5)[number % 5]["view"][:-1]
        expected[number % 5 == 4] += [tuple(view.flatten().tolist()) for view in views]
    assert seen == expected
    assert set(join(split[True]).episode.tolist()) == {4, 9, 14, 19, 24, 29}


def test_targets_are_those_of_a_loop(recording):
    rows = reader(recording, horizon=3).read(0, held_out=False)
    assert rows is not None
    row = 0
    for one in recording.episodes(0)[:4]:
        positions = one["positions"].astype(np.float64)
        for t in range(len(positions) - 1):
            for h in (1, 2, 3):
                known = t + h < len(positions)
                assert rows.targets.mask[row, :, h - 1].all() == known
                if known:
                    moved = (positions[t + h] - positions[t]) / (h * np.array(SPEC.step_scale))
                    assert np.allclose(rows.targets.displacement[row, :, h - 1], moved, atol=1e-5)
                assert bool(rows.targets.velocity_mask[row, 0, h - 1]) == (known and t > 0)
            row += 1
    assert row == len(rows)


def test_moments_that_nobody_sees_or_nothing_is_known_about_are_left_out(recording):
    one = recording.episodes(0)[0] = episode(np.random.default_rng(3), 6)
    one["mask"][1] = False
    one["entity_mask"][4] = False  # nothing is known of the steps 3 to 4 and 4 to 5
    rows = reader(recording, horizon=1).read(0, held_out=False)
    assert rows is not None
    kept = [tuple(one["view"][t].flatten().tolist()) for t in (0, 2)]
    assert row_keys(rows)[:2] == kept
    assert int((rows.episode == 0).sum()) == 2


def test_only_the_kinds_that_count_make_a_row(recording):
    one = recording.episodes(0)[0] = episode(np.random.default_rng(3), 6)
    one["entity_mask"][:, 2] = False
    rows = reader(recording, kinds=("ball",)).read(0, held_out=False)
    assert rows is not None
    assert 0 not in rows.episode.tolist()


def test_an_episode_is_cut_where_somebody_is_put_elsewhere():
    one = episode(np.random.default_rng(0), 8)
    one["positions"][5:, 1, 1] += 1.5  # 7 step_scale along y
    scale = torch.tensor(SPEC.step_scale)
    assert list(pieces(one, scale, 6.0)) == [slice(0, 5), slice(5, 8)]
    assert list(pieces(one, scale, 0.0)) == [slice(0, 8)]
    assert list(pieces(one, scale, 9.0)) == [slice(0, 8)]
    one["entity_mask"][5, 1] = False  # who comes back is not moved
    assert list(pieces(one, scale, 6.0)) == [slice(0, 8)]


def test_no_target_reaches_across_a_cut(recording):
    one = recording.episodes(0)[0] = episode(np.random.default_rng(0), 8)
    one["positions"][5:] += 1.9
    rows = reader(recording, horizon=2, restart=6.0).read(0, held_out=False)
    assert rows is not None
    mine = rows.episode == 0
    assert rows.targets.mask[mine, 0].tolist() == [[True, True]] * 3 + [[True, False], [True, True], [True, False]]
    assert rows.targets.velocity_mask[mine, 0, 0].tolist() == [False, True, True, True, False, True]


def test_an_epoch_shows_every_moment_once_in_an_order_of_its_own(recording):
    rows = [reader(recording).read(part, held_out=False) for part in range(6)]
    everything = sorted(row_keys(join([one for one in rows if one is not None])))
    batches = Batches(reader(recording), batch=1, seed=3, memory=10**9)
    first = [row_keys(batches.get(number))[0] for number in range(len(everything))]
    second = [row_keys(batches.get(len(everything) + number))[0] for number in range(len(everything))]
    assert sorted(first) == sorted(second) == everything
    assert first != second


def test_batches_depend_on_seed_and_number_alone(recording):
    one = Batches(reader(recording), batch=7, seed=3, memory=10**9)
    there = [row_keys(one.get(number)) for number in range(40)]
    back = [row_keys(one.get(number)) for number in reversed(range(40))][::-1]
    other = Batches(reader(recording), batch=7, seed=3, memory=10**9)
    assert there == back
    assert row_keys(other.get(29)) == there[29]
    assert row_keys(Batches(reader(recording), batch=7, seed=4, memory=10**9).get(29)) != there[29]


def test_windows_hold_no_more_than_they_may_and_lose_nothing(recording):
    whole = reader(recording)
    counts = Batches(whole, batch=1, seed=0, memory=10**9).counts
    most = 2 * max(counts)
    batches = Batches(whole, batch=1, seed=0, memory=most * whole.row_bytes)
    for epoch in range(4):
        windows = batches.windows(epoch)
        assert sorted(part for window in windows for part in window) == list(range(6))
        assert max(sum(counts[part] for part in window) for window in windows) <= most
        assert len(windows) > 1
    assert batches.windows(0) != batches.windows(1)
    seen = sorted(row_keys(batches.get(number))[0] for number in range(sum(counts)))
    assert len(set(seen)) == sum(counts)


def test_a_window_is_read_once_and_dropped(recording):
    whole = reader(recording)
    batches = Batches(whole, batch=1, seed=0, memory=1)
    recording.read.clear()
    for number in range(sum(batches.counts)):
        batches.get(number)
    assert sorted(recording.read) == list(range(6))


def test_the_memory_of_a_row_is_what_its_tensors_take(recording):
    rows = reader(recording, horizon=3).read(0, held_out=False)
    assert rows is not None
    tensors = [*rows.obs.values(), *rows.targets, rows.episode]
    assert sum(t.nbytes for t in tensors) == len(rows) * reader(recording, horizon=3).row_bytes


def test_held_out_rows_stop_where_asked(recording):
    everything = list(held_out(reader(recording)))
    assert [len(part) for part in held_out(reader(recording), 7)][-1] >= 1
    assert sum(len(part) for part in held_out(reader(recording), 7)) == 7
    assert sum(len(part) for part in everything) > 7


def test_a_recording_without_a_moment_to_learn_from_is_one_sentence():
    empty = Recording([[episode(np.random.default_rng(0), 1)]])
    with pytest.raises(ValueError, match="no moment to learn from outside the held-out episodes"):
        Batches(reader(empty), batch=1, seed=0, memory=1)


def test_rows_keep_their_dtypes(recording):
    rows = reader(recording).read(0, held_out=False)
    assert rows is not None
    assert {key: str(value.dtype).removeprefix("torch.") for key, value in rows.obs.items()} == SPEC.dtypes
    assert isinstance(rows.take(torch.tensor([0])).targets, Targets)
