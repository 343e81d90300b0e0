"""Loss terms beside MSNet's own: a function of logits and mask, and a line in `TERMS`, each."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# term(logits, mask, within=None or a field of view) -> scalar, all (N, 1, *space)
Term = Callable[..., Tensor]


def dice_loss(logits: Tensor, mask: Tensor, within: Tensor | None = None) -> Tensor:
    """Soft Dice loss [V-Net, 3DV 2016, section 3], with plain sums in place of squares, as most use it since.

    Scalar mean over images and channels of 1 - Dice of sigmoid(logits) and mask, (N, C, *space) each; mask float in
    [0, 1]. One is added above and below: an empty mask and an empty map have no loss. within (N, 1, *space) in [0, 1]:
    the field of view; pixels outside count for nothing.
    """
    pred = torch.sigmoid(logits)
    if within is not None:
        pred, mask = pred * within, mask * within
    space = tuple(range(2, logits.ndim))
    return (1 - (2 * (pred * mask).sum(space) + 1) / ((pred + mask).sum(space) + 1)).mean()


def cross_entropy(logits: Tensor, mask: Tensor, within: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, the plain mean over pixels and images of (N, 1, *space) logits and mask in [0, 1].

    Of several classes each is against the rest: as the softmax has it, its probability and that of all others together.
    within (N, 1, *space) in [0, 1]: the field of view, whose pixels alone are in an image's mean.
    """
    if within is None:
        return F.binary_cross_entropy_with_logits(logits, mask)
    loss, space = F.binary_cross_entropy_with_logits(logits, mask, reduction="none"), tuple(range(2, logits.ndim))
    return ((within * loss).sum(space) / within.sum(space).clamp(min=1e-6)).mean()


# name -> term: its column in log.csv, and <name>_factor its field of Config
TERMS: dict[str, Term] = {
    "dice": dice_loss,
    "cross_entropy": cross_entropy,
}
