"""MSNet and M2SNet: `build` makes one, `load_checkpoint` fills it from a file."""

from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from torch import nn

import weights
from net.backbones.res2net import Res2Net50
from net.fold import fold_batchnorm
from net.msnet import M2SNet, MSNet

NETWORKS = {"msnet": MSNet, "m2snet": M2SNet}
BACKBONES = {"res2net50": Res2Net50}


def build(
    network: str = "msnet",
    backbone: str = "res2net50",
    classes: int = 1,
    pretrained: bool | str | Path = False,
) -> MSNet:
    """An MSNet or M2SNet that maps images (N, 3, H, W) to logits (N, classes, H, W).

    pretrained says where the backbone's weights come from: False leaves them random, True takes the ImageNet weights
    from `weights/`, a path takes that file. The rest of the network starts random.
    Raises ValueError for an unknown name, FileNotFoundError for missing weights.
    """
    encoder = _pick("backbone", backbone, BACKBONES)()
    make = _pick("network", network, NETWORKS)
    if classes < 1:
        raise ValueError(f"classes is {classes}; expected 1 (binary) or more")
    if pretrained is not False:
        path = weights.locate(backbone) if pretrained is True else Path(pretrained)
        _load_strictly(encoder, path, f"the {backbone} backbone")
    return make(encoder, classes)


def load_checkpoint(net: MSNet, path: str | Path) -> MSNet:
    """Fill `net` from a checkpoint of the original or of train.py, with or without `module.` before the keys.

    Raises FileNotFoundError, or ValueError for an unreadable file and for a checkpoint of another network.
    """
    _load_strictly(net, Path(path), type(net).__name__)
    return net


def _load_strictly(module: nn.Module, path: Path, what: str) -> None:
    state = weights.load(path)
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {what}: {_difference(module, state)}") from error


def _difference(module: nn.Module, state: dict) -> str:
    """One line that says how a state dict differs from a module's: a name for the usual case, else the first keys."""
    for name, box in (("M2SNet", True), ("MSNet", False)):
        theirs = "output1.0.weight" in state and ("conv_3.norm.weight" in state) is box
        if theirs and isinstance(module, MSNet) and type(module).__name__ != name:
            return f"it is a checkpoint of {name}; build that network (Config field `network`)"
    own = module.state_dict()
    parts = []
    for words, keys in (("lacks", own.keys() - state.keys()), ("has the unknown", state.keys() - own.keys())):
        if keys:
            parts.append(f"it {words} {min(keys)} ({len(keys)} such entries)")
    for key in own.keys() & state.keys():
        if own[key].shape != state[key].shape:
            parts.append(f"its {key} has shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}")
            if key.startswith("output1."):
                parts.append(f"it predicts {len(state[key])} classes (Config field `classes`)")
            break
    return "; ".join(parts)


T = TypeVar("T")


def _pick(what: str, name: str, choices: dict[str, T]) -> T:
    if name not in choices:
        near = get_close_matches(name, choices, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown {what} {name!r}; expected one of {', '.join(choices)}{hint}")
    return choices[name]


__all__ = ["M2SNet", "MSNet", "Res2Net50", "build", "fold_batchnorm", "load_checkpoint"]
