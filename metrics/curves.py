"""Curves over the thresholds: their sums over the images and, if wished, what those of each image are made of."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metrics.official import f_measure
from metrics.protocol import Protocol
from metrics.summary import Summary, bins_of, from_bins


class Curves:
    """The curves of a set of maps. keep: those of single images too, for resampling and subsets."""

    def __init__(self, rules: Protocol, keep: bool):
        self._rules, self.keep = rules, keep
        self.sums: dict[str, Tensor] = {}
        self.bins: list[dict[str, Tensor]] = []  # with `keep`, (N, 256) int32 each, see `summary.bins_of`

    def add(self, summary: Summary) -> None:
        """Add the curves of N images."""
        if self.keep:
            self.bins.append(bins_of(summary))
        self._add_sums(self._of(summary))

    def merge(self, other: "Curves") -> None:
        """Append the curves of the images of `other`, whose protocol is the same."""
        self.bins += other.bins
        for name, total in other.sums.items():
            known = self.sums.get(name)
            self.sums[name] = total if known is None else known + total.to(known.device)

    def subset(self, places: Tensor) -> "Curves":
        """The curves of some of the images, by their places; needs `keep`."""
        chosen = Curves(self._rules, keep=True)
        chosen.bins = [{name: counts[places] for name, counts in bins.items()} for bins in self.kept()]
        for block in chosen.by_block():
            chosen._add_sums({name: torch.from_numpy(curve) for name, curve in block.items()})
        return chosen

    def mean(self, count: int) -> dict[str, Tensor]:
        """The mean curves of all images, `count` in number; none of a protocol that measures masks."""
        mean = {name: total.cpu() / count for name, total in self.sums.items() if name != "F"}
        return mean | {"F": self._rules.curve_f(mean)} if self._rules.curve_f else mean

    def by_block(self, size: int = 1024) -> Iterator[dict[str, np.ndarray]]:
        """Name -> (some `size`, thresholds) of some images after the other, in the order of `add`."""
        # as they came: to join them all first would take their memory twice
        some: list[dict[str, Tensor]] = []
        for part in self.bins:
            count = len(part["foreground"])
            for start in range(0, count, size):
                some.append({name: counts[start : start + size] for name, counts in part.items()})
                if sum(len(bins["foreground"]) for bins in some) >= size:
                    yield self._of_block(some)
                    some = []
        if some:
            yield self._of_block(some)

    def kept(self) -> list[dict[str, Tensor]]:
        """The bins of all images on the CPU, as one; none if none were kept."""
        self.bins = [_joined(self.bins)] if self.bins else []
        return self.bins

    def state(self) -> dict[str, Any]:
        """Tensors on the CPU."""
        return {"curve_sums": {name: total.cpu() for name, total in self.sums.items()}, "bins": self.kept()}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.sums, self.bins = dict(state["curve_sums"]), list(state["bins"])

    def _of(self, summary: Summary) -> dict[str, Tensor]:
        curves = self._rules.curves(summary)
        return curves | {"F": f_measure(curves["precision"], curves["recall"])}

    def _of_block(self, some: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
        return {name: curve.numpy() for name, curve in self._of(from_bins(_joined(some))).items()}

    def _add_sums(self, curves: dict[str, Tensor]) -> None:
        for name, curve in curves.items():
            total = curve.sum(0)
            known = self.sums.get(name)
            self.sums[name] = total if known is None else known.to(total.device) + total


def _joined(bins: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name].cpu() for part in bins]) for name in bins[0]}
