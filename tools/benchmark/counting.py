"""What a training step asks of a machine, counted without computing it: operations, bytes and multiply-adds."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import net
from engine.precision import Precision
from lossnet import Criterion, LossNet, msnet_terms

CPU = torch.device("cpu")
ALLOCATES = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class Work(NamedTuple):
    """operations: calls of ATen, on a GPU a launch or a few each; bytes: of all tensors that they read and write."""

    operations: int
    bytes: int
    multiply_adds: int


class Counter(TorchDispatchMode):
    """Counts what is called under it, but for views and fresh memory, which move nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        computes = not func.is_view and func.overloadpacket.__name__ not in ALLOCATES
        if func.namespace == "aten" and computes:  # others ask for a device
            self.operations += 1
            self.bytes += sum(x.nbytes for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor))
        return out


def step(name: str, batch: int, size: int, amp: str) -> dict[str, Work]:
    """forward, loss and backward -> Work of one step in train.py's form, the optimiser's apart.

    Tensors have shapes and no values here. Counted as a CPU runs it, where bfloat16 stands for float16.
    """
    found: dict[str, Work] = {}

    @contextmanager
    def counted(part: str) -> Iterator[None]:
        with FlopCounterMode(display=False) as multiply_adds, Counter() as counter:
            yield
        found[part] = Work(counter.operations, counter.bytes, multiply_adds.get_total_flops() // 2)

    precision = Precision(amp.replace("fp16", "bf16"), CPU)
    with FakeTensorMode(), torch.device(CPU):
        network, criterion = net.build(name).train(), Criterion(msnet_terms(LossNet()))
        image = torch.zeros(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        mask = torch.zeros(batch, 1, size, size)
        with precision.autocast():
            with counted("forward"):
                logits = network(image).float()
            with counted("loss"):
                loss = criterion(logits, mask)["total"]
        with counted("backward"):
            # not backward(), which copies gradients that have no memory
            torch.autograd.grad(loss, [p for p in network.parameters() if p.requires_grad])
    return found
