"""Progressive Distillation for Fast Sampling of Diffusion Models. Salimans & Ho 2022, arXiv 2202.00512.

Sec 4: what the network predicts, and three weightings of its error; Sec 3 and Algorithm 2: a student whose one DDIM
step does what two of its teacher do; App D: v. DDIM's step is `process.ddim_step`, the cosine schedule
`schedules.Cosine`.

Where we differ: the student's target is written as the weighted mean of the teacher's two answers that it is, which
divides by no difference of nearly equal numbers (the paper's quotient does, and loses digits). Times are spread evenly
over a batch, as VDM's.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from generative import noise, process
from generative.denoiser import Cond, Denoise, Prediction, static_threshold
from generative.image_to_image import ImageToImage
from generative.model import NetConfig, PictureModel
from generative.nets.unet import UNetConfig
from generative.noise import Source
from generative.pixels import scale
from generative.samplers import SAMPLERS, sample_x0
from generative.schedules import Schedule, ScheduleConfig

Weighting = Literal["truncated_snr", "snr_plus_one", "snr"]
MOST_STEPS = 2**13
"""Of a student; the paper's longest chain starts from 8,192. Its samples are drawn at the end of its training."""
NOISE = -15.0
"""log_snr at which a student must begin, or below: there z is noise, as a sampler's first z is."""
FAINT = -5.0
"""log_snr below which an answer that was predicted as eps means nothing: its error is divided by alpha (0.08 here)."""


@dataclass(frozen=True, kw_only=True)
class DiffusionConfig:
    """A diffusion model that can be distilled, or a student of one."""

    net: NetConfig = field(default_factory=UNetConfig)
    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(kind="cosine", log_snr_max=20.0, log_snr_min=-20.0)
    )
    prediction: Prediction = "v"
    """What the network predicts: v, x0, both (x0 and eps, mixed), or eps, which cannot be distilled."""
    weighting: Weighting = "truncated_snr"
    """How errors at different noise levels weigh against each other (see `weight`)."""
    num_steps: int = 0
    """Steps of the sampler that a student is trained for; 0 trains at all times, as a teacher needs it."""

    def __post_init__(self) -> None:
        for name, allowed in (("prediction", get_args(Prediction)), ("weighting", get_args(Weighting))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not 0 <= self.num_steps <= MOST_STEPS:
            raise ValueError(f"num_steps must be 0 (all times) to {MOST_STEPS:,}, got {self.num_steps}")
        if self.schedule.kind == "learned" or self.schedule.learn_endpoints:
            raise ValueError("the schedule must be fixed: linear, cosine or betas, without learned ends")
        if self.prediction == "eps" and self.num_steps:
            raise ValueError(
                "prediction eps says nothing of x0 in pure noise: a student (num_steps) predicts v, x0 or both"
            )
        if self.prediction == "eps" and self.weighting == "truncated_snr":
            raise ValueError("prediction eps with weighting truncated_snr diverges (Table 1); take snr or snr_plus_one")


def weight(log_snr: Tensor, weighting: Weighting) -> Tensor:
    """The weight of ||x0 - x0_hat||^2 at log_snr, same shape. Sec 4.

    truncated_snr: max(SNR, 1), the larger of the errors of x0 and of eps; snr_plus_one: SNR + 1, the error of v;
    snr: the error of eps, as DDPM's.
    """
    snr = torch.exp(log_snr)
    if weighting == "snr":
        return snr
    return snr.clamp_min(1) if weighting == "truncated_snr" else snr + 1


def weighted_error(x0: Tensor, x0_hat: Tensor, log_snr: Tensor, weighting: Weighting) -> Tensor:
    """weight(log_snr) times the mean square of x0 - x0_hat over the numbers of an example: [B] float64."""
    return weight(log_snr.double(), weighting) * (x0 - x0_hat).double().square().flatten(1).mean(1)


def student_times(place: Tensor, num_steps: int) -> Tensor:
    """t = i / N in {1/N, ..., 1} [B] float64 from numbers `place` [B] in [0, 1). Algorithm 2: i ~ Cat(1, ..., N)."""
    return (torch.floor(place.double() * num_steps) + 1) / num_steps


@torch.no_grad()
def student_target(
    teacher: Denoise, z: Tensor, t: Tensor, num_steps: int, schedule: Schedule, cond: Cond = None
) -> Tensor:
    """What a student must answer at z_t so that its step from t to t - 1/N lands where two of its teacher's steps do.

    Algorithm 2: with t' = t - 0.5/N and t'' = t - 1/N, two DDIM steps go from z = z_t over z' to z'', and

        x~ = (z'' - (sigma'' / sigma) z) / (alpha'' - (sigma'' / sigma) alpha).

    A DDIM step adds x0_hat times the growth of u = alpha / sigma to z / sigma (samplers.py), so that

        x~ = (x' (u' - u) + x'' (u'' - u')) / (u'' - u),

    x' being the teacher's answer at z and x'' that at z'. At t'' = 0 a sampler answers x'' itself (App D), and so must
    the student: that is the limit, u'' being infinite without noise. No answer is clipped: that would be another ODE.

    Args: z: [B, ...]; t: [B], multiples of 1/N; num_steps: the student's N. Returns: x~ [B, ...].
    """
    log_snr, middle, end = schedule(t), schedule(t - 0.5 / num_steps), schedule(t - 1 / num_steps)
    first = teacher(z, log_snr, cond)
    second = teacher(process.ddim_step(z, first, middle, log_snr), middle, cond)
    share = torch.expm1((middle - log_snr) / 2) / torch.expm1((end - log_snr) / 2)  # (u' - u) / (u'' - u)
    share = torch.where(t * num_steps < 1.5, 0.0, share)
    return second + process.expand(share, z) * (first - second)


class Diffusion(PictureModel):
    """A diffusion model of pictures with the paper's predictions and weightings: a teacher, or a student of one."""

    sampler: ClassVar[str] = "ddim"
    clips: ClassVar[bool] = True
    config: DiffusionConfig

    def __init__(self, config: DiffusionConfig, shape: tuple[int, int, int], num_levels: int = 256) -> None:
        """shape: (C, H, W) of the pictures; num_levels: how many values a pixel can take."""
        net = config.net
        if config.prediction == "both":
            if not isinstance(net, UNetConfig) or net.residual:
                raise ValueError("prediction both needs a UNet without residual: it has two answers")
            net = replace(net, out_channels=2 * shape[0])
        super().__init__(config, net, config.prediction, shape, num_levels)
        self._teacher: list[PictureModel] = []  # in a list: its weights are not this model's

    @property
    def taught_steps(self) -> int:
        return self.config.num_steps

    @property
    def sampling_schedule(self) -> Schedule:
        return self.schedule

    @property
    def teacher(self) -> PictureModel | None:
        """Who this model learns from, if it is not from data."""
        return self._teacher[0] if self._teacher else None

    def learn_from(self, teacher: PictureModel) -> None:
        """From now on the loss asks for what `teacher` says. Its weights are neither trained nor saved with these."""
        self._teacher = [teacher.to(self.device).eval().requires_grad_(False)]

    def losses(self, batch: dict[str, Tensor], source: Source) -> dict[str, Tensor]:
        """The weighted error of x0_hat at one time per picture."""
        x = scale(batch["x"], self.num_levels)
        t = noise.low_discrepancy_times(source, len(x), device=x.device)
        if self.config.num_steps:
            t = student_times(t, self.config.num_steps)
        log_snr, cond = self.schedule(t), self.cond(batch)
        z = process.diffuse(x, log_snr, noise.normal_like(source, x))
        target = x if self.teacher is None else self._target(self.teacher, x, z, t, cond)
        error = weighted_error(target, self.denoise(z, log_snr, cond), log_snr, self.config.weighting)
        return {"loss": error}

    @torch.no_grad()
    def _target(self, teacher: PictureModel, x: Tensor, z: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """With num_steps, what two steps of the teacher give; without, its own answer where that means something, and
        the picture elsewhere: so a model of another prediction, or with other ends, becomes a teacher."""
        if self.config.num_steps:
            return student_target(teacher.denoise, z, t, self.config.num_steps, self.schedule, cond)
        log_snr, (high, low) = self.schedule(t), teacher.ends()
        if teacher.denoise.prediction == "eps":
            low = low.clamp_min(FAINT)
        known = (low <= log_snr) & (log_snr <= high)
        answer = teacher.denoise(z, torch.minimum(torch.maximum(log_snr, low), high), cond)
        if teacher.denoise.prediction == "eps":
            answer = answer.clamp(-1, 1)  # no step of an ODE here, and the error of eps is still divided by alpha
        return torch.where(process.expand(known, z).bool(), answer, x)

    def _sampled(self, sampler: str, denoise: Denoise, z: Tensor, log_snrs: Tensor, options: dict[str, Any]) -> Tensor:
        """App D: x0_hat is clipped to the range of pictures at every step, and the last step gives x0_hat itself."""
        return sample_x0(SAMPLERS[sampler], static_threshold(denoise), z, log_snrs, **options)


def check_teacher(student: Diffusion, teacher: PictureModel) -> None:
    """Raises ValueError for a teacher that the student cannot learn from."""
    theirs, ours = teacher.config, student.config
    for name in ("shape", "num_levels"):
        has, needed = getattr(teacher, name), getattr(student, name)
        if has != needed:
            raise ValueError(f"the teacher's {name} is {has}, the student's {needed}")
    if theirs.net.classes != ours.net.classes:
        raise ValueError(f"the teacher has {theirs.net.classes} classes, the student {ours.net.classes}")
    if isinstance(teacher, ImageToImage):
        raise ValueError("the teacher makes pictures of pictures, the student pictures alone")
    if not ours.num_steps:
        if teacher.taught_steps:
            raise ValueError(f"the teacher knows its own {teacher.taught_steps} times alone, the student is for all")
        return
    if not isinstance(theirs, DiffusionConfig) or theirs.prediction == "eps":
        raise ValueError("the teacher predicts eps, which says nothing of x0 in pure noise: convert it to v first")
    if theirs.schedule != ours.schedule:
        raise ValueError(f"the teacher's schedule is {theirs.schedule}, the student's {ours.schedule}")
    if theirs.num_steps not in (0, 2 * ours.num_steps):
        raise ValueError(
            f"the teacher takes {theirs.num_steps} steps; its student must take half of them, got {ours.num_steps}"
        )


def stages(start: int, end: int) -> list[int]:
    """The students' step counts of a chain from a sampler with `start` steps: start / 2, start / 4, ..., end.

    Raises ValueError if no halving leads from start to end.
    """
    halvings = (start // end).bit_length() - 1 if 1 <= end < start else 0
    if not halvings or end << halvings != start:
        raise ValueError(f"{start} steps cannot be halved to {end}: their quotient must be a power of 2, at least 2")
    return [start >> (i + 1) for i in range(halvings)]
