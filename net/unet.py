"""A plain U-Net [MICCAI 2015] of nnU-Net's shape [Nature Methods 2021], to compare with: no paper of MSNet's has it.

The encoder is the same as the others have; the decoder subtracts nothing. On its way from level 5 to level 1 it
doubles a map, puts the encoder's beside it, and convolves both twice.
"""

import torch
from torch import Tensor, nn

from net.backbones import Backbone
from net.blocks import LAYERS, conv_norm_leaky, cut_like, resize_like
from net.network import Network


class UNet(Network):
    """Logits as `Network` says. At each level the decoder has as many channels as the encoder."""

    def __init__(self, backbone: Backbone, classes: int = 1):
        super().__init__(backbone)
        layers, channels, strides = LAYERS[backbone.dims], backbone.channels, backbone.strides
        self.decoded = channels
        for k in (4, 3, 2, 1):
            step = tuple(deep // shallow for deep, shallow in zip(strides[k + 1], strides[k], strict=True))
            up = layers.transposed(channels[k + 1], channels[k], step, step)
            nn.init.kaiming_normal_(up.weight, a=0.01)
            self.add_module(f"up{k}", up)
            first = conv_norm_leaky(2 * channels[k], channels[k], backbone.dims)
            self.add_module(f"level{k}", first.extend(conv_norm_leaky(channels[k], channels[k], backbone.dims)))
        self.output1 = nn.Sequential(layers.conv(channels[1], classes, 1))

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.require_shape(image.shape)
        features = self.resnet.features(image)
        y = features[5]
        deep: list[Tensor] = []
        for k in (4, 3, 2, 1):
            shallow, up = features[k], self.get_submodule(f"up{k}")(y)
            # of an odd side the deeper map had the half rounded up, and doubled it is one too long
            y = self.get_submodule(f"level{k}")(torch.cat((cut_like(up, shallow), shallow), 1))
            deep = self.deep(k, y) + deep
        logits = resize_like(self.output1(y), image)
        return (logits, *deep) if deep else logits
