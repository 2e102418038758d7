"""Classification accuracy score: a classifier is trained on samples and tested on real pictures.

Source: Ravuri & Vinyals 2019 (arXiv 1905.10887); Ho et al. 2022 (cascaded diffusion, arXiv 2106.15282), Sec 5. They
train ResNet-50; here a small convolutional network that a CPU trains in a minute, so numbers compare only with each
other. Beside it belongs the same classifier trained on real pictures.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generative import noise


def network(channels: int, classes: int, width: int = 32) -> nn.Sequential:
    """Three convolutions with stride 2, each behind one without, and a linear layer on their mean."""
    layers: list[nn.Module] = []
    for out in (width, 2 * width, 4 * width):
        for stride in (1, 2):
            layers += [nn.Conv2d(channels, out, 3, stride, 1), nn.GroupNorm(8, out), nn.ReLU()]
            channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def accuracy_score(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    num_levels: int = 256,
    steps: int = 600,
    batch: int = 64,
    seed: int = 0,
    device: str = "cpu",
    top: Sequence[int] = (1,),
    make: Callable[[int, int], nn.Module] = network,
    progress: Callable[[int], None] | None = None,
) -> list[float]:
    """Accuracy in [0, 1] on real pictures of a classifier that was trained on other pictures, such as samples: for each
    k of `top`, the share of pictures whose class is among the k likeliest.

    Args: train, test: level indices uint8 [N, C, H, W]; labels: int64 [N] from 0; make: (channels, classes) -> network
        from pictures in (-1, 1) to logits; progress: told the steps done.
    Raises: ValueError if they do not fit.
    """
    if train.shape[1:] != test.shape[1:] or len(train) != len(train_labels) or len(test) != len(test_labels):
        raise ValueError(f"pictures and labels do not fit: {list(train.shape)}, {list(test.shape)}")
    classes = int(torch.cat([train_labels, test_labels]).max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make(train.shape[1], classes).to(device)
    generator = torch.Generator().manual_seed(noise.mix(seed, noise.ORDER))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(len(train), (min(batch, len(train)),), generator=generator)
        loss = F.cross_entropy(net(_scaled(train[rows], num_levels, device)), train_labels[rows].to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress:
            progress(step + 1)
    net.eval()
    with torch.no_grad():
        logits = torch.cat([net(_scaled(part, num_levels, device)).cpu() for part in test.split(256)])
    ranked = logits.argsort(1, descending=True)
    return [float((ranked[:, :k] == test_labels[:, None]).any(1).double().mean()) for k in top]


def _scaled(k: Tensor, num_levels: int, device: str) -> Tensor:
    return k.to(device).float() * (2 / (num_levels - 1)) - 1
