"""`Scores`: maps and gts in, the scores of a protocol out."""

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metrics import official, pranet
from metrics.summary import centroid, count_levels, count_levels_batch, from_levels, from_pixels, snap, stretch
from metrics.weighted_f import weighted_f, weighted_f_batch

PROTOCOLS = {"official": official, "pranet": pranet}
WEIGHTED_F = {"official": "wfm", "pranet": "wFm"}
CONSTANT = {"official": "full", "pranet": "one"}  # what a constant map becomes, see summary.stretch
Maps = np.ndarray | Tensor | Sequence[np.ndarray | Tensor]


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
        self._faults: list[Tensor] = []  # from devices that are not waited for: NaN, out of range
        self._warned = False

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows)

    def update(self, pred: Maps, gt: Maps) -> None:
        """Add maps with their gt: (H, W), (N, H, W), or two lists of differently sized (H, W).

        uint8 0..255 or float 0..1 (gt bool too), numpy or tensor. Tensors on CUDA are scored there and nothing waits
        for them: what is wrong with their values is raised by `result`. Raises ValueError, and then nothing was added.
        """
        added = [self._score(p, g) for p, g in _batches(pred, gt)]
        for rows, curves, faults in added:
            self._rows.append(rows)
            self._faults.extend(faults)
            if self.keep_curves:
                self._curves.append(curves)
            for name, curve in curves.items():
                total = curve.sum(0)
                known = self._curve_sums.get(name)
                self._curve_sums[name] = total if known is None else known + total.to(known.device)

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
        self._rows += other._rows
        self._faults += other._faults
        self._curves += other._curves
        for name, total in other._curve_sums.items():
            known = self._curve_sums.get(name)
            self._curve_sums[name] = total if known is None else known + total.to(known.device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU, strings and lists, for torch.save and weights_only loading."""
        return {
            "protocol": self.protocol,
            "rows": self._table() if self._rows else torch.zeros(0, len(self.names), dtype=torch.float64),
            "curve_sums": {name: total.cpu() for name, total in self._curve_sums.items()},
            "curves": [{name: curve.cpu() for name, curve in curves.items()} for curves in self._curves],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; ValueError if it has another protocol."""
        if state["protocol"] != self.protocol:
            raise ValueError(f"state of protocol {state['protocol']!r}; expected {self.protocol!r}")
        self._rows = [state["rows"]] if len(state["rows"]) else []
        self._curve_sums, self._curves, self._faults = dict(state["curve_sums"]), list(state["curves"]), []

    def _score(self, pred: Tensor, gt: Tensor) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        rules = PROTOCOLS[self.protocol]
        faults: list[Tensor] = []
        if pred.dtype != torch.uint8:
            faults.append(torch.stack([pred.isnan().any(), ((pred < 0) | (pred > 1)).any()]))
            if pred.device.type == "cpu":
                _raise_faults(faults, pred)
        on_cpu = pred.device.type == "cpu"
        if on_cpu:
            self._warn_if_swapped(pred, gt)
        inside = _foreground(gt, self.protocol)
        centre = centroid(inside, half_up=self.protocol == "pranet")
        constant = CONSTANT[self.protocol]
        if pred.dtype == torch.uint8:
            if on_cpu:
                arrays = zip(pred.numpy(), inside.view(torch.uint8).numpy(), centre.numpy(), strict=True)
                counts = torch.from_numpy(np.stack([count_levels(*image) for image in arrays]))
            else:
                counts = count_levels_batch(pred, inside, centre)
            summary = from_levels(counts, constant)
        else:
            pred = snap(pred)
            summary = from_pixels(pred, inside, centre, constant)
        found = rules.scores(summary)
        found[WEIGHTED_F[self.protocol]] = self._weighted_f(pred, inside)
        rows = torch.stack([found[name] for name in self.names], 1)
        return rows, _with_f(rules.curves(summary)), faults

    def _weighted_f(self, pred: Tensor, inside: Tensor) -> Tensor:
        full = 255 if pred.dtype == torch.uint8 else 1
        low, high = pred.amin((1, 2), keepdim=True), pred.amax((1, 2), keepdim=True)
        if pred.device.type != "cpu":
            v, r = stretch(pred.double(), low.double(), high.double(), full, CONSTANT[self.protocol])
            return weighted_f_batch(v / r, inside, self.protocol)
        # float32 holds the 256 levels well enough: the error is 1e-8 of the score
        kind = torch.float32 if full == 255 else torch.float64
        v, r = stretch(pred.to(kind), low.to(kind), high.to(kind), full, CONSTANT[self.protocol])
        maps = zip((v / r).numpy(), inside.numpy(), strict=True)
        return torch.tensor([weighted_f(p, g, self.protocol) for p, g in maps], dtype=torch.float64)

    def _table(self) -> Tensor:
        if not self._rows:
            raise ValueError("no image was scored yet; call update(pred, gt) first")
        _raise_faults(self._faults)
        return torch.cat([rows.cpu() for rows in self._rows])

    def _mean_curves(self) -> dict[str, Tensor]:
        count = len(self._table())
        mean = {name: total.cpu() / count for name, total in self._curve_sums.items() if name != "F"}
        return mean | {"F": PROTOCOLS[self.protocol].curve_f(mean)}

    def _warn_if_swapped(self, pred: Tensor, gt: Tensor) -> None:
        if self._warned or gt.dtype == torch.bool:
            return
        p, g = pred[0].flatten(), gt[0].flatten()
        if _two_valued(p) and not _two_valued(g):
            self._warned = True
            warnings.warn(
                "the map has two values and the gt has more: are pred and gt swapped? Expected update(pred, gt)",
                stacklevel=4,
            )


def _with_f(curves: dict[str, Tensor]) -> dict[str, Tensor]:
    return curves | {"F": official.f_measure(curves["precision"], curves["recall"])}


def _two_valued(values: Tensor) -> bool:
    return bool(((values == values.min()) | (values == values.max())).all())


def _foreground(gt: Tensor, protocol: str) -> Tensor:
    """(N, H, W) bool. official: gt / its maximum > 0.5, so 0/1 and 0/255 are one; pranet: above 128 of 255."""
    if gt.dtype == torch.bool:
        return gt
    if protocol == "pranet":
        return gt > (128 if gt.dtype == torch.uint8 else 128 / 255)
    top = gt.amax((1, 2), keepdim=True)
    return (gt > top // 2) & (top > 0) if gt.dtype == torch.uint8 else 2 * gt > top


def _batches(pred: Maps, gt: Maps) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of (N, H, W) tensors of equal shape and device; ValueError for anything else."""
    if isinstance(pred, (list, tuple)) or isinstance(gt, (list, tuple)):
        if not isinstance(pred, (list, tuple)) or not isinstance(gt, (list, tuple)) or len(pred) != len(gt):
            sizes = [f"{len(x)} maps" if isinstance(x, (list, tuple)) else type(x).__name__ for x in (pred, gt)]
            raise ValueError(f"pred is {sizes[0]}, gt is {sizes[1]}; expected two lists of the same length")
        for p, g in zip(pred, gt, strict=True):
            yield from _batches(p, g)
        return
    p, g = _tensor(pred, "pred"), _tensor(gt, "gt")
    if p.shape != g.shape:
        raise ValueError(
            f"pred has shape {tuple(p.shape)}, gt {tuple(g.shape)}; expected one shape: resize the map to the gt's size"
        )
    if p.numel() == 0:
        raise ValueError(f"pred and gt have shape {tuple(p.shape)}; expected at least one pixel")
    g = g.to(p.device, non_blocking=True)
    yield (p[None], g[None]) if p.ndim == 2 else (p, g)


def _tensor(maps: Any, what: str) -> Tensor:
    if isinstance(maps, np.ndarray):
        maps = torch.from_numpy(np.require(maps, requirements=("C", "W")))  # torch warns about read-only memory
    if not isinstance(maps, Tensor):
        raise ValueError(f"{what} is {type(maps).__name__}; expected a numpy array or a tensor, or a list of them")
    if maps.ndim not in (2, 3):
        raise ValueError(f"{what} has shape {tuple(maps.shape)}; expected (H, W) or (N, H, W)")
    if maps.dtype == torch.bool:
        return maps if what == "gt" else maps.to(torch.uint8) * 255
    if maps.dtype != torch.uint8 and not maps.is_floating_point():
        raise ValueError(f"{what} has dtype {maps.dtype}; expected uint8 0..255 or float 0..1")
    return maps.detach()


def _raise_faults(faults: list[Tensor], pred: Tensor | None = None) -> None:
    if not faults:
        return
    missing, outside = torch.stack([fault.cpu() for fault in faults]).any(0).tolist()
    if missing:
        raise ValueError("a float map holds NaN; expected values in [0, 1]: look at the network that made it")
    if outside:
        found = f" in [{pred.min().item():g}, {pred.max().item():g}]" if pred is not None else " outside [0, 1]"
        raise ValueError(f"a float map has values{found}; expected [0, 1]: divide by 255 or pass uint8")
