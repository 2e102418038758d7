"""How good restored pictures are: consistency, what classifiers say, perceptual distance, and how much answers differ.

Sources: Saharia et al. 2021 (SR3, arXiv 2104.07636), Sec 4 (consistency); Saharia et al. 2022 (Palette, arXiv
2111.05826), Sec 4 and App C (Inception score, classification accuracy, perceptual distance, diversity). Networks are
the caller's: any that gives features or logits.
"""

import torch
from torch import Tensor

from generative.resize import resize_levels


def consistency(made: Tensor, given: Tensor, num_levels: int = 256) -> Tensor:
    """Mean square of the difference between reduced answers and what they were made of, for pixels in [0, 1]: [N].

    SR3's table is in units of 1e-5. Args: made: uint8 [N, C, H, W]; given: uint8 [N, C, h, w].
    """
    small = resize_levels(made, (given.shape[-2], given.shape[-1]), num_levels)
    return ((small.double() - given.double()) / (num_levels - 1)).square().flatten(1).mean(1)


def hidden_psnr(a: Tensor, b: Tensor, mask: Tensor, num_levels: int = 256) -> Tensor:
    """PSNR of each pair in decibels over the pixels where mask [N, 1, H, W] is 1: [N]; infinite for equal ones."""
    squares = (a.double() - b.double()).square() * mask
    error = squares.flatten(1).sum(1) / (mask.double().flatten(1).sum(1) * a.shape[1])
    return 10 * torch.log10((num_levels - 1) ** 2 / error)


def inception_score(logits: Tensor) -> float:
    """exp of the mean KL(p(class | picture) || p(class)) of logits [N, K]: 1 to K. Salimans et al. 2016, Sec 4.

    Palette's is with Inception's own classes; with another classifier it is on that classifier's scale.
    """
    log_p = logits.double().log_softmax(1)
    log_mean = log_p.logsumexp(0) - torch.tensor(float(len(logits))).double().log()
    return float((log_p.exp() * (log_p - log_mean)).sum(1).mean().exp())


def agreement(logits: Tensor, originals: Tensor) -> Tensor:
    """1 where the likeliest class [N, K] is that of the original, else 0: [N]. With labels, give their one-hot rows."""
    return (logits.argmax(1) == originals.argmax(1)).double()


def perceptual_distance(features: Tensor, originals: Tensor) -> Tensor:
    """Euclidean distance of features [N, D] of each answer and its original: [N]. Palette, Sec 4."""
    return (features.double() - originals.double()).norm(dim=1)


def diversity(answers: Tensor, num_levels: int = 256) -> Tensor:
    """SSIM at several scales of the first answer and each other one, mean over those: [N]; 1 where all are the same.

    Palette, Sec 5.6. Args: answers: uint8 [k, N, C, H, W], k at least 2. Sides below 176 pixels leave out the coarsest
    of the five scales. Raises: ValueError below 12 pixels.
    """
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

    weights = torch.tensor([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])  # Wang et al. 2003
    side = min(answers.shape[-2:])
    count = next((n for n in range(5, 0, -1) if side // max(1, n - 1) ** 2 > 10), 0)  # as torchmetrics has it
    if not count or side < 12:
        raise ValueError(f"SSIM at several scales needs sides of at least 12 pixels, got {list(answers.shape[-2:])}")
    chosen = weights[:count] / weights[:count].sum()
    first, found = answers[0].double(), []
    for other in answers[1:]:
        each = [
            multiscale_structural_similarity_index_measure(
                a[None], b[None].double(), data_range=num_levels - 1.0, betas=tuple(chosen.tolist()), normalize="relu"
            )
            for a, b in zip(first, other, strict=True)
        ]
        found.append(torch.stack(each))
    return torch.stack(found).mean(0)
