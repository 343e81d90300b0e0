"""Triton kernels for what PyTorch does in many passes over a GPU's memory; `usable` says where they can run."""

import importlib.util
import warnings
from functools import cache

import torch
from torch import Tensor

DTYPES = {torch.float16, torch.bfloat16, torch.float32}
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
MOST_CHANNELS = 256  # a pixel's channels lie in the registers of one program


def usable(*tensors: Tensor) -> bool:
    """Whether kernels can take these: all dense, on one CUDA device, and of dtypes that Triton can build for it."""
    return built(*tensors) and all(map(dense, tensors))


def built(*tensors: Tensor) -> bool:
    """Whether there are kernels for these: not `captured`, on one CUDA device, of dtypes that Triton builds for it."""
    device = tensors[0].device
    if captured() or not tensors[0].is_cuda:
        return False
    return all(x.device == device and x.dtype in DTYPES and _builds(device, x.dtype) for x in tensors)


def captured() -> bool:
    """Whether a network is being read into a graph, by torch.compile or an exporter, and not run."""
    return torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()


def few_enough(x: Tensor) -> bool:
    """Whether x (N, C, *space) is of a size that `fused.pair` counts."""
    return x.numel() > 0 and x.shape[1] <= MOST_CHANNELS and x[0].numel() < 2**31 and len(x) < 2**16


def dense(x: Tensor) -> bool:
    """Whether x (N, C, *space) lies in memory without gaps, channels first or last."""
    return x.is_contiguous() or channels_last(x)


def channels_last(x: Tensor) -> bool:
    """Whether the channels of x (N, C, *space) lie side by side; also of a map whose two layouts are one."""
    return x.ndim in CHANNELS_LAST and x.is_contiguous(memory_format=CHANNELS_LAST[x.ndim])


def row(x: Tensor | None) -> int:
    """Numbers from the channels of one pixel to those of the next; 0 of None, and of maps in another order."""
    if x is None:
        return 0
    length, pixels = 0, 1
    for side, stride in zip((*reversed(x.shape[2:]), len(x)), (*reversed(x.stride()[2:]), x.stride(0)), strict=True):
        if side > 1:
            length = length or stride // pixels
            if stride != length * pixels:
                return 0
        pixels *= side
    length = length or x.shape[1]
    beside = x.stride(1) == 1 or x.shape[1] == 1
    return length if beside and length >= x.shape[1] and length * pixels < 2**31 else 0


@cache
def _builds(device: torch.device, dtype: torch.dtype) -> bool:
    if importlib.util.find_spec("triton") is None:  # PyTorch brings it along on Linux only
        return False
    if dtype == torch.bfloat16 and torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        from fused.mse import mean_squared

        mean_squared(*torch.zeros(2, 1, dtype=dtype, device=device))
    except Exception as error:  # Triton raises whatever its compiler does
        warnings.warn(
            f"Triton builds no kernels for {device} ({type(error).__name__}: {error}); expected a C compiler and a GPU "
            "it knows: the same is computed in more steps, slower",
            stacklevel=3,
        )
        return False
    return True
