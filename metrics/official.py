"""The ten scores of the original's test script, from a Summary: (N,) float64 each, NaN where undefined."""

from functools import partial

import torch
from torch import Tensor

from metrics.protocol import Protocol
from metrics.summary import Summary
from metrics.weighted_f import weighted_f_of_maps

BETA2 = 0.3
SMOOTH = 1e-5
EPSILON = 1e-8
FLAT = 1e-14  # variance below which a quadrant is constant: an 8-bit map of 10^8 pixels can have 1.5e-13


def scores(s: Summary) -> dict[str, Tensor]:
    """All but wfm; maxF is that of each image's own curve."""
    return {
        "MAE": mae(s),
        "maxF": f_measure(*precision_recall(s)).amax(1),
        "avgF": adaptive_f(s),
        "Sm": s_measure(s.cells, EPSILON, population=True),
        "Em": e_measure(s.adaptive, _sizes(s)),
        "M_dice": soft_dice(s),
        "M_iou": iou(s),
        "Ber": balanced_error(s),
        "Acc": accuracy(s),
    }


def curves(s: Summary) -> dict[str, Tensor]:
    """(N, 255) each, from the highest threshold to the lowest; their means over images are the set's curves."""
    precision, recall = precision_recall(s)
    positives = s.foreground.sum(1)
    tp, fp = (h.flip(1).cumsum(1)[:, 1:] for h in (s.foreground, s.background))
    counts = torch.stack([fp, tp], -1)
    return {
        "precision": precision,
        "recall": recall,
        "E": e_measure(counts, _sizes(s)[:, None]),
        "Dice": _ratio(2 * tp, tp + fp + positives[:, None]),
        "IoU": _ratio(tp, fp + positives[:, None]),
    }


def curve_f(mean: dict[str, Tensor]) -> Tensor:
    """F of mean curves: what the original maximises over the thresholds for maxF."""
    return f_measure(mean["precision"], mean["recall"])


def mae(s: Summary) -> Tensor:
    """Mean absolute difference of the grey map and the gt."""
    p = _sums(s, 1)
    size = _sizes(s)
    return (p[:, 0] + size[:, 1] - p[:, 1]) / size.sum(1)


def precision_recall(s: Summary) -> tuple[Tensor, Tensor]:
    """(N, 255) each at thresholds 254..0 of floor(255 p). Official: levels 254 and 255 are one bin; empty gt: zeros."""
    tp, fp = (h.flip(1).cumsum(1)[:, 1:] for h in (s.foreground, s.background))
    positives = s.foreground.sum(1, keepdim=True)
    return tp / (tp + fp + EPSILON), tp / positives.clamp(min=1)


def f_measure(precision: Tensor, recall: Tensor) -> Tensor:
    """F with beta^2 = 0.3 [Achanta et al., CVPR 2009, eq. 6]; 0 where precision and recall are."""
    return _ratio((1 + BETA2) * precision * recall, BETA2 * precision + recall)


def adaptive_f(s: Summary) -> Tensor:
    """F at the adaptive threshold; 0 if nothing is hit."""
    fp, tp = s.adaptive.unbind(1)
    return f_measure(_ratio(tp, tp + fp), _ratio(tp, _sizes(s)[:, 1]))


def s_measure(cells: Tensor, epsilon: float, population: bool, alpha: float = 0.5) -> Tensor:
    """S-measure [Fan et al., ICCV 2017]: alpha times the object part plus the region part; not clipped at 0.

    population: divide variances by N and the covariance by N - 1 (official), or all by N - 1 (pranet).
    Official: NaN if the gt's centroid is in the last row or column, where a quadrant is empty.
    """
    whole = cells.sum(2)  # (N, 3, 2)
    size = whole[:, 0].sum(1)
    coverage = whole[:, 0, 1] / size
    mean_p = whole[:, 1].sum(1) / size
    n, p, pp = whole.unbind(1)
    # the background counts as an object of 1 - p
    values = torch.stack([n[:, 0] - p[:, 0], p[:, 1]], 1)
    squares = torch.stack([n[:, 0] - 2 * p[:, 0] + pp[:, 0], pp[:, 1]], 1)
    x = _ratio(values, n)
    variance = (squares - n * x * x).clamp(min=0) / (n if population else (n - 1)).clamp(min=1)
    object_scores = 2 * x / (x * x + 1 + variance.sqrt() + epsilon)
    part = coverage * object_scores[:, 1] + (1 - coverage) * object_scores[:, 0]
    score = alpha * part + (1 - alpha) * _regions(cells, epsilon, population)
    score = torch.where(coverage == 1, mean_p, score)
    return torch.where(coverage == 0, 1 - mean_p, score)


def _regions(cells: Tensor, epsilon: float, population: bool) -> Tensor:
    """Structural similarity of the four quadrants, each weighted by its share of the area (eq. 5-8)."""
    n = cells[:, 0].sum(2)  # (N, 4)
    g = cells[:, 0, :, 1]
    p, pp, pg = cells[:, 1].sum(2), cells[:, 2].sum(2), cells[:, 1, :, 1]
    x, y = p / n, g / n  # 0 / 0 is NaN in an empty quadrant
    divisor = n if population else (n - 1).clamp(min=1)
    var_x, var_y = (pp / n - x * x) * n / divisor, y * (1 - y) * n / divisor
    flat_x, flat_y = var_x < FLAT, (g == 0) | (g == n)
    var_x = torch.where(flat_x, 0.0, var_x)
    covariance = torch.where(flat_x | flat_y, 0.0, (pg - n * x * y) / (n - 1).clamp(min=1))
    above, below = 4 * x * y * covariance, (x * x + y * y) * (var_x + var_y)
    similarity = torch.where(above != 0, above / (below + epsilon), (below == 0).double())
    # Official: an empty quadrant makes S undefined. Toolbox: it has no weight.
    similarity = torch.where(n > 0, similarity, torch.nan if population else 0.0)
    return (similarity * n / n.sum(1, keepdim=True)).sum(1)


def e_measure(counts: Tensor, sizes: Tensor, epsilon: float = EPSILON) -> Tensor:
    """E-measure [Fan et al., IJCAI 2018] of a binary map from its false and true positives.

    counts (..., 2): pixels of the map in background and foreground; sizes (..., 2): all pixels of each.
    Divided by HW - 1. An empty gt scores the share of background in the map, a full one that of foreground.
    """
    fp, tp = counts.unbind(-1)
    negatives, positives = sizes.unbind(-1)
    size = negatives + positives
    mean_map, mean_gt = (tp + fp) / size, positives / size
    total = torch.zeros_like(tp)
    for count, in_map, in_gt in (
        (tp, 1, 1),
        (fp, 1, 0),
        (positives - tp, 0, 1),
        (negatives - fp, 0, 0),
    ):
        a, b = in_map - mean_map, in_gt - mean_gt
        alignment = 2 * a * b / (a * a + b * b + epsilon)
        total = total + count * (alignment + 1) ** 2 / 4
    total = torch.where(positives == 0, size - fp - tp, total)
    total = torch.where(negatives == 0, tp + fp, total)
    return total / (size - 1).clamp(min=1)


def soft_dice(s: Summary) -> Tensor:
    """Dice of the grey map, smoothing 1e-5."""
    p = _sums(s, 1)
    return (2 * p[:, 1] + SMOOTH) / (p.sum(1) + _sizes(s)[:, 1] + SMOOTH)


def iou(s: Summary) -> Tensor:
    """IoU at p > 0.5, smoothing 1e-5."""
    fp, tp = s.above_half.unbind(1)
    return (tp + SMOOTH) / (_sizes(s)[:, 1] + fp + SMOOTH)


def balanced_error(s: Summary) -> Tensor:
    """1 - (TPR + TNR) / 2 at p >= 0.5, a fraction; NaN for an empty or a full gt."""
    fp, tp = s.from_half.unbind(1)
    negatives, positives = _sizes(s).unbind(1)
    return 1 - (tp / positives + (negatives - fp) / negatives) / 2


def accuracy(s: Summary) -> Tensor:
    """Share of pixels on the right side of p >= 0.5."""
    fp, tp = s.from_half.unbind(1)
    negatives, _ = _sizes(s).unbind(1)
    return (tp + negatives - fp) / _sizes(s).sum(1)


def _sums(s: Summary, power: int) -> Tensor:
    """(N, 2): sum of p^power over background and foreground."""
    return s.cells[:, power].sum(1)


def _sizes(s: Summary) -> Tensor:
    """(N, 2): background and foreground pixels."""
    return s.cells[:, 0].sum(1)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """above / below, 0 where both are 0."""
    return above / torch.where(below == 0, torch.ones_like(below), below)


PROTOCOL = Protocol(
    names=("MAE", "maxF", "avgF", "wfm", "Sm", "Em", "M_dice", "M_iou", "Ber", "Acc"),
    scores=scores,
    curves=curves,
    curve_f=curve_f,
    stretch="full",
    spatial={"wfm": partial(weighted_f_of_maps, constant="full", ties="official")},
    lower_is_better=frozenset({"MAE", "Ber"}),
    max_of_curve={"maxF": "F"},  # the set's value is the maximum of the mean curve's F
)
