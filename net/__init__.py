"""MSNet and M2SNet: `build` makes one, `load` fills it from a file, `probabilities` reads what it gives."""

from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

import weights
from net.backbones import Backbone
from net.backbones.res2net import Res2Net50
from net.backbones.volume import Volume
from net.fold import fold_batchnorm
from net.msnet import WIDTH, M2SNet, MSNet

NETWORKS = {"msnet": MSNet, "m2snet": M2SNet}
BACKBONES: dict[str, type[Backbone]] = {"res2net50": Res2Net50, "volume": Volume}


def build(
    network: str = "msnet",
    backbone: str | Backbone = "res2net50",
    classes: int = 1,
    pretrained: bool | str | Path = False,
    *,
    dims: int | None = None,
    inputs: int | None = None,
    width: int = WIDTH,
) -> MSNet:
    """An MSNet or M2SNet: (N, inputs, *space) -> logits (N, classes, *space).

    backbone: a name, or one made by hand, as a Volume with strides of its own. dims and inputs, where given, are those
    of the data, and must be the backbone's; "volume" takes 1 to 4 inputs. width: channels of the pyramid.
    pretrained says where the backbone's weights come from: False leaves them random, True takes the ImageNet weights
    from `weights/`, a path takes that file. The rest of the network starts random.
    Raises ValueError for an unknown name or data of another kind, FileNotFoundError for missing weights.
    """
    make = _pick("network", network, NETWORKS)
    encoder = _backbone(backbone, inputs) if isinstance(backbone, str) else backbone
    if classes < 1:
        raise ValueError(f"classes is {classes}; expected 1 (binary) or more")
    _require_of_a_kind(backbone, encoder, dims, inputs)
    if pretrained is not False:
        path = weights.locate(str(backbone)) if pretrained is True else Path(pretrained)
        _load_strictly(encoder, path, f"the {backbone} backbone")
    return make(encoder, classes, width)


def load(net: MSNet, path: str | Path) -> MSNet:
    """Fill `net` from a checkpoint of the original or of train.py, with or without `module.` before the keys.

    Raises FileNotFoundError, or ValueError for an unreadable file and for a checkpoint of another network.
    """
    _load_strictly(net, Path(path), type(net).__name__)
    return net


def probabilities(logits: Tensor) -> Tensor:
    """Maps in [0, 1] of logits (N, classes, *space): one class is a sigmoid, several are a softmax. Decided here."""
    return torch.sigmoid(logits) if logits.shape[1] == 1 else logits.softmax(1)


def _backbone(name: str, inputs: int | None) -> Backbone:
    make = _pick("backbone", name, BACKBONES)
    return make(inputs) if inputs and make is Volume else make()


def _require_of_a_kind(name: object, backbone: Backbone, dims: int | None, inputs: int | None) -> None:
    if dims not in (None, backbone.dims):
        others = " or ".join(other for other, make in BACKBONES.items() if make.dims == dims) or "none"
        raise ValueError(
            f"backbone {name!r} is for {backbone.dims} dimensions, the data has {dims}; for these: {others}"
        )
    if inputs not in (None, backbone.inputs):
        raise ValueError(f"backbone {name!r} takes {backbone.inputs} input channels, the data has {inputs}")


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


__all__ = ["Backbone", "M2SNet", "MSNet", "Res2Net50", "Volume", "build", "fold_batchnorm", "load", "probabilities"]
