"""Read before any test, and before torchvision imports Triton, which asks only then whether to interpret kernels."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
