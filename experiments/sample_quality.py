"""How good samples look, for `tandem eval RUN --samples N`: KID and FID beside their floor, and nearest neighbours."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from experiments import files
from experiments.flags import say
from experiments.progress import Lines, Steps
from experiments.sample import draw
from generative import watch
from generative.data import ImageSet
from generative.data.fetch import cache_dir
from generative.metrics import features, fid
from generative.metrics.kid import check_groups
from generative.metrics.pictures import memorisation
from generative.metrics.statistics import describe

if TYPE_CHECKING:
    from generative.model import PictureModel

INCEPTION, RANDOM = "inception", "random"


def network(name: str, device: str) -> features.Features:
    """The feature network: "inception" (fetched at first use), "random", or a TorchScript file. Raises ValueError."""
    if name == INCEPTION:
        with Lines(INCEPTION) as tell:
            tell("the network of FID, 81 MB, fetched once")
            return features.inception(device=device)
    if name == RANDOM:
        return features.random_features().to(device)
    return features.from_file(name, device=device)


def in_parts(net: Callable[[Tensor], Tensor], x: Tensor, what: str, at_once: int = 64) -> Tensor:
    """net(x) [N, ...] of pictures [N, C, H, W], some at a time, with progress."""
    found = []
    with Steps(what, len(x)) as progress, torch.no_grad():
        for part in x.split(at_once):
            found.append(net(part))
            progress.update(sum(map(len, found)))
    return torch.cat(found)


def features_of(net: features.Features, x: Tensor, num_levels: int, what: str) -> Tensor:
    """Features [N, D] of pictures, with progress."""
    return in_parts(lambda part: features.extract(net, part, num_levels=num_levels), x, f"features of {what}")


def known_features(net: features.Features, x: Tensor, num_levels: int, what: str) -> Tensor:
    """As `features_of`, of pictures that are asked for again and again: kept beside the sets of pictures."""
    code = Path(features.__file__).read_bytes()  # what another version of it made is not what this one makes
    told = f"{describe(net)} {num_levels} {list(x.shape)}".encode()
    key = hashlib.sha256(code + told + x.numpy().tobytes()).hexdigest()
    path = cache_dir() / "features" / f"{key[:32]}.npy"
    try:
        found = np.load(path, allow_pickle=False)
        if found.dtype == np.float32 and found.shape == (len(x), net.num_features) and np.isfinite(found).all():
            return torch.from_numpy(found).double()
    except (OSError, ValueError, EOFError):  # not there, or damaged: made anew
        pass
    found = features_of(net, x, num_levels, what)
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, found.float().numpy())
    return found


def compare(
    model: "PictureModel",
    net: features.Features,
    train: ImageSet,
    test: ImageSet,
    n: int,
    *,
    steps: int,
    sampler: str,
    seed: int,
) -> None:
    """Draws n samples and prints how far they are from test pictures, beside training pictures in their place.

    As many test pictures and training pictures as samples, or all where there are fewer. Raises ValueError.
    """
    if min(len(train), len(test)) < 4:
        raise ValueError(f"KID and FID need at least 4 pictures of each split, got {len(train)} and {len(test)}")
    (real, test_groups), (trained, train_groups) = pictures_of(test, n), pictures_of(train, n)
    reference, known = real["x"], trained["x"]
    label = torch.arange(n) % model.config.net.classes if model.config.net.classes else None
    samples = torch.from_numpy(draw(model, n, steps=steps, sampler=sampler, seed=seed, label=label))
    passes = sum(-(-len(x) // 32) for x in (samples, reference, known))
    with Steps("features", passes) as progress:
        done = iter(range(1, passes + 1))

        def count(*_: Any) -> None:
            progress.update(next(done, passes))

        hook = net.register_forward_hook(count)
        groups = test_groups, train_groups
        result = fid.compare(samples, reference, known, net, num_levels=model.num_levels, groups=groups)
        hook.remove()
    say(f"{n} samples, {steps} steps of {sampler}, seed {seed}:")
    say(f"KID  {result.kid:.5f} ± {result.kid_se:.5f}   floor {result.kid_floor:.5f} ± {result.kid_floor_se:.5f}")
    say(f"FID  {result.fid:.2f}   floor {result.fid_floor:.2f}")
    say(f"({result.n} pictures against {result.n_reference} of the test split; the floor takes {result.n} training")
    say(f"pictures in place of samples; {result.features})")
    near = memorisation(samples, train.batch(range(len(train)))["x"], reference)
    ours, theirs = near.distance.median(), near.held_out_distance.median()
    say(f"nearest training picture: median distance {ours:.2f} levels, of test pictures {theirs:.2f};")
    say(f"{near.share_closer:.1%} of samples are closer to one than 99% of test pictures")


def pictures_of(images: ImageSet, n: int) -> tuple[dict[str, Tensor], list[str]]:
    """A batch of at most n pictures, evenly over the set, and what each is from. Raises ValueError for too few groups
    for KID."""
    rows, groups = watch.chosen(images, n), images.groups()
    names = [groups[i] for i in rows.tolist()]
    check_groups(rows, names)
    return images.batch(rows), names
