"""Scores of layers in OCT slices, as the GOALS challenge has them: Dice, and how far the edges are off, in pixels."""

import torch
from torch import Tensor

from metrics import binary
from metrics.official import curve_f, curves
from metrics.protocol import Protocol
from metrics.summary import Summary


def scores(s: Summary) -> dict[str, Tensor]:
    """All but MED."""
    return {"Dice": binary.scores(s)["Dice"]}


def edge_distance(pred: Tensor, gt: Tensor) -> Tensor:
    """MED: mean Euclidean distance, in pixels, of a layer's upper and lower edge from those of the gt, (N,) float64.

    pred, gt (N, H, W) bool, rows from top to bottom. Both edges are compared column by column, so that the distance
    of two points is that of their rows. Where only one of both has the layer, the other counts as a layer of no
    thickness within it; columns where neither has it are left out. NaN if there is no other column.
    """
    (has_p, top_p, bottom_p), (has_g, top_g, bottom_g) = _edges(pred), _edges(gt)
    off = (top_p - top_g).abs() + (bottom_p - bottom_g).abs()
    off = torch.where(has_p & has_g, off, torch.where(has_p, bottom_p - top_p, bottom_g - top_g))
    either = has_p | has_g
    return (off * either).sum(1).double() / (2 * either.sum(1))


def edge_distance_of_maps(pred: Tensor, gt: Tensor, within: Tensor | None) -> Tensor:
    """`edge_distance` of maps (N, H, W), levels 0..255, cut at one half; outside a field of view nothing is found."""
    found = pred >= 127.5
    return edge_distance(found if within is None else found & within, gt)


def _edges(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By column: whether the layer is there, the row where it begins, and the row after its last."""
    pixels = mask.to(torch.uint8)
    return mask.any(1), pixels.argmax(1), mask.shape[1] - pixels.flip(1).argmax(1)


PROTOCOL = Protocol(
    names=("Dice", "MED"),
    scores=scores,
    curves=curves,
    curve_f=curve_f,
    stretch="raw",
    spatial={"MED": edge_distance_of_maps},
    lower_is_better=frozenset({"MED"}),
    no_fractions=frozenset({"MED"}),
)
