"""BatchNorm folded into the convolution before it: the same maps to rounding, for less work."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from net.backbones.res2net import Bottle2neck
from net.blocks import BatchNorm, Conv
from net.msnet import MSNet


def fold_batchnorm(network: MSNet) -> MSNet:
    """`network` in evaluation mode, changed in place; it can predict as before, and neither train nor be saved."""
    network.eval()
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            for i in range(len(module) - 1):
                if isinstance(module[i], Conv) and isinstance(module[i + 1], BatchNorm):
                    _fold(module, str(i), module, str(i + 1))
        elif isinstance(module, Bottle2neck):
            _fold(module, "conv1", module, "bn1")
            _fold(module, "conv3", module, "bn3")
            for i in range(len(module.convs)):
                _fold(module.convs, str(i), module.bns, str(i))
    stem = getattr(network.resnet, "conv1", None)
    if isinstance(stem, nn.Sequential):
        _fold(stem, str(len(stem) - 1), network.resnet, "bn1")
    return network


def _fold(conv_parent: nn.Module, conv: str, bn_parent: nn.Module, bn: str) -> None:
    setattr(conv_parent, conv, fuse_conv_bn_eval(getattr(conv_parent, conv), getattr(bn_parent, bn)))
    setattr(bn_parent, bn, nn.Identity())
