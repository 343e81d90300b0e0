"""The weights that autocast makes half as precise, all in one operation in place of one each, forward and backward."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

CAST = (nn.Conv2d, nn.Conv3d, nn.Linear)  # whose weights autocast casts as they are; a subclass may use them otherwise


class CastOnce:
    """`CastOnce(network, dtype)(image)` under autocast: what `network(image)` gives, to the bit, and its gradients.

    A network of 150 convolutions casts 300 weights a step and 300 gradients back, each too small to keep a GPU busy.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype):
        self.network, self.dtype = network, dtype
        self.weights = {
            f"{prefix}.{name}".lstrip("."): weight
            for prefix, module in network.named_modules()
            if type(module) in CAST
            for name, weight in module._parameters.items()
            if weight is not None and weight.requires_grad and weight.dtype == torch.float32
        }

    def __call__(self, image: Tensor) -> Tensor:
        cast = _Cast.apply(self.dtype, *self.weights.values())
        return functional_call(self.network, dict(zip(self.weights, cast, strict=True)), (image,))


class _Cast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return tuple(_as(weights, dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        full = iter(_as([g for g in gradients if g is not None], torch.float32))
        return None, *(None if g is None else next(full) for g in gradients)


def _as(tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Copies in one piece of memory, in the memory order that each has."""
    sizes = [tensor.numel() for tensor in tensors]
    memory = torch.empty(sum(sizes), dtype=dtype, device=tensors[0].device) if tensors else torch.empty(0)
    parts = zip(memory.split(sizes), tensors, strict=True)
    copies = [part.as_strided(tensor.shape, tensor.stride()) for part, tensor in parts]
    torch._foreach_copy_(copies, list(tensors))
    return copies
