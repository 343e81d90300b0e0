"""Volumes by windows: overlapping patches, each weighed by how near its voxels are to its middle."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net
from engine.graphs import Replays
from engine.precision import Precision


class WindowPredictor:
    """`predictor(volumes)`: (N, inputs, *space) -> N iterators of slabs (classes, d, *space[1:]) float32 in [0, 1].

    The slabs of a volume follow along its first axis and together are all of it; no more than a window's length is
    held at a time, on the CPU. Windows of `size` overlap by `overlap` of their sides, and weigh by a Gaussian of an
    eighth of each [nnU-Net]; maps of several networks, and of the views mirrored along `axes`, are averaged.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        device: torch.device,
        size: Sequence[int],
        amp: str = "off",
        overlap: float = 0.5,
        axes: Sequence[int] = (),
        batch: int = 1,
    ):
        self.networks, self.device, self.precision = networks, device, Precision(amp, device)
        each: list[Callable[[Tensor], Tensor]] = [partial(maps_of, network, self.precision) for network in networks]
        self._of_each = each
        if device.type == "cuda":
            self._of_each = [Replays(maps) for maps in each]
        self.size, self.overlap, self.batch = tuple(size), overlap, batch
        axes = [2 + axis for axis in axes]
        self.views = [flips for many in range(len(axes) + 1) for flips in itertools.combinations(axes, many)]

    @property
    def network(self) -> nn.Module:
        """The first; while a run validates, the one that it trains."""
        return self.networks[0]

    def __call__(self, volumes: Tensor) -> list[Iterator[Tensor]]:
        return [self._slabs(volume) for volume in volumes]

    def _slabs(self, volume: Tensor) -> Iterator[Tensor]:
        space = volume.shape[1:]
        short = [max(0, window - side) for window, side in zip(self.size, space)]
        if any(short):  # 0 is the mean of what is normalised
            volume = F.pad(volume, [part for s in reversed(short) for part in (s // 2, s - s // 2)])
        starts = [places(side, window, self.overlap) for side, window in zip(volume.shape[1:], self.size)]
        weights = [gaussian(window) for window in self.size]
        # the sum of all windows' weights is the product of those of each axis: their places are a lattice
        sums = [total(of_axis, s, side) for of_axis, s, side in zip(weights, starts, volume.shape[1:], strict=True)]
        weight = _outer(weights)
        rows, columns = (slice(short[axis] // 2, short[axis] // 2 + space[axis]) for axis in (1, 2))
        held: Tensor | None = None
        for i, first in enumerate(starts[0]):
            for places_in, maps in self._windows(volume, first, starts[1], starts[2]):
                if held is None:
                    held = torch.zeros(maps.shape[1], self.size[0], *volume.shape[2:])
                for (second, third), pred in zip(places_in, maps, strict=True):
                    held[:, :, second : second + self.size[1], third : third + self.size[2]] += pred * weight
            assert held is not None
            end = starts[0][i + 1] if i + 1 < len(starts[0]) else first + self.size[0]
            # the padding in front of a short volume, and behind it, is none of it
            low, high = max(first, short[0] // 2), min(end, short[0] // 2 + space[0])
            # plane by plane: a slab of a CT is half as large as the CT, and one more is memory
            ready = torch.empty(held.shape[0], high - low, *space[1:])
            for plane in range(low, high):
                of_plane = sums[0][plane] * sums[1][rows, None] * sums[2][columns]
                torch.div(held[:, plane - first, rows, columns], of_plane, out=ready[:, plane - low])
            yield ready
            del ready  # a slab less, while the next windows are computed
            kept = self.size[0] - (end - first)
            for plane in range(kept):
                held[:, plane] = held[:, plane + end - first]
            held[:, kept:] = 0

    def _windows(
        self, volume: Tensor, first: int, seconds: Sequence[int], thirds: Sequence[int]
    ) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
        """(places, maps (N, classes, *size)) of the windows that begin at plane `first`, `batch` at a time."""
        lattice = list(itertools.product(seconds, thirds))
        for i in range(0, len(lattice), self.batch):
            some = lattice[i : i + self.batch]
            depth, height, width = self.size
            cut = [volume[:, first : first + depth, y : y + height, x : x + width] for y, x in some]
            yield some, self._maps(torch.stack(cut).to(self.device))

    @torch.inference_mode()
    def _maps(self, patches: Tensor) -> Tensor:
        total = torch.zeros(())
        for maps, flips in itertools.product(self._of_each, self.views):
            pred = maps(patches.flip(flips)).flip(flips)
            total = total.to(pred.device) + pred
        return (total / (len(self.networks) * len(self.views))).cpu()


def maps_of(network: nn.Module, precision: Precision, images: Tensor) -> Tensor:
    """(N, classes, *space) float32 in [0, 1] of images (N, inputs, *space), on their device."""
    with precision.autocast():
        return net.probabilities(network(images).float())


def mean_of(several: Sequence[Iterator[Tensor]], weights: Sequence[float]) -> Iterator[Tensor]:
    """Slabs of the weighted mean of volumes, of each its slabs (C, n, ...) in order, cut wherever it was made."""
    held = [next(slabs) for slabs in several]
    while True:
        many = min(slab.shape[1] for slab in held)
        yield sum((weight * slab[:, :many] for weight, slab in zip(weights, held)), start=torch.zeros(()))
        held = [slab[:, many:] for slab in held]
        for i, slabs in enumerate(several):
            while not held[i].shape[1]:
                if (more := next(slabs, None)) is None:
                    return
                held[i] = more


def places(side: int, window: int, overlap: float) -> list[int]:
    """Where windows begin along an axis: evenly, the first at its start and the last at its end."""
    count = math.ceil((side - window) / max(1, window * (1 - overlap))) + 1
    return [round(i * (side - window) / max(1, count - 1)) for i in range(count)]


def gaussian(window: int) -> Tensor:
    """(window,) float32, 1 in the middle; never so little that a corner is a division of nothing by nothing."""
    places = torch.arange(window) - (window - 1) / 2
    return torch.exp(-0.5 * (places / max(window / 8, 1e-6)) ** 2).clamp(min=1e-3)


def total(weights: Tensor, starts: Sequence[int], side: int) -> Tensor:
    """(side,) sum of the weights of windows that begin at `starts`."""
    found = torch.zeros(side)
    for start in starts:
        found[start : start + len(weights)] += weights
    return found


def _outer(of_axes: Sequence[Tensor]) -> Tensor:
    a, b, c = of_axes
    return a[:, None, None] * b[None, :, None] * c[None, None, :]
