"""The encoders. `Backbone` is all that MSNet knows of one."""

from collections.abc import Iterator

from torch import Tensor, nn

from net.blocks import neighbours

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Backbone(nn.Module):
    """Five maps of an image or a volume, level 1 shallow to 5 deep, and what a network over them has to know."""

    dims: int = 2  # spatial dimensions
    inputs: int = 3  # channels of the image
    channels: dict[int, int]  # of each level's map
    strides: dict[int, tuple[int, ...]]  # of each level, per axis: a map has ceil(side / stride)
    smallest: tuple[int, ...]  # shortest side per axis, from which on the deepest map is more than one element
    fixed: tuple[int, ...] | None = None  # the only size it takes, where it takes no other
    statistics: tuple[tuple[float, ...], tuple[float, ...]]  # mean and std per input on 0..1 that the weights expect

    def features(self, image: Tensor) -> dict[int, Tensor]:
        """(N, inputs, *space) -> level -> (N, channels[level], *ceil(space / strides[level]))."""
        raise NotImplementedError

    def foldable(self) -> Iterator[tuple[str, str]]:
        """Names of each convolution and of the BatchNorm that alone reads what it gives."""
        yield from neighbours(self)
