"""Scores of a chain's students, and of samplers of the model that they come from, with the same numbers of steps.

CHAIN/scores/rows.jsonl          one line for each score that was measured; what is there is not measured again
CHAIN/scores/NAME.npz            the pictures that it was measured on

A sampler that can be set takes, for each number of steps, the setting whose samples from other noise have the lowest
KID: those scores are rows like any other.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.reading import check_types, reading
from experiments import files
from experiments.progress import Steps
from experiments.sample_quality import features_of, known_features
from generative import chain_manifest, chain_plan, loading
from generative.metrics import features, fid, lpips
from generative.metrics.kid import kid
from generative.metrics.statistics import describe
from generative.model import PictureModel

STUDENT = "distilled"
ORIGINAL = "original"
METHODS = (STUDENT, "ddim", "heun", "dpm++", "ancestral")
AT_ONCE = 256
TUNING = 1_000_000
"""The seed of the noise on which settings are chosen; scores are measured on smaller ones."""


def even_log_snr(t: Tensor) -> Tensor:
    """Levels at equal distances from -10, which is noise to the eye, to 10: where DPM-Solver++ is at its best."""
    return 10 - 20 * t


_LEVELS: dict[str, dict[str, Any]] = {"even times": {}, "even log_snr": {"schedule": even_log_snr}}
SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "heun": _LEVELS,
    "dpm++": _LEVELS,
    "ancestral": {f"variance {g:g}": {"variance": g} for g in (0.0, 0.1, 0.25, 0.5, 1.0)},
}
"""Method -> name of a setting -> options of `sample`."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One set of samples and its scores."""

    method: str
    """"distilled", a sampler of the undistilled model, or "original": DDIM of the model that it was converted from."""
    setting: str
    """One of SETTINGS of the method; empty where there is nothing to set."""
    steps: int
    seed: int
    """Of the noise that the samples start from."""
    samples: int
    weights: str
    """Hash of the model that was sampled from."""
    judge: str
    """The features' network and the real pictures, each with a hash."""
    fid: float | None
    """None: not measured, where settings are chosen."""
    kid: float
    kid_se: float
    lpips: float | None
    """Mean distance to the undistilled model's DDIM samples with all steps, from the same noise; None: not measured."""


class Judge:
    """Feature networks and what they say of real pictures; one for all chains."""

    def __init__(
        self, net: features.Features, perceptual: lpips.LPIPS | None, real: Tensor, of: str, num_levels: int,
        *, groups: Sequence[str] | None = None, trained: tuple[Tensor, Sequence[str]] | None = None,
    ) -> None:  # fmt: skip
        """real: uint8 [N, C, H, W], pictures of the set called `of` that were not trained on; groups: what each is from
        (each on its own if None); perceptual: None measures no LPIPS; trained: as many training pictures as there will
        be samples, for the floor, and what each is from."""
        self.net, self.perceptual, self.num_levels = net, perceptual, num_levels
        known = hashlib.sha256(real.numpy().tobytes()).hexdigest()[:16]
        self.groups = list(groups or (f"real {i}" for i in range(len(real))))
        of_groups = f" of {many:,} groups" if (many := len(set(self.groups))) < len(real) else ""
        self.name = (
            f"{describe(net)}; {len(real):,} test pictures{of_groups} of {of} (sha256 {known}); KID of all pairs"
        )
        self._real = known_features(net, real, num_levels, "real pictures")
        self._seen: dict[str, Tensor] = {}
        self.floor: tuple[float, float, float] | None = None
        """FID, KID and its standard error of training pictures: what no sampler of this many can be much below."""
        if trained is not None:
            floor = known_features(net, trained[0], num_levels, "training pictures")
            estimate = kid(floor, self._real, trained[1], self.groups)
            self.floor = fid.fid(floor, self._real), estimate.value, estimate.se

    def fid(self, x: Tensor) -> float:
        return fid.fid(self._of(x), self._real)

    def kid(self, x: Tensor) -> tuple[float, float]:
        estimate = kid(self._of(x), self._real, [f"sample {i}" for i in range(len(x))], self.groups)
        return estimate.value, estimate.se

    def distance(self, x: Tensor, y: Tensor) -> float | None:
        """Mean LPIPS of pairs."""
        if self.perceptual is None:
            return None
        return float(lpips.distance(self.perceptual, x, y, num_levels=self.num_levels).mean())

    def _of(self, x: Tensor) -> Tensor:
        """Features of samples; those of the last few are kept, since with one step most samplers draw the same."""
        key = hashlib.sha256(x.numpy().tobytes()).hexdigest()
        if key not in self._seen:
            self._seen[key] = features_of(self.net, x, self.num_levels, "samples")
        if len(self._seen) > len(METHODS):
            del self._seen[next(iter(self._seen))]
        return self._seen[key]


class Scores:
    """The scores of one chain: measures what is not measured yet."""

    def __init__(self, run: Path, judge: Judge, device: str) -> None:
        """Raises ValueError for a chain that is damaged or has no finished student."""
        self.run, self.judge, self.device, self.folder = run, judge, device, run / "scores"
        manifest = chain_manifest.read_manifest(run)
        chain_manifest.check_files(run, manifest)
        self.students = [row["steps"] for row in manifest["stages"] if row["steps"]]
        if not self.students:
            raise ValueError(f"{run} has no finished student to score")
        self.all_steps = 2 * self.students[0]
        self.folder.mkdir(exist_ok=True)
        self.teacher, self.weights = _undistilled(run, manifest, device), {}
        self.weights[0] = self.teacher.fingerprint()
        self.converted = manifest["stages"][0]["stage"] == chain_manifest.CONVERT
        self.tuner: Scores = self
        """Whose noise the settings are chosen on: chains of the same teacher share the choice."""

    def rows(self) -> list[Row]:
        """What has been measured. Raises ValueError if rows.jsonl is damaged."""
        path = self.folder / "rows.jsonl"
        if not path.exists():
            return []
        with reading(path, "scores"):
            rows = [Row(**json.loads(line)) for line in path.read_text().splitlines()]
            for row in rows:
                check_types(row)
            if not np.isfinite([[row.fid or 0, row.kid, row.kid_se, row.lpips or 0] for row in rows]).all():
                raise ValueError("a score is no finite number")
        return rows

    def score(self, method: str, steps: int, *, seed: int, samples: int, tune: int) -> Row:
        """The row of a method at its best setting, chosen on `tune` other samples."""
        setting = self.tuner.best(method, steps, tune)
        return self.measure(method, setting, steps, seed=seed, samples=samples, fully=True)

    def best(self, method: str, steps: int, samples: int) -> str:
        """The setting of a method whose samples from the tuning noise have the lowest KID."""
        settings = list(SETTINGS.get(method, {"": {}}))
        if len(settings) == 1:
            return settings[0]
        found = [self.measure(method, one, steps, seed=TUNING, samples=samples, fully=False) for one in settings]
        return min(found, key=lambda row: row.kid).setting

    def measure(self, method: str, setting: str, steps: int, *, seed: int, samples: int, fully: bool) -> Row:
        """A row: from rows.jsonl, or measured and added to it. fully: measure FID and LPIPS too."""
        paired = fully and self.judge.perceptual is not None
        weights = self.hash_of(method, steps)
        asked = (method, setting, steps, seed, samples, weights, self.judge.name)
        for row in (rows := self.rows()):
            known = (row.method, row.setting, row.steps, row.seed, row.samples, row.weights, row.judge)
            if known == asked and (row.fid is not None or not fully) and (row.lpips is not None or not paired):
                return row
        pictures = self.pictures(method, setting, steps, seed, samples)
        kid, kid_se = self.judge.kid(pictures)
        row = Row(
            method=method,
            setting=setting,
            steps=steps,
            seed=seed,
            samples=samples,
            weights=weights,
            judge=self.judge.name,
            fid=self.judge.fid(pictures) if fully else None,
            kid=kid,
            kid_se=kid_se,
            lpips=self.judge.distance(pictures, self.whole(seed, samples)) if paired else None,
        )
        lines = "".join(json.dumps(asdict(one)) + "\n" for one in [*rows, row])
        files.write_text(self.folder / "rows.jsonl", lines)
        return row

    def whole(self, seed: int, samples: int) -> Tensor:
        """The undistilled model's DDIM samples with all steps."""
        return self.pictures("ddim", "", self.all_steps, seed, samples)

    def pictures(self, method: str, setting: str, steps: int, seed: int, samples: int) -> Tensor:
        """uint8 [samples, C, H, W], drawn or from the file that an earlier call left."""
        words = [method.replace("+", "p"), *setting.split(), steps, seed, samples, self.hash_of(method, steps)[:12]]
        path = self.folder / f"{'-'.join(map(str, words))}.npz"
        if path.exists():
            with reading(path, "samples (remove it to draw them anew)"), np.load(path, allow_pickle=False) as file:
                found = file["pictures"]
                if found.dtype != np.uint8 or found.shape != (samples, *self.teacher.shape):
                    raise ValueError(f"it holds other samples than {samples} of {self.teacher.shape}")
            return torch.from_numpy(found)
        drawn = self._draw(method, SETTINGS.get(method, {}).get(setting, {}), steps, seed, samples)
        with files.whole(path) as temporary:
            np.savez_compressed(temporary, pictures=drawn)
        return torch.from_numpy(drawn)

    def hash_of(self, method: str, steps: int) -> str:
        """Hash of the model that a method samples from."""
        key = {STUDENT: steps, ORIGINAL: -1}.get(method, 0)
        if key not in self.weights:
            self.weights[key] = self._model(method, steps).fingerprint()
        return self.weights[key]

    def _model(self, method: str, steps: int) -> PictureModel:
        if method == STUDENT:
            return chain_manifest.student(self.run, steps).to(self.device)
        return loading.load(self.run / chain_manifest.TEACHER, self.device) if method == ORIGINAL else self.teacher

    def _draw(self, method: str, options: dict[str, Any], steps: int, seed: int, samples: int) -> np.ndarray:
        model = self._model(method, steps).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        sampler = "ddim" if method in (STUDENT, ORIGINAL) else method
        classes, drawn = model.config.net.classes, []
        options = {"steps": steps, "sampler": sampler, "seed": seed, "schedule": model.sampling_schedule, **options}
        with Steps(f"{method}, {steps} steps", samples) as progress:
            for part in torch.arange(samples).split(AT_ONCE):
                first, n, label = int(part[0]), len(part), part % classes if classes else None

                def tell(state: dict[str, Any], first: int = first, n: int = n) -> None:
                    progress.update(first + n * (state["step"] + 1) / steps)

                drawn.append(model.sample(n, first=first, label=label, callback=tell, **options).cpu().numpy())
                progress.update(first + n)
        return np.concatenate(drawn)


def _undistilled(run: Path, manifest: dict[str, Any], device: str) -> PictureModel:
    """The model that the first student halves: the chain's teacher, or what that was converted to."""
    converted = manifest["stages"][0]["stage"] == chain_manifest.CONVERT
    place = run / chain_manifest.STAGES / chain_manifest.CONVERT if converted else run / chain_manifest.TEACHER
    return loading.load(place, device)


def compute(run: Path) -> tuple[float, float]:
    """Forward passes of one picture, a gradient being two: (in the training of the teacher, in that of the chain). Of a
    teacher that is a student itself, its own stage alone counts."""
    teacher = loading.load(run / chain_manifest.TEACHER)
    trained = teacher.meta["config"]["optim"]["batch"] * teacher.meta["step"]
    manifest = chain_manifest.read_manifest(run)
    batch = manifest["config"]["optim"]["batch"]
    passes = sum(
        row["updates"] * (chain_plan.STUDENT if row["steps"] else chain_plan.CONVERSION) for row in manifest["stages"]
    )
    each = chain_plan.STUDENT if teacher.taught_steps else chain_plan.TRAINING
    return float(each * trained), float(batch * passes)
