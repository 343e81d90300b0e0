"""Forward, loss and backward of one batch, and on CUDA all of it replayed as a graph of each size that a run draws.

A step of M2SNet launches some 3000 kernels, which takes a CPU longer than a large GPU needs to run them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.casting import CastOnce
from engine.graphs import Recorder, Replays
from engine.precision import Precision

Found = tuple[Tensor, dict[str, Tensor]]  # logits and losses by name, without autograd's graph
Criterion = Callable[..., dict[str, Tensor]]  # of logits, mask, field of view and the logits of lower levels


class Gradients:
    """`gradients(image, mask, within, weight)` -> logits and losses; d(weight * total) is left in the weights' .grad.

    image (N, inputs, *space), mask (N, C, *space), within None or (N, 1, *space): the field of view. What comes back is
    float32, logits (N, C, *space) and scalars, and nothing waits for the device.
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        criterion: Criterion,
        precision: Precision,
        optimiser: Optimizer,
    ):
        self.model, self.criterion, self.precision, self.optimiser = model, criterion, precision, optimiser

    def __call__(self, image: Tensor, mask: Tensor, within: Tensor | None = None, weight: float = 1.0) -> Found:
        with self.precision.autocast():
            found = self.model(image)
            logits, *lower = (x.float() for x in (found if isinstance(found, tuple) else (found,)))
            losses = self.criterion(logits, mask, within, *lower)
        self.precision.backward(losses["total"] * weight, self.optimiser)
        return logits.detach(), {name: loss.detach() for name, loss in losses.items()}


class Graphs(Gradients):
    """Gradients of one process on CUDA: weights are cast together, and all is replayed, see `Replays`.

    All recordings leave their gradients in one place.
    """

    def __init__(
        self,
        network: nn.Module,
        criterion: Criterion,
        precision: Precision,
        optimiser: Optimizer,
        say: Callable[[str], object] = print,
        record: Recorder | None = None,
    ):
        model = CastOnce(network, precision.dtype) if precision.dtype else network
        super().__init__(model, criterion, precision, optimiser)
        self.replays = Replays(super().__call__, say, record, self._recorded, self._replayed)
        self._kept: list[tuple[nn.Parameter, Tensor]] = []  # weights and where their gradients are left

    def __call__(self, image: Tensor, mask: Tensor, within: Tensor | None = None, weight: float = 1.0) -> Found:
        if not self._kept:
            weights = (p for group in self.optimiser.param_groups for p in group["params"])
            self._kept = [(p, torch.empty_like(p.grad)) for p in weights if p.grad is not None]
        return self.replays(image, mask, within, weight)

    def _recorded(self, *batch: Any) -> Found:
        found = super().__call__(*batch)
        # the memory of the fresh ones is then free for the next graph
        fresh = [parameter.grad for parameter, _ in self._kept if parameter.grad is not None]
        torch._foreach_copy_([kept for _, kept in self._kept], fresh)
        self._replayed()
        return found

    def _replayed(self) -> None:
        for parameter, kept in self._kept:
            parameter.grad = kept
