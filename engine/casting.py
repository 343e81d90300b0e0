"""The weights that autocast makes half as precise, all in one operation in place of one each, forward and backward."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

CAST = (nn.Conv2d, nn.Conv3d, nn.Linear)  # whose weights autocast casts as they are; a subclass may use them otherwise
# numbers from the start of one weight to that of the next, a multiple: where a weight begins at any other, cuDNN leaves
# the matrix units aside, and a step takes three times as long
ALIGNED = 64


class CastOnce:
    """`CastOnce(network, dtype)(image)` under autocast: what `network(image)` gives, to the bit, and its gradients.

    A network of 150 convolutions casts 300 weights a step and 300 gradients back, each too small to keep a GPU busy.
    Left to autocast: what does not train, what a hook makes of other weights, what two layers have in common.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype):
        self.network, self.dtype = network, dtype
        owners = Counter(id(weight) for module in network.modules() for weight in module._parameters.values())
        self.weights = {
            (module, name): weight
            for module in network.modules()
            if type(module) in CAST
            for name in ("weight", "bias")
            if (weight := module._parameters.get(name)) is not None
            if weight.requires_grad and weight.dtype == torch.float32 and owners[id(weight)] == 1
        }

    def __call__(self, image: Tensor) -> Tensor:
        # not torch.func.functional_call: a layer that a network has under two names keeps what was put in its place
        try:
            for (module, name), cast in zip(self.weights, _Cast.apply(self.dtype, *self.weights.values()), strict=True):
                module._parameters[name] = cast
            return self.network(image)
        finally:
            for (module, name), weight in self.weights.items():
                module._parameters[name] = weight


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
    if not tensors:
        return []
    sizes = [-(-tensor.numel() // ALIGNED) * ALIGNED for tensor in tensors]
    memory = torch.empty(sum(sizes), dtype=dtype, device=tensors[0].device)
    parts = zip(memory.split(sizes), tensors, strict=True)
    copies = [part.as_strided(tensor.shape, tensor.stride()) for part, tensor in parts]
    torch._foreach_copy_(copies, list(tensors))
    return copies
