"""Palette's degradations: their distributions by counting, and that a generator decides everything."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage, stats

from generative.degradations import (
    TASKS,
    Centre,
    Colorize,
    FreeForm,
    Inpaint,
    Jpeg,
    Rectangles,
    RightHalf,
    Strokes,
    Uncrop,
    compressed,
    grey,
)


def picture(side: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, side, side), dtype=np.uint8)


@pytest.mark.parametrize("task", TASKS)
def test_a_generator_decides_everything(task: str) -> None:
    k = picture()
    (first, mask), (again, mask_again) = (TASKS[task](k, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)
    assert np.array_equal(mask, mask_again) if mask is not None else mask_again is None
    assert first.shape == k.shape
    assert np.array_equal(k, picture())  # what came in is untouched


def test_quality_is_drawn_as_the_paper_says() -> None:
    """p(Q) proportional to exp(-Q / 10), Q = 5..30, by its sum written out."""
    total = sum(math.exp(-q / 10) for q in range(5, 31))
    expected = np.array([math.exp(-q / 10) / total for q in range(5, 31)])
    assert np.allclose(Jpeg().probabilities(), expected)
    assert expected[0] == pytest.approx(0.103, abs=1e-3)
    assert expected[-1] == pytest.approx(0.008, abs=1e-3)
    k, by_quality = picture(16), {}
    for quality in range(5, 31):
        by_quality.setdefault(compressed(k, quality).tobytes(), quality)
    rng = np.random.default_rng(0)
    seen = [by_quality[Jpeg()(k, rng)[0].tobytes()] for _ in range(4000)]
    counts = np.array([seen.count(q) for q in range(5, 31)])
    assert stats.chisquare(counts, expected * 4000).pvalue > 1e-3


def test_jpeg_leaves_flat_pictures_and_gets_better_with_quality() -> None:
    flat = np.full((3, 32, 32), 128, np.uint8)
    assert np.array_equal(compressed(flat, 5), flat)
    errors = [np.mean((compressed(picture(), q).astype(float) - picture()) ** 2) for q in (5, 10, 20, 30)]
    assert errors == sorted(errors, reverse=True)


def test_grey_is_luma_in_three_channels() -> None:
    k = picture()
    spoiled, mask = Colorize()(k, np.random.default_rng(0))
    assert mask is None
    assert np.array_equal(spoiled[0], spoiled[1])
    luma = 0.299 * k[0].astype(float) + 0.587 * k[1] + 0.114 * k[2]
    assert np.abs(spoiled[0] - luma).max() <= 1
    assert np.array_equal(grey(k), spoiled)


def test_rectangles_hide_a_tenth_to_four_tenths_and_come_one_to_five_at_a_time() -> None:
    counts = []

    class Counted(Rectangles):
        def _cut(self, mask: np.ndarray, area: float, rng: np.random.Generator) -> None:
            counts.append(0 if not mask.any() else counts[-1])
            counts[-1] += 1
            super()._cut(mask, area, rng)

    rng, numbers = np.random.default_rng(0), []
    for _ in range(1500):
        counts.clear()
        mask = Counted().mask(64, 64, rng)
        numbers.append(counts[-1])
        assert 0.1 <= mask.mean() <= 0.4
    assert stats.chisquare([numbers.count(n) for n in range(1, 6)]).pvalue > 1e-3


def test_one_rectangle_hides_a_share_that_is_uniform() -> None:
    rng = np.random.default_rng(0)
    shares = [Rectangles(count=1).mask(256, 256, rng).mean() for _ in range(1500)]
    assert stats.kstest(shares, stats.uniform(0.1, 0.3).cdf).pvalue > 1e-3


@pytest.mark.parametrize("side", [32, 64, 256])
def test_strokes_scale_with_the_picture(side: int) -> None:
    rng = np.random.default_rng(0)
    areas = [Strokes().mask(side, side, rng).mean() for _ in range(200)]
    assert 0.1 < np.mean(areas) < 0.4
    assert min(areas) > 0
    thick = [ndimage.distance_transform_edt(Strokes().mask(side, side, rng)).max() * 2 for _ in range(50)]
    assert min(thick) >= 12 * side / 256 - 2


def test_strokes_turn_by_two_fifths_of_pi_give_or_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps from vertex to vertex, read off what is drawn: the angle goes back and forth, within 2 pi / 15."""
    lines = []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.line", lambda self, points, **_: lines.append(points))
    for seed in range(100):
        Strokes().mask(256, 256, np.random.default_rng(seed))
    angles = []
    for points in lines:
        for number, ((x, y), (u, v)) in enumerate(pairwise(points)):
            inside = 0 < u < 256 and 0 < v < 256 and math.hypot(u - x, v - y) > 1
            if inside:
                angle = math.atan2(v - y, u - x)
                angles.append(-angle if number % 2 == 0 else angle)
    assert len(angles) > 300
    middle, spread = 2 * math.pi / 5, 2 * math.pi / 15
    assert min(angles) > middle - spread
    assert max(angles) < middle + spread
    assert max(angles) - min(angles) > spread


def test_steps_of_strokes_are_normal_about_an_eighth_of_the_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    """N(L, L / 2) clipped to [0, 2 L], read off steps that start so far inside that none of them meets an edge."""
    lines = []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.line", lambda self, points, **_: lines.append(points))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        Strokes().mask(512, 512, rng)
    length = math.hypot(512, 512) / 8
    steps = [
        math.dist(here, there) / length
        for points in lines
        for here, there in pairwise(points)
        if all(2 * length < x < 512 - 2 * length for x in here)
    ]
    assert len(steps) > 1000
    below = stats.norm.cdf(-2)
    for end in (0, 2):
        assert stats.binomtest(int(np.isclose(steps, end).sum()), len(steps), below).pvalue > 1e-3
    inside = [step for step in steps if not np.isclose(step, 0) and not np.isclose(step, 2)]
    assert stats.kstest(inside, stats.truncnorm(-2, 2, 1, 0.5).cdf).pvalue > 1e-3


def test_strokes_have_four_to_eleven_pieces_a_brush_of_12_to_39_and_round_joints(monkeypatch) -> None:
    lines, joints = [], []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.line", lambda self, points, fill, width: lines.append((points, width)))
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.ellipse", lambda self, box, fill: joints.append(box))
    rng = np.random.default_rng(0)
    strokes = []
    for _ in range(2000):
        before = len(lines)
        Strokes().mask(256, 256, rng)
        strokes.append(len(lines) - before)
    for found, low, high in (
        (strokes, 1, 3), ([len(points) - 1 for points, _ in lines], 4, 11), ([width for _, width in lines], 12, 39),
    ):  # fmt: skip
        counts = [found.count(number) for number in range(low, high + 1)]
        assert sum(counts) == len(found)
        assert stats.chisquare(counts).pvalue > 1e-3
    centres = [((x + u) / 2, (y + v) / 2, u - x) for x, y, u, v in joints]
    expected = [(x, y, width // 2 * 2) for points, width in lines for x, y in points]
    assert np.allclose(centres, expected)


def test_flips_of_strokes_do_flip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many masks, as much is hidden above as below, left as right: and with no flips there would be no difference
    in a single mask, so one seed is looked at twice."""

    class Fixed:
        """A generator whose flips are decided."""

        def __init__(self, flip: float) -> None:
            self.rng, self.flip = np.random.default_rng(5), flip

        def __getattr__(self, name: str):
            return (lambda: self.flip) if name == "random" else getattr(self.rng, name)

    plain, flipped = (Strokes().mask(64, 64, Fixed(flip)) for flip in (0.51, 0.49))  # pyright: ignore
    assert np.array_equal(flipped, plain[::-1, ::-1])
    assert not np.array_equal(flipped, plain)


def test_six_holes_in_ten_are_free_form_and_none_is_both() -> None:
    """Each mask is, drawn again from the same state, of one kind or of the other."""
    free = 0
    for seed in range(1000):
        _, mask = Inpaint()(picture(32), np.random.default_rng(seed))
        drawn = []
        for kind in (Strokes(), Rectangles()):
            rng = np.random.default_rng(seed)
            rng.random()  # decides the kind
            drawn.append(np.array_equal(mask, kind.mask(32, 32, rng)))
        assert sum(drawn) == 1
        free += drawn[0]
    assert stats.binomtest(free, 1000, 0.6).pvalue > 0.01


def test_half_is_uncropped_from_one_side_or_from_all_borders() -> None:
    rng, kinds = np.random.default_rng(0), []
    for _ in range(800):
        spoiled, mask = Uncrop()(picture(), rng)
        assert mask is not None
        assert abs(mask.mean() - 0.5) <= 1 / 32
        assert np.array_equal(spoiled[:, ~mask], picture()[:, ~mask])
        edges = [mask[0].all(), mask[:, 0].all(), mask[-1].all(), mask[:, -1].all()]
        kinds.append("all" if all(edges) else edges.index(True))
        if all(edges):
            rows, columns = np.nonzero(~mask)  # the middle is known: borders are to be made, not a hole
            for known in (rows, columns):
                assert abs(known.min() + known.max() - 63) <= 1
                assert np.ptp(known) + 1 == round(64 * math.sqrt(0.5))
    assert stats.binomtest(kinds.count("all"), 800, 0.5).pvalue > 0.01
    assert stats.chisquare([kinds.count(side) for side in range(4)]).pvalue > 1e-3


def test_holes_that_the_paper_measures_on() -> None:
    holes = [FreeForm()(picture(), np.random.default_rng(seed))[1] for seed in range(50)]
    shares = [hole.mean() for hole in holes if hole is not None]
    assert len(shares) == 50
    assert 0.2 <= min(shares) < 0.23 < 0.27 < max(shares) <= 0.3
    spoiled, mask = Centre()(picture(), np.random.default_rng(0))
    assert mask is not None
    expected = np.zeros((64, 64), bool)
    expected[16:48, 16:48] = True
    assert np.array_equal(mask, expected)
    assert np.array_equal(spoiled, np.where(expected, 0, picture()))
    _, mask = RightHalf()(picture(), np.random.default_rng(0))
    assert mask is not None
    assert np.array_equal(mask, np.arange(64)[None].repeat(64, 0) >= 32)
    with pytest.raises(ValueError, match="a picture of 1 x 1 is too small for holes of 20% to 30%"):
        FreeForm()(picture(1), np.random.default_rng(0))


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1)])
def test_thin_pictures_have_masks_that_torch_takes(shape: tuple[int, int]) -> None:
    for seed in range(20):
        mask = Strokes().mask(*shape, np.random.default_rng(seed))
        assert mask.shape == shape
        assert min(mask.strides) > 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 3), (1, 50), (8, 8)])
def test_rectangles_of_small_and_thin_pictures_end(shape: tuple[int, int]) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        if math.prod(shape) < 3:  # a pixel of two is half of them
            with pytest.raises(ValueError, match="is too small for holes of 10% to 40%"):
                Rectangles().mask(*shape, rng)
        else:
            assert 0.1 <= Rectangles().mask(*shape, rng).mean() <= 0.4
