"""What is looked at on the way and at the end of a training run: numbers and tensors, no drawing.

`evaluate` measures the bound on pictures; `look` adds samples, how they came about, the noise schedule, and where along
the noise levels the bits are spent. All of it depends on (model, pictures, settings, seed) alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from generative import noise, samplers
from generative.batching import evaluating, in_chunks
from generative.config import WatchSettings
from generative.image_to_image import ImageToImage, with_known
from generative.metrics.bits import mean_and_se
from generative.metrics.restoration import hidden_psnr
from generative.model import PictureModel
from generative.papers.vdm import LN2, VDM, diffusion_nats
from generative.pixels import scale
from generative.schedules import Schedule

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (done, all there is to do), counted in pictures that went through the network."""

LEVELS, LEVEL_IMAGES = 24, 32
"""Noise levels at which `look` measures the loss, and on how many pictures."""
STRIPS, COLUMNS = 4, 10
"""Samples whose way from noise is shown, and at how many noise levels."""
CURVE = 101
"""Points of the noise schedule."""


class Pictures(Protocol):
    """What is needed of a set (generative/data/images.py: ImageSet)."""

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]: ...

    def groups(self) -> list[str]: ...


@dataclass(frozen=True)
class Evaluation:
    """The variational bound of N pictures, in bits per picture, float64."""

    prior: Tensor
    """[N] what the noisiest latent costs."""
    diffusion: Tensor
    """[N] what all denoising steps cost."""
    reconstruction: Tensor
    """[N] what the pixels cost, given the cleanest latent."""
    draws: Tensor
    """[N, times] what each single noise level says of `diffusion`."""
    groups: list[str]
    """N names of what each picture is from."""
    dims: int
    """Numbers per picture."""

    @property
    def bits(self) -> Tensor:
        """[N] the sum of the three parts."""
        return self.prior + self.diffusion + self.reconstruction

    def bpd(self) -> float:
        """Bits per dimension, the mean over pictures."""
        return self.bits.mean().item() / self.dims

    def se(self) -> float:
        """The standard error of `bpd`, with groups as the independent units; NaN with one group."""
        return mean_and_se(self.bits / self.dims, self.groups)[1]

    def parts(self) -> dict[str, float]:
        """Bits per dimension of prior, diffusion and reconstruction."""
        parts = {"prior": self.prior, "diffusion": self.diffusion, "reconstruction": self.reconstruction}
        return {name: value.mean().item() / self.dims for name, value in parts.items()}

    def estimator_variance(self) -> float:
        """The variance of what one noise level says of the diffusion loss of one picture, (bits per dimension)^2.

        Over pictures, noise levels and noise: that of one term of the training loss, which a learned schedule is
        trained to lower (VDM, Sec 5.3). NaN for a single picture with a single level.
        """
        return (self.draws / self.dims).var().item() if self.draws.numel() > 1 else math.nan


@dataclass(frozen=True)
class View:
    """What there is to see. Pictures are level indices."""

    samples: Tensor
    """uint8 [n, C, H, W], drawn with the model's `sampling_schedule`."""
    strips: Tensor
    """uint8 [rows, columns, C, H, W], noise on the left. Two rows per sample: the picture that the network makes out
    (x0_hat), and below it the noisy z that it looks at, clipped to the range of pictures."""
    schedule: tuple[Tensor, Tensor]
    """t [m] and log_snr [m], float64."""
    levels: tuple[Tensor, Tensor]
    """log_snr [m] and the diffusion loss there, in bits per dimension and unit of log_snr [m], float64. The area under
    this curve is the diffusion loss, whatever the schedule."""
    num_levels: int
    """How many values a pixel can take."""
    given: Tensor | None = None
    """uint8 [n, C, H, W], of a model that makes pictures of pictures: what each sample was drawn from."""
    truth: Tensor | None = None
    """The same: what each sample would show if it were perfect."""


def chosen(images: Pictures, count: int | None) -> Tensor:
    """Indices of `count` pictures evenly spread over a set, the same each time; all if None or if there are no more."""
    if count is not None and count < 1:
        raise ValueError(f"count must be positive, got {count}")
    if not len(images):
        raise ValueError("there are no pictures to evaluate")
    return evenly(len(images), min(count or len(images), len(images)))


def evenly(total: int, count: int) -> Tensor:
    """`count` of the indices below `total`, evenly spread."""
    return torch.arange(count) * total // count


def evaluate(
    model: VDM,
    images: Pictures,
    *,
    times: int,
    num_steps: int | None = None,
    count: int | None = None,
    seed: int = 0,
    chunk: int | None = None,
    schedule: Schedule | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """The bound of the pictures of `chosen(images, count)`; the arguments are those of `VDM.elbo`.

    The n-th of them uses the random numbers of (seed, n) alone. Raises ValueError as `elbo`, and for no pictures.
    """
    indices, names = chosen(images, count), images.groups()
    first, pieces = 0, []
    for part in indices.split(chunk or model.chunk):
        batch = images.batch(part)
        options: dict[str, Any] = {"times": times, "num_steps": num_steps, "chunk": chunk, "schedule": schedule}
        elbo = model.elbo(batch["x"], label=batch["label"], seed=seed, first=first, **options)
        pieces.append([value.cpu() for value in (elbo.prior, elbo.diffusion, elbo.reconstruction, elbo.draws)])
        first += len(part)
        if progress:
            progress(first * times, len(indices) * times)
    groups = [names[i] for i in indices.tolist()]
    return Evaluation(*map(torch.cat, zip(*pieces, strict=True)), groups=groups, dims=model.dims)


@torch.no_grad()
def losses(
    model: PictureModel,
    images: Pictures,
    *,
    times: int,
    count: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """What the model is trained to lower, of each of `chosen(images, count)`, mean over `times` draws: [N] float64.

    The n-th of them uses the random numbers of (seed, n) alone.
    """
    indices, first, pieces = chosen(images, count), 0, []
    with evaluating(model):
        for part in indices.split(model.chunk):
            batch = {name: value.to(model.device) for name, value in images.batch(part).items()}
            numbers = range(first, first + len(part))
            sources = noise.per_example(noise.mix(seed, noise.EVALUATION), numbers, model.device)
            drawn = [model.losses(batch, sources)["loss"].double() for _ in range(times)]
            pieces.append(torch.stack(drawn).mean(0).cpu())
            first += len(part)
            if progress:
                progress(first * times, len(indices) * times)
    return torch.cat(pieces)


def look(
    model: PictureModel,
    images: Pictures,
    settings: WatchSettings,
    *,
    seed: int = 0,
    count: int | None = None,
    num_samples: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, float], View]:
    """Metrics by tag, and what there is to see.

    Args:
        count: how many pictures are evaluated, evenly spread over the set; all if None.
        num_samples: how many are sampled, settings.samples if None; with classes, each class in turn.
        progress: told how far it is.
    """
    n, steps = num_samples or settings.samples, model.taught_steps or settings.sample_steps
    measured = chosen(images, count)
    work = (len(measured) * settings.times, n * steps, LEVELS * min(LEVEL_IMAGES, len(images)))

    def done(before: int) -> Progress:
        return lambda rows, _: progress(before + rows, sum(work)) if progress else None

    metrics = _measure(model, images, settings.times, count, seed, done(0))
    samples, strips, given, truth, mask = _sample(model, images, n, steps, seed, done(work[0]))
    if truth is not None:
        mask = torch.ones_like(truth[:, :1]) if mask is None else mask
        metrics["psnr"] = hidden_psnr(samples, truth, mask, model.num_levels).clamp_max(100).mean().item()
    curves = _curve(model), level_losses(model, images, seed=seed)
    view = View(samples, strips, *curves, model.num_levels, given, truth)
    if progress:
        progress(sum(work), sum(work))
    return {f"eval/{name}": value for name, value in metrics.items()}, view


def _measure(
    model: PictureModel, images: Pictures, times: int, count: int | None, seed: int, progress: Progress
) -> dict[str, float]:
    """Bits per dimension and their parts of a VDM; of other models what they are trained to lower."""
    options: dict[str, Any] = {"times": times, "count": count, "seed": seed, "progress": progress}
    if isinstance(model, VDM):
        found = evaluate(model, images, **options)
        metrics = {"bpd": found.bpd(), "bpd_se": found.se()}
        metrics |= {f"{name}_bpd": value for name, value in found.parts().items()}
        return metrics | {"estimator_variance": found.estimator_variance()}
    groups = images.groups()
    mean, se = mean_and_se(losses(model, images, **options), [groups[i] for i in chosen(images, count).tolist()])
    return {"loss": mean, "loss_se": se}


@torch.no_grad()
def level_losses(
    model: PictureModel, images: Pictures, *, levels: int = LEVELS, count: int | None = LEVEL_IMAGES, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """View.levels, at evenly spaced noise levels from end to end; a picture keeps its noise at all of them."""
    batch = images.batch(chosen(images, count))
    x = scale(batch["x"], model.num_levels).to(model.device)
    cond = _told(model, batch, seed)
    eps = noise.normal_like(noise.per_example(noise.mix(seed, noise.LEVELS), range(len(x)), model.device), x)
    high, low = model.ends()
    log_snrs = torch.linspace(low.item(), high.item(), levels, dtype=torch.float64, device=model.device)
    denoise, losses = with_known(in_chunks(model.denoise, model.chunk)), []  # no loss on pixels that are known
    with evaluating(model):
        for log_snr in log_snrs:
            rows = log_snr.expand(len(x))
            losses.append(diffusion_nats(denoise, x, eps, rows, torch.ones_like(rows), cond).mean())
    return log_snrs.cpu(), torch.stack(losses).cpu() / (LN2 * model.dims)


def _told(model: PictureModel, batch: dict[str, Tensor], seed: int) -> Any:
    """The network's condition for pictures of a set, the same at each look."""
    batch = {name: value.to(model.device) for name, value in batch.items()}
    if not isinstance(model, ImageToImage):
        return model.cond(batch)
    seed = noise.mix(seed, noise.DEGRADATION)
    return model.told(batch, noise.per_example(seed, range(len(batch["x"])), model.device))


def _sample(
    model: PictureModel, images: Pictures, n: int, steps: int, seed: int, progress: Progress | None
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """samples, strips, given and truth of a `View`, and the mask [n, 1, H, W] of what had to be made, if any."""
    schedule, columns = model.sampling_schedule, []
    wanted = _steps_shown(samplers.levels(schedule, steps, device=model.device))

    def watch(step: dict[str, Any]) -> None:
        if step["step"] in wanted:
            both = torch.stack([step["x0_hat"][:STRIPS], step["z"][:STRIPS]], 1)
            columns.append(model.levels(both.flatten(0, 1)).cpu())
        if progress:
            progress((step["step"] + 1) * n, steps * n)

    if isinstance(model, ImageToImage):
        batch = images.batch(chosen(images, n))
        cond = _told(model, batch, seed)
        samples = model.draw(cond, steps=steps, seed=seed, callback=watch)
        mask = cond["mask"].cpu() if "mask" in cond else None
        return samples.cpu(), torch.stack(columns, 1), model.levels(cond["image"]).cpu(), batch["x"], mask
    classes = model.config.net.classes
    label = torch.arange(n) % classes if classes else None
    samples = model.sample(n, steps=steps, seed=seed, label=label, schedule=schedule, callback=watch)
    return samples.cpu(), torch.stack(columns, 1), None, None, None


def _steps_shown(log_snrs: Tensor) -> set[int]:
    """The steps after which z is shown: evenly spread in the angle whose tangent is sigma / alpha, as the eye sees it.
    Fewer than COLUMNS where two of these are the same step."""
    angles = torch.atan(torch.exp(-log_snrs[1:] / 2))
    wanted = torch.linspace(angles[0].item(), angles[-1].item(), COLUMNS, dtype=torch.float64, device=angles.device)
    return set((angles[:, None] - wanted).abs().argmin(0).tolist())


@torch.no_grad()
def _curve(model: PictureModel) -> tuple[Tensor, Tensor]:
    t = torch.linspace(0, 1, CURVE, dtype=torch.float64, device=model.device)
    return t.cpu(), model.schedule(t).cpu()
