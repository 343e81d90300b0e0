"""What a protocol is: the scores that a family of papers prints, and how it reads a map and a gt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from metrics.inputs import CUT
from metrics.summary import Summary

Measure = Callable[[np.ndarray, np.ndarray, Sequence[float], float], Mapping[str, float]]


def nothing(summary: Summary) -> dict[str, Tensor]:
    """What counts by level give where masks are measured."""
    return {}


@dataclass(frozen=True)
class Protocol:
    """What `Scores` asks of one: how the scores are made of counts by grey level (`scores`), or of masks (`measure`).

    Functions of a Summary give (N,) or (N, thresholds) float64 for N images, NaN where undefined.
    """

    names: tuple[str, ...]  # of the scores, in print order
    stretch: Literal["full", "one", "raw"]  # what becomes of a map's levels, see `summary.stretch`
    scores: Callable[[Summary], dict[str, Tensor]] = nothing  # all but the one in `spatial`
    curves: Callable[[Summary], dict[str, Tensor]] = nothing  # over the thresholds, highest first; means: the set's
    curve_f: Callable[[dict[str, Tensor]], Tensor] | None = None  # F of the mean curves; None: there are none
    # all scores of pred and gt, (H, W) or (X, Y, Z) bool, the spacing of each axis, and the tolerance
    measure: Measure | None = None
    gt_cut: int | None = None  # foreground is above it, of 255; None: above half of the gt's maximum
    half_up: bool = False  # rounding of the gt's centroid, see `summary.centroid`
    strict: bool = False  # the summary counts pixels that exceed a threshold too, not only those that reach it
    # the one score that a summary cannot give -> of pred (N, H, W) levels, gt and within (N, H, W) bool
    spatial: Mapping[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = field(default_factory=dict)
    lower_is_better: frozenset[str] = frozenset()
    no_fractions: frozenset[str] = frozenset()  # distances and counts, never shown in per cent
    penalised: frozenset[str] = frozenset()  # distances that are the volume's diagonal where one side alone is empty
    # score -> the curve whose maximum it is: of the mean curve for a set, of its own for an image
    max_of_curve: Mapping[str, str] = field(default_factory=dict)

    def of_grey(self, pred: np.ndarray) -> np.ndarray:
        """A grey map, uint8, as `Scores` takes it: cut where masks are measured, for 0 and 1 would be a mask there.

        Bool as it is.
        """
        return pred if self.measure is None or pred.dtype == bool else pred >= CUT
