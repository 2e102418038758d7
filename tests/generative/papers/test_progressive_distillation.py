"""Progressive distillation against closed forms: Gaussian data with linear students, the paper's quotient, a loop."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from generative import process
from generative.nets.unet import UNetConfig
from generative.noise import GlobalBatch
from generative.papers.progressive_distillation import (
    Diffusion,
    DiffusionConfig,
    check_teacher,
    stages,
    student_target,
    weight,
    weighted_error,
)
from generative.papers.sr3 import SR3, SR3Config
from generative.pixels import scale
from generative.schedules import Cosine, ScheduleConfig
from tests.generative.known import gaussian

COSINE = Cosine()


def bent(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
    """A teacher that is not linear and knows the noise level."""
    return torch.tanh(z * torch.sigmoid(log_snr / 3).to(z)[:, None] + 0.3 * z.roll(1, 1)) - 0.1


def ddim(denoise: Any, z: Tensor, times: list[float]) -> Tensor:
    """The textbook's DDIM in alpha and sigma, one step after another."""
    for t, s in itertools.pairwise(times):
        (alpha, sigma), (alpha_s, sigma_s) = ((math.cos(angle), math.sin(angle)) for angle in (_angle(t), _angle(s)))
        x = denoise(z, torch.full((len(z),), 2 * math.log(alpha / sigma), dtype=torch.float64))
        z = alpha_s * x + sigma_s * (z - alpha * x) / sigma
    return z


def _angle(t: float) -> float:
    """Of the cosine schedule from 20 to -20."""
    low = math.atan(math.exp(-10))
    return low + (math.pi / 2 - 2 * low) * t


@pytest.mark.parametrize("num_steps", [2, 8, 64, 1024])
def test_a_students_step_lands_on_two_of_its_teachers(num_steps: int) -> None:
    z = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for i in {2, num_steps // 2 + 1, num_steps}:
        t, s = i / num_steps, (i - 1) / num_steps
        times = torch.full((5,), t, dtype=torch.float64)
        target = student_target(bent, z, times, num_steps, COSINE)
        landed = process.ddim_step(z, target, COSINE(times - 1 / num_steps), COSINE(times))
        assert_close(landed, ddim(bent, z, [t, (t + s) / 2, s]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_steps", [1, 4, 64])
def test_at_the_last_step_the_teachers_second_answer_is_the_target(num_steps: int) -> None:
    z = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.full((5,), 1 / num_steps, dtype=torch.float64)
    middle = ddim(bent, z, [1 / num_steps, 0.5 / num_steps])
    assert_close(student_target(bent, z, t, num_steps, COSINE), bent(middle, COSINE(t / 2)), rtol=0, atol=1e-9)


def test_the_target_is_the_papers_quotient() -> None:
    num_steps, z = 8, torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.arange(2, 9, dtype=torch.float64) / num_steps
    alpha, sigma = process.alpha_sigma(COSINE(t))
    alpha_s, sigma_s = process.alpha_sigma(COSINE(t - 1 / num_steps))
    ends = torch.cat([ddim(bent, z[i : i + 1], [u, u - 0.0625, u - 0.125]) for i, u in enumerate(t.tolist())])
    ratio = (sigma_s / sigma)[:, None]
    quotient = (ends - ratio * z) / (alpha_s[:, None] - ratio * alpha[:, None])
    assert_close(student_target(bent, z, t, num_steps, COSINE), quotient, rtol=0, atol=1e-9)


def test_in_float32_the_target_keeps_its_digits_at_many_steps() -> None:
    """The paper's quotient divides by 1 / N: at N = 4096 it would lose three digits."""
    z = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = (1 + torch.randint(1, 4096, (64,), generator=torch.Generator().manual_seed(1)).double()) / 4096
    exact = student_target(bent, z, t, 4096, COSINE)
    single = student_target(bent, z.float(), t, 4096, COSINE)
    assert single.dtype == torch.float32
    assert_close(single.double(), exact, rtol=0, atol=2e-6)


class PerTime(nn.Module):
    """A student that is linear in z, with a matrix and an offset for each of its times."""

    def __init__(self, num_steps: int, dims: int) -> None:
        super().__init__()
        self.num_steps = num_steps
        self.matrix = nn.Parameter(torch.zeros(num_steps, dims, dims, dtype=torch.float64))
        self.offset = nn.Parameter(torch.zeros(num_steps, dims, dtype=torch.float64))
        self.levels = COSINE(torch.arange(1, num_steps + 1, dtype=torch.float64) / num_steps)

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        step = (log_snr[:, None] - self.levels).abs().argmin(1)
        return torch.einsum("bij,bj->bi", self.matrix[step], z) + self.offset[step]


def learnt(teacher: Any, num_steps: int, x: Tensor, eps: Tensor) -> PerTime:
    """A student trained on the paper's loss, but for the weight of each time, which decides nothing here (below)."""
    student = PerTime(num_steps, x.shape[1])
    t = torch.arange(1, num_steps + 1, dtype=torch.float64).repeat_interleave(len(x)) / num_steps
    z = process.diffuse(x.repeat(num_steps, 1), COSINE(t), eps.repeat(num_steps, 1))
    target, levels = student_target(teacher, z, t, num_steps, COSINE), COSINE(t)
    weights = weight(levels, "truncated_snr")
    optimiser = torch.optim.LBFGS(
        student.parameters(), max_iter=3000, history_size=20, tolerance_grad=1e-14, tolerance_change=1e-18,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def loss() -> Tensor:
        optimiser.zero_grad()
        # Times do not share parameters, so a weight of the time changes nothing but how fast this converges.
        value = (weighted_error(target, student(z, levels), levels, "truncated_snr") / weights).sum()
        value.backward()
        return value

    optimiser.step(loss)
    return student


def composed(denoise: Any, z: Tensor, num_steps: int) -> Tensor:
    """x0 after `num_steps` DDIM steps, the last of which gives the answer itself."""
    times = [i / num_steps for i in range(num_steps, 0, -1)]
    z = ddim(denoise, z, times)
    return denoise(z, COSINE(torch.full((len(z),), times[-1], dtype=torch.float64)))


def test_linear_students_of_gaussian_data_keep_the_teachers_map_through_every_halving() -> None:
    oracle = gaussian()
    generator = torch.Generator().manual_seed(0)
    root = torch.linalg.cholesky(oracle.covariance)
    x = oracle.mean + torch.randn(24, 3, dtype=torch.float64, generator=generator) @ root.T
    eps, z = (torch.randn(24, 3, dtype=torch.float64, generator=generator) for _ in range(2))
    expected, teacher = composed(oracle, z, 64), oracle
    for num_steps in stages(64, 1):
        teacher = learnt(teacher, num_steps, x, eps)
        assert_close(composed(teacher, z, num_steps), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("weighting", "of"), [("truncated_snr", "larger"), ("snr_plus_one", "v"), ("snr", "eps")])
def test_weights_are_those_of_errors_of_x0_eps_and_v(weighting: Any, of: str) -> None:
    x0, guess, eps = torch.randn(3, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_snr = torch.tensor([-20.0, -3.0, -0.1, 0.1, 5.0, 20.0], dtype=torch.float64)
    z = process.diffuse(x0, log_snr, eps)
    errors = {
        "x0": x0 - guess,
        "eps": eps - process.eps_from_x0(z, guess, log_snr),
        "v": process.v_from_x0(z, x0, log_snr) - process.v_from_x0(z, guess, log_snr),
    }
    found = {name: error.square().mean(1) for name, error in errors.items()}
    found["larger"] = torch.maximum(found["x0"], found["eps"])
    assert_close(weighted_error(x0, guess, log_snr, weighting), found[of], rtol=1e-5, atol=1e-12)


SMALL = UNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_resolutions=(), dropout=0.0)


def small(**options: Any) -> Diffusion:
    """With random weights everywhere: a fresh network answers nothing."""
    torch.manual_seed(0)
    model = Diffusion(DiffusionConfig(**{"net": SMALL, **options}), (1, 4, 4), 17)
    for parameter in model.denoise.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model.eval()


def batch() -> dict[str, Tensor]:
    k = torch.randint(0, 17, (8, 1, 4, 4), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    return {"x": k, "label": torch.zeros(8, dtype=torch.int64)}


def source(seed: int = 3) -> GlobalBatch:
    return GlobalBatch(seed, 0, 0, 8, 8)


def times(seed: int = 3) -> Tensor:
    """The t of a batch that is trained at all times."""
    return (torch.arange(8) / 8 + torch.rand((), generator=source(seed).generator, dtype=torch.float64)) % 1


@pytest.mark.parametrize("num_steps", [0, 4])
@pytest.mark.parametrize("prediction", ["v", "x0", "both"])
def test_the_loss_by_hand(prediction: Any, num_steps: int) -> None:
    model = small(prediction=prediction, num_steps=num_steps)
    draws = source().generator
    offset = torch.rand((), generator=draws, dtype=torch.float64)
    t = (torch.arange(8) / 8 + offset) % 1
    if num_steps:
        t = torch.ceil((t * num_steps).nextafter(torch.tensor(9.0).double())) / num_steps
        assert sorted(t.tolist()) == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    x, eps = scale(batch()["x"], 17), torch.randn(8, 1, 4, 4, generator=draws)
    log_snr = model.schedule(t)
    alpha, sigma = (value.float()[:, None, None, None] for value in process.alpha_sigma(log_snr))
    x0_hat = model.denoise(alpha * x + sigma * eps, log_snr)
    expected = (x - x0_hat).double().square().mean((1, 2, 3)) * torch.exp(log_snr).clamp_min(1)
    assert_close(model.losses(batch(), source())["loss"], expected, rtol=1e-4, atol=0)


def test_a_student_learns_two_steps_of_its_teacher_and_a_convert_its_answers() -> None:
    """Whoever answers what is to be learnt has no loss; what is to be learnt is worked out beside the model."""
    teacher, model = small(), small(prediction="x0", num_steps=4)
    model.learn_from(teacher)
    assert float(model.losses(batch(), source())["loss"].min()) > 1e-3

    def right(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        t = (model.schedule(torch.arange(5) / 4)[:, None] - log_snr).abs().argmin(0) / 4
        return student_target(teacher.denoise, z, t.double(), 4, model.schedule)

    model.denoise.forward = right  # pyright: ignore[reportAttributeAccessIssue]
    assert float(model.losses(batch(), source())["loss"].max()) < 1e-9
    convert = small(prediction="x0")
    convert.learn_from(teacher)
    convert.denoise.forward = teacher.denoise.forward  # pyright: ignore[reportAttributeAccessIssue]
    assert float(convert.losses(batch(), source())["loss"].max()) == 0


def test_a_convert_learns_from_pictures_where_its_teacher_knows_nothing() -> None:
    teacher = small(schedule=ScheduleConfig(kind="linear", log_snr_max=5.0, log_snr_min=-5.0))
    convert = small(prediction="x0")
    alone = convert.losses(batch(), source())["loss"]
    convert.learn_from(teacher)
    taught = convert.losses(batch(), source())["loss"]
    outside = convert.schedule(times()).abs() > 5
    assert 0 < int(outside.sum()) < 8
    assert torch.equal(alone == taught, outside)


def test_a_convert_of_eps_learns_from_pictures_where_hardly_any_signal_is_left() -> None:
    """There an error of eps is divided by alpha, 4.5e-5 at -20: such an answer would be all noise."""
    teacher, convert = small(prediction="eps", weighting="snr"), small(prediction="x0")
    seed = next(seed for seed in range(100) if float(convert.schedule(times(seed)).min()) < -5)
    alone = convert.losses(batch(), source(seed))["loss"]
    convert.learn_from(teacher)
    taught = convert.losses(batch(), source(seed))["loss"]
    faint = convert.schedule(times(seed)) < -5
    assert 0 < int(faint.sum()) < 8
    assert torch.equal(alone == taught, faint)


def test_what_a_teacher_of_eps_says_is_kept_in_the_range_of_pictures() -> None:
    """Divided by alpha, an error of eps leads far outside; whoever answers the clipped picture has no loss."""
    teacher, convert = small(prediction="eps", weighting="snr"), small(prediction="x0")
    convert.learn_from(teacher)
    seed = next(seed for seed in range(100) if float(convert.schedule(times(seed)).min()) > -5)
    furthest = []

    def clipped(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        alpha, sigma = (value.to(z)[:, None, None, None] for value in process.alpha_sigma(log_snr))
        x0 = (z - sigma * process.eps_from_x0(z, teacher.denoise(z, log_snr, cond), log_snr)) / alpha
        furthest.append(float(x0.abs().max()))
        return x0.clip(-1, 1)

    convert.denoise.forward = clipped  # pyright: ignore[reportAttributeAccessIssue]
    assert float(convert.losses(batch(), source(seed))["loss"].max()) < 1e-6
    assert furthest[0] > 2


@pytest.mark.parametrize("num_steps", [0, 4])
def test_a_class_is_told_to_student_and_teacher(num_steps: int) -> None:
    """Two pictures that are the same but for their class have other losses, and other targets."""
    net = UNetConfig(channels=8, multipliers=(1,), blocks=1, attention_resolutions=(), dropout=0.0, classes=3)
    teacher, model = small(net=net, prediction="x0"), small(net=net, num_steps=num_steps)
    asked: dict[str, list[Tensor]] = {"teacher": [], "model": []}
    for name, one in (("teacher", teacher), ("model", model)):
        answer = one.denoise.forward

        def call(z: Tensor, log_snr: Tensor, cond: Any = None, name: str = name, answer: Any = answer) -> Tensor:
            asked[name].append(cond["label"])
            return answer(z, log_snr, cond)

        one.denoise.forward = call  # pyright: ignore[reportAttributeAccessIssue]
    model.learn_from(teacher)
    losses = [model.losses({**batch(), "label": torch.full((8,), k)}, source())["loss"] for k in (0, 1)]
    assert not torch.equal(*losses)
    assert [label.unique().tolist() for label in asked["model"]] == [[0], [1]]
    assert [label.unique().tolist() for label in asked["teacher"]] == [[0]] * (1 + (num_steps > 0)) + [[1]] * (
        1 + (num_steps > 0)
    )


@pytest.mark.parametrize(
    ("theirs", "ours", "message"),
    [
        ({"num_steps": 4}, {}, "the teacher knows its own 4 times alone, the student is for all"),
        ({"prediction": "eps", "weighting": "snr"}, {"num_steps": 4}, "the teacher predicts eps"),
        ({"schedule": ScheduleConfig(kind="cosine", log_snr_max=15.0, log_snr_min=-20.0)}, {"num_steps": 4},
         "the teacher's schedule is .*15.0.*, the student's .*20.0"),
        ({"num_steps": 16}, {"num_steps": 4}, "the teacher takes 16 steps; its student must take half of them, got 4"),
        ({"net": UNetConfig(channels=8, multipliers=(1,), blocks=1, attention_resolutions=(), classes=3)},
         {"num_steps": 4}, "the teacher has 3 classes, the student 0"),
    ],
)  # fmt: skip
def test_a_teacher_that_does_not_fit_is_refused(theirs: dict[str, Any], ours: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_teacher(small(**ours), small(**theirs))
    check_teacher(small(num_steps=4), small())
    check_teacher(small(num_steps=4), small(num_steps=8))
    with pytest.raises(ValueError, match=r"the teacher's shape is \(1, 4, 4\), the student's \(3, 4, 4\)"):
        check_teacher(Diffusion(small().config, (3, 4, 4), 17), small())
    with pytest.raises(ValueError, match="the teacher's num_levels is 17, the student's 256"):
        check_teacher(Diffusion(small().config, (1, 4, 4)), small())
    enlarger = SR3(SR3Config(net=small().config.net, low=2), (1, 4, 4), 17)
    with pytest.raises(ValueError, match="the teacher makes pictures of pictures"):
        check_teacher(small(), enlarger)


def test_a_teacher_is_no_part_of_its_student() -> None:
    model = small(num_steps=4)
    names = set(model.state_dict())
    model.learn_from(small())
    assert set(model.state_dict()) == names
    model.losses(batch(), source())["loss"].sum().backward()
    assert model.teacher is not None
    assert all(parameter.grad is None for parameter in model.teacher.parameters())


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_samples_are_clipped_ddim_whose_last_step_is_the_answer_itself(
    steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked, seen = small(), [], []
    network = model.denoise.forward

    def watched(z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        asked.append((z, log_snr))
        return network(z, log_snr, cond)

    monkeypatch.setattr(model.denoise, "forward", watched)
    pictures = model.sample(3, steps=steps, seed=7, chunk=3, callback=seen.append)
    assert len(asked) == steps
    assert [call["step"] for call in seen] == list(range(steps))
    z = x = asked[0][0]
    for i, (z_asked, log_snr) in enumerate(asked):
        t, s = (_angle(1 - j / steps) for j in (i, i + 1))  # from noise; the last is asked at 1 / N, not at 0
        assert_close(log_snr, torch.full((3,), -2 * math.log(math.tan(t)), dtype=torch.float64))
        assert_close(z_asked, z, rtol=0, atol=1e-4)
        x = network(z_asked, log_snr).clamp(-1, 1)
        assert torch.equal(seen[i]["x0_hat"], x)
        z = math.cos(s) * x + math.sin(s) * (z_asked - math.cos(t) * x) / math.sin(t)
    assert torch.equal(pictures, model.levels(x))


def test_halvings() -> None:
    assert stages(256, 1) == [128, 64, 32, 16, 8, 4, 2, 1]
    assert stages(48, 3) == [24, 12, 6, 3]


@pytest.mark.parametrize(("start", "end"), [(8, 8), (8, 16), (8, 3), (24, 4), (8, 0), (0, 0), (8, -1)])
def test_what_no_halving_reaches_is_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=f"{start} steps cannot be halved to {end}"):
        stages(start, end)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prediction": "score"}, "prediction must be one of eps, x0, v, both, got 'score'"),
        ({"weighting": "min"}, "weighting must be one of truncated_snr, snr_plus_one, snr, got 'min'"),
        ({"num_steps": -1}, "num_steps must be 0"),
        ({"schedule": ScheduleConfig()}, "the schedule must be fixed"),
        ({"prediction": "eps"}, "eps with weighting truncated_snr diverges"),
        ({"prediction": "eps", "weighting": "snr", "num_steps": 4}, "a student .* predicts v, x0 or both"),
    ],
)
def test_impossible_configurations_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusionConfig(**options)
