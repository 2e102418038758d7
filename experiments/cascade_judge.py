"""How good the pictures of a cascade are: KID, FID, consistency, and what a classifier learns from them."""

import hashlib
import inspect
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments import files
from experiments.progress import Steps
from experiments.sample_quality import features_of, known_features
from generative.metrics import fid, restoration
from generative.metrics.accuracy_score import accuracy_score
from generative.metrics.features import Features
from generative.metrics.kid import Kid, kid
from generative.papers.cascade import CascadeStage


@dataclass(frozen=True, kw_only=True)
class Row:
    """One level."""

    level: float
    kid: Kid
    """Against real pictures."""
    fid: float
    consistency: float | None
    """Mean square of the difference between reduced pictures and what they were made of, in 1e-5; None where that
    was never finished."""
    accuracy_scores: dict[str, tuple[float, ...]]
    """Classification accuracy score, "top-1" and of more than five classes "top-5": of each classifier."""

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self), "kid": self.kid.value, "kid_se": self.kid.se}


class Judge:
    """Scores pictures against real ones."""

    def __init__(
        self, net: Features, real: dict[str, Tensor], groups: list[str], last: CascadeStage, *, classifiers: int,
        store: Path,
    ) -> None:  # fmt: skip
        """groups: what each real picture is from; classifiers: how many are trained for each score; store: a folder of
        their scores, which take long."""
        self.net, self.real, self.groups, self.num_levels = net, real, groups, last.num_levels
        self.device, self.classes, self.classifiers = str(last.device), last.config.net.classes, classifiers
        self.store = store
        self.features = known_features(net, real["x"], last.num_levels, "real pictures")

    def row(
        self, level: float, made: Tensor, given: Tensor | None, labels: Tensor | None, groups: list[str] | None = None
    ) -> Row:
        """groups: what each of the pictures is from; each is drawn on its own if None."""
        features = features_of(self.net, made, self.num_levels, "pictures")
        estimate = kid(features, self.features, groups or [f"sample {i}" for i in range(len(made))], self.groups)
        scores = self._accuracy(made, labels) if self.classes and self.classifiers and labels is not None else {}
        missed = None if given is None else 1e5 * float(restoration.consistency(made, given, self.num_levels).mean())
        found = fid.fid(features, self.features)
        return Row(level=level, kid=estimate, fid=found, consistency=missed, accuracy_scores=scores)

    def _accuracy(self, made: Tensor, labels: Tensor) -> dict[str, tuple[float, ...]]:
        top, found = (1, 5) if self.classes > 5 else (1,), []
        parts = made, labels, self.real["x"], self.real["label"]
        code = Path(inspect.getfile(accuracy_score)).read_bytes()  # another version makes other scores
        key = hashlib.sha256(code + b"".join(part.numpy().tobytes() for part in parts)).hexdigest()[:24]
        with Steps("classification accuracy score", 600 * self.classifiers) as progress:
            for seed in range(self.classifiers):

                def score(seed: int = seed) -> list[float]:
                    return accuracy_score(
                        *parts, num_levels=self.num_levels, seed=seed, device=self.device, top=top,
                        progress=lambda done: progress.update(600 * seed + done),
                    )  # fmt: skip

                found.append(_kept(self.store / f"{key}-{seed}.json", len(top), score))
        return {f"top-{k}": values for k, values in zip(top, zip(*found, strict=True), strict=True)}


def _kept(path: Path, many: int, make: Callable[[], list[float]]) -> list[float]:
    """So many numbers that an earlier call left, or that are made now and left there."""
    with suppress(OSError, ValueError, TypeError, RecursionError):  # not there, or damaged: made anew
        found = [float(value) for value in json.loads(path.read_text())]
        if len(found) == many and all(0 <= value <= 1 for value in found):
            return found
    found = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, json.dumps(found))
    return found
