"""The training loss of MSNet and M2SNet: structure loss + 0.1 LossNet [MSNet, eq. 5]."""

from typing import NamedTuple

import torch
from torch import Tensor

from lossnet.structure import one_vs_rest, structure_loss
from lossnet.vgg import LossNet


class Loss(NamedTuple):
    """Three scalars; `total` carries the gradient."""

    total: Tensor
    structure: Tensor
    lossnet: Tensor


def total_loss(
    logits: Tensor,
    mask: Tensor,
    lossnet: LossNet | None,
    factor: float = 0.1,
    weighted_bce: bool = False,
    within: Tensor | None = None,
) -> Loss:
    """Structure loss + factor * LossNet, with both parts for the log.

    logits and mask (N, C, H, W); mask float in [0, 1], one channel per class. With C > 1 the logits are those of a
    softmax and the loss is the mean over the classes of each one's binary loss against the rest; C = 1 is a sigmoid.
    lossnet=None leaves that part out (zero). within (N, 1, H, W) in [0, 1]: the field of view; what is outside has no
    part in the loss, and LossNet sees both maps black there.
    """
    if logits.shape[1] > 1:
        logits = one_vs_rest(logits)
    # every term is a mean over images, so a class is one more image: (N, C, H, W) -> (N C, 1, H, W)
    if within is not None:
        within = within.expand_as(mask).reshape(-1, 1, *mask.shape[2:])
    logits, mask = (x.reshape(-1, 1, *x.shape[2:]) for x in (logits, mask))
    structure = structure_loss(logits, mask, weighted_bce, within)
    perceptual = logits.new_zeros(())
    if lossnet is not None:
        pred = torch.sigmoid(logits)
        perceptual = lossnet(pred, mask) if within is None else lossnet(pred * within, mask * within)
    return Loss(structure + factor * perceptual, structure, perceptual)


__all__ = ["Loss", "LossNet", "one_vs_rest", "structure_loss", "total_loss"]
