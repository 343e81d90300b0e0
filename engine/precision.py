"""Mixed precision: PyTorch's native autocast, or NVIDIA apex where it is installed."""

import importlib
import importlib.util
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = {"off": None, "native-fp16": torch.float16, "native-bf16": torch.bfloat16}
NATIVE = "amp native-fp16 needs no installation, does the same and is at least as fast"


class Precision:
    """`with precision.autocast(): loss = ...`; `precision.backward(loss, optimiser)`; `precision.step(optimiser, net)`.

    amp: off | native-fp16 | native-bf16 | apex | auto (the original's native-fp16 on CUDA, off elsewhere).
    apex is what the original's README asks for: its `amp` at level O1 where the installed build still has it (apex
    dropped it on 2025-05-08), its FusedSGD under native float16 autocast on a newer build.
    grad_clip: largest norm of the gradient; 0 leaves it as it is.
    Raises ValueError for float16 without CUDA, ModuleNotFoundError for an apex that is missing or another package.
    """

    def __init__(self, amp: str, device: torch.device, grad_clip: float = 0.0):
        if amp == "auto":
            amp = "native-fp16" if device.type == "cuda" else "off"
        self.apex: Any = None  # apex.amp of an old build
        self.apex_sgd = False  # whether a newer build's FusedSGD takes the place of SGD
        if amp == "apex":
            part = apex_part()
            amp = "native-fp16"
            if part == "amp":
                self.apex, amp = importlib.import_module("apex.amp"), "off"
            else:
                self.apex_sgd = True
        if amp == "native-fp16" and device.type != "cuda":
            raise ValueError(
                f"amp is native-fp16 on {device.type}; float16 trains on CUDA only: use native-bf16 or off"
            )
        self.device, self.dtype, self.grad_clip = device, DTYPES[amp], grad_clip
        # what a checkpoint keeps of the loss scaling: apex's module has the same two methods
        self.scaler = self.apex or torch.amp.GradScaler(device.type, enabled=amp == "native-fp16")

    def prepare(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Both as they train; only the old apex changes them."""
        return self.apex.initialize(network, optimiser, opt_level="O1") if self.apex else (network, optimiser)

    def autocast(self) -> AbstractContextManager:
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    @property
    def scale(self) -> float:
        """What losses are multiplied with before their gradients are taken; 1 without float16."""
        return self.apex.state_dict()["loss_scaler0"]["loss_scale"] if self.apex else self.scaler.get_scale()

    @property
    def skips(self) -> bool:
        """Whether a step whose gradients overflow is left out, as float16 has it now and then."""
        return bool(self.apex) or self.dtype == torch.float16

    def backward(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        """The gradients of `loss`, scaled as float16 needs it, in place of those before."""
        optimiser.zero_grad(set_to_none=True)
        if self.apex:
            with self.apex.scale_loss(loss, optimiser) as scaled:
                scaled.backward()
        else:
            self.scaler.scale(loss).backward()

    def step(self, optimiser: torch.optim.Optimizer, network: nn.Module) -> Tensor:
        """One update of the weights; the norm of the gradient before clipping, a scalar left on the device.

        With float16 a step whose gradients overflow is left out.
        """
        if self.apex:
            norm = self._norm(network)
            optimiser.step()
            return norm
        self.scaler.unscale_(optimiser)
        norm = self._norm(network)
        write_momentum(optimiser)
        self.scaler.step(optimiser)
        self.scaler.update()
        return norm

    def _norm(self, network: nn.Module) -> Tensor:
        if self.grad_clip:
            return nn.utils.clip_grad_norm_(network.parameters(), self.grad_clip).detach()
        return nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None]).detach()


def write_momentum(optimiser: torch.optim.Optimizer) -> None:
    """Give SGD the momentum of a first step, zeros, where it has none; the step itself is then the same to the bit.

    Fused SGD makes it of memory as it finds it and, told by the scaler that the gradients overflowed, leaves it so; the
    next step would read it. At every step, because a resumed run may have been saved before its first whole one.
    """
    if not isinstance(optimiser, torch.optim.SGD):  # the others begin with zeros
        return
    for group in optimiser.param_groups:
        for weight in group["params"] if group["momentum"] else ():
            if optimiser.state[weight].get("momentum_buffer") is None:
                optimiser.state[weight]["momentum_buffer"] = torch.zeros_like(weight)


def apex_part() -> str:
    """What the installed apex offers: "amp" (old builds) or "optimizers". ModuleNotFoundError saying what to do.

    Found by its files: importing the package of that name on PyPI, a web toolkit, is what this avoids.
    """
    spec = importlib.util.find_spec("apex")
    if spec is None:
        raise ModuleNotFoundError(f"amp is apex but NVIDIA apex is not installed; {NATIVE}")
    for part in ("amp", "optimizers"):
        if any(Path(folder, part, "__init__.py").is_file() for folder in spec.submodule_search_locations or ()):
            return part
    raise ModuleNotFoundError(
        f"the installed package apex ({spec.origin}) is not NVIDIA's: PyPI's package of that name is a web toolkit. "
        f"`pip uninstall apex`; {NATIVE}"
    )
