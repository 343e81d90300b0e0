"""Structure loss: binary cross-entropy plus IoU, pixels near an outline weighing more [F3Net, AAAI 2020, eqs. 5-9]."""

import torch
import torch.nn.functional as F
from torch import Tensor


def structure_loss(logits: Tensor, mask: Tensor, weighted_bce: bool = False, within: Tensor | None = None) -> Tensor:
    """Scalar mean over the batch of BCE + weighted IoU loss.

    logits (N, C, H, W), any real; mask (N, C, H, W) float in [0, 1], soft values allowed; channels are independent.
    A pixel weighs 1 + 5 |mean of the mask in a 31 x 31 window - mask|, with zeros outside the image.
    Official: the cross-entropy is the plain mean over the batch, because `reduce='none'` is read as true and the
    weights cancel. Paper: cross-entropy weighted like the IoU; weighted_bce=True.
    within (N, 1, H, W) in [0, 1]: the field of view; pixels outside weigh nothing, and every image counts alike,
    however small its field.
    """
    if logits.shape != mask.shape or logits.ndim != 4:
        raise ValueError(
            f"logits {tuple(logits.shape)} and mask {tuple(mask.shape)}; expected one shape (N, C, H, W) for both"
        )
    # a 31 x 31 mean is a mean of means: 62 additions a pixel in place of 961
    mean = F.avg_pool2d(F.avg_pool2d(mask, (31, 1), stride=1, padding=(15, 0)), (1, 31), stride=1, padding=(0, 15))
    weight = 1 + 5 * (mean - mask).abs()
    bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    if within is not None:
        within = within.expand_as(mask)
        weight = weight * within
    of_each = weight if weighted_bce else within
    bce = bce.mean() if of_each is None else (of_each * bce).sum((2, 3)) / of_each.sum((2, 3)).clamp(min=1e-6)

    pred = torch.sigmoid(logits)
    inter = (weight * pred * mask).sum((2, 3))
    union = (weight * (pred + mask)).sum((2, 3)) - inter
    iou = 1 - (inter + 1) / (union + 1)
    return (bce + iou).mean()


def one_vs_rest(logits: Tensor) -> Tensor:
    """Logits (N, C, H, W) of a softmax over C > 1 classes -> binary logits z, same shape: sigmoid(z) is the softmax."""
    others = torch.stack(
        [torch.cat((logits[:, :c], logits[:, c + 1 :]), 1).logsumexp(1) for c in range(logits.shape[1])], 1
    )
    return logits - others
