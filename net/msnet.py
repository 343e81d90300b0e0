"""MSNet [MICCAI 2021, arXiv 2108.05082, figure 2] and M2SNet [arXiv 2303.10894, figure 3] as one pattern over levels.

Subtraction units form a pyramid over the five backbone levels:

    U[0][k]    = level k, reduced to 64 channels
    U[step][k] = unit(U[step - 1][k + 1], U[step - 1][k])      step = 1..4, k = 5 - step..1

The unit at (step, k) is named after the levels it spans: `x5_x4_x3` compares what is known of 5, 4 with 4, 3.
The sum of column k, {U[step][k]}, is what the decoder adds at level k on its way from level 5 to level 1.
"""

from functools import partial

from torch import Tensor, nn

from net.backbones import Backbone
from net.blocks import LAYERS, BoxView, conv_bn_relu, resize_like
from net.compare import compare
from net.network import Network

DEEPEST = 5
WIDTH = 64  # channels, as in the paper


def unit_name(deep: int, shallow: int) -> str:
    """(5, 3) -> "x5_x4_x3", the key under which checkpoints hold the unit that spans these levels."""
    return "_".join(f"x{level}" for level in range(deep, shallow - 1, -1))


class MSNet(Network):
    """Logits as `Network` says. width: channels of every reduced level, unit and decoder stage.

    The attribute order is the key order of the original's checkpoints; so are the names, `resnet` included.
    """

    boxes: tuple[int, ...] = ()  # sides of the fixed filters through which a pair is compared besides as it is

    def __init__(self, backbone: Backbone, classes: int = 1, width: int = WIDTH):
        super().__init__(backbone)
        channels, dims = backbone.channels, backbone.dims
        self.decoded = dict.fromkeys(channels, width)
        conv = partial(conv_bn_relu, width=width, dims=dims)
        for kernel in self.boxes:
            self.add_module(f"conv_{kernel}", BoxView(kernel, width, dims))
        # level 1 needs no reduction where it has 64 channels already, as in the original
        self.reduced = [level for level in range(DEEPEST, 0, -1) if level > 1 or channels[1] != width]
        for level in self.reduced:
            self.add_module(f"x{level}_dem_1", conv(channels[level]))
        for step in range(1, DEEPEST):
            if step == DEEPEST - 1:
                # Official: one more convolution before the last unit; the paper's figure has none.
                self.x5_dem_4 = conv(width)
            for k in range(DEEPEST - step, 0, -1):
                self.add_module(unit_name(k + step, k), conv(width))
        for k in (3, 2, 1):  # column 4 has one unit, nothing to sum and no convolution
            self.add_module(f"level{k}", conv(width))
        self.x5_dem_5 = conv(channels[DEEPEST])
        for k in (4, 3, 2):
            self.add_module(f"output{k}", conv(width))
        self.output1 = nn.Sequential(LAYERS[dims].conv(width, classes, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, ...]:
        self.require_shape(image.shape)
        features = self.resnet.features(image)
        units = {k: self.get_submodule(f"x{k}_dem_1")(x) if k in self.reduced else x for k, x in features.items()}
        columns: dict[int, list[Tensor]] = {k: [] for k in range(1, DEEPEST)}
        for step in range(1, DEEPEST):
            if step == DEEPEST - 1:
                units[2] = self.x5_dem_4(units[2])
            # deep to shallow: the box views' BatchNorms see their inputs in this order
            units = {k: self._unit(step, k, units) for k in range(DEEPEST - step, 0, -1)}
            for k, unit in units.items():
                columns[k].append(unit)

        y = self.x5_dem_5(features[DEEPEST])
        deep: list[Tensor] = []
        for k in (4, 3, 2, 1):
            # Official: a column leaves out the encoder's own feature, which the paper's figure adds.
            column = sum(columns[k][1:], columns[k][0])
            level = column if k == 4 else self.get_submodule(f"level{k}")(column)
            y = self.get_submodule(f"output{k}")(resize_like(y, level) + level)
            deep = self.deep(k, y) + deep
        logits = resize_like(y, image)
        return (logits, *deep) if deep else logits

    def _unit(self, step: int, k: int, units: dict[int, Tensor]) -> Tensor:
        return self.get_submodule(unit_name(k + step, k))(self.compare(units[k + 1], units[k]))

    def compare(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """|deep - shallow| at shallow's size, plus the same seen through each box view [M2SNet, eq. 2]."""
        views = [self.get_submodule(f"conv_{kernel}") for kernel in self.boxes]
        return compare(resize_like(deep, shallow), shallow, views)


class M2SNet(MSNet):
    """MSNet whose units compare a pair through three views: as it is, and through filters of ones, 3 and 5 a side."""

    boxes = (3, 5)
