"""The original's way of doing things, written plainly from its description, to measure against."""

import copy
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from files import read_image, read_mask
from net import MSNet, Network
from net.blocks import BoxView

WIDTH = 64


class DenseView(nn.Module):
    """M2SNet's fixed filter as a dense convolution with ones, then BatchNorm and ReLU."""

    ones: Tensor

    def __init__(self, view: BoxView):
        super().__init__()
        self.norm, self.kernel = view.norm, view.kernel
        self.register_buffer("ones", torch.ones(WIDTH, WIDTH, view.kernel, view.kernel), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm(F.conv2d(x, self.ones.to(x.dtype), padding=self.kernel // 2)))


def dense(network: Network) -> Network:
    """A copy of `network` with dense filters: the same maps, as many multiply-adds as the original."""
    network = copy.deepcopy(network)
    assert isinstance(network, MSNet)  # a U-Net has no filters of ones
    for kernel in network.boxes:
        view = network.get_submodule(f"conv_{kernel}")
        assert isinstance(view, BoxView)
        setattr(network, f"conv_{kernel}", DenseView(view))
    return network


def sample(image_file: Path, mask_file: Path, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One augmented training pair: normalised in float64 at full resolution, then resized, flipped, turned."""
    mean, std = np.array([[[124.55, 118.90, 102.94]]]), np.array([[[56.77, 55.97, 57.50]]])
    image: np.ndarray = read_image(image_file).astype(np.float32)
    mask: np.ndarray = read_mask(mask_file).astype(np.float32)
    image, mask = (image - mean) / std, mask / 255.0
    image, mask = cv2.resize(image, (size, size)), cv2.resize(mask, (size, size))
    if rng.random() < 0.5:
        image, mask = image[:, ::-1].copy(), mask[:, ::-1].copy()
    turn = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-10, 10), 1)
    return cv2.warpAffine(image, turn, (size, size)), cv2.warpAffine(mask, turn, (size, size))


@torch.no_grad()
def predict(network: nn.Module, images: list[Path], out: Path, size: int) -> None:
    """Decode, predict and encode one image after the other."""
    device = next(network.parameters()).device
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    for path in images:
        image = Image.open(path).convert("RGB")
        array = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255
        x = (torch.from_numpy(array.transpose(2, 0, 1).copy()).to(device) - mean) / std
        pred = torch.sigmoid(network(x[None]))[0, 0].cpu().numpy()
        grey = Image.fromarray((pred * 255).astype(np.uint8))
        grey.resize(image.size, Image.Resampling.BILINEAR).save(out / f"{path.stem}.png")
