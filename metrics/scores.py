"""`Scores`: maps and gts in, the scores of a protocol out."""

import itertools
import math
import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metrics import official, pranet
from metrics.maps import Maps, batches, foreground, raise_faults, two_valued
from metrics.summary import (
    Summary,
    centroid,
    count_levels,
    count_levels_batch,
    from_levels,
    from_pixels,
    snap,
    stretch,
)
from metrics.weighted_f import weighted_f, weighted_f_batch

PROTOCOLS = {"official": official, "pranet": pranet}
WEIGHTED_F = {"official": "wfm", "pranet": "wFm"}
CONSTANT = {"official": "full", "pranet": "one"}  # what a constant map becomes, see summary.stretch
TOGETHER = 64  # images whose arithmetic is done at once


class Measured(NamedTuple):
    """What was read from the pixels of N maps: level counts (N, 4, 2, 256) or a Summary, and the one other score."""

    found: Tensor | Summary
    weighted_f: Tensor  # (N,)


class Scores:
    """Scores of a set of maps, image by image, batch by batch, or merged from several processes.

    protocol: "official", the original's ten, or "pranet", the thirteen of PraNet's toolbox. undefined: "exclude" leaves
    an image's undefined score (NaN) out of the mean and counts it in `.undefined`; "propagate" lets one NaN make the
    mean NaN, as the original does. keep_curves keeps every image's curves, 4 KB each and curve, for resampling.
    """

    def __init__(self, protocol: str = "official", undefined: str = "exclude", keep_curves: bool = False):
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
        if undefined not in ("exclude", "propagate"):
            raise ValueError(f"undefined is {undefined!r}; expected exclude or propagate")
        self.protocol, self.undefined_rule, self.keep_curves = protocol, undefined, keep_curves
        self.names: tuple[str, ...] = PROTOCOLS[protocol].NAMES
        self._rows: list[Tensor] = []  # (N, scores) each
        self._curve_sums: dict[str, Tensor] = {}
        self._curves: list[dict[str, Tensor]] = []
        self._pending: list[Measured] = []
        self._faults: list[Tensor] = []  # from devices that are not waited for: NaN, out of range
        self._warned = False

    def __len__(self) -> int:
        return sum(map(len, self._rows)) + sum(len(item.weighted_f) for item in self._pending)

    def update(self, pred: Maps, gt: Maps) -> None:
        """Add maps with their gt: (H, W), (N, H, W), or two lists of differently sized (H, W).

        uint8 0..255 or float 0..1 (gt bool too), numpy or tensor. Tensors on CUDA are scored there and nothing waits
        for them: what is wrong with their values is raised by `result`. Raises ValueError, and then nothing was added.
        """
        measured = [self._measure(p, g) for p, g in batches(pred, gt)]
        self._pending += measured
        if sum(len(item.weighted_f) for item in self._pending) >= TOGETHER:
            self._settle()

    def result(self) -> dict[str, float]:
        """The scores in print order, as fractions. ValueError if there is no image, or an image was not in range."""
        rows = self._table()
        found = {}
        curves = self._mean_curves()
        for i, name in enumerate(self.names):
            curve = PROTOCOLS[self.protocol].MAX_OF_CURVE.get(name)
            if curve is not None:
                found[name] = curves[curve].max().item()
                continue
            column = rows[:, i]
            if self.undefined_rule == "exclude":
                column = column[~column.isnan()]
            found[name] = column.mean().item() if len(column) else math.nan
        return found

    @property
    def per_image(self) -> dict[str, np.ndarray]:
        """Name -> (N,) float64, NaN where undefined, in the order of `update`.

        A max score is the maximum of that image's own curve; the set's value is the maximum of the mean curve.
        """
        return dict(zip(self.names, self._table().T.numpy(), strict=True))

    @property
    def undefined(self) -> dict[str, int]:
        """Name -> number of images for which the score is undefined."""
        return dict(zip(self.names, self._table().isnan().sum(0).tolist(), strict=True))

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """Mean curves over the thresholds, highest first: precision, recall, F, E, Dice, IoU (pranet: specificity)."""
        return {name: curve.numpy() for name, curve in self._mean_curves().items()}

    @property
    def per_image_curves(self) -> dict[str, np.ndarray]:
        """Name -> (N, thresholds), with keep_curves=True."""
        if not self.keep_curves:
            raise ValueError("curves of single images were not kept; use Scores(..., keep_curves=True)")
        self._table()
        return {name: torch.cat([c[name].cpu() for c in self._curves]).numpy() for name in self._curves[0]}

    def merge(self, other: "Scores") -> "Scores":
        """Append the images of `other`; ValueError if it has another protocol."""
        if (other.protocol, other.keep_curves) != (self.protocol, self.keep_curves):
            raise ValueError(
                f"cannot merge Scores({other.protocol!r}, keep_curves={other.keep_curves}) into "
                f"Scores({self.protocol!r}, keep_curves={self.keep_curves}); make them alike"
            )
        self._settle()
        other._settle()
        self._rows += other._rows
        self._faults += other._faults
        self._curves += other._curves
        self._add_curves(other._curve_sums)
        return self

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU, strings and lists, for torch.save and weights_only loading."""
        return {
            "protocol": self.protocol,
            "rows": self._table() if len(self) else torch.zeros(0, len(self.names), dtype=torch.float64),
            "curve_sums": {name: total.cpu() for name, total in self._curve_sums.items()},
            "curves": [{name: curve.cpu() for name, curve in curves.items()} for curves in self._curves],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; ValueError if it has another protocol."""
        if state["protocol"] != self.protocol:
            raise ValueError(f"state of protocol {state['protocol']!r}; expected {self.protocol!r}")
        self._rows = [state["rows"]] if len(state["rows"]) else []
        self._curve_sums, self._curves = dict(state["curve_sums"]), list(state["curves"])
        self._pending, self._faults = [], []

    def _measure(self, pred: Tensor, gt: Tensor) -> "Measured":
        """The part of scoring that reads pixels."""
        on_cpu = pred.device.type == "cpu"
        if pred.dtype != torch.uint8:
            fault = torch.stack([pred.isnan().any(), ((pred < 0) | (pred > 1)).any()])
            if on_cpu:
                raise_faults([fault], pred)
            self._faults.append(fault)
        if on_cpu and not self._warned and gt.dtype != torch.bool and two_valued(pred) and not two_valued(gt):
            self._warned = True
            warnings.warn(
                "the map has two values and the gt has more: are pred and gt swapped? Expected update(pred, gt)",
                stacklevel=4,
            )
        inside = foreground(gt, self.protocol)
        centre = centroid(inside, half_up=self.protocol == "pranet")
        constant = CONSTANT[self.protocol]
        if pred.dtype != torch.uint8:
            pred = snap(pred)
            found: Tensor | Summary = from_pixels(pred, inside, centre, constant)
        elif on_cpu:
            arrays = zip(pred.numpy(), inside.view(torch.uint8).numpy(), centre.numpy(), strict=True)
            found = torch.from_numpy(np.stack([count_levels(*image) for image in arrays]))
        else:
            found = count_levels_batch(pred, inside, centre)
        low, high = pred.amin((1, 2), keepdim=True), pred.amax((1, 2), keepdim=True)
        full = 255 if pred.dtype == torch.uint8 else 1
        # on the CPU float32 holds the 256 levels well enough: the error is 1e-8 of the score
        kind = torch.float32 if on_cpu and full == 255 else torch.float64
        v, r = stretch(pred.to(kind), low.to(kind), high.to(kind), full, constant)
        if not on_cpu:
            return Measured(found, weighted_f_batch(v / r, inside, self.protocol))
        images = zip(v.div_(r).numpy(), inside.numpy(), strict=True)
        return Measured(found, torch.tensor([weighted_f(p, g, self.protocol) for p, g in images], dtype=torch.float64))

    def _settle(self) -> None:
        """Turn what is pending into scores, images of one kind and device together: the arithmetic is small."""
        rules = PROTOCOLS[self.protocol]
        pending, self._pending = self._pending, []
        for (kind, _), group in itertools.groupby(pending, lambda item: (type(item.found), item.weighted_f.device)):
            items = list(group)
            if kind is Summary:
                summary = Summary(*map(torch.cat, zip(*(item.found for item in items), strict=True)))
            else:
                counts = [item.found for item in items if isinstance(item.found, Tensor)]
                summary = from_levels(torch.cat(counts), CONSTANT[self.protocol])
            found = rules.scores(summary)
            found[WEIGHTED_F[self.protocol]] = torch.cat([item.weighted_f for item in items])
            self._rows.append(torch.stack([found[name] for name in self.names], 1))
            curves = rules.curves(summary)
            curves["F"] = official.f_measure(curves["precision"], curves["recall"])
            if self.keep_curves:
                self._curves.append(curves)
            self._add_curves({name: curve.sum(0) for name, curve in curves.items()})

    def _add_curves(self, sums: dict[str, Tensor]) -> None:
        for name, total in sums.items():
            known = self._curve_sums.get(name)
            self._curve_sums[name] = total if known is None else known + total.to(known.device)

    def _table(self) -> Tensor:
        """(images, scores) float64 on the CPU."""
        self._settle()
        if not self._rows:
            raise ValueError("no image was scored yet; call update(pred, gt) first")
        raise_faults(self._faults)
        return torch.cat([rows.cpu() for rows in self._rows])

    def _mean_curves(self) -> dict[str, Tensor]:
        count = len(self._table())
        mean = {name: total.cpu() / count for name, total in self._curve_sums.items() if name != "F"}
        return mean | {"F": PROTOCOLS[self.protocol].curve_f(mean)}
