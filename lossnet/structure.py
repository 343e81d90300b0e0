"""Structure loss: binary cross-entropy plus IoU, pixels near an outline weighing more [F3Net, AAAI 2020, eqs. 5-9]."""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 31


def structure_loss(logits: Tensor, mask: Tensor, weighted_bce: bool = False, within: Tensor | None = None) -> Tensor:
    """Scalar mean over the batch of BCE + weighted IoU loss.

    logits (N, C, H, W) or (N, C, D, H, W), any real; mask of the same shape, float in [0, 1], soft values allowed;
    channels are independent. A pixel weighs 1 + 5 |mean of the mask in a 31 x 31 window - mask|, with zeros outside the
    image; of a volume the window has 31 voxels a side.
    Official: the cross-entropy is the plain mean over the batch, because `reduce='none'` is read as true and the
    weights cancel. Paper: cross-entropy weighted like the IoU; weighted_bce=True.
    within (N, 1, *space) in [0, 1]: the field of view; pixels outside weigh nothing, and every image counts alike,
    however small its field.
    """
    if logits.shape != mask.shape or logits.ndim not in (4, 5):
        raise ValueError(
            f"logits {tuple(logits.shape)} and mask {tuple(mask.shape)}; expected one shape (N, C, H, W) for both, or "
            "(N, C, D, H, W)"
        )
    weight = 1 + 5 * (_window_mean(mask) - mask).abs()
    space = tuple(range(2, mask.ndim))
    bce = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    if within is not None:
        within = within.expand_as(mask)
        weight = weight * within
    of_each = weight if weighted_bce else within
    bce = bce.mean() if of_each is None else (of_each * bce).sum(space) / of_each.sum(space).clamp(min=1e-6)

    pred = torch.sigmoid(logits)
    inter = (weight * pred * mask).sum(space)
    union = (weight * (pred + mask)).sum(space) - inter
    iou = 1 - (inter + 1) / (union + 1)
    return (bce + iou).mean()


def _window_mean(mask: Tensor) -> Tensor:
    """A mean of means, axis by axis: of 31 x 31 pixels 62 additions each in place of 961."""
    for axis in range(2, mask.ndim):
        kernel = [WINDOW if i == axis else 1 for i in range(2, mask.ndim)]
        around = [side // 2 for side in kernel]
        if mask.ndim == 4:
            mask = F.avg_pool2d(mask, kernel, stride=1, padding=around)
        else:  # avg_pool3d refuses an axis that is shorter than its window, whatever the padding
            mask = F.avg_pool3d(F.pad(mask, [side for side in reversed(around) for _ in range(2)]), kernel, stride=1)
    return mask


def one_vs_rest(logits: Tensor) -> Tensor:
    """Logits (N, C, *space) of a softmax over C > 1 classes -> binary logits z: sigmoid(z) is the softmax."""
    others = torch.stack(
        [torch.cat((logits[:, :c], logits[:, c + 1 :]), 1).logsumexp(1) for c in range(logits.shape[1])], 1
    )
    return logits - others
