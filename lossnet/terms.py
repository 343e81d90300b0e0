"""Loss terms beside MSNet's own: a function of logits and mask, and a line in `TERMS`, each."""

from collections.abc import Callable

import torch
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


# name -> term: its column in log.csv, and <name>_factor its field of Config
TERMS: dict[str, Term] = {
    "dice": dice_loss,
}
