"""Forward, loss and backward of one batch, and on CUDA all of it replayed as a graph.

A step of M2SNet launches some 3000 kernels, which takes a CPU longer than a large GPU needs to run them. A graph is
recorded once for each size that a run draws (`scales`) and is one launch ever after: the same kernels, the same memory.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from engine.casting import CastOnce
from engine.precision import Precision

Found = tuple[Tensor, dict[str, Tensor]]  # logits and losses by name, without autograd's graph
Criterion = Callable[[Tensor, Tensor, Tensor | None], dict[str, Tensor]]
# a function -> what replays it, and where every replay leaves what the function returned
Recorder = Callable[[Callable[[], Found]], tuple[Callable[[], object], Found]]
MOST = 32  # shapes that may have a graph; each takes memory of the host and of the driver


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
            logits = self.model(image).float()
            losses = self.criterion(logits, mask, within)
        self.precision.backward(losses["total"] * weight, self.optimiser)
        return logits.detach(), {name: loss.detach() for name, loss in losses.items()}


class Recording(NamedTuple):
    """A step of one shape: where its inputs are read, what runs it, and where it leaves what it finds."""

    inputs: list[Tensor | None]
    replay: Callable[[], object]
    found: Found


class Graphs(Gradients):
    """Gradients that are replayed. The network may wait for nothing; one that does is run as ever, which is said.

    The first batch of a shape is computed as ever, which compiles and allocates what a recording must not; the second
    is recorded. All recordings leave their gradients in one place.
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
        """record: CUDA's own unless given."""
        model = CastOnce(network, precision.dtype) if precision.dtype else network
        super().__init__(model, criterion, precision, optimiser)
        self.say, self.record = say, record or CudaRecorder()
        self.records = True
        self.seen: set[tuple] = set()
        self.recordings: dict[tuple, Recording] = {}
        self.kept: list[tuple[nn.Parameter, Tensor]] = []  # weights and where their gradients are left

    def __call__(self, image: Tensor, mask: Tensor, within: Tensor | None = None, weight: float = 1.0) -> Found:
        batch = (image, mask, within)
        key = (*(None if x is None else (x.shape, x.dtype, x.stride()) for x in batch), weight)
        if key not in self.recordings and not (key in self.seen and self._recorded(key, batch, weight)):
            if self.records and len(self.seen) < MOST:
                self.seen.add(key)
            return super().__call__(*batch, weight)
        inputs, replay, (logits, losses) = self.recordings[key]
        for place, x in zip(inputs, batch, strict=True):
            if place is not None and x is not None:
                place.copy_(x, non_blocking=True)
        replay()
        for parameter, gradient in self.kept:
            parameter.grad = gradient
        # the next replay overwrites them
        return logits.clone(), {name: loss.clone() for name, loss in losses.items()}

    def _recorded(self, key: tuple, batch: tuple[Tensor, Tensor, Tensor | None], weight: float) -> bool:
        """Whether a step of this shape could be recorded; nothing is computed."""
        image, mask, within = (None if x is None else x.clone() for x in batch)
        if not self.kept:
            weights = (p for group in self.optimiser.param_groups for p in group["params"])
            self.kept = [(p, torch.empty_like(p.grad)) for p in weights if p.grad is not None]
        compute = super().__call__

        def step() -> Found:
            assert image is not None and mask is not None
            found = compute(image, mask, within, weight)
            # the memory of the fresh ones is then free for the next graph
            fresh = [parameter.grad for parameter, _ in self.kept if parameter.grad is not None]
            torch._foreach_copy_([kept for _, kept in self.kept], fresh)
            for parameter, kept in self.kept:
                parameter.grad = kept
            return found

        try:
            self.recordings[key] = Recording([image, mask, within], *self.record(step))
        except RuntimeError as error:  # too little memory is one too
            reason = str(error).strip().partition("\n")[0]
            self.say(f"NOTE: steps are launched kernel by kernel, slower: no CUDA graph could be recorded ({reason})")
            self.records, self.seen, self.recordings = False, set(), {}
        return self.records


class CudaRecorder:
    """Records on the current device; all recordings share memory, since none runs beside another."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], Found]) -> tuple[Callable[[], None], Found]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: the thread that pins the loader's memory goes on meanwhile
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            found = function()
        return graph.replay, found
