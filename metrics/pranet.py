"""The thirteen scores of PraNet's MATLAB toolbox, which most polyp papers print, from a Summary. (N,) float64 each."""

from functools import partial

import torch
from torch import Tensor

from metrics.official import e_measure, s_measure
from metrics.protocol import Protocol
from metrics.summary import Summary
from metrics.weighted_f import weighted_f_of_maps

CURVES = {"Dic": "Dice", "IoU": "IoU", "Em": "E", "Sen": "recall", "Spe": "specificity"}
EPSILON = 2.2e-16
GT_CUT = 128
MAX_OF_CURVE = {f"max{short}": curve for short, curve in CURVES.items()}


def scores(s: Summary) -> dict[str, Tensor]:
    """All but wFm; a max score is that of each image's own curve."""
    return means(s, curves(s))


def means(s: Summary, by_threshold: dict[str, Tensor]) -> dict[str, Tensor]:
    """The scores of images whose curves over the thresholds are `by_threshold`."""
    found = {f"mean{short}": by_threshold[curve].mean(1) for short, curve in CURVES.items()}
    found |= {name: by_threshold[curve].amax(1) for name, curve in MAX_OF_CURVE.items()}
    p, sizes = s.cells[:, 1].sum(1), s.cells[:, 0].sum(1)
    found["Sm"] = s_measure(s.cells, EPSILON, population=False).clamp(min=0)
    found["MAE"] = (p[:, 0] + sizes[:, 1] - p[:, 1]) / sizes.sum(1)
    return found


def curves(s: Summary) -> dict[str, Tensor]:
    """(N, 256) each at p >= 1, 254/255, .. 0. Toolbox: an image without a hit has zero in all, specificity too."""
    tp, fp = (h.flip(1).cumsum(1) for h in (s.foreground, s.background))
    positives, negatives = s.foreground.sum(1, keepdim=True), s.background.sum(1, keepdim=True)
    hit = tp > 0

    def where_hit(above: Tensor, below: Tensor) -> Tensor:
        return torch.where(hit, above / torch.where(hit, below, torch.ones_like(below)), torch.zeros_like(above))

    sizes = torch.cat([negatives, positives], 1)
    return {
        "precision": where_hit(tp, tp + fp),
        "recall": where_hit(tp, positives.expand_as(tp)),
        "specificity": where_hit(negatives - fp, negatives.expand_as(tp).clamp(min=1)),
        "Dice": where_hit(2 * tp, tp + fp + positives),
        "IoU": where_hit(tp, fp + positives),
        "E": e_measure(torch.stack([fp, tp], -1), sizes[:, None], EPSILON),
    }


def curve_f(mean: dict[str, Tensor]) -> Tensor:
    """F of mean curves; in the toolbox F has beta = 1 and equals Dice."""
    return mean["Dice"]


PROTOCOL = Protocol(
    names=(
        *("meanDic", "meanIoU", "wFm", "Sm", "meanEm", "MAE", "maxEm", "maxDic", "maxIoU"),
        *("meanSen", "maxSen", "meanSpe", "maxSpe"),
    ),
    scores=scores,
    curves=curves,
    curve_f=curve_f,
    stretch="one",
    gt_cut=GT_CUT,
    half_up=True,
    spatial={"wFm": partial(weighted_f_of_maps, constant="one", ties="pranet")},
    lower_is_better=frozenset({"MAE"}),
    max_of_curve=MAX_OF_CURVE,
)
