"""`Scores`: maps and gts in, the scores of a protocol out."""

import math
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metrics import inputs
from metrics.inputs import Maps, batches, complain, faults, foreground, warn_if_swapped
from metrics.official import f_measure
from metrics.protocol import Protocol
from metrics.summary import (
    Summary,
    bins_of,
    centroid,
    count_levels,
    count_levels_batch,
    from_bins,
    from_levels,
    from_pixels,
    sides,
    to_levels,
)

# of each the file of its name, which ends with a PROTOCOL
PROTOCOLS: dict[str, Protocol] = {
    name: import_module(f"metrics.{name}").PROTOCOL
    for name in (
        "official",
        "pranet",
        "infnet",
        "binary",
        "layers",
    )
}
TOGETHER = 64  # images on the CPU whose counts become scores at once: torch's small operations cost most of one alone


class Scores:
    """Scores of a set of maps, image by image, batch by batch, or merged from several processes.

    protocol: one of `PROTOCOLS`, whose files say what they are; metrics/README.md defines every score. undefined:
    "exclude" leaves an image's undefined score (NaN) out of the mean and counts it in `.undefined`; "propagate" lets
    one NaN make the mean NaN, as the original does. keep_curves keeps what every image's curves are made of, 2 KB each
    (infnet: 4), for resampling and subsets.
    """

    def __init__(self, protocol: str = "official", undefined: str = "exclude", keep_curves: bool = False):
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
        if undefined not in ("exclude", "propagate"):
            raise ValueError(f"undefined is {undefined!r}; expected exclude or propagate")
        self.protocol, self.undefined_rule, self.keep_curves = protocol, undefined, keep_curves
        self._rules = PROTOCOLS[protocol]
        self.names = self._rules.names
        self._rows: list[Tensor] = []  # (N, scores) each
        self._curve_sums: dict[str, Tensor] = {}
        self._bins: list[dict[str, Tensor]] = []  # with keep_curves, (N, 256) int32 each, see `summary.bins_of`
        self._waiting: list[tuple[Tensor, Tensor]] = []  # (N, 4, 2, 256) counts and (N,) spatial scores each
        self._faults: Tensor | None = None  # from devices that are not waited for
        self._warned = False
        self._with_foreground: Tensor | int = 0
        self._top: Tensor | int = 0  # the highest level of all maps; 0/1 maps are told by it

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows) + sum(len(counts) for counts, _ in self._waiting)

    def update(self, pred: Maps, gt: Maps, within: Maps | None = None) -> None:
        """Add maps with their gt: (H, W), (N, H, W), or two lists of differently sized (H, W).

        uint8 0..255 or float 0..1 (gt bool too), numpy or tensor. within, like gt: the field of view; what lies outside
        has no part in any score, be it the stretch, a count, S's regions or the weighted F. Tensors on CUDA are scored
        there and nothing waits for them: what is wrong with their values is raised by `result`. Raises ValueError, and
        then nothing was added.
        """
        if within is None:
            measured = [self._measure(p, g) for p, g in batches(pred, gt)]
        else:
            both = zip(batches(pred, gt), batches(pred, within, "within"), strict=True)
            measured = [self._measure(p, g, foreground(field)) for (p, g), (_, field) in both]
        for found, spatial, flags in measured:
            if isinstance(found, Summary):
                self._settle()
                self._add(found, spatial)
            else:
                self._waiting.append((found, spatial))
                if not inputs.on_cpu(spatial) or sum(len(s) for _, s in self._waiting) >= TOGETHER:
                    self._settle()
            if flags is not None:
                self._faults = flags if self._faults is None else self._faults.to(flags.device) | flags

    def result(self) -> dict[str, float]:
        """The scores in print order, as fractions. ValueError if there is no image, or an image was not in range."""
        rows = self._table()
        if self._rules.stretch == "raw":
            inputs.warn_if_zero_one(int(self._top))
        curves = self._mean_curves()
        found = {}
        for i, name in enumerate(self.names):
            curve = self._rules.max_of_curve.get(name)
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
        return dict(zip(self.names, self._table().T.numpy().copy(), strict=True))

    @property
    def undefined(self) -> dict[str, int]:
        """Name -> number of images for which the score is undefined."""
        return dict(zip(self.names, self._table().isnan().sum(0).tolist(), strict=True))

    @property
    def with_foreground(self) -> int:
        """Number of images whose gt has foreground; where it is 0, the class that is scored is nowhere to be found."""
        self._settle()
        return int(self._with_foreground)

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """Mean curves over the thresholds, highest first: precision, recall, F, E, Dice, IoU (pranet: specificity)."""
        return {name: curve.numpy() for name, curve in self._mean_curves().items()}

    @property
    def per_image_curves(self) -> dict[str, np.ndarray]:
        """Name -> (N, thresholds), with keep_curves=True: some 14 KB an image. `curves_by_block` takes less."""
        blocks = list(self.curves_by_block())
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def curves_by_block(self, size: int = 1024) -> Iterator[dict[str, np.ndarray]]:
        """`per_image_curves` of some `size` images after the other, in the order of `update`."""
        self._require_kept()
        # as they came: to join them all first would take their memory twice
        some: list[dict[str, Tensor]] = []
        for part in self._bins:
            count = len(part["foreground"])
            for start in range(0, count, size):
                some.append({name: counts[start : start + size] for name, counts in part.items()})
                if sum(len(bins["foreground"]) for bins in some) >= size:
                    yield self._curves_of_block(some)
                    some = []
        if some:
            yield self._curves_of_block(some)

    def _curves_of_block(self, some: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
        return {name: curve.numpy() for name, curve in self._curves_of(from_bins(_joined(some))).items()}

    def subset(self, images: Sequence[int]) -> "Scores":
        """The scores of some of the images, by their places in the order of `update`; needs keep_curves=True."""
        chosen = Scores(self.protocol, self.undefined_rule, keep_curves=True)
        places = torch.as_tensor(images, dtype=torch.int64)
        chosen._rows = [self._table()[places]]
        chosen._bins = [{name: counts[places] for name, counts in self._kept().items()}]
        chosen._with_foreground = int(chosen._bins[0]["foreground"].any(1).sum())
        for block in chosen.curves_by_block():
            chosen._add_curves({name: torch.from_numpy(curve) for name, curve in block.items()})
        return chosen

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
        self._bins += other._bins
        self._with_foreground = int(self._with_foreground) + int(other._with_foreground)
        self._top = max(int(self._top), int(other._top))
        if other._faults is not None:
            self._faults = (
                other._faults if self._faults is None else self._faults | other._faults.to(self._faults.device)
            )
        for name, total in other._curve_sums.items():
            known = self._curve_sums.get(name)
            self._curve_sums[name] = total if known is None else known + total.to(known.device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU, strings and lists, for torch.save and weights_only loading."""
        return {
            "protocol": self.protocol,
            "rows": self._table() if len(self) else torch.zeros(0, len(self.names), dtype=torch.float64),
            "curve_sums": {name: total.cpu() for name, total in self._curve_sums.items()},
            "bins": [self._kept()] if self._bins else [],
            "with_foreground": self.with_foreground,
            "top": int(self._top),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; ValueError if it has another protocol."""
        if state["protocol"] != self.protocol:
            raise ValueError(f"state of protocol {state['protocol']!r}; expected {self.protocol!r}")
        if len(state["rows"]) and self.keep_curves != bool(state["bins"]):
            raise ValueError(f"state with keep_curves={not self.keep_curves}; make Scores with the same setting")
        self._rows = [state["rows"]] if len(state["rows"]) else []
        self._curve_sums, self._bins = dict(state["curve_sums"]), list(state["bins"])
        self._waiting, self._faults = [], None
        self._with_foreground, self._top = state["with_foreground"], state["top"]

    def _measure(
        self, pred: Tensor, gt: Tensor, within: Tensor | None = None
    ) -> tuple[Tensor | Summary, Tensor, Tensor | None]:
        """Counts by level (8-bit maps) or their summary (floats), the spatial score, faults not yet looked at."""
        rules = self._rules
        flags = faults(pred, gt, rules.gt_cut, within)
        on_cpu = inputs.on_cpu(pred)
        if on_cpu:
            complain(flags, pred)
            self._warned = self._warned or warn_if_swapped(pred, gt)
        if rules.stretch == "raw":
            self._top = inputs.highest(pred, self._top)
        inside = foreground(gt, rules.gt_cut)
        pred = to_levels(pred) if pred.is_floating_point() else pred
        if within is not None:
            # outside, the gt is background and the map has its lowest level inside: no score but a count would notice
            inside = inside & within
            pred = torch.where(within, pred, torch.where(within, pred, 255).amin((1, 2), keepdim=True))
        centre = centroid(*sides(inside), rules.half_up)
        spatial = self._spatial(pred, inside, within)
        if pred.is_floating_point():
            summary = from_pixels(pred, inside, centre, rules.stretch, rules.strict, within)
            return summary, spatial, None if on_cpu else flags
        if not on_cpu:
            return count_levels_batch(pred, inside, centre, within), spatial, flags
        fields = [None] * len(pred) if within is None else within.view(torch.uint8).numpy()
        images = zip(pred.numpy(), inside.view(torch.uint8).numpy(), centre.tolist(), fields, strict=True)
        return torch.from_numpy(np.stack([count_levels(*image) for image in images])), spatial, None

    def _spatial(self, pred: Tensor, inside: Tensor, within: Tensor | None) -> Tensor:
        """(N,) float64: the one score that a summary cannot give; where there is none, zeros that nobody reads."""
        for score in self._rules.spatial.values():
            return score(pred, inside, within)
        return torch.zeros(len(pred), dtype=torch.float64, device=pred.device)

    def _settle(self) -> None:
        """Turn the waiting counts into scores."""
        if self._waiting:
            counts, spatial = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting = []
            self._add(from_levels(counts, self._rules.stretch, self._rules.strict), spatial)

    def _add(self, summary: Summary, spatial: Tensor) -> None:
        rules = self._rules
        found = rules.scores(summary) | dict.fromkeys(rules.spatial, spatial)
        self._rows.append(torch.stack([found[name] for name in self.names], 1))
        self._with_foreground = (summary.foreground.sum(1) > 0).sum() + self._with_foreground
        if self.keep_curves:
            self._bins.append(bins_of(summary))
        self._add_curves(self._curves_of(summary))

    def _curves_of(self, summary: Summary) -> dict[str, Tensor]:
        curves = self._rules.curves(summary)
        return curves | {"F": f_measure(curves["precision"], curves["recall"])}

    def _add_curves(self, curves: dict[str, Tensor]) -> None:
        for name, curve in curves.items():
            total = curve.sum(0)
            known = self._curve_sums.get(name)
            self._curve_sums[name] = total if known is None else known.to(total.device) + total

    def _kept(self) -> dict[str, Tensor]:
        """The bins of all images, on the CPU."""
        self._require_kept()
        self._bins = [_joined(self._bins)]
        return self._bins[0]

    def _require_kept(self) -> None:
        if not self.keep_curves:
            raise ValueError("curves of single images were not kept; use Scores(..., keep_curves=True)")
        self._table()

    def _table(self) -> Tensor:
        if not len(self):
            raise ValueError("no image was scored yet; call update(pred, gt) first")
        self._settle()
        if self._faults is not None:
            complain(self._faults)
        self._rows = [torch.cat([rows.cpu() for rows in self._rows])]
        return self._rows[0]

    def _mean_curves(self) -> dict[str, Tensor]:
        count = len(self._table())
        mean = {name: total.cpu() / count for name, total in self._curve_sums.items() if name != "F"}
        return mean | {"F": self._rules.curve_f(mean)}


def _joined(bins: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name].cpu() for part in bins]) for name in bins[0]}
