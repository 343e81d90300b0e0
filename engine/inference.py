"""Images in, maps out: the one way that validation and prediction run a network."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.precision import Precision


class Predictor:
    """`predictor(images)`: (N, 3, H, W) -> (N, classes, H, W) float32 in [0, 1], on the CPU.

    probabilities makes maps of logits, as net.probabilities does. With several `scales` of the input, or with `flip`,
    the maps of all views are averaged, each brought back to H x W and unmirrored; an input keeps at least 64 pixels a
    side.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        amp: str = "off",
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        *,
        probabilities: Callable[[Tensor], Tensor],
    ):
        self.network, self.device, self.precision = network, device, Precision(amp, device)
        self.probabilities = probabilities
        self.scales, self.flips = scales, (False, True) if flip else (False,)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        views = [self._view(images, scale, flip) for scale in self.scales for flip in self.flips]
        return (views[0] if len(views) == 1 else torch.stack(views).mean(0)).cpu()

    def _view(self, images: Tensor, scale: float, flip: bool) -> Tensor:
        size = images.shape[2:]
        if scale != 1:
            scaled = [max(64, round(side * scale)) for side in size]
            images = F.interpolate(images, scaled, mode="bilinear", align_corners=False)
        with self.precision.autocast():
            logits = self.network(images.flip(3) if flip else images).float()
        pred = self.probabilities(logits)
        pred = pred.flip(3) if flip else pred
        return pred if scale == 1 else F.interpolate(pred, size, mode="bilinear", align_corners=False)
