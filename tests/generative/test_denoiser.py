"""Prediction types, guidance and thresholds, with nets small enough to do by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from generative import process
from generative.denoiser import Denoiser, dynamic_threshold, guided, static_threshold


class Fixed(nn.Module):
    """Answers with given numbers, and remembers the calls."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output
        self.calls: list[tuple[Tensor, Tensor, Any]] = []

    def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        self.calls.append((z, log_snr, cond))
        return self.output


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x0, eps, z [4, 3, 2] and four levels."""
    x0, eps = torch.randn(2, 4, 3, 2, dtype=dtype, generator=torch.Generator().manual_seed(0))
    log_snr = torch.tensor([-6.0, -1.0, 0.5, 8.0], dtype=torch.float64)
    return x0, eps, process.diffuse(x0, log_snr, eps), log_snr


@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "both"])
def test_each_prediction_becomes_x0(prediction: Any) -> None:
    x0, eps, z, log_snr = problem()
    alpha, sigma = (torch.sqrt(torch.sigmoid(s * log_snr))[:, None, None] for s in (1, -1))
    outputs = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0, "both": torch.cat([x0, eps], 1)}
    net = Fixed(outputs[prediction])
    denoiser = Denoiser(net, prediction)
    cond = {"label": torch.arange(4)}
    assert_close(denoiser(z, log_snr, cond), x0, rtol=0, atol=1e-12)
    (call,) = net.calls
    assert call[0] is z
    assert call[1] is log_snr
    assert call[2] is cond


def test_both_answers_count_where_they_are_the_better_known() -> None:
    """An error in one of two answers reaches x0_hat with the other's share: sigma^2, and alpha sigma."""
    x0, eps, z, log_snr = problem()
    right = torch.cat([x0, eps], 1)
    for part, factor in ((slice(0, 3), torch.sigmoid(-log_snr)), (slice(3, 6), torch.sigmoid(log_snr).sqrt())):
        wrong = right.clone()
        wrong[:, part] += 1
        factor = factor if part.start == 0 else -factor * torch.sigmoid(-log_snr).sqrt()
        moved = Denoiser(Fixed(wrong), "both")(z, log_snr) - x0
        assert_close(moved, factor[:, None, None].expand_as(x0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_conversion_runs_in_the_dtype_of_z(prediction: Any) -> None:
    """A bfloat16 answer (autocast) is cast up first: the result is the float32 conversion of the rounded answer."""
    _, eps, z, log_snr = problem(torch.float32)
    rounded = eps.bfloat16()
    result = Denoiser(Fixed(rounded), prediction)(z, log_snr)
    assert result.dtype == torch.float32
    assert torch.equal(result, Denoiser(Fixed(rounded.float()), prediction)(z, log_snr))


def test_under_autocast_x0_is_float32() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
            return self.layer(z)

    _, _, z, log_snr = problem(torch.float32)
    denoiser = Denoiser(Linear(), "v")
    with torch.autocast("cpu", torch.bfloat16):
        assert denoiser.net(z, log_snr).dtype == torch.bfloat16
        assert denoiser(z, log_snr).dtype == torch.float32


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(ValueError, match="prediction must be one of eps, x0, v, both, got 'score'"):
        Denoiser(nn.Identity(), "score")  # type: ignore[arg-type]


class Counted:
    """A denoiser that is not linear in its condition, and counts calls and examples."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, z: Tensor, log_snr: Tensor, cond: Any = None) -> Tensor:
        self.batches.append(len(z))
        if cond is None:
            return torch.tanh(z) * 0.3
        text, low = (cond["text"], cond["low"]) if isinstance(cond, dict) else (cond, torch.zeros_like(z))
        return torch.tanh(z + text.sum(1)[:, None, None]) + 0.1 * low * log_snr[:, None, None]


def test_weight_one_is_the_denoiser_itself() -> None:
    denoise = Counted()
    assert guided(denoise, 1.0) is denoise
    assert guided(denoise, 1, torch.zeros(())) is denoise


def test_weight_zero_is_unconditional_in_one_call() -> None:
    _, _, z, log_snr = problem()
    cond, null, denoise = torch.ones(4, 5, dtype=torch.float64), torch.zeros(5), Counted()
    result = guided(denoise, 0.0, null)(z, log_snr, cond)
    assert denoise.batches == [4]
    assert torch.equal(result, denoise(z, log_snr, torch.zeros(4, 5, dtype=torch.float64)))


@pytest.mark.parametrize("weight", [-0.5, 0.4, 3.0])
def test_guidance_mixes_eps_like_x0_and_v(weight: float) -> None:
    """Source convention: eps_u + w (eps_c - eps_u); Ho & Salimans write the same with w - 1."""
    _, _, z, log_snr = problem()
    cond, null = torch.full((4, 5), 0.3, dtype=torch.float64), torch.tensor(0.0)
    denoise = Counted()
    result = guided(denoise, weight, null)(z, log_snr, cond)
    assert denoise.batches == [8]
    with_cond, without = denoise(z, log_snr, cond), denoise(z, log_snr, cond * 0)
    eps_c, eps_u = (process.eps_from_x0(z, x0, log_snr) for x0 in (with_cond, without))
    theirs = weight - 1
    by_eps = process.x0_from_eps(z, (1 + theirs) * eps_c - theirs * eps_u, log_snr)
    assert_close(result, by_eps, rtol=0, atol=1e-12)
    v_c, v_u = (process.v_from_x0(z, x0, log_snr) for x0 in (with_cond, without))
    assert_close(result, process.x0_from_v(z, v_u + weight * (v_c - v_u), log_snr), rtol=0, atol=1e-12)


def test_one_doubled_call_equals_two_calls() -> None:
    _, _, z, log_snr = problem()
    cond = {"text": torch.randn(4, 5, dtype=torch.float64), "low": torch.randn(4, 3, 2, dtype=torch.float64)}
    null = {"text": torch.zeros(5, dtype=torch.float64)}
    doubled, twice = Counted(), Counted()
    result = guided(doubled, 2.5, null)(z, log_snr, cond)
    assert_close(result, guided(twice, 2.5, null, two_passes=True)(z, log_snr, cond), rtol=0, atol=1e-14)
    assert (doubled.batches, twice.batches) == ([8], [4, 4])
    # The entry that null_cond does not name stays: only the text is dropped.
    without = doubled(z, log_snr, {"text": torch.zeros_like(cond["text"]), "low": cond["low"]})
    assert_close(result, without + 2.5 * (doubled(z, log_snr, cond) - without))


def test_null_condition_from_a_function_or_from_none() -> None:
    _, _, z, log_snr = problem()
    cond, denoise = torch.ones(4, 5, dtype=torch.float64), Counted()

    def empty(cond: Any) -> Any:
        return torch.zeros_like(cond)

    by_function = guided(denoise, 2.0, empty)(z, log_snr, cond)
    assert torch.equal(by_function, guided(denoise, 2.0, torch.tensor(0.0))(z, log_snr, cond))
    by_none = guided(denoise, 2.0)(z, log_snr, cond)
    without = denoise(z, log_snr, None)
    assert_close(by_none, without + 2 * (denoise(z, log_snr, cond) - without))


def test_guidance_says_what_is_missing() -> None:
    _, _, z, log_snr = problem()
    cond = {"text": torch.ones(4, 5), "low": torch.ones(4, 3, 2)}
    with pytest.raises(ValueError, match="needs a condition"):
        guided(Counted(), 2.0)(z, log_snr)
    with pytest.raises(ValueError, match=r"names 'txt', cond has \['low', 'text'\]"):
        guided(Counted(), 2.0, {"txt": torch.zeros(())})(z, log_snr, cond)
    with pytest.raises(ValueError, match="of cond's kind, got Tensor for dict"):
        guided(Counted(), 2.0, torch.zeros(()))(z, log_snr, cond)
    with pytest.raises(ValueError, match="finite"):
        guided(Counted(), float("nan"))


def thresholded(x0: Tensor, **options: float) -> Tensor:
    return dynamic_threshold(Fixed(x0), **options)(x0, torch.zeros(len(x0)))


@pytest.mark.parametrize("percentile", [50.0, 90.0, 97.3, 99.5, 100.0])
@pytest.mark.parametrize("size", [(1, 1, 1), (1, 7, 7), (3, 16, 16)])
def test_dynamic_threshold_against_numpy(percentile: float, size: tuple[int, ...]) -> None:
    scale = torch.tensor([0.2, 1.0, 2.0, 6.0], dtype=torch.float64).reshape(-1, 1, 1, 1)
    x0 = scale * torch.randn(4, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    result = thresholded(x0, percentile=percentile)
    for ours, example in zip(result, x0.numpy(), strict=True):
        s = max(1.0, np.percentile(np.abs(example), percentile, method="higher"))
        assert_close(ours, torch.from_numpy(np.clip(example, -s, s) / s), rtol=1e-14, atol=0)


def test_dynamic_threshold_properties() -> None:
    x0 = torch.randn(3, 2, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 2
    small = x0 / x0.abs().max()
    assert torch.equal(thresholded(small), small)
    assert thresholded(x0).abs().max() <= 1
    assert_close(thresholded(3 * x0), thresholded(x0))  # above 1, the scale is divided out
    assert torch.equal(torch.cat([thresholded(x0[:1]), thresholded(x0[1:])]), thresholded(x0))
    assert torch.equal(thresholded(x0, cap=1.0), static_threshold(Fixed(x0))(x0, torch.zeros(3)))
    assert torch.equal(thresholded(x0, cap=1.5), x0.clamp(-1.5, 1.5) / 1.5)
    assert thresholded(x0.float()).dtype == torch.float32


def test_dynamic_threshold_has_no_size_limit() -> None:
    x0 = torch.full((1, 2**24 + 2), 3.0, dtype=torch.float32)  # torch.quantile refuses this
    assert torch.equal(thresholded(x0), torch.ones_like(x0))


def test_static_threshold() -> None:
    x0 = torch.tensor([[-3.0, -1.0, 0.2, 0.9, 4.0]])
    assert static_threshold(Fixed(x0))(x0, torch.zeros(1)).tolist() == torch.tensor([[-1, -1, 0.2, 0.9, 1]]).tolist()
    assert torch.equal(
        static_threshold(Fixed(x0), -2.0, 0.5)(x0, torch.zeros(1)), torch.tensor([[-2, -1, 0.2, 0.5, 0.5]])
    )


def test_wrong_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match="low < high, got 1 and -1"):
        static_threshold(Counted(), 1, -1)
    with pytest.raises(ValueError, match=r"in percent, from 50 to 100 .* got 0\.995"):
        dynamic_threshold(Counted(), 0.995)
    with pytest.raises(ValueError, match=r"cap must be at least 1, got 0\.5"):
        dynamic_threshold(Counted(), cap=0.5)
