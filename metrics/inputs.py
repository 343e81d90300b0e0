"""The gate: what users hand in, checked and turned into batches of (N, H, W) tensors of one size and one device."""

import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch import Tensor

CUT = 128  # of 255: the first level above one half
Maps = np.ndarray | Tensor | Sequence[np.ndarray | Tensor]

# What can be wrong with values, in the order of the flags of `faults`
COMPLAINTS = (
    "a float map holds NaN; expected values in [0, 1]: look at the network that made it",
    "a float map has values outside [0, 1]{found}; expected [0, 1]: divide by 255, or pass uint8",
    "a float gt holds NaN; expected values in [0, 1]",
    "a float gt has values outside [0, 1]; expected [0, 1]: divide by 255, or pass uint8 or bool",
    "a gt holds nothing above 1 of 255, and pranet and infnet cut at 128, so every mask would be empty: "
    "pass 255 * gt, or gt > 0",
    "a field of view is empty; expected at least one pixel that counts",
)


def on_cpu(maps: Tensor) -> bool:
    """True: one image at a time by OpenCV, faults raised at once. False: whole batches, and nothing waits for them."""
    return maps.device.type == "cpu"


def batches(pred: Maps, gt: Maps, what: str = "gt") -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of (N, H, W) tensors of equal shape and device; ValueError for anything else, naming the second `what`."""
    for p, g in pairs(pred, gt, what):
        yield (p[None], g[None]) if p.ndim == 2 else (p, g)


def pairs(pred: Maps, gt: Maps, what: str = "gt") -> Iterator[tuple[Tensor, Tensor]]:
    """As `batches`, of two or three axes as they came."""
    if isinstance(pred, (list, tuple)) or isinstance(gt, (list, tuple)):
        if not isinstance(pred, (list, tuple)) or not isinstance(gt, (list, tuple)) or len(pred) != len(gt):
            sizes = [f"{len(x)} maps" if isinstance(x, (list, tuple)) else type(x).__name__ for x in (pred, gt)]
            raise ValueError(f"pred is {sizes[0]}, {what} is {sizes[1]}; expected two lists of the same length")
        for p, g in zip(pred, gt, strict=True):
            yield from pairs(p, g, what)
        return
    p, g = _tensor(pred, "pred"), _tensor(gt, what)
    if p.shape != g.shape:
        raise ValueError(
            f"pred has shape {tuple(p.shape)}, {what} {tuple(g.shape)}; "
            "expected one shape: resize the map to the gt's size"
        )
    if p.numel() == 0:
        raise ValueError(f"pred and gt have shape {tuple(p.shape)}; expected at least one pixel")
    yield p, g.to(p.device, non_blocking=True)


def masks(pred: Maps, gt: Maps, within: Maps | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """(pred, gt, highest level of the map): pairs of masks, bool, (H, W) or (X, Y, Z), of which no axis is a batch.

    A map is cut at one half of the scale; one of uint8 without a level above 1 is a mask of 0 and 1. Outside of a field
    of view both are background.
    """
    fields = pairs(pred, within, "within") if within is not None else repeat((None, None))
    for (p, g), (_, field) in zip(pairs(pred, gt), fields, strict=within is not None):
        shape = tuple(p.shape)
        p, g = _flat(p), _flat(g)
        inside = None if field is None else foreground(_flat(field))
        complain(faults(p, g, None, inside), p)
        top, truth = int(highest(p, 0)), foreground(g)
        found = 2 * p >= 1 if p.is_floating_point() else p >= (1 if top == 1 else CUT)
        if inside is not None:
            found, truth = found & inside, truth & inside
        yield found.reshape(shape).numpy(), truth.reshape(shape).numpy(), top


def _flat(mask: Tensor) -> Tensor:
    """(1, voxels, 1) on the CPU: a batch of one map, of whose values alone is asked."""
    return mask.cpu().reshape(1, -1, 1)


def steps(spacing: Sequence[float] | None, axes: int) -> tuple[float, ...]:
    """The length of a step along each axis; 1 where it is not given. ValueError for other numbers of axes."""
    found = (1.0,) * axes if spacing is None else tuple(map(float, spacing))
    if len(found) != axes or not all(0 < step < math.inf for step in found):
        raise ValueError(f"spacing is {found} for a map of {axes} axes; expected a length above 0 of each")
    return found


def _tensor(maps: Any, what: str) -> Tensor:
    if isinstance(maps, np.ndarray):
        if maps.dtype not in (np.bool_, np.uint8, np.float16, np.float32, np.float64):
            raise ValueError(f"{what} has dtype {maps.dtype}; expected uint8 0..255 or float 0..1")
        maps = torch.from_numpy(np.require(maps, requirements=("C", "W")))  # torch warns about read-only memory
    if not isinstance(maps, Tensor):
        raise ValueError(f"{what} is {type(maps).__name__}; expected a numpy array or a tensor, or a list of them")
    if maps.ndim not in (2, 3):
        raise ValueError(f"{what} has shape {tuple(maps.shape)}; expected (H, W) or (N, H, W)")
    if maps.layout != torch.strided or maps.device.type == "meta":
        raise ValueError(f"{what} is a {maps.layout} tensor on {maps.device}; expected a dense one that holds values")
    if maps.dtype == torch.bfloat16:
        maps = maps.float()  # numpy has none; the same values
    if maps.dtype == torch.bool:
        return maps if what != "pred" else maps.to(torch.uint8) * 255
    if maps.dtype != torch.uint8 and not maps.is_floating_point():
        raise ValueError(f"{what} has dtype {maps.dtype}; expected uint8 0..255 or float 0..1")
    return maps.detach()


def foreground(gt: Tensor, cut: int | None = None) -> Tensor:
    """(N, H, W) bool: gt above `cut` of 255; without one above half of its maximum, so 0/1 and 0/255 are one."""
    if gt.dtype == torch.bool:
        return gt
    if gt.dtype == torch.uint8 and on_cpu(gt):
        values = gt.numpy()  # as below, several times faster than torch
        cuts = np.maximum(1, values.max((1, 2), keepdims=True)) // 2 if cut is None else cut
        return torch.from_numpy(values > cuts)
    if cut is not None:
        return gt > (cut if gt.dtype == torch.uint8 else cut / 255)
    top = gt.amax((1, 2), keepdim=True)
    return gt > top // 2 if gt.dtype == torch.uint8 else 2 * gt > top


def limits(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum and maximum (N, 1, 1) of each map."""
    if on_cpu(maps):
        array = maps.numpy()  # torch would wake its threads for it
        return torch.from_numpy(array.min((1, 2), keepdims=True)), torch.from_numpy(array.max((1, 2), keepdims=True))
    return maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)


def faults(pred: Tensor, gt: Tensor, cut: int | None = None, within: Tensor | None = None) -> Tensor:
    """(6,) bool on the device of the maps: which of COMPLAINTS hold. Nothing waits for it."""
    fine = torch.zeros((), dtype=torch.bool, device=pred.device)
    flags = []
    for values in (pred, gt):
        if values.is_floating_point():
            # one pass each, and NaN passes through both
            low, high = values.amin(), values.amax()
            flags += [low.isnan(), (low < 0) | (high > 1)]
        else:
            flags += [fine, fine]
    if cut is None or gt.dtype == torch.bool:
        flags.append(fine)
    else:  # 1, or 1/255 as a float: 0/1 masks, also those that were divided by 255
        top = gt.amax((1, 2))
        flags.append(((top == 1) if gt.dtype == torch.uint8 else (top > 0) & (top < 1.5 / 255)).any())
    flags.append(fine if within is None else ~within.any(2).any(1).all())
    return torch.stack(flags)


def complain(flags: Tensor, pred: Tensor | None = None) -> None:
    """Raise ValueError for the first fault. pred: the map at fault, to name its range."""
    for fault, complaint in zip(flags.tolist(), COMPLAINTS, strict=True):
        if fault:
            found = "" if pred is None else f", in [{pred.min().item():g}, {pred.max().item():g}]"
            raise ValueError(complaint.format(found=found))


def warn_if_swapped(pred: Tensor, gt: Tensor) -> bool:
    """Warn, and say so, if the first map of a batch has two values and its gt has more."""
    swapped = gt.dtype != torch.bool and _two_valued(pred[0]) and not _two_valued(gt[0], constant=True)
    if swapped:
        warnings.warn(
            "the map has two values and the gt has more: are pred and gt swapped? Expected update(pred, gt)",
            stacklevel=4,
        )
    return swapped


def highest(pred: Tensor, so_far: Tensor | int) -> Tensor | int:
    """The highest level of maps and `so_far`, on their device, without waiting for it; a float map counts as 255."""
    if pred.is_floating_point():
        return 255
    if on_cpu(pred):
        return max(int(so_far), int(pred.numpy().max()))
    return pred.amax().clamp(min=so_far)  # `so_far` may be a tensor


def warn_if_none_found(top: int, masks: bool) -> None:
    """Warn where no map of a whole set reaches a level that counts. A single one may be a network's that finds nothing.

    top: the highest level of all. masks: maps of 0 and 1 are masks, so that what is below one half means label values.
    """
    if masks and 1 < top < CUT:
        found, what, fix = f"above {top} of 255", "are they label values", "pass pred == label"
    elif top == 1 and not masks:
        found, what, fix = "above 1 of 255", "are they masks valued 0/1", "pass 255 * pred"
    else:
        return
    warnings.warn(
        f"no map has a level {found}, so that nothing is found in any: {what}? Expected 0..255: {fix}, or pred > 0",
        stacklevel=3,
    )


def _two_valued(image: Tensor, constant: bool = False) -> bool:
    values = image.numpy()  # several times faster than torch on one small image
    # a few pixels decide for most maps
    if len(np.unique(values[:: max(1, len(values) // 8), :: max(1, values.shape[1] // 64)])) > 2:
        return False
    low, high = values.min(), values.max()
    if low == high:
        return constant
    return bool(((values == low) | (values == high)).all())
