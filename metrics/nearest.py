"""The nearest foreground pixel of each pixel of a batch (N, H, W), on any device, without waiting for it."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

REACH = 3  # half the side of the weighted F's Gaussian
FARTHEST = 2 * REACH**2  # squared distance
FADED = 200  # pixels; 0.5^(200 / 5) is 1e-12


def _offsets(ties: str) -> list[tuple[int, int]]:
    """(dy, dx) to foreground that may be nearest, in the order in which they are preferred."""

    def preference(dy: int, dx: int) -> tuple[int, int]:
        return (dx, dy) if ties == "official" else (int(dx > 0), dy if dx <= 0 else -dy)

    near = range(-REACH - 1, REACH + 2)  # 4^2 <= FARTHEST < 5^2
    offsets = [(dy, dx) for dy in near for dx in near if 0 < dy * dy + dx * dx <= FARTHEST]
    return sorted(offsets, key=lambda o: (o[0] ** 2 + o[1] ** 2, *preference(*o)))


OFFSETS = {ties: _offsets(ties) for ties in ("official", "pranet")}


def nearest_error(error: Tensor, gt: Tensor, ties: str) -> Tensor:
    """(N, H, W): error at the nearest foreground pixel where one is within reach, else 0."""
    reach = REACH + 1
    frame = (reach,) * 4
    height, width = gt.shape[1:]
    inside, outer = F.pad(gt, frame), F.pad(error * gt, frame)
    spread, found = error * gt, gt.clone()
    for dy, dx in OFFSETS[ties]:
        window = np.s_[:, reach + dy : reach + dy + height, reach + dx : reach + dx + width]
        hit = inside[window] & ~found
        spread = torch.where(hit, outer[window], spread)
        found |= hit
    return spread


def squared_distance(gt: Tensor) -> Tensor:
    """(N, H, W) int32 squared distance to the nearest foreground pixel, exact up to FADED; farther, something larger.

    First along each column by a running maximum of positions, then along rows as a minimum over shifts.
    """
    _, height, width = gt.shape
    far = 2 * FADED
    y = torch.arange(height, device=gt.device).view(1, -1, 1)
    above = y - torch.where(gt, y, -far).cummax(1).values
    below = torch.where(gt, y, height + far).flip(1).cummin(1).values.flip(1) - y
    column = torch.minimum(above, below).clamp(max=far).int() ** 2
    nearest = column.clone()
    for shift in range(1, min(width, FADED + 1)):
        torch.minimum(nearest[..., shift:], column[..., :-shift] + shift**2, out=nearest[..., shift:])
        torch.minimum(nearest[..., :-shift], column[..., shift:] + shift**2, out=nearest[..., :-shift])
    return nearest
