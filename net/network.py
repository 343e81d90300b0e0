"""What every network over a backbone has in common: the shapes it takes, what of it folds, checkpoints it loads."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from net.backbones import Backbone
from net.blocks import LAYERS, neighbours


class Network(nn.Module):
    """Logits (N, classes, *space) of images (N, inputs, *space): H, W, or D, H, W where the backbone takes volumes.

    Any size from the backbone's smallest up (64 a side for Res2Net-50); no sigmoid. The head is `output1`.
    """

    decoded: dict[int, int]  # channels of the decoder's map of each level
    resnet: Backbone  # whichever it is: the original's checkpoints know it by this name
    output1: nn.Sequential

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.resnet = backbone
        self.supervised: tuple[int, ...] = ()
        self.register_load_state_dict_pre_hook(_strip_module_prefix)

    def supervise(self, classes: int, levels: tuple[int, ...] = (2, 3)) -> None:
        """Give these levels of the decoder heads of their own: in training `forward` gives their logits too, as
        (level 1's, level 2's, level 3's), each of its level's size. nnU-Net has none at its deepest either.
        """
        self.supervised = levels
        for k in levels:
            self.add_module(f"deep{k}", LAYERS[self.resnet.dims].conv(self.decoded[k], classes, 1))

    def deep(self, k: int, y: Tensor) -> list[Tensor]:
        """The logits of the decoder's map of level k, if they are asked for."""
        return [self.get_submodule(f"deep{k}")(y)] if self.training and k in self.supervised else []

    def foldable(self) -> Iterator[tuple[str, str]]:
        """Names of each convolution and of the BatchNorm that alone reads what it gives: the backbone's and its own."""
        yield from ((f"resnet.{conv}", f"resnet.{norm}") for conv, norm in self.resnet.foldable())
        for name, child in self.named_children():
            if name != "resnet":
                yield from neighbours(child, name)

    def require_shape(self, shape: Sequence[int]) -> None:
        """ValueError unless the backbone takes images of this shape, (N, inputs, *space)."""
        inputs, fixed, smallest = self.resnet.inputs, self.resnet.fixed, self.resnet.smallest
        space = tuple(shape[2:])
        if fixed and space != fixed:
            raise ValueError(
                f"images of shape {tuple(shape)}; this backbone was built for {' x '.join(map(str, fixed))} alone: "
                f"set size and scales to {fixed[0]} (Config fields) with one test_scales, or take another backbone"
            )
        fits = len(space) == len(smallest) and shape[1] == inputs
        if not fits or any(side < least for side, least in zip(space, smallest)):
            axes, what = "DHW"[-len(smallest) :], "volumes" if len(smallest) == 3 else "images"
            least = f"{' and '.join(axes)} at least {smallest[0]}"
            if len({*smallest}) > 1:
                least = ", ".join(f"{axis} at least {side}" for axis, side in zip(axes, smallest, strict=True))
            raise ValueError(f"{what} of shape {tuple(shape)}; expected (N, {inputs}, {', '.join(axes)}) with {least}")


def _strip_module_prefix(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Checkpoints saved from a DataParallel wrapper carry `module.` before every key."""
    if not prefix and state_dict and all(key.startswith("module.") for key in state_dict):
        for key in list(state_dict):
            state_dict[key.removeprefix("module.")] = state_dict.pop(key)
