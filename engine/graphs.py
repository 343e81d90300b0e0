"""CUDA graphs: a function's thousands of launches become one, for as long as its inputs keep their shapes."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

# a function -> what replays it, and where every replay leaves what the function returned
Recorder = Callable[[Callable[[], Any]], tuple[Callable[[], object], Any]]
MOST = 32  # shapes that may have a graph; each takes memory of the host and of the driver


class Recording(NamedTuple):
    """A call of one shape: where its inputs are read, what runs it, and where it leaves what it finds."""

    inputs: list[Any]
    replay: Callable[[], object]
    found: Any


class Replays:
    """`Replays(function)(*inputs)`: what `function` returns, tensors or tuples and dictionaries of them, replayed.

    Inputs are tensors, which may hold other numbers in each call, and whatever else is hashable. The first call of a
    shape is computed as ever, which compiles and allocates what a recording must not; the second is recorded, and all
    further ones are the same kernels on the same memory. The function may wait for nothing; one that does is computed
    as ever, which is said.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        say: Callable[[str], object] = print,
        record: Recorder | None = None,
        recorded: Callable[..., Any] | None = None,
        replayed: Callable[[], object] = tuple,
    ):
        """recorded: recorded in place of `function`. replayed: called after a replay. record: CUDA unless given."""
        self.function, self.recorded, self.replayed = function, recorded or function, replayed
        self.say, self.record = say, record or CudaRecorder()
        self.records = True
        self.seen: set[tuple] = set()
        self.recordings: dict[tuple, Recording] = {}

    def __call__(self, *inputs: Any) -> Any:
        key = tuple((x.shape, x.dtype, x.stride()) if isinstance(x, Tensor) else x for x in inputs)
        if key not in self.recordings and not (key in self.seen and self._recorded(key, inputs)):
            if self.records and len(self.seen) < MOST:
                self.seen.add(key)
            return self.function(*inputs)
        places, replay, found = self.recordings[key]
        for place, x in zip(places, inputs, strict=True):
            if isinstance(x, Tensor):
                place.copy_(x, non_blocking=True)
        replay()
        self.replayed()
        return copied(found)  # the next replay overwrites it

    def _recorded(self, key: tuple, inputs: Sequence[Any]) -> bool:
        """Whether a call of these shapes could be recorded; nothing is computed."""
        places = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
        try:
            self.recordings[key] = Recording(places, *self.record(lambda: self.recorded(*places)))
        except RuntimeError as error:  # too little memory is one too
            reason = str(error).strip().partition("\n")[0]
            self.say(f"NOTE: kernels are launched one by one, slower: no CUDA graph could be recorded ({reason})")
            self.records, self.seen, self.recordings = False, set(), {}
        return self.records


def copied(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: copied(value) for name, value in found.items()}
    return tuple(map(copied, found)) if isinstance(found, tuple) else found.clone()


class CudaRecorder:
    """Records on the current device. Its recordings share memory: none runs beside another, and what one has found is
    copied before the next. It lasts as long as they do: memory that all graphs have left cannot be recorded into again.
    """

    def __init__(self) -> None:
        self.memory = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        graph = torch.cuda.CUDAGraph()
        # thread_local: the thread that pins the loader's memory goes on meanwhile
        with torch.cuda.graph(graph, pool=self.memory, capture_error_mode="thread_local"):
            found = function()
        return graph.replay, found
