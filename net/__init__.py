"""MSNet, M2SNet and a U-Net: `build` makes one, `load` or `start` fills it, `probabilities` reads what it gives."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import weights
from net.backbones import Backbone
from net.backbones.res2net import Res2Net50
from net.backbones.volume import Volume
from net.fold import fold_batchnorm
from net.msnet import WIDTH, M2SNet, MSNet
from net.network import Network
from net.unet import UNet

DEEP = re.compile(r"deep\d\.")
NETWORKS: dict[str, type[MSNet | UNet]] = {"msnet": MSNet, "m2snet": M2SNet, "unet": UNet}
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
    deep_supervision: bool = False,
    **volume: Any,
) -> Network:
    """An MSNet, M2SNet or U-Net: (N, inputs, *space) -> logits (N, classes, *space).

    backbone: "res2net50", "volume", a network of timm's by its name, or one made by hand, as a Volume with strides of
    its own. dims and inputs, where given, are those of the data, and must be the backbone's; "volume" takes 1 to 4
    inputs, and widths and strides as `Volume` does. width: channels of the pyramid, which a U-Net has not.
    deep_supervision: see `Network.supervise`.
    pretrained says where the backbone's weights come from: False leaves them random, True takes those in `weights/`
    (ImageNet's), a path takes that file. The rest of the network starts random.
    Raises ValueError for an unknown name, data or weights of another kind, FileNotFoundError for missing weights.
    """
    if network not in NETWORKS:
        near = get_close_matches(network, NETWORKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown network {network!r}; expected one of {', '.join(NETWORKS)}{hint}")
    if classes < 1:
        raise ValueError(f"classes is {classes}; expected 1 (binary) or more")
    if pretrained is not False and not isinstance(backbone, str):
        raise ValueError(
            f"pretrained is {pretrained!r} beside a backbone made by hand; expected its name, or no weights"
        )
    if backbone == "volume":
        encoder: Backbone = Volume(inputs or 1, **volume)
        if pretrained is not False:
            _load_strictly(encoder, _weights_of(backbone, pretrained), f"the {backbone} backbone")
    elif volume:
        raise ValueError(f"{', '.join(volume)} given beside backbone {backbone!r}; expected beside 'volume' alone")
    else:
        encoder = _backbone(backbone, pretrained) if isinstance(backbone, str) else backbone
    if dims not in (None, encoder.dims):
        raise ValueError(
            f"backbone {backbone!r} is for {encoder.dims} dimensions, the data has {dims}; "
            f"expected {'volume' if dims == 3 else 'res2net50 or a network of timm'}"
        )
    if inputs not in (None, encoder.inputs):
        raise ValueError(f"backbone {backbone!r} takes {encoder.inputs} input channels, the data has {inputs}")
    made = NETWORKS[network]
    net = made(encoder, classes, width) if issubclass(made, MSNet) else made(encoder, classes)
    if deep_supervision:
        net.supervise(classes)
    return net


def load(net: Network, path: str | Path) -> Network:
    """Fill `net` from a checkpoint of the original or of train.py, with or without `module.` before the keys.

    Raises FileNotFoundError, or ValueError for an unreadable file and for a checkpoint of another network.
    """
    _load_strictly(net, Path(path), type(net).__name__)
    return net


def start(net: Network, path: str | Path) -> str:
    """Fill `net` from a checkpoint to train on from, as `load` does; a head for other classes begins anew.

    Returns what was done, in words.
    """
    state, own = weights.load(path), net.output1.state_dict(prefix="output1.")
    before, now = kind_of(state)[2], kind_of(own)[2]
    anew = before not in (0, now)
    # those of deep supervision go with it; the file may have none, or this network
    heads = {key: value for key, value in net.state_dict().items() if DEEP.match(key)}
    of_file = {key: value for key, value in state.items() if DEEP.match(key)}
    if anew or not of_file or not heads:
        state = {key: value for key, value in state.items() if key not in of_file} | heads
    _fill(net, state | own if anew else state, Path(path), type(net).__name__)
    done = f", its head (output1) anew: {now} classes, {before} in the file" if anew else ""
    done += ", those of deep supervision anew" if heads and (anew or not of_file) else ""
    return f"starts from {path}{done}"


def probabilities(logits: Tensor) -> Tensor:
    """Maps in [0, 1] of logits (N, classes, *space): one class is a sigmoid, several are a softmax. Decided here."""
    return torch.sigmoid(logits) if logits.shape[1] == 1 else logits.softmax(1)


def sync_batchnorm(network: Network) -> Network:
    """`network`, whose BatchNorms take their statistics over all processes."""
    if any(isinstance(module, nn.BatchNorm2d) and [*module.children()] for module in network.modules()):
        from timm.layers import convert_sync_batchnorm  # PyTorch's drops the activation that timm's hold

        return convert_sync_batchnorm(network)
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def require_known(backbone: str) -> None:
    """ValueError for the name of no backbone; builds nothing."""
    if backbone not in BACKBONES:
        from net.backbones.timm import config

        config(backbone)


def _backbone(name: str, pretrained: bool | str | Path) -> Backbone:
    require_known(name)  # before its weights are looked for
    if name in BACKBONES:
        encoder = BACKBONES[name]()
        if pretrained is not False:
            _load_strictly(encoder, _weights_of(name, pretrained), f"the {name} backbone")
        return encoder
    from net.backbones.timm import Timm

    if pretrained is False:
        return Timm(name)
    state = weights.load(path := _weights_of(name, pretrained))
    try:
        return Timm(name, state)
    except ValueError as error:
        raise ValueError(f"{path} does not fit the {name} backbone: {error}") from error


def _weights_of(name: str, pretrained: bool | str | Path) -> Path:
    return weights.locate_backbone(name) if isinstance(pretrained, bool) else Path(pretrained)


def _load_strictly(module: nn.Module, path: Path, what: str) -> None:
    _fill(module, weights.load(path), path, what)


def _fill(module: nn.Module, state: dict[str, Tensor], path: Path, what: str) -> None:
    try:
        module.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {what}: {_difference(module, state)}") from error
    except ValueError as error:
        raise ValueError(f"{path} does not fit {what}: {error}") from error


def backbone_of(state: Collection[str]) -> str:
    """The backbone that the keys of a checkpoint name, "" where they name none."""
    keys = {key.removeprefix("resnet.") for key in state if key.startswith("resnet.")}
    if "layer1.0.convs.0.weight" in keys:
        return "res2net50"
    tops = {key.split(".")[0] for key in keys}
    if "levels" in tops:
        return "volume"
    # a network of timm's lies under its own name, beside the stem that some have
    names = tops - {"stem"}
    return names.pop() if len(names) == 1 else ""


def kind_of(state: Mapping[str, Tensor]) -> tuple[str, str, int]:
    """(network, backbone, classes) that a checkpoint's entries tell; "" and 0 for what they do not."""
    if "output1.0.weight" not in state:
        return "", backbone_of(state), 0
    marks = {"conv_3.norm.weight": "m2snet", "up1.weight": "unet"}
    network = next((name for mark, name in marks.items() if mark in state), "msnet")
    return network, backbone_of(state), len(state["output1.0.weight"])


def _difference(module: nn.Module, state: dict) -> str:
    """One line that says how a state dict differs from a module's: a name for the usual case, else the first keys."""
    network, theirs, classes = kind_of(state)
    if network and isinstance(module, Network) and type(module) is not NETWORKS[network]:
        return f"it is a checkpoint of {NETWORKS[network].__name__}; build that network (Config field `network`)"
    own = module.state_dict()
    ours = backbone_of(own)
    if theirs and theirs != ours:
        return f"its backbone is {theirs}{f', expected {ours}' if ours else ''}; build that one (--backbone {theirs})"
    if theirs == "volume":
        sizes = zip(_sizes(state).items(), _sizes(own).values())
        if other := next((f"its {name} is {was}, expected {now}" for (name, was), now in sizes if was != now), ""):
            return f"{other} (Config field of that name)"
    parts = []
    for words, keys in (("lacks", own.keys() - state.keys()), ("has the unknown", state.keys() - own.keys())):
        if keys:
            parts.append(f"it {words} {min(keys)} ({len(keys)} such entries)")
    for key in own.keys() & state.keys():
        if own[key].shape != state[key].shape:
            parts.append(f"its {key} has shape {tuple(state[key].shape)}, expected {tuple(own[key].shape)}")
            if key.startswith("output1."):
                parts.append(f"it predicts {classes} classes (Config field `classes`)")
            break
    return "; ".join(parts)


def _sizes(state: Mapping[str, Tensor]) -> dict[str, object]:
    """What the entries of a network of volumes tell of its shape, by fields of Config."""
    levels = [tensor for key, tensor in state.items() if re.fullmatch(r"resnet\.levels\.\d\.0\.weight", key)]
    pyramid = state.get("x5_dem_5.0.weight", ())
    return {"inputs": levels[0].shape[1], "widths": tuple(map(len, levels)), "width": len(pyramid)}


__all__ = [
    "Backbone",
    "M2SNet",
    "MSNet",
    "Network",
    "Res2Net50",
    "UNet",
    "Volume",
    "build",
    "fold_batchnorm",
    "kind_of",
    "load",
    "probabilities",
    "require_known",
    "start",
    "sync_batchnorm",
]
