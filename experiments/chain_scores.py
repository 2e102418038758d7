"""Scores of a chain's students, and of samplers of the model that they come from, with the same numbers of steps.

CHAIN/scores/rows.jsonl          one line for each score that was measured; what is there is not measured again
CHAIN/scores/NAME.npz            the pictures that it was measured on
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments import files
from experiments.progress import Steps
from generative import chain_manifest, loading
from generative.metrics import features, fid, lpips
from generative.metrics.statistics import describe
from generative.model import PictureModel

STUDENT = "distilled"
STOCHASTIC = "ancestral"
METHODS = (STUDENT, "ddim", "heun", "dpm++", STOCHASTIC)
VARIANCES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""What the variance of the stochastic sampler is chosen from, for each number of steps."""
AT_ONCE = 256
TUNING = 1_000_000
"""Added to a seed for the noise on which the variance is chosen."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One set of samples and its scores."""

    method: str
    """"distilled", or a sampler of the undistilled model."""
    steps: int
    seed: int
    """Of the noise that the samples start from."""
    samples: int
    features: str
    """The network, its weights' hash and the resize filter."""
    fid: float
    kid: float
    kid_se: float
    lpips: float | None
    """Mean distance to the undistilled model's DDIM samples with all steps, from the same noise."""
    variance: float | None = None
    """Of the stochastic sampler: the best of VARIANCES, on other noise."""


class Judge:
    """Feature networks and what they say of real pictures; one for all chains."""

    def __init__(self, net: features.Features, perceptual: lpips.LPIPS | None, real: Tensor, num_levels: int) -> None:
        """real: uint8 [N, C, H, W], pictures that were not trained on; perceptual: None measures no LPIPS."""
        self.net, self.perceptual, self.num_levels = net, perceptual, num_levels
        self.name = f"{describe(net)}; {len(real):,} real pictures"
        self._real = self._features(real, "features of real pictures")
        self._last: tuple[Tensor, Tensor] | None = None

    def fid(self, x: Tensor) -> float:
        return fid.fid(self._of(x), self._real)

    def kid(self, x: Tensor) -> tuple[float, float]:
        return fid.kid(self._of(x), self._real)

    def distance(self, x: Tensor, y: Tensor) -> float | None:
        """Mean LPIPS of pairs."""
        if self.perceptual is None:
            return None
        return float(lpips.distance(self.perceptual, x, y, num_levels=self.num_levels).mean())

    def _of(self, x: Tensor) -> Tensor:
        """Features of samples; those of the last are kept."""
        if self._last is None or self._last[0] is not x:
            self._last = x, self._features(x, "features of samples")
        return self._last[1]

    def _features(self, x: Tensor, what: str) -> Tensor:
        found = []
        with Steps(what, len(x)) as progress:
            for part in x.split(AT_ONCE):
                found.append(features.extract(self.net, part, num_levels=self.num_levels))
                progress.update(sum(map(len, found)))
        return torch.cat(found)


class Scores:
    """The scores of one chain: measures what is not measured yet."""

    def __init__(self, run: Path, judge: Judge, device: str) -> None:
        self.run, self.judge, self.device, self.folder = run, judge, device, run / "scores"
        self.teacher = loading.load(run / chain_manifest.TEACHER, device)
        manifest = chain_manifest.read_manifest(run)
        chain_manifest.check_files(run, manifest)
        students = [row["steps"] for row in manifest["stages"] if row["steps"]]
        if not students:
            raise ValueError(f"{run} has no finished student to score")
        self.students, self.all_steps = students, 2 * students[0]
        self.folder.mkdir(exist_ok=True)

    def rows(self) -> list[Row]:
        """What has been measured. Raises ValueError if rows.jsonl is damaged."""
        path = self.folder / "rows.jsonl"
        try:
            lines = path.read_text().splitlines() if path.exists() else []
            rows = [Row(**json.loads(line)) for line in lines]
            np.array([[row.fid, row.kid, row.kid_se, row.steps, row.seed, row.samples] for row in rows], float)
        except (OSError, ValueError, TypeError, RecursionError, OverflowError) as error:
            raise ValueError(f"{path} cannot be read as scores: {error}") from None
        return rows

    def measure(self, method: str, steps: int, *, seed: int, samples: int, tune: int) -> Row:
        """The row of a method: from rows.jsonl, or measured and added to it."""
        asked = (method, steps, seed, samples, self.judge.name)
        for row in self.rows():
            if (row.method, row.steps, row.seed, row.samples, row.features) == asked:
                return row
        variance = self._tuned(steps, seed, tune) if method == STOCHASTIC else None
        pictures = self.pictures(method, steps, seed, samples, variance)
        kid, kid_se = self.judge.kid(pictures)
        row = Row(
            method=method,
            steps=steps,
            seed=seed,
            samples=samples,
            features=self.judge.name,
            fid=self.judge.fid(pictures),
            kid=kid,
            kid_se=kid_se,
            lpips=self.judge.distance(pictures, self.pictures("ddim", self.all_steps, seed, samples)),
            variance=variance,
        )
        lines = "".join(json.dumps(asdict(one)) + "\n" for one in [*self.rows(), row])
        files.write_text(self.folder / "rows.jsonl", lines)
        return row

    def pictures(self, method: str, steps: int, seed: int, samples: int, variance: float | None = None) -> Tensor:
        """uint8 [samples, C, H, W], drawn or from the file that an earlier call left."""
        shown = "" if variance is None else f"-{variance:g}"
        path = self.folder / f"{method.replace('+', 'p')}{shown}-{steps}-{seed}-{samples}.npz"
        if path.exists():
            try:
                with np.load(path, allow_pickle=False) as file:
                    found = file["pictures"]
            except Exception as error:  # zipfile, zlib and NumPy each have their own
                raise ValueError(f"{path} cannot be read as samples ({error}); remove it to draw them anew") from None
            if found.dtype != np.uint8 or found.shape != (samples, *self.teacher.shape):
                raise ValueError(f"{path} holds other samples than {samples} of {self.teacher.shape}; remove it")
            return torch.from_numpy(found)
        drawn = self._draw(method, steps, seed, samples, {} if variance is None else {"variance": variance})
        with files.whole(path) as temporary:
            np.savez_compressed(temporary, pictures=drawn)
        return torch.from_numpy(drawn)

    def _draw(self, method: str, steps: int, seed: int, samples: int, options: dict[str, Any]) -> np.ndarray:
        model: PictureModel = self.teacher
        sampler = method
        if method == STUDENT:
            model, sampler = chain_manifest.student(self.run, steps).to(self.device), "ddim"
        classes, drawn = model.config.net.classes, []
        options = {"steps": steps, "sampler": sampler, "seed": seed, "schedule": model.sampling_schedule, **options}
        with Steps(f"{method}, {steps} steps", samples) as progress:
            for part in torch.arange(samples).split(AT_ONCE):
                label = part % classes if classes else None
                drawn.append(model.sample(len(part), first=int(part[0]), label=label, **options).cpu().numpy())
                progress.update(int(part[-1]) + 1)
        return np.concatenate(drawn)

    def _tuned(self, steps: int, seed: int, samples: int) -> float:
        """The variance whose samples, from other noise, have the lowest FID."""
        found = {v: self.judge.fid(self.pictures(STOCHASTIC, steps, seed + TUNING, samples, v)) for v in VARIANCES}
        return min(VARIANCES, key=lambda variance: found[variance])


def compute(run: Path, teacher: PictureModel) -> tuple[float, float]:
    """(forward passes of one picture in the training of the teacher, and in that of the chain).

    A gradient counts as two more forward passes; a student's update has two of its teacher besides.
    """
    trained = teacher.meta["config"]["optim"]["batch"] * teacher.meta["step"]
    manifest = chain_manifest.read_manifest(run)
    batch = manifest["config"]["optim"]["batch"]
    passes = sum(row["updates"] * (5 if row["steps"] else 4) for row in manifest["stages"])
    return 3.0 * trained, float(batch * passes)
