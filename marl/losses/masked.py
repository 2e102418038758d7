"""The one masked mean that every loss uses."""

from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the entries where mask is True; 0 where there is none. Shapes broadcast."""
    weight = mask.to(x.dtype).expand_as(x)
    # where, not a product: an absent agent's entry may be infinite, and inf * 0 is NaN.
    return x.where(weight > 0, x.new_zeros(())).sum() / weight.sum().clamp(min=1)
