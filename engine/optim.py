"""Optimisers and learning rates by name: one function and one line each."""

import importlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

# ------------------------------------------------------------------------------------------------------- optimisers


def sgd(
    groups: list[dict], lr: float, momentum: float = 0.9, decay: float = 0.0, nesterov: bool = True
) -> torch.optim.Optimizer:
    """The original's, in one kernel per step on the devices that have it; the same numbers to rounding."""
    return torch.optim.SGD(groups, lr, momentum, weight_decay=decay, nesterov=nesterov, fused=_fused(groups))


def adamw(
    groups: list[dict], lr: float, momentum: float = 0.9, decay: float = 0.0, nesterov: bool = True
) -> torch.optim.Optimizer:
    """AdamW [Loshchilov & Hutter, ICLR 2019], what transformers train with; momentum is its first beta."""
    return torch.optim.AdamW(groups, lr, (momentum, 0.999), weight_decay=decay, fused=_fused(groups))


def apex_sgd(
    groups: list[dict], lr: float, momentum: float = 0.9, decay: float = 0.0, nesterov: bool = True
) -> torch.optim.Optimizer:
    """NVIDIA apex's FusedSGD."""
    fused = importlib.import_module("apex.optimizers").FusedSGD
    return fused(groups, lr=lr, momentum=momentum, weight_decay=decay, nesterov=nesterov)


OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": sgd,
    "adamw": adamw,
    "apex_sgd": apex_sgd,  # no name for a Config: it takes the place of sgd where amp is apex
}


def made(cfg: Any, network: nn.Module, apex: bool) -> torch.optim.Optimizer:
    """The optimiser that a Config names; `apex`: where that is sgd, apex's."""
    make = OPTIMISERS["apex_sgd" if apex and cfg.optimiser == "sgd" else cfg.optimiser]
    return make(groups_of(network, cfg.backbone_lr_ratio), cfg.lr, cfg.momen, cfg.decay, cfg.nesterov)


def averaged(network: nn.Module, ema: float) -> AveragedModel | None:
    """The running mean of a network's weights and buffers, `ema` of it kept at each step; None for 0."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True) if ema else None


def _fused(groups: list[dict]) -> bool:
    return groups[0]["params"][0].device.type in ("cpu", "cuda")


def groups_of(network: nn.Module, backbone_lr_ratio: float) -> list[dict[str, Any]]:
    """The weights of the backbone and the rest, each group with its ratio to the learning rate.

    Official: the groups look for a name that nothing has, so all weights train at lr. Paper: the backbone at a tenth.
    """
    named = list(network.named_parameters())
    # whatever the backbone is, it is called resnet: so do the keys of the original's checkpoints
    backbone = [weight for name, weight in named if name.startswith("resnet.")]
    rest = [weight for name, weight in named if not name.startswith("resnet.")]
    return [{"params": backbone, "ratio": backbone_lr_ratio}, {"params": rest, "ratio": 1.0}]


def notes(network: nn.Module, cfg: Any) -> Iterator[str]:
    """What the layers of a backbone say of the optimiser: LayerNorm is a transformer's, or one's made like them."""
    like_them = any(isinstance(m, nn.LayerNorm) for name, m in network.named_modules() if name.startswith("resnet."))
    if like_them and cfg.optimiser == "sgd":
        yield (
            f"NOTE: backbone {cfg.backbone} is normalised by LayerNorm, as transformers are, which train with adamw: "
            "--optimiser adamw --lr 1e-4 --schedule cosine --schedule_by step --warmup 2"
        )


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> float:
    """Of each group `lr` times its own `ratio`; returns `lr`."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["ratio"]
    return lr


# -------------------------------------------------------------------------------------------------------- schedules


def triangle(place: float, places: float) -> float:
    """The original's: from near 0 up to 1 at mid-run and down again; 0 lies one place outside at either end."""
    return 1 - abs(2 * (place + 1) / (places + 1) - 1)


def poly(place: float, places: float) -> float:
    """From 1 down towards 0, a little slower than a line [DeepLab, TPAMI 2018, section 4.3]."""
    return (1 - place / places) ** 0.9


def cosine(place: float, places: float) -> float:
    """From 1 down towards 0 on half a cosine [SGDR, ICLR 2017, eq. 5]."""
    return (1 + math.cos(math.pi * place / places)) / 2


def constant(place: float, places: float) -> float:
    """1 throughout."""
    return 1.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "triangle": triangle,
    "poly": poly,
    "cosine": cosine,
    "constant": constant,
}


def learning_rate(cfg: Any, epoch: int, step: int = 0, steps: int = 1) -> float:
    """The rate of a step: that of its epoch, or of its place in the run with `schedule_by` step; both count from 0.

    cfg has lr, epoch, schedule, schedule_by and warmup: epochs in which the rate grows to the schedule's first, linear.
    steps: of an epoch.
    """
    place, places, warm = float(epoch), float(cfg.epoch), cfg.warmup
    if cfg.schedule_by == "step":
        place, places, warm = place * steps + step, places * steps, warm * steps
    curve = SCHEDULES[cfg.schedule]  # runs over what is left when the warm-up is over
    if place + 1 <= warm:
        return cfg.lr * curve(0, places - warm) * (place + 1) / warm
    return cfg.lr * curve(max(0.0, place - warm), places - warm)
