"""Feature networks: what they see, how they are described, and files that are none."""

import os
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from generative.data.fetch import cache_dir
from generative.data.networks import NETWORKS
from generative.metrics.features import Features, extract, from_file, inception, random_features, to_bytes


class Seen(nn.Module):
    """Gives back what it was given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def levels(*shape: int, high: int = 256) -> Tensor:
    return torch.randint(0, high, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_network_sees_three_channels_from_minus_one_to_one():
    seen = Features(Seen(), "seen")(levels(5, 1, 6, 6)).reshape(5, 3, 6, 6)
    assert seen.equal(((levels(5, 1, 6, 6).float() - 128) / 128).expand(5, 3, 6, 6))
    assert Features(Seen(), "seen", scale=False)(levels(5, 3, 6, 6)).equal(levels(5, 3, 6, 6).float().flatten(1))


@pytest.mark.parametrize("resize", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sides", [(20, 16), (4, 5)])
def test_pictures_are_resized_by_the_named_filter(resize, sides: tuple[int, int]):
    x, net = levels(2, 3, *sides), Features(Seen(), "seen", size=9, resize=resize)
    expected = F.interpolate(x.float(), (9, 9), mode=resize, antialias=True).clamp(0, 255)
    torch.testing.assert_close(net(x).reshape(2, 3, 9, 9), (expected - 128) / 128)
    assert net.describe() == f"seen, 243 features, pictures resized to 9 px by torch {resize} with antialias"
    assert net.num_features == 243


def test_shrinking_a_checkerboard_gives_grey():
    board = (torch.arange(40)[:, None] + torch.arange(40)) % 2 * 254
    seen = Features(Seen(), "seen", size=10)(board.to(torch.uint8).expand(1, 3, 40, 40)).reshape(3, 10, 10)
    assert (seen * 128 + 128 - 127).abs().max() < 2  # without antialias: 0 or 254


def test_random_features_are_fixed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second = random_features(), random_features()
    assert torch.get_rng_state().equal(before)
    assert first(levels(3, 3, 32, 32)).equal(second(levels(3, 3, 32, 32)))
    assert first.describe() == second.describe()
    assert random_features(seed=1).describe() != first.describe()
    assert not any(p.requires_grad for p in first.parameters())


def test_extract_does_not_depend_on_the_batch_and_is_float64():
    net, x = random_features(), levels(7, 3, 16, 16)
    found = extract(net, x, batch=3)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, extract(net, x, batch=7), rtol=1e-5, atol=1e-6)
    assert found.shape == (7, net.num_features)


def test_few_levels_are_spread_over_the_bytes():
    assert to_bytes(torch.arange(17, dtype=torch.uint8).reshape(1, 1, 1, 17), 17).flatten().tolist() == [
        round(k * 255 / 16) for k in range(17)
    ]
    assert to_bytes(levels(1, 3, 4, 4), 256).equal(levels(1, 3, 4, 4))


def test_a_torchscript_file_is_taken_and_named_by_its_hash(tmp_path: Path):
    path = tmp_path / "net.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(nn.Sequential(nn.AvgPool2d(8), nn.Flatten()), torch.zeros(1, 3, 16, 16))
        torch.jit.save(traced, str(path))
    net = from_file(path, size=16)
    expected = F.avg_pool2d((levels(2, 3, 16, 16).float() - 128) / 128, 8).flatten(1)
    torch.testing.assert_close(net(levels(2, 3, 16, 16)), expected)
    assert net.describe().startswith("TorchScript (sha256 ")
    assert net.num_features == 12
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"net.pt is no TorchScript file that can be read$"):
        from_file(path)
    with pytest.raises(ValueError, match=r"missing.pt is no TorchScript file"):
        from_file(tmp_path / "missing.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(ValueError, match=r"pipe.pt is no TorchScript file"):
        from_file(tmp_path / "pipe.pt")


def test_features_that_are_no_numbers_are_refused():
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3].log()  # of pixels below the middle

    with pytest.raises(ValueError, match="gives features that are no finite numbers"):
        extract(Features(Odd(), "odd", size=None), torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"odd takes no \[N, 3, 64, 64\] pictures"):
        Features(nn.Linear(5, 5), "odd")
    with pytest.raises(ValueError, match=r"odd must give features \[N, D\], got \[2, 3, 64, 64\]"):
        Features(nn.Identity(), "odd")
    with pytest.raises(ValueError, match="resize must be bilinear or bicubic, got 'nearest'"):
        Features(Seen(), "seen", resize="nearest")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "num_levels", "sentence"),
    [
        (torch.zeros(2, 3, 8, 8), 256, "must be uint8"),
        (torch.zeros(2, 4, 8, 8, dtype=torch.uint8), 256, "must be uint8"),
        (torch.full((1, 1, 4, 4), 17, dtype=torch.uint8), 17, "below num_levels"),
    ],
)
def test_bad_pictures(x: Tensor, num_levels: int, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        extract(random_features(), x, num_levels=num_levels)


def test_inception_where_its_weights_are_at_hand():
    row = NETWORKS["inception"]
    if not (cache_dir() / "members" / row.package.sha256[:16] / row.path).is_file():
        pytest.skip("the weights of Inception are not in the cache")
    net = inception()
    found = extract(net, levels(2, 1, 32, 32))
    assert found.shape == (2, 2048)
    assert 0.2 < found.mean() < 0.8  # averages of rectified units
    assert net.describe() == (
        "Inception-v3 (sha256 7ff4a85c3a6378f0), 2048 features, "
        "pictures resized to 299 px by torch bilinear with antialias"
    )
