"""The gate: what `Scores.update` accepts, as (N, H, W) tensors, and the words for what it does not."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Maps = np.ndarray | Tensor | Sequence[np.ndarray | Tensor]


def two_valued(maps: Tensor) -> bool:
    """Whether the first of (N, H, W) maps on the CPU has at most two values."""
    first = maps[0].numpy()
    return bool(((first == first.min()) | (first == first.max())).all())


def foreground(gt: Tensor, protocol: str) -> Tensor:
    """(N, H, W) bool. official: gt / its maximum > 0.5, so 0/1 and 0/255 are one; pranet: above 128 of 255."""
    if gt.dtype == torch.bool:
        return gt
    if gt.dtype == torch.uint8 and gt.device.type == "cpu":  # numpy compares bytes ten times as fast
        array = gt.numpy()
        top = array.max((1, 2), keepdims=True) // 2 if protocol == "official" else 128
        return torch.from_numpy(array > top)
    if protocol == "pranet":
        return gt > (128 if gt.dtype == torch.uint8 else 128 / 255)
    top = gt.amax((1, 2), keepdim=True)
    return gt > top // 2 if gt.dtype == torch.uint8 else 2 * gt > top


def batches(pred: Maps, gt: Maps) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs of (N, H, W) tensors of equal shape and device; ValueError for anything else."""
    if isinstance(pred, (list, tuple)) or isinstance(gt, (list, tuple)):
        if not isinstance(pred, (list, tuple)) or not isinstance(gt, (list, tuple)) or len(pred) != len(gt):
            sizes = [f"{len(x)} maps" if isinstance(x, (list, tuple)) else type(x).__name__ for x in (pred, gt)]
            raise ValueError(f"pred is {sizes[0]}, gt is {sizes[1]}; expected two lists of the same length")
        for p, g in zip(pred, gt, strict=True):
            yield from batches(p, g)
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


def raise_faults(faults: list[Tensor], pred: Tensor | None = None) -> None:
    if not faults:
        return
    missing, outside = torch.stack([fault.cpu() for fault in faults]).any(0).tolist()
    if missing:
        raise ValueError("a float map holds NaN; expected values in [0, 1]: look at the network that made it")
    if outside:
        found = f" in [{pred.min().item():g}, {pred.max().item():g}]" if pred is not None else " outside [0, 1]"
        raise ValueError(f"a float map has values{found}; expected [0, 1]: divide by 255 or pass uint8")
