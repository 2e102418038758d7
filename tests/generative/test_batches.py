"""Batches: every picture once per epoch, the same for any split and after any restart; symmetries drawn evenly."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import pytest
import torch
from torch import Tensor

from generative.batches import Batches, Order, augment, prepared
from generative.config import OptimSettings, TrainConfig
from generative.data.config import DataConfig
from generative.papers.palette import PaletteConfig
from generative.pixels import scale


class Numbers:
    """Picture i is a 1x2x2 picture of the value i."""

    def __init__(self, size: int) -> None:
        self.x = torch.arange(size, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]:
        return {"x": self.x[torch.as_tensor(indices)], "label": torch.as_tensor(indices)}

    def keys(self, indices: Sequence[int] | Tensor) -> list[str]:
        return [f"picture {int(index)}" for index in indices]


def batches(start: int, stop: int, size: int = 10, batch: int = 4, seed: int = 3) -> Batches:
    config = TrainConfig(optim=OptimSettings(batch=batch), seed=seed)
    return Batches(Numbers(size), config, slice(start, stop))


@pytest.mark.parametrize("batch", [4, 10, 23])
def test_every_picture_once_per_epoch(batch: int):
    order, epochs = Order(10, batch, seed=0), 4
    seen = torch.cat([order.at(step) for step in range(-(-epochs * 10 // batch))])[: epochs * 10]
    for epoch in seen.reshape(epochs, 10):
        assert sorted(epoch.tolist()) == list(range(10))
    assert not torch.equal(seen[:10], seen[10:20])


def test_order_depends_on_seed_and_step_alone():
    one, other = Order(10, 4, seed=0), Order(10, 4, seed=0)
    later = other.at(7)
    assert torch.equal([one.at(step) for step in range(8)][7], later)
    assert not torch.equal(Order(10, 4, seed=1).at(7), later)


def test_shares_make_up_the_batch():
    whole, first, second = batches(0, 4), batches(0, 1), batches(1, 4)
    for step in (0, 1, 2, 9):
        together = [share.at(step)["x"] for share in (first, second)]
        assert torch.equal(torch.cat(together), whole.at(step)["x"])
        assert first.keys(step) + second.keys(step) == whole.keys(step)
        assert whole.keys(step) == [f"picture {int(x)}" for x in whole.at(step)["x"][:, 0, 0, 0]]


def test_reading_ahead_changes_nothing():
    ahead, fresh = batches(0, 4), [batches(0, 4) for _ in range(3)]
    for step in range(3):
        assert torch.equal(ahead.at(step)["x"], fresh[step].at(step)["x"])
    assert torch.equal(ahead.at(0)["x"], fresh[0].at(0)["x"])  # back again


def test_error_in_the_reader_is_told():
    broken = batches(0, 4)
    broken.at(0)
    assert broken.ahead
    broken.ahead[1].result()
    broken.images.batch = lambda indices: 1 / 0  # type: ignore[method-assign,assignment]
    broken.at(1)  # was read before
    with pytest.raises(ZeroDivisionError):
        broken.at(2)


def test_what_is_spoiled_is_the_same_for_any_split_and_new_at_every_step():
    x = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    config = TrainConfig(model=PaletteConfig(tasks=("inpaint",)), optim=OptimSettings(batch=4), seed=3)
    whole = prepared({"x": x}, config, 5, slice(0, 4))
    assert set(whole) == {"x", "image", "mask"}
    parts = [prepared({"x": x[rows]}, config, 5, rows) for rows in (slice(0, 1), slice(1, 4))]
    for name, value in whole.items():
        assert torch.cat([part[name] for part in parts]).equal(value)
    known = (whole["mask"] == 0).expand_as(whole["image"])
    assert torch.equal(whole["image"][known], scale(whole["x"], 256)[known])
    masks = [prepared({"x": x}, config, step, slice(0, 4))["mask"] for step in range(6)]
    assert all(not a.equal(b) for a, b in combinations(masks, 2))
    holes = [prepared({"x": x}, config, step, slice(0, 4))["image"] for step in range(6)]
    assert all(not a.equal(b) for a, b in combinations(holes, 2))


def test_empty_set():
    with pytest.raises(ValueError, match="training set is empty"):
        batches(0, 4, size=0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_symmetries_are_drawn_evenly():
    corner = torch.tensor([[1, 2], [3, 4]], dtype=torch.uint8)
    x = corner.expand(4000, 1, 2, 2)
    turned = [torch.rot90(f, k) for f in (corner, corner.flip(-1)) for k in range(4)]
    for config, expected in (
        (DataConfig(flip=True), {tuple(t.flatten().tolist()) for t in (turned[0], turned[4])}),
        (DataConfig(rotate=True), {tuple(t.flatten().tolist()) for t in turned[:4]}),
        (DataConfig(flip=True, rotate=True), {tuple(t.flatten().tolist()) for t in turned}),
    ):
        counts = Counter(tuple(row) for row in augment(x, config, generator()).flatten(1).tolist())
        assert set(counts) == expected
        share = 4000 / len(expected)
        assert all(abs(count - share) < 5 * share**0.5 for count in counts.values())


def test_no_augmentation_changes_nothing():
    x = torch.arange(8, dtype=torch.uint8).reshape(2, 1, 2, 2)
    assert torch.equal(augment(x, DataConfig(), generator()), x)


def test_rotation_needs_squares():
    with pytest.raises(ValueError, match=r"data.rotate needs square pictures, got 2 x 3"):
        augment(torch.zeros(1, 1, 2, 3), DataConfig(rotate=True), generator())
