"""`Scores`: maps and gts in, the scores of a protocol out."""

import math
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metrics import inputs
from metrics.curves import Curves
from metrics.inputs import Maps, batches, complain, faults, foreground, masks, warn_if_swapped
from metrics.levels import count
from metrics.protocol import Protocol
from metrics.summary import Summary, from_levels

# of each the file of its name, which ends with a PROTOCOL
PROTOCOLS: dict[str, Protocol] = {
    name: import_module(f"metrics.{name}").PROTOCOL
    for name in (
        "official",
        "pranet",
        "infnet",
        "binary",
        "layers",
        "volume",
    )
}
OF_LEVELS = tuple(name for name, rules in PROTOCOLS.items() if rules.measure is None)  # these score on CUDA, in batches
# images whose counts become scores at once: of one alone, or of one batch on a GPU, torch's small operations cost most
TOGETHER = {"cpu": 64, "cuda": 512}


class Scores:
    """Scores of a set of maps, image by image, batch by batch, or merged from several processes.

    protocol: one of `PROTOCOLS`, whose files say what they are; metrics/README.md defines every score. undefined:
    "exclude" leaves an image's undefined score (NaN) out of the mean and counts it in `.undefined`; "propagate" lets
    one NaN make the mean NaN, as the original does. keep_curves keeps what every image's curves are made of, 2 KB each
    (infnet: 4), for resampling and subsets. tolerance: of volume's NSD, in the unit of the spacing.
    """

    def __init__(
        self,
        protocol: str = "official",
        undefined: str = "exclude",
        keep_curves: bool = False,
        tolerance: float = 1.0,
    ):
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol is {protocol!r}; expected one of {', '.join(PROTOCOLS)}")
        if undefined not in ("exclude", "propagate"):
            raise ValueError(f"undefined is {undefined!r}; expected exclude or propagate")
        if not 0 <= tolerance < math.inf:
            raise ValueError(f"tolerance is {tolerance}; expected a distance of 0 or more, such as 1.0 mm")
        self.protocol, self.undefined_rule, self.keep_curves = protocol, undefined, keep_curves
        self.tolerance = tolerance
        self._rules = PROTOCOLS[protocol]
        self.names = self._rules.names
        self._rows: list[Tensor] = []  # (N, scores) each
        self._shown: list[Tensor] = []  # (N, 2) bool each: whether the map, cut at one half, and the gt show anything
        self._curves = Curves(self._rules, keep_curves)
        self._waiting: list[tuple[Tensor, Tensor]] = []  # (N, 4, 2, 256) counts and (N,) spatial scores each
        self._faults: Tensor | None = None  # from devices that are not waited for
        self._warned = False
        self._top: Tensor | int = 0  # the highest level of all maps; 0/1 maps are told by it

    def __len__(self) -> int:
        return sum(len(rows) for rows in self._rows) + sum(len(counts) for counts, _ in self._waiting)

    def blank(self) -> "Scores":
        """Others of the same settings, of no image."""
        return Scores(self.protocol, self.undefined_rule, self.keep_curves, self.tolerance)

    def update(
        self, pred: Maps, gt: Maps, within: Maps | None = None, *, spacing: Sequence[float] | None = None
    ) -> None:
        """Add maps with their gt: (H, W), (N, H, W), or two lists of differently sized (H, W).

        uint8 0..255 or float 0..1 (gt bool too), numpy or tensor. within, like gt: the field of view; what lies outside
        has no part in any score, be it the stretch, a count, S's regions or the weighted F. Tensors on CUDA are scored
        there and nothing waits for them: what is wrong with their values is raised by `result`. Raises ValueError, and
        then nothing was added.

        Under volume three axes are one volume (X, Y, Z), a uint8 map of 0 and 1 is a mask, spacing is the length of a
        step along each axis (1 where it is not given), and all is measured on the CPU.
        """
        if self._rules.measure is not None:
            self._add_masks(pred, gt, within, spacing)
            return
        if spacing is not None:
            raise ValueError(f"protocol {self.protocol} measures in pixels; spacing is for protocol volume")
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
                if self._waiting and self._waiting[0][1].device != spatial.device:
                    self._settle()
                self._waiting.append((found, spatial))
                if sum(len(s) for _, s in self._waiting) >= TOGETHER.get(spatial.device.type, 1):
                    self._settle()
            if flags is not None:
                self._faults = flags if self._faults is None else self._faults.to(flags.device) | flags

    def result(self) -> dict[str, float]:
        """The scores in print order, as fractions. ValueError if there is no image, or an image was not in range."""
        rows = self._table()
        if self._rules.stretch == "raw":
            inputs.warn_if_none_found(int(self._top), masks=self._rules.measure is not None)
        curves = self._curves.mean(len(rows))
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
    def penalised(self) -> dict[str, int]:
        """Name of a distance -> number of images whose value is their diagonal, for map or gt alone is empty."""
        one_sided = int((self._shows()[:, 0] != self._shows()[:, 1]).sum())
        return {name: one_sided for name in self.names if name in self._rules.penalised}

    @property
    def with_foreground(self) -> int:
        """Number of images whose gt has foreground; where it is 0, the class that is scored is nowhere to be found."""
        self._settle()
        return int(self._shows()[:, 1].sum())

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """Mean curves over the thresholds, highest first: precision, recall, F, E, Dice, IoU (pranet: specificity).

        None under volume.
        """
        return {name: curve.numpy() for name, curve in self._curves.mean(len(self._table())).items()}

    @property
    def per_image_curves(self) -> dict[str, np.ndarray]:
        """Name -> (N, thresholds), with keep_curves=True: some 14 KB an image. `curves_by_block` takes less."""
        blocks = list(self.curves_by_block())
        return {name: np.concatenate([block[name] for block in blocks]) for name in (blocks[0] if blocks else ())}

    def curves_by_block(self, size: int = 1024) -> Iterator[dict[str, np.ndarray]]:
        """`per_image_curves` of some `size` images after the other, in the order of `update`."""
        self._require_kept()
        yield from self._curves.by_block(size)

    def subset(self, images: Sequence[int]) -> "Scores":
        """The scores of some of the images, by their places in the order of `update`; needs keep_curves=True."""
        self._require_kept()
        chosen, places = self.blank(), torch.as_tensor(images, dtype=torch.int64)
        chosen._rows, chosen._shown = [self._table()[places]], [self._shows()[places]]
        chosen._curves = self._curves.subset(places)
        return chosen

    def merge(self, other: "Scores") -> "Scores":
        """Append the images of `other`; ValueError if it has another protocol."""
        if other._settings() != self._settings():
            raise ValueError(f"cannot merge {other._settings()} into {self._settings()}; make them alike")
        self._settle()
        other._settle()
        self._rows += other._rows
        self._shown += other._shown
        self._curves.merge(other._curves)
        self._top = max(int(self._top), int(other._top))
        if other._faults is not None:
            self._faults = (
                other._faults if self._faults is None else self._faults | other._faults.to(self._faults.device)
            )
        return self

    def state_dict(self) -> dict[str, Any]:
        """Tensors on the CPU, strings and lists, for torch.save and weights_only loading."""
        return {
            "settings": self._settings(),
            "rows": self._table() if len(self) else torch.zeros(0, len(self.names), dtype=torch.float64),
            "shown": self._shows(),
            "top": int(self._top),
            **self._curves.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`; ValueError if it has another protocol."""
        if state["settings"] != self._settings():
            raise ValueError(f"state of {state['settings']}; expected {self._settings()}: make them alike")
        self._rows = [state["rows"]] if len(state["rows"]) else []
        self._shown = [state["shown"]] if len(state["rows"]) else []
        self._curves.load(state)
        self._waiting, self._faults, self._top = [], None, state["top"]

    def __getstate__(self) -> dict[str, Any]:
        # of arrays: to another process PyTorch sends every tensor through a file of shared memory
        arguments = self.protocol, self.undefined_rule, self.keep_curves, self.tolerance
        return {"arguments": arguments, "found": _each(self.state_dict(), Tensor, Tensor.numpy)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["arguments"])  # type: ignore[misc]
        self.load_state_dict(_each(state["found"], np.ndarray, torch.from_numpy))

    def _settings(self) -> str:
        """What two must share to be of one table; who of them leaves out what is undefined is no matter."""
        tolerance = f", tolerance={self.tolerance}" * (self._rules.measure is not None)
        return f"Scores({self.protocol!r}, keep_curves={self.keep_curves}{tolerance})"

    def _add_masks(self, pred: Maps, gt: Maps, within: Maps | None, spacing: Sequence[float] | None) -> None:
        assert self._rules.measure is not None
        rows, shown = [], []
        for p, g, top in masks(pred, gt, within):
            found = self._rules.measure(p, g, inputs.steps(spacing, p.ndim), self.tolerance)
            rows.append([found[name] for name in self.names])
            shown.append([p.any(), g.any()])
            self._top = max(int(self._top), top)
        if rows:
            self._rows.append(torch.tensor(rows, dtype=torch.float64))
            self._shown.append(torch.tensor(shown))

    def _measure(
        self, pred: Tensor, gt: Tensor, within: Tensor | None = None
    ) -> tuple[Tensor | Summary, Tensor, Tensor | None]:
        """What `levels.count` gives, and faults not yet looked at."""
        flags = faults(pred, gt, self._rules.gt_cut, within)
        on_cpu = inputs.on_cpu(pred)
        if on_cpu:
            complain(flags, pred)
            self._warned = self._warned or warn_if_swapped(pred, gt)
        if self._rules.stretch == "raw":
            self._top = inputs.highest(pred, self._top)
        return *count(self._rules, pred, gt, within), None if on_cpu else flags

    def _settle(self) -> None:
        """Turn the waiting counts into scores."""
        if self._waiting:
            counts, spatial = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting = []
            self._add(from_levels(counts, self._rules.stretch, self._rules.strict), spatial)

    def _add(self, summary: Summary, spatial: Tensor) -> None:
        found = self._rules.scores(summary) | dict.fromkeys(self._rules.spatial, spatial)
        self._rows.append(torch.stack([found[name] for name in self.names], 1))
        self._shown.append(torch.stack([summary.from_half.sum(1) > 0, summary.foreground.sum(1) > 0], 1))
        self._curves.add(summary)

    def _require_kept(self) -> None:
        if not self.keep_curves:
            raise ValueError("curves of single images were not kept; use Scores(..., keep_curves=True)")
        self._table()

    def _shows(self) -> Tensor:
        self._settle()
        self._shown = [torch.cat([torch.zeros(0, 2, dtype=torch.bool), *(shown.cpu() for shown in self._shown)])]
        return self._shown[0]

    def _table(self) -> Tensor:
        if not len(self):
            raise ValueError("no image was scored yet; call update(pred, gt) first")
        self._settle()
        if self._faults is not None:
            complain(self._faults)
        self._rows = [torch.cat([rows.cpu() for rows in self._rows])]
        return self._rows[0]


def _each(value: Any, kind: type, function: Callable) -> Any:
    """A nest of dicts and lists with `function` of whatever in it is of a kind."""
    if isinstance(value, dict):
        return {name: _each(inner, kind, function) for name, inner in value.items()}
    if isinstance(value, list):
        return [_each(inner, kind, function) for inner in value]
    return function(value) if isinstance(value, kind) else value
