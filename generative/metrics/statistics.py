"""Mean and covariance of features, kept in a file, and the Frechet distance between two of them."""

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from generative.metrics.features import Features, extract


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What FID needs to know of a set of pictures."""

    mean: Tensor
    """float64 [D]."""
    covariance: Tensor
    """float64 [D, D], with n - 1 in the denominator."""
    n: int
    """Pictures."""
    features: str
    """Description of the feature network; distances between different ones are refused."""


def statistics(x: Tensor, features: Features, *, num_levels: int = 256, batch: int = 32) -> Statistics:
    """Statistics of level indices uint8 [N, C, H, W], N at least 2; see `features.extract`."""
    return of_features(extract(features, x, num_levels=num_levels, batch=batch), describe(features))


def of_features(found: Tensor, description: str) -> Statistics:
    """Statistics of features [N, D]. Raises: ValueError if N is below 2."""
    if len(found) < 2:
        raise ValueError(f"statistics need at least 2 pictures, got {len(found)}")
    found = found.double()
    return Statistics(mean=found.mean(0), covariance=torch.cov(found.T), n=len(found), features=description)


def describe(features: nn.Module) -> str:
    """A feature network's own description, or its class."""
    return features.describe() if isinstance(features, Features) else type(features).__name__


def frechet(a: Statistics, b: Statistics) -> float:
    """The squared Frechet (2-Wasserstein) distance of two Gaussians. Source: Heusel et al. 2017, Eq 6.

    |mean_a - mean_b|^2 + tr(A) + tr(B) - 2 tr((A^1/2 B A^1/2)^1/2): the root of a symmetric matrix, where the usual
    (A B)^1/2 is of one that is not, and may come out complex.

    Raises: ValueError if the features differ.
    """
    if a.features != b.features:
        raise ValueError(f"statistics of different features: {a.features}; and {b.features}")
    root = _root(a.covariance)
    overlap = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    return float(apart + a.covariance.trace() + b.covariance.trace() - 2 * overlap)


def save(statistics: Statistics, path: str | Path) -> None:
    """Writes an npz file, at once or not at all."""
    path = Path(path)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                mean=statistics.mean.numpy(),
                covariance=statistics.covariance.numpy(),
                n=np.int64(statistics.n),
                features=np.str_(statistics.features),
            )
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise


def load(path: str | Path, features: Features | None = None) -> Statistics:
    """Reads what `save` wrote. Raises: ValueError if it is damaged, or of other features than those given."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            mean, covariance = (torch.from_numpy(file[key].astype(np.float64)) for key in ("mean", "covariance"))
            loaded = Statistics(mean=mean, covariance=covariance, n=int(file["n"]), features=str(file["features"]))
    except FileNotFoundError:
        raise ValueError(f"there are no statistics at {path}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no statistics that can be read") from error
    if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)) or loaded.n < 2:
        raise ValueError(f"{path} does not fit: mean {list(mean.shape)}, covariance {list(covariance.shape)}")
    if not (mean.isfinite().all() and covariance.isfinite().all() and torch.allclose(covariance, covariance.T)):
        raise ValueError(f"{path} does not hold a finite mean and a symmetric covariance")
    if features is not None and loaded.features != describe(features):
        raise ValueError(f"{path} was made with other features: {loaded.features}; not {describe(features)}")
    return loaded


def _root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
