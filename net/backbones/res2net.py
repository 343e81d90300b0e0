"""Res2Net-50 v1b, 26w x 4s: the backbone of MSNet and M2SNet [Gao et al., TPAMI 2021, arXiv 1904.01169].

The same network as timm's `res2net50d`, with the key names of the published ImageNet weights.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from net.backbones import IMAGENET, Backbone
from net.backbones.hierarchy import hierarchy, takes
from net.backbones.pool import AvgPool
from net.blocks import neighbours
from net.normed import norm_relu

EXPANSION = 4
BASE_WIDTH = 26
SCALE = 4  # splits of a block's middle convolution


class Bottle2neck(nn.Module):
    """Residual block whose 3 x 3 convolution is a hierarchy of SCALE splits (figure 2b of the paper).

    Inside a stage each split adds the one before it. The first block of a stage ("stage" type) changes the resolution,
    so its splits cannot be added, and the last one is average-pooled instead of passed on.
    """

    def __init__(self, channels: int, planes: int, stride: int = 1, first: bool = False):
        super().__init__()
        width = planes * BASE_WIDTH // 64
        self.first, self.stride = first, stride
        self.conv1 = nn.Conv2d(channels, width * SCALE, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * SCALE)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, stride, padding=1, bias=False) for _ in range(SCALE - 1))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(SCALE - 1))
        self.conv3 = nn.Conv2d(width * SCALE, planes * EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * EXPANSION)
        self.relu = nn.ReLU(inplace=True)
        self.pool = AvgPool(3, stride, padding=1)
        self.downsample: nn.Sequential | None = None
        if first:
            pool = AvgPool(stride, stride, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(
                pool if stride > 1 else nn.Identity(),  # the mean of one pixel is that pixel
                nn.Conv2d(channels, planes * EXPANSION, 1, bias=False),
                nn.BatchNorm2d(planes * EXPANSION),
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv3(self._splits(self.conv1(x)))
        return norm_relu(out, self.bn3, plus=x if self.downsample is None else self.downsample(x))

    def _splits(self, x: Tensor) -> Tensor:
        norms = (self.bn1, *self.bns)
        if takes(x, self.convs, norms, self.stride):
            return hierarchy(x, self.convs, norms, self.stride, carries=not self.first)
        *splits, last = self.relu(self.bn1(x)).chunk(SCALE, dim=1)
        outs: list[Tensor] = []
        for split, conv, bn in zip(splits, self.convs, self.bns, strict=True):
            carried = outs[-1] + split if outs and not self.first else split
            outs.append(self.relu(bn(conv(carried))))
        outs.append(self.pool(last) if self.first else last)
        return torch.cat(outs, dim=1)


class Res2Net50(Backbone):
    """`features(image)`: (N, 3, H, W) -> level -> map; level 1 has stride 4 (pooled stem), 2..5 stride 4, 8, 16, 32."""

    channels = {1: 64, 2: 256, 3: 512, 4: 1024, 5: 2048}
    strides = {1: (4, 4), 2: (4, 4), 3: (8, 8), 4: (16, 16), 5: (32, 32)}
    smallest = (64, 64)
    statistics = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, padding=1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(64, 64, blocks=3, stride=1)
        self.layer2 = _stage(256, 128, blocks=4, stride=2)
        self.layer3 = _stage(512, 256, blocks=6, stride=2)
        self.layer4 = _stage(1024, 512, blocks=3, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        # The classifier is never used, but every checkpoint holds it. No gradient reaches it: said here, so that
        # neither an optimiser nor a gradient all-reduce waits for one.
        self.fc = nn.Linear(512 * EXPANSION, 1000).requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, image: Tensor) -> dict[int, Tensor]:
        first, first_norm, _, second, second_norm, _, third = self.conv1
        for conv, norm in ((first, first_norm), (second, second_norm), (third, self.bn1)):
            image = norm_relu(conv(image), norm)
        levels = {1: self.maxpool(image)}
        for level, stage in enumerate((self.layer1, self.layer2, self.layer3, self.layer4), start=2):
            levels[level] = stage(levels[level - 1])
        return levels

    def foldable(self) -> Iterator[tuple[str, str]]:
        yield from neighbours(self)
        yield "conv1.6", "bn1"
        for name, block in self.named_modules():
            if isinstance(block, Bottle2neck):
                yield f"{name}.conv1", f"{name}.bn1"
                yield f"{name}.conv3", f"{name}.bn3"
                yield from ((f"{name}.convs.{i}", f"{name}.bns.{i}") for i in range(SCALE - 1))

    def forward(self, image: Tensor) -> Tensor:
        """ImageNet class logits (N, 1000), to check pretrained weights against other implementations."""
        return self.fc(self.avgpool(self.features(image)[5]).flatten(1))


def _stage(channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottle2neck(channels, planes, stride, first=True)
    return nn.Sequential(first, *(Bottle2neck(planes * EXPANSION, planes) for _ in range(blocks - 1)))
