"""Deterministic weights and inputs behind the reference values in this folder.

Every value in the .npz files was measured on the original implementation (float32, CPU) with
weights and inputs made by the functions below. Fill your own network the same way, run it on the
same input, and the outputs must agree.  NumPy's legacy RandomState is used because its streams are
frozen for ever.
"""

import zlib

import numpy as np
import torch


def _normal(name: str, shape) -> np.ndarray:
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


@torch.no_grad()
def fill(module: torch.nn.Module, salt: str = "") -> torch.nn.Module:
    """Overwrite every entry of module.state_dict() by a function of its key, shape and `salt`.

    Convolution and linear weights: normal, std sqrt(2 / fan_in). BatchNorm: weight 1 + 0.1 n,
    bias 0.1 n, running_mean 0.1 n, running_var exp(0.1 n). Other biases: 0.1 n.
    A one-dimensional `weight` is taken for a BatchNorm weight. Entries that are constants of the
    architecture (the all-ones kernels `conv_3.weight`/`conv_5.weight` and their zero `bias`, the
    loss network's `mean` and `std`) are left alone, and so is `num_batches_tracked`.
    """
    for key, value in module.state_dict().items():
        if key.endswith("num_batches_tracked") or key in {
            "mean",
            "std",
            "conv_3.weight",
            "conv_3.bias",
            "conv_5.weight",
            "conv_5.bias",
        }:
            continue
        n = _normal(salt + key, tuple(value.shape))
        if key.endswith("running_mean"):
            n = 0.1 * n
        elif key.endswith("running_var"):
            n = np.exp(0.1 * n)
        elif key.endswith("weight") and value.ndim == 1:
            n = 1 + 0.1 * n
        elif key.endswith("weight"):
            n = n * np.sqrt(2.0 / value[0].numel())
        else:
            n = 0.1 * n
        value.copy_(torch.from_numpy(n).to(value.dtype))
    return module


def images(batch: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Normalised images, float32, (batch, 3, height, width): white noise."""
    rng = np.random.RandomState(seed)
    return torch.from_numpy(rng.standard_normal((batch, 3, height, width)).astype(np.float32))


def masks(batch: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Binary masks, float32 0/1, (batch, 1, height, width): one filled ellipse each."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    out = np.zeros((batch, 1, height, width), np.float32)
    for i in range(batch):
        cy, cx = rng.uniform(0.3, 0.7, 2) * (height, width)
        ry, rx = rng.uniform(0.1, 0.3, 2) * (height, width)
        out[i, 0] = ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1
    return torch.from_numpy(out)
