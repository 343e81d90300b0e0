"""BatchNorm folded into the convolution before it: the same maps to rounding, for less work."""

from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from net.network import Network


def fold_batchnorm(network: Network) -> Network:
    """`network` in evaluation mode, changed in place; it can predict as before, and neither train nor be saved."""
    network.eval()
    for conv, norm in list(network.foldable()):
        before: Any = network.get_submodule(conv)
        behind: Any = network.get_submodule(norm)
        _put(network, conv, fuse_conv_bn_eval(before, behind))
        # a BatchNorm of timm's may hold the activation after it, which stays
        _put(network, norm, nn.Sequential(*behind.children()))
    return network


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
