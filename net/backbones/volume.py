"""A plain encoder of volumes, small enough to train from nothing: what nnU-Net's is, with one block a level."""

from collections.abc import Sequence

from torch import Tensor, nn

from net.backbones import Backbone
from net.blocks import conv_norm_leaky


class Volume(Backbone):
    """`features(volume)`: (N, inputs, D, H, W) -> level -> map; level 1 is the finest.

    inputs: 1 to 4 channels, such as MR sequences. widths: channels of the levels. strides: of each level over the one
    before, a number or one per axis: thick slices keep their axis longest, (1, 2, 2), until a voxel is near a cube.
    batch_norm: over the batch, which folds and wants many volumes a step; otherwise each volume by itself.
    """

    dims = 3

    def __init__(
        self,
        inputs: int = 1,
        widths: Sequence[int] = (32, 32, 64, 128, 256),
        strides: Sequence[int | Sequence[int]] = (1, 1, 2, 2, 2),
        batch_norm: bool = False,
    ):
        super().__init__()
        if not 1 <= inputs <= 4:
            raise ValueError(f"inputs is {inputs}; expected 1 to 4 channels of a volume")
        steps = [(step,) * self.dims if isinstance(step, int) else tuple(step) for step in strides]
        if len(widths) != 5 or len(steps) != 5 or {len(step) for step in steps} != {self.dims}:
            raise ValueError(
                f"widths {tuple(widths)} and strides {tuple(strides)}; expected five each, a stride per level or axis"
            )
        total: tuple[int, ...] = (1,) * self.dims
        self.inputs, self.channels, self.strides = inputs, dict(enumerate(widths, start=1)), {}
        self.statistics = (0.0,) * inputs, (1.0,) * inputs  # a volume is normalised by its own
        self.levels = nn.ModuleList()
        for level, (before, width, step) in enumerate(zip((inputs, *widths), widths, steps), start=1):
            self.levels.append(_block(before, width, step, batch_norm))
            total = tuple(stride * factor for stride, factor in zip(total, step))
            self.strides[level] = total
        self.smallest = tuple(2 * stride if stride > 1 else 1 for stride in total)

    def features(self, image: Tensor) -> dict[int, Tensor]:
        maps = {}
        for level, block in enumerate(self.levels, start=1):
            maps[level] = image = block(image)
        return maps


def _block(channels: int, width: int, stride: tuple[int, ...], batch_norm: bool) -> nn.Sequential:
    """Two convolutions, the first with the stride."""
    first = conv_norm_leaky(channels, width, Volume.dims, stride, batch_norm)
    return first.extend(conv_norm_leaky(width, width, Volume.dims, batch_norm=batch_norm))
