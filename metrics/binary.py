"""Overlap of binary masks, the map cut at p >= 0.5 without stretching it, from a Summary. (N,) float64, NaN: undefined.

What breast, skin and vessel papers print. An image without a lesion and without a hit has no Dice, Jaccard, precision
or recall; one whose lesion is missed altogether has precision 0.
"""

import torch
from torch import Tensor

from metrics.official import curve_f, curves
from metrics.protocol import Protocol
from metrics.summary import Summary


def scores(s: Summary) -> dict[str, Tensor]:
    """Overlap of map and gt as sets of pixels."""
    fp, tp = s.from_half.unbind(1)
    negatives, positives = s.background.sum(1), s.foreground.sum(1)
    precision = tp / (tp + fp)  # 0 / 0 is NaN, here and below
    return {
        "Jaccard": tp / (positives + fp),
        "Precision": torch.where((tp + fp == 0) & (positives > 0), 0.0, precision),
        "Recall": tp / positives,
        "Specificity": (negatives - fp) / negatives,
        "Dice": 2 * tp / (tp + fp + positives),
    }


PROTOCOL = Protocol(
    names=("Jaccard", "Precision", "Recall", "Specificity", "Dice"),
    scores=scores,
    curves=curves,
    curve_f=curve_f,
    stretch="raw",
)
