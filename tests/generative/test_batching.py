"""A row's result is the same bits in any split of a batch."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from generative.batching import evaluating, in_chunks, rows_of


class Recorder:
    """A denoiser that keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor, object]] = []

    def __call__(self, z: Tensor, log_snr: Tensor, cond: object = None) -> Tensor:
        self.calls.append((z, log_snr, cond))
        return 10 * z


class PlaceSensitive:
    """Answers differently in each row and for each number of rows, as bad kernels do in the last bits."""

    def __call__(self, z: Tensor, log_snr: Tensor, cond: object = None) -> Tensor:
        return z + len(z) * torch.arange(len(z), dtype=z.dtype)[:, None]


@pytest.mark.parametrize(
    ("count", "first", "size", "expected"),
    [
        (3, 0, 4, [0, 1, 2, 2]),
        (4, 0, 4, [0, 1, 2, 3]),
        (5, 0, 4, [0, 1, 2, 3, 4, 4, 4, 4]),
        (3, 2, 4, [0, 0, 0, 1, 2, 2, 2, 2]),
        (2, 7, 4, [0, 0, 0, 0, 1, 1, 1, 1]),
        (1, 6, 3, [0, 0, 0]),
    ],
)
def test_each_picture_sits_where_its_number_says(count: int, first: int, size: int, expected: list[int]) -> None:
    assert rows_of(count, first, size).tolist() == expected


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
@pytest.mark.parametrize("first", [0, 1, 7])
def test_calls_have_the_same_number_of_rows_and_results_are_in_order(size: int, first: int) -> None:
    recorder, z, log_snr = Recorder(), torch.arange(14.0).reshape(7, 2), torch.arange(7.0)
    label = torch.arange(7)
    cond = {"label": label, "more": {"image": z[:, None]}, "none": None}
    result = in_chunks(recorder, size, first)(z, log_snr, cond)
    assert torch.equal(result, 10 * z)
    assert all(len(rows) == size for rows, _, _ in recorder.calls)
    for rows, levels, conds in recorder.calls:  # every part of a row belongs to the same example
        assert torch.equal(levels, rows[:, 0] / 2)
        assert isinstance(conds, dict)
        assert torch.equal(conds["label"], (rows[:, 0] / 2).long())
        assert torch.equal(conds["more"]["image"][:, 0], rows)
        assert conds["none"] is None


def test_one_level_for_all_rows() -> None:
    recorder, z = Recorder(), torch.zeros(3, 2)
    in_chunks(recorder, 2)(z, torch.tensor(1.5))
    assert [levels.tolist() for _, levels, _ in recorder.calls] == [[1.5, 1.5], [1.5, 1.5]]
    assert recorder.calls[0][2] is None
    in_chunks(recorder, 2)(z, torch.tensor(1.5), torch.arange(3))
    assert recorder.calls[-1][2].tolist() == [2, 2]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("cuts", [[5], [1, 2], [3, 8], list(range(1, 11))])
def test_a_split_gives_the_same_even_if_rows_differ_by_place(cuts: list[int]) -> None:
    z = torch.randn(11, 3, dtype=torch.float64)
    whole = in_chunks(PlaceSensitive(), 4, first=6)(z, torch.zeros(11))
    edges = [0, *cuts, 11]
    parts = [in_chunks(PlaceSensitive(), 4, first=6 + a)(z[a:b], torch.zeros(b - a)) for a, b in pairwise(edges)]
    assert torch.equal(torch.cat(parts), whole)


def test_a_network_gives_the_same_bits_in_any_split() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 24, 3, padding=1), nn.SiLU(), nn.GroupNorm(3, 24), nn.Conv2d(24, 3, 3, padding=1))

    def denoise(z: Tensor, log_snr: Tensor, cond: object = None) -> Tensor:
        return net(z) * log_snr[:, None, None, None]

    z, log_snr = torch.randn(13, 3, 7, 5), torch.rand(13)
    with torch.no_grad():
        whole = in_chunks(denoise, 5)(z, log_snr)
        for size in (1, 2, 4, 6):
            parts = [in_chunks(denoise, 5, first=a)(z[a : a + size], log_snr[a : a + size]) for a in range(0, 13, size)]
            assert torch.equal(torch.cat(parts), whole)


def test_evaluating_switches_dropout_off_and_back() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(2, 2))
    with evaluating(net):
        assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.modules())
    net.eval()
    with pytest.raises(KeyError), evaluating(net):
        raise KeyError
    assert not net.training
    net.train()
    with pytest.raises(KeyError), evaluating(net):
        raise KeyError
    assert net.training


@pytest.mark.parametrize("size", [0, -3])
def test_rows_per_call_must_be_positive(size: int) -> None:
    with pytest.raises(ValueError, match=f"rows per call must be positive, got {size}"):
        in_chunks(Recorder(), size)


def test_numbers_must_not_be_negative() -> None:
    with pytest.raises(ValueError, match="count must be positive and first not negative, got 0 and 0"):
        rows_of(0, 0, 4)
    with pytest.raises(ValueError, match="count must be positive and first not negative, got 1 and -1"):
        in_chunks(Recorder(), 4, first=-1)
