"""What a protocol is: the scores that a family of papers prints, and how it reads a map and a gt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from metrics.summary import Summary


@dataclass(frozen=True)
class Protocol:
    """What `Scores` asks of one. Functions give (N,) or (N, thresholds) float64 for N images, NaN where undefined."""

    names: tuple[str, ...]  # of the scores, in print order
    scores: Callable[[Summary], dict[str, Tensor]]  # all but the one in `spatial`
    curves: Callable[[Summary], dict[str, Tensor]]  # over the thresholds, highest first; their means are the set's
    curve_f: Callable[[dict[str, Tensor]], Tensor]  # F of the mean curves
    stretch: Literal["full", "one", "raw"]  # what becomes of a map's levels, see `summary.stretch`
    gt_cut: int | None = None  # foreground is above it, of 255; None: above half of the gt's maximum
    half_up: bool = False  # rounding of the gt's centroid, see `summary.centroid`
    strict: bool = False  # the summary counts pixels that exceed a threshold too, not only those that reach it
    # the one score that a summary cannot give -> of pred (N, H, W) levels, gt and within (N, H, W) bool
    spatial: Mapping[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = field(default_factory=dict)
    lower_is_better: frozenset[str] = frozenset()
    in_pixels: frozenset[str] = frozenset()  # no fractions
    # score -> the curve whose maximum it is: of the mean curve for a set, of its own for an image
    max_of_curve: Mapping[str, str] = field(default_factory=dict)
