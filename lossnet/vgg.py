"""LossNet: the training-free perceptual loss of MSNet [MICCAI 2021, section 2.3, figure 3]."""

from itertools import chain
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import weights
from lossnet import features
from lossnet.squares import mean_squared

# its channels, 0 where it halves its maps. Not torchvision's: to import that takes as long as to import PyTorch
CHANNELS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
SLICES = ((0, 4), (4, 9), (9, 16), (16, 23))  # of VGG-16's features: up to relu1_2, relu2_2, relu3_3, relu4_3
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SIDE = 224  # the side VGG-16 was trained at


class LossNet(nn.Module):
    """Distance of two maps in the features of a frozen ImageNet VGG-16.

    weights=None leaves VGG-16 random (for tests and for runs that ask for it), True takes the ImageNet weights from
    `weights/`, a path takes that file.
    Raises FileNotFoundError or ValueError for a file that is missing or is no VGG-16.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, weights: bool | str | Path | None = None):
        super().__init__()
        layers = _random_features()
        if weights:
            _load_features(layers, "vgg16" if weights is True else weights)
        self.blocks = nn.ModuleList(layers[start:stop] for start, stop in SLICES)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()
        self._cast: dict[tuple, tuple[tuple, features.Blocks]] = {}  # dtype and device -> of what, and what came of it

    def train(self, mode: bool = True) -> "LossNet":
        """Stays in evaluation mode, whatever the network that holds it is told."""
        return super().train(False)

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Scalar: sum over four depths of the mean squared difference of the features.

        pred, target (N, 1 or 3, H, W) float in [0, 1]. The gradient flows to pred alone.
        Paper: Euclidean distances. Official: mean squared errors.
        """
        if pred.shape != target.shape or pred.ndim != 4 or pred.shape[1] not in (1, 3):
            raise ValueError(
                f"pred {tuple(pred.shape)} and target {tuple(target.shape)}; expected one shape (N, 1 or 3, H, W)"
            )
        x = self._prepare(pred)
        with torch.no_grad():
            y = self._prepare(target)
        if (dtype := features.half(x)) is not None:
            return features.distance(x, y, self._in(dtype))
        loss = pred.new_zeros(())
        for block in self.blocks:
            x = block(x)
            with torch.no_grad():
                y = block(y)
            loss = loss + mean_squared(x, y)
        return loss

    def _in(self, dtype: torch.dtype) -> features.Blocks:
        """The blocks' weights in `dtype`: frozen, so cast once, and again only if they were moved or written to.

        Then in their old place, and kept as long as this: a CUDA graph reads them there.
        """
        weights = [*self.blocks.parameters()]
        made_of = tuple((weight.data_ptr(), weight._version) for weight in weights)
        before, blocks = self._cast.get(key := (dtype, weights[0].device), ((), []))
        if before != made_of:
            fresh = features.cast(self.blocks, dtype)
            for old, new in zip(chain(*chain(*blocks)), chain(*chain(*fresh))):
                old.copy_(new)
            self._cast[key] = made_of, blocks or fresh
        return self._cast[key][1]

    def _prepare(self, maps: Tensor) -> Tensor:
        # normalising and resizing are linear, in either order the same: a grey map is resized once, not three times
        small = F.interpolate(maps, (SIDE, SIDE), mode="bilinear", align_corners=False)
        return (small - self.mean) / self.std


def _random_features() -> nn.Sequential:
    """`vgg16(weights=None).features`, without making the classifier: 124 of VGG-16's 138 million weights."""
    features, before = nn.Sequential(), 3
    for channels in CHANNELS:
        if channels:
            features.extend((nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)))
            before = channels
        else:
            features.append(nn.MaxPool2d(2))
    for module in features:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return features


def _load_features(features: nn.Sequential, path: str | Path) -> None:
    state = weights.load(path)
    state = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
    try:
        features.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{path} does not hold VGG-16's 26 `features.*` entries; expected torchvision's file"
        ) from error
