"""Random numbers do not depend on how a batch was split."""

import math
from itertools import pairwise

import pytest
import torch

from generative import noise

CPU64 = {"device": "cpu", "dtype": torch.float64}


def split(cuts: list[int], seed: int = 3, step: int = 5) -> list[noise.GlobalBatch]:
    edges = [0, *cuts, 12]
    return [noise.GlobalBatch(seed=seed, step=step, start=a, stop=b, total=12) for a, b in pairwise(edges)]


@pytest.mark.parametrize("cuts", [[6], [1, 2, 11], [4, 8], list(range(1, 12))])
def test_slices_of_a_global_batch_make_the_whole(cuts: list[int]) -> None:
    """Several draws of several kinds in a row, as a loss makes them."""

    def draws(source: noise.GlobalBatch) -> tuple[torch.Tensor, ...]:
        held = source.stop - source.start
        return (
            noise.low_discrepancy_times(source, held, device="cpu"),
            noise.normal(source, (held, 3, 2), **CPU64),
            noise.uniform(source, (held,), **CPU64),
            noise.normal_like(source, torch.zeros(held, 5)),
        )

    whole = draws(split([])[0])
    parts = [draws(source) for source in split(cuts)]
    for kind, expected in enumerate(whole):
        assert torch.equal(torch.cat([part[kind] for part in parts]), expected)


def test_steps_and_seeds_of_a_global_batch_differ() -> None:
    first = noise.normal(split([])[0], (12,), **CPU64)
    for other in (split([], step=6)[0], split([], seed=4)[0]):
        assert not (noise.normal(other, (12,), **CPU64) == first).any()


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (5, 4), (0, 13)])
def test_a_slice_outside_its_batch_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="0 <= start < stop <= total"):
        noise.GlobalBatch(seed=0, step=0, start=start, stop=stop, total=12)


def even_spread(times: torch.Tensor) -> None:
    """Every gap between neighbours on the circle is 1 / B."""
    assert times.dtype == torch.float64
    assert (times >= 0).all()
    assert (times < 1).all()
    ordered = times.sort().values
    gaps = torch.cat([ordered, ordered[:1] + 1]).diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / len(times)), rtol=0, atol=1e-12)


def test_times_are_evenly_spread_over_the_global_batch() -> None:
    parts = [noise.low_discrepancy_times(source, 4, device="cpu") for source in split([4, 8])]
    even_spread(torch.cat(parts))
    later = noise.low_discrepancy_times(split([4, 8], step=6)[0], 4, device="cpu")
    assert not torch.equal(later, parts[0])  # each step has its own offset
    even_spread(noise.low_discrepancy_times(torch.Generator().manual_seed(0), 7, device="cpu"))


def test_each_time_alone_is_uniform() -> None:
    generator = torch.Generator().manual_seed(1)
    draws = torch.stack([noise.low_discrepancy_times(generator, 4, device="cpu") for _ in range(4000)])
    ordered = draws.sort(0).values
    distance = (ordered - (torch.arange(4000)[:, None] + 0.5) / 4000).abs().amax(0)  # Kolmogorov-Smirnov, about
    assert (distance < 1.95 / math.sqrt(4000)).all()  # p = 0.001


def test_examples_with_their_own_generators_are_the_same_in_any_batch() -> None:
    def draw(indices: list[int]) -> torch.Tensor:
        source = noise.per_example(9, indices)
        times = noise.low_discrepancy_times(source, len(indices), device="cpu")
        return torch.cat([times[:, None], noise.normal(source, (len(indices), 4), **CPU64)], 1)

    whole = draw([0, 1, 2, 3, 4])
    assert torch.equal(torch.cat([draw([0, 1]), draw([2]), draw([3, 4])]), whole)
    assert torch.equal(draw([3, 0]), whole[[3, 0]])
    assert len({float(row[1]) for row in whole}) == 5
    assert not torch.equal(noise.normal(noise.per_example(10, [0]), (1, 4), **CPU64), whole[:1, 1:])


def test_as_many_generators_as_examples() -> None:
    with pytest.raises(ValueError, match="got 2 generators for 3 examples"):
        noise.normal(noise.per_example(0, [0, 1]), (3, 2), **CPU64)


def test_numbers_have_the_asked_distribution() -> None:
    normal = noise.normal(torch.Generator().manual_seed(2), (200_000,), **CPU64)
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    uniform = noise.uniform(noise.per_example(2, range(500)), (500, 100), **CPU64)
    assert 0 <= uniform.min() < 0.001 < 0.999 < uniform.max() < 1
    assert abs(uniform.var() - 1 / 12) < 0.002
    like = torch.zeros(3, 2, dtype=torch.float32)
    assert noise.normal_like(torch.Generator(), like).dtype == torch.float32


def test_mix_is_splitmix64() -> None:
    """The first output of the published generator for seeds 0 and 1234567, without its lowest bit."""
    assert noise.mix(0) == 0xE220A8397B1DCDAF >> 1
    assert noise.mix(1234567) == 6457827717110365317 >> 1


def test_mixed_seeds_do_not_collide_and_their_bits_are_balanced() -> None:
    seeds = [noise.mix(a, b) for a in range(200) for b in range(200)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    for bit in range(63):
        assert abs(sum(seed >> bit & 1 for seed in seeds) / len(seeds) - 0.5) < 0.015
    assert len({noise.mix(1, 2), noise.mix(2, 1), noise.mix(3), noise.mix(1, 2, 0), noise.mix(0, 1, 2)}) == 5
