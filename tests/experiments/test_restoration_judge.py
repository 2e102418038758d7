"""What is said of restored pictures, by hand."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments import restoration_page
from experiments.restoration_judge import FLOOR, Asked, Each, Judge, difference, ratio
from generative.metrics import features, lpips, restoration
from generative.metrics.bits import mean_and_se
from generative.metrics.kid import kid

GROUPS = [f"photo {i // 3}" for i in range(12)]
REAL = [f"other {i // 4}" for i in range(28)]


def pictures(n: int, seed: int, side: int = 8) -> Tensor:
    return torch.randint(40, 200, (n, 3, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.fixture
def judge() -> Judge:
    hole = torch.zeros(12, 1, 8, 8)
    hole[:, :, :4] = 1
    x = pictures(12, 0)
    asked = Asked(
        task="inpaint", originals=x, label=torch.zeros(12), classes=0, groups=GROUPS, mask=hole,
        given=torch.where(hole > 0, 0, x),
    )  # fmt: skip
    options: dict[str, Any] = {"split": "train", "features": "random", "perceptual": False, "classifier": "none"}
    return Judge(asked, pictures(28, 1), REAL, 256, "cpu", **options)


def test_the_hole_alone_is_measured(judge: Judge) -> None:
    x, hole = judge.asked.originals, judge.asked.mask
    assert hole is not None
    made = torch.where(hole > 0, x + 10, x + 40)
    assert judge.score("ours", made).psnr == pytest.approx((20 * torch.log10(torch.tensor(255 / 10)).item(), 0))
    assert judge.score(FLOOR, x).psnr is None


def test_kid_is_against_all_real_pictures(judge: Judge) -> None:
    made = pictures(12, 2)
    ours, floor = judge.score("ours", made), judge.score(FLOOR, judge.asked.originals)
    net = features.random_features()
    a, b, real = (features.extract(net, x) for x in (made, judge.asked.originals, pictures(28, 1)))
    for found, x in ((ours, a), (floor, b)):
        assert found.kid[0] == pytest.approx(kid(x, real, GROUPS, REAL).value, rel=1e-4)
    gap = difference(ours, floor, "kid")
    assert gap is not None
    assert gap[0] == pytest.approx(ours.kid[0] - floor.kid[0])


def test_differences_are_of_the_same_pictures(judge: Judge) -> None:
    """Both are off by what a photograph decides, and one by 2 dB more: that is sure."""
    base = torch.linspace(20, 30, 4).repeat_interleave(3)
    ours, theirs = (judge.score(name, pictures(12, 3)) for name in ("ours", "theirs"))
    for row, psnr, missed in ((ours, base + 2, 3 * base), (theirs, base, base)):
        row.details.each.update({
            name: Each(values=x.double(), groups=GROUPS) for name, x in (("psnr", psnr), ("consistency", missed))
        })  # fmt: skip
    assert difference(ours, theirs, "psnr") == pytest.approx((2, 0), abs=1e-9)
    assert ratio(ours, theirs, "consistency") == pytest.approx((3, 0), abs=1e-6)
    assert difference(ours, theirs, "lpips") is None
    page = restoration_page.differences([ours, theirs, replace(theirs, name="third")])
    assert page[0] == ["", "KID", "PSNR, dB", "consistency, ratio"]
    assert [line[0] for line in page[1:]] == ["minus theirs", "minus third"]
    assert page[1][2:] == ["2.00 ± 0.00", "3.00 ± 0.00"]


def test_a_ratio_s_standard_error_is_its_spread() -> None:
    """Of 400 draws of 30 photographs with three pictures each."""
    generator, found = torch.Generator().manual_seed(0), []
    groups = [str(i // 3) for i in range(90)]
    options: dict[str, Any] = {"split": "train", "features": "random", "perceptual": False, "classifier": "none"}
    x = pictures(90, 0)
    asked = Asked(
        task="upscale", originals=x, label=torch.zeros(90), classes=0, groups=groups, given=x[..., ::2, ::2], mask=None
    )
    row = Judge(asked, x, groups, 256, "cpu", **options).score("ours", x)
    for _ in range(400):
        photo = torch.rand(30, generator=generator).repeat_interleave(3)
        a, b = (1 + photo + 0.3 * torch.rand(90, generator=generator) for _ in range(2))
        measured = [{"consistency": Each(values=v.double(), groups=groups)} for v in (2 * a, b)]
        rows = [replace(row, details=replace(row.details, each=each)) for each in measured]
        found.append(ratio(rows[0], rows[1], "consistency"))
    values, told = torch.tensor(found).T
    assert float(values.mean()) == pytest.approx(2, rel=0.01)
    assert float(told.mean()) == pytest.approx(float(values.std()), rel=0.1)


def test_answers_are_compared_with_the_next(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    def distance(net: Any, a: Tensor, b: Tensor, *, num_levels: int) -> Tensor:
        return (a.double() - b.double()).abs().flatten(1).mean(1)

    monkeypatch.setattr(lpips, "distance", distance)
    judge.perceptual = torch.nn.Identity()  # pyright: ignore
    first, second, third = (torch.full_like(judge.asked.originals, shade) for shade in (0, 10, 40))
    some = torch.tensor([0, 3, 4, 7, 9, 11])
    found = judge.score("ours", first, torch.stack([first, second, third])[:, some], some)
    assert found.lpips_between == pytest.approx((20, 0))  # 10 and 30, not 10 and 40
    mean = torch.full_like(first, 17)[some]  # of 0, 10 and 40, rounded
    assert judge.asked.mask is not None
    psnr = restoration.hidden_psnr(mean, judge.asked.originals[some], judge.asked.mask[some])
    assert found.mean_psnr == pytest.approx(mean_and_se(psnr, [GROUPS[i] for i in some.tolist()]))
    other = judge.score("theirs", first, torch.stack([first, first + 4])[:, some], some)
    assert difference(found, other, "lpips_between") == pytest.approx((16, 0))


def test_one_group_has_no_standard_error_and_no_nan(judge: Judge) -> None:
    row = judge.score("ours", judge.asked.originals, judge.asked.originals[None, :3], torch.arange(3))
    assert restoration_page._plain(row)["mean_psnr"] == [100.0, None]
    assert "100.00" in restoration_page.table([row])[1]


def test_intervals_are_wide_where_there_are_few_photographs(judge: Judge) -> None:
    """Four photographs of three crops each: Student's t with 3 degrees of freedom, 3.182 from a printed table."""
    row = judge.score("ours", pictures(12, 4))
    row.details.each["psnr"] = Each(values=torch.tensor([1.0, 2, 3, 4]).double().repeat_interleave(3), groups=GROUPS)
    row = replace(row, psnr=row.details.each["psnr"].mean())
    head, line = restoration_page.table([row])
    assert line[head.index("PSNR, dB")] == f"2.50 ± {3.182 * (5 / 3 / 4) ** 0.5:.2f}"
