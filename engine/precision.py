"""Mixed precision: PyTorch's native autocast, with loss scaling where float16 needs it."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

DTYPES = {"off": None, "native-fp16": torch.float16, "native-bf16": torch.bfloat16}


class Precision:
    """`with precision.autocast(): loss = ...`, then `precision.step(loss, optimiser, net)`.

    amp: off | native-fp16 | native-bf16 | auto (the original's native-fp16 on CUDA, off elsewhere).
    grad_clip: largest norm of the gradient; 0 leaves it as it is.
    """

    def __init__(self, amp: str, device: torch.device, grad_clip: float = 0.0):
        if amp == "auto":
            amp = "native-fp16" if device.type == "cuda" else "off"
        if amp == "native-fp16" and device.type != "cuda":
            raise ValueError(
                f"amp is native-fp16 on {device.type}; float16 trains on CUDA only: use native-bf16 or off"
            )
        self.device, self.dtype, self.grad_clip = device, DTYPES[amp], grad_clip
        self.scaler = torch.amp.GradScaler(device.type, enabled=amp == "native-fp16")

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)

    def step(self, loss: Tensor, optimiser: torch.optim.Optimizer, net: nn.Module) -> None:
        """One update of `net`'s weights; with float16 a step whose gradients overflow is left out."""
        optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.grad_clip:
            self.scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(net.parameters(), self.grad_clip)
        self.scaler.step(optimiser)
        self.scaler.update()
