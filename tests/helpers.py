"""What several test files share: a Config that trains in a moment, a network to match, and the golden weights."""

import copy
import csv
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net
from configs import Config
from net.backbones import IMAGENET, Backbone
from tests.golden import recipe


class TinyBackbone(Backbone):
    """A backbone of another family: level 1 has not 64 channels, so it needs a reduction.

    5 MB of network in place of 120: for claims about a run, its files and its data, which hold of any network.
    """

    channels = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8}
    strides = {1: (8, 8), 2: (8, 8), 3: (8, 8), 4: (16, 16), 5: (32, 32)}
    smallest = (64, 64)
    statistics = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8), nn.ReLU())

    def features(self, image: Tensor) -> dict[int, Tensor]:
        level = self.stem(image)
        return {1: level, 2: level} | {k: F.avg_pool2d(level, 2 ** (k - 3), ceil_mode=True) for k in (3, 4, 5)}


net.BACKBONES["tiny"] = TinyBackbone


class Tiny(nn.Module):
    """A network of a hundred weights, for what does not depend on the network."""

    def __init__(self, classes: int = 1):
        super().__init__()
        self.resnet = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(8, classes, 3, 1, 1), nn.Upsample(scale_factor=2))

    def require_shape(self, shape: tuple[int, ...]) -> None:
        """Any will do."""

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.resnet(image))


def small(folder: Path, **fields) -> Config:
    """A Config that trains in a moment."""
    defaults = {
        "datapath": str(folder / "TrainDataset"),
        "savepath": str(folder / "saved"),
        "backbone": "tiny",
        "backbone_weights": "random",
        "lossnet_weights": "random",
        "lossnet_factor": 0.0,
        "epoch": 1,
        "batch": 3,
        "size": 64,
        "scales": (64,),
        "workers": 0,
        "device": "cpu",
    }
    return Config(**(defaults | fields))


def losses(folder: Path) -> list[float]:
    with open(folder / "saved" / "log.csv") as file:
        return [float(row["total"]) for row in csv.DictReader(file)]


def filled(name: str) -> net.MSNet:
    """The network with the weights that the golden values were measured with, to be changed at will."""
    return copy.deepcopy(_filled(name))


@cache
def _filled(name: str) -> net.MSNet:
    return recipe.fill(net.build(name))


def with_golden_batchnorm(network: net.MSNet, name: str, golden: dict) -> net.MSNet:
    prefix = f"{name}/bn/"
    stored = {
        key.removeprefix(prefix): torch.from_numpy(value) for key, value in golden.items() if key.startswith(prefix)
    }
    assert stored
    network.load_state_dict({**network.state_dict(), **stored})
    return network.eval()
