"""Whether the kernels of `kernels.py` serve a device. Where they do not, PyTorch's own operations give the same scores.

They need Triton, which comes with PyTorch for Linux, and, when first used, a C compiler.
"""

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor


def kernels_for(maps: Tensor) -> ModuleType | None:
    """`metrics.launch` for maps (N, H, W) on CUDA that it can take, else None."""
    kernels = built(maps.device) if maps.is_cuda else None
    return kernels if kernels is not None and maps[0].numel() <= kernels.MOST_PIXELS else None


@cache
def built(device: torch.device) -> ModuleType | None:
    """`metrics.launch`, tried on a device; None without Triton or, with a warning, where they cannot be built."""
    if find_spec("triton") is None:
        return None
    try:
        kernels = import_module("metrics.launch")
        kernels.probe(device)
    except Exception as error:  # a compiler's, a loader's or a driver's, of any kind
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(
            f"the kernels of metrics cannot be built here ({reason}); PyTorch's own operations give the same scores, "
            "several times slower: see that there is a C compiler and Python's headers",
            stacklevel=2,
        )
        return None
    return kernels
