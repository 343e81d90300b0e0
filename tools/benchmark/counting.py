"""What a training step asks of a machine, counted without computing it: operations, bytes and multiply-adds."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import fused
import net
from engine.casting import CastOnce
from engine.precision import Precision
from lossnet import Criterion, LossNet, features, msnet_terms

CPU = torch.device("cpu")
IN_PLACE = {"_rectify"}  # kernels whose map is what they read and what they write
ALLOCATES = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


class Work(NamedTuple):
    """operations: calls of ATen, on a GPU a launch or a few each, and of Triton's kernels, a launch each; bytes: of all
    tensors that they read and write.
    """

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


def measure(name: str, batch: int, size: int) -> dict[str, float]:
    """What `asked` says of a step in PyTorch's operations and, where Triton is, as a GPU runs it, in two precisions."""
    ways = {"PyTorch's operations": False} | ({"a GPU's way": True} if importlib.util.find_spec("triton") else {})
    return {
        f"{way}, {precision}, {what}": value
        for way, kernels in ways.items()
        for precision, amp in (("float32", "off"), ("float16", "native-fp16"))
        for what, value in asked(step(name, batch, size, amp, kernels)).items()
    }


def asked(work: Mapping[str, Work]) -> dict[str, float]:
    """Operations and gigabytes of each part of a step, and of all of it."""
    work = {**work, "all": Work(*map(sum, zip(*work.values(), strict=True)))}
    found: dict[str, float] = {f"{part} [operations]": of_part.operations for part, of_part in work.items()}
    return found | {f"{part} [GB]": round(of_part.bytes / 1e9, 2) for part, of_part in work.items()}


def step(name: str, batch: int, size: int, amp: str, kernels: bool = False) -> dict[str, Work]:
    """forward, loss and backward -> Work of one step in train.py's form, the optimiser's apart.

    Tensors have shapes and no values here. Counted as a CPU runs it, where bfloat16 stands for float16; with `kernels`
    as a GPU does, where `fused` takes the place of many operations.
    """
    found: dict[str, Work] = {}
    launched: list[int] = []  # bytes of each kernel so far

    @contextmanager
    def counted(part: str) -> Iterator[None]:
        before = len(launched)
        with FlopCounterMode(display=False) as multiply_adds, Counter() as counter:
            yield
        mine = launched[before:]
        macs = multiply_adds.get_total_flops() // 2
        found[part] = Work(counter.operations + len(mine), counter.bytes + sum(mine), macs)

    precision = Precision(amp.replace("fp16", "bf16"), CPU)
    with FakeTensorMode(), torch.device(CPU), _in_kernels(precision.dtype, launched) if kernels else nullcontext():
        network, lossnet = net.build(name).train(), LossNet()
        if kernels and precision.dtype:
            lossnet._in(precision.dtype)  # its weights are cast in a run's first step alone
        criterion = Criterion(msnet_terms(lossnet))
        model = CastOnce(network, precision.dtype) if kernels and precision.dtype else network
        image = torch.zeros(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
        mask = torch.zeros(batch, 1, size, size)
        with precision.autocast():
            with counted("forward"):
                logits = model(image).float()
            with counted("loss"):
                loss = criterion(logits, mask)["total"]
        with counted("backward"):
            # not backward(), which copies gradients that have no memory
            torch.autograd.grad(loss, [p for p in network.parameters() if p.requires_grad])
    return found


@contextmanager
def _in_kernels(dtype: torch.dtype | None, launched: list[int]) -> Iterator[None]:
    """Have what runs on a CPU take the way of a GPU, and each of Triton's kernels noted and not run.

    A map that a kernel is given as several of its arguments counts once, one that it reads and overwrites twice. The
    bias and the ReLU of LossNet's convolutions count apart, which cuDNN adds while it convolves.
    """
    import triton  # here: it is not everywhere

    from fused import norm

    counters = torch.zeros(norm.COUNTERS, dtype=torch.int32)

    @cache
    def cast(lossnet: LossNet, dtype: torch.dtype) -> features.Blocks:
        return features.cast(lossnet.blocks, dtype)

    def run(kernel: Any, *args: Any, **kwargs: Any) -> None:
        maps = {id(x): x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)}
        launched.append(sum(x.nbytes for x in maps.values()) * (2 if kernel.fn.__name__ in IN_PLACE else 1))

    def built(*tensors: Tensor) -> bool:
        return not fused.captured() and all(x.dtype in fused.DTYPES for x in tensors)

    with (
        patch.object(triton.JITFunction, "run", run),
        patch.object(fused, "built", built),
        patch.object(features, "half", lambda x: dtype),
        patch.object(features, "_in_one", lambda *_: False),
        patch.object(LossNet, "_in", lambda lossnet, dtype: cast(lossnet, dtype)),  # it asks where weights lie
        patch.object(norm, "_counters", lambda device: counters),  # the real ones stay for ever
    ):
        yield
