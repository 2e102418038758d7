"""Features of known pictures are computed once."""

from pathlib import Path

import pytest
import torch

from experiments.sample_quality import features_of, known_features
from generative.metrics.features import random_features


def test_features_of_known_pictures_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_DATA", str(tmp_path))
    net, passes = random_features(8), []
    net.register_forward_hook(lambda *_: passes.append(1))
    x = torch.randint(0, 200, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first = known_features(net, x, 256, "pictures")
    torch.testing.assert_close(first, features_of(net, x, 256, "pictures"), rtol=0, atol=0)
    passes.clear()
    torch.testing.assert_close(known_features(net, x, 256, "pictures"), first, rtol=0, atol=0)
    assert not passes
    for other, levels, pictures in ((random_features(8, seed=1), 256, x), (net, 200, x), (net, 256, x.flip(0))):
        assert not known_features(other, pictures, levels, "pictures").equal(first)
    (tmp_path / "features").mkdir(exist_ok=True)
    for path in (tmp_path / "features").iterdir():
        path.write_bytes(b"\x93NUMPY damaged")
    torch.testing.assert_close(known_features(net, x, 256, "pictures"), first, rtol=0, atol=0)
