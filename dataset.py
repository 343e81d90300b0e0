"""Training pairs and test images as tensors: the original's transforms on (image, mask).

The training transforms run on float32 arrays: image (H, W, 3) RGB, mask (H, W). The original normalises at full
resolution in float64 and then resizes; both are linear, so resizing first gives the same numbers for less work.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from configs import Config
from pairs import (
    Check,
    Pair,
    check_pairs,
    find_pairs,
    image_and_mask_folders,
    image_folder,
    list_images,
    mask_folder,
    read_grey,
    read_image,
    read_mask,
)

# ---------------------------------------------------------------------------------------------- training transforms


def normalise(image: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(H, W, 3) float32 0..255 -> zero mean, unit variance per channel."""
    return (image - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)


def flip(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirror left and right."""
    return image[:, ::-1], mask[:, ::-1]


def rotate(image: np.ndarray, mask: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn counter-clockwise about (W/2, H/2), bilinear; outside is 0, the mean colour of a normalised image."""
    height, width = mask.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    image, mask = (cv2.warpAffine(np.ascontiguousarray(x), matrix, (width, height)) for x in (image, mask))
    return image, mask


def resize(array: np.ndarray, size: int) -> np.ndarray:
    """(H, W[, 3]) -> (size, size[, 3]), bilinear without antialiasing."""
    return cv2.resize(array, (size, size), interpolation=cv2.INTER_LINEAR)


class Sample(NamedTuple):
    """What `Data` gives for one index, before batching."""

    image: np.ndarray  # (size, size, 3) float32, normalised, augmented
    mask: np.ndarray  # (size, size) float32 in [0, 1], soft at the edges
    scale: int  # the side this sample would have its batch resized to
    name: str


class Batch(NamedTuple):
    """A training batch: image (N, 3, S, S), mask (N, 1, S, S) float32, and the names of the N pairs."""

    image: Tensor
    mask: Tensor
    names: list[str]


class Data(Dataset):
    """The training pairs under `cfg.datapath`, or those given, augmented as the original does.

    Index with (epoch, i), as `EpochSampler` does, and the random choices follow from (seed, epoch, i) alone: the
    same whichever worker makes them, and different in every epoch. A plain i draws them from torch's generator, which
    every worker seeds differently (the original's workers all drew the same numbers).
    """

    def __init__(self, cfg: Config, pairs: list[Pair] | None = None):
        self.cfg = cfg
        self.pairs = find_pairs(cfg.datapath) if pairs is None else pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int | tuple[int, int]) -> Sample:
        cfg = self.cfg
        if isinstance(index, tuple):
            rng = np.random.default_rng((cfg.seed, *index))
            index = index[1]
        else:
            rng = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        pair = self.pairs[index]
        image, mask = read_image(pair.image), read_mask(pair.mask)
        image = normalise(resize(image.astype(np.float32), cfg.size), cfg.train_mean, cfg.train_std)
        mask = resize(mask.astype(np.float32), cfg.size) / 255
        if cfg.mode == "train":
            if rng.random() < cfg.flip:
                image, mask = flip(image, mask)
            image, mask = rotate(image, mask, rng.uniform(-cfg.rotate, cfg.rotate))
        return Sample(image, mask, int(rng.choice(cfg.scales)), pair.name)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack, at the side that the first sample drew."""
        size = samples[0].scale
        image = np.stack([resize(sample.image, size) for sample in samples])
        mask = np.stack([resize(sample.mask, size) for sample in samples])
        return Batch(
            torch.from_numpy(image).permute(0, 3, 1, 2).contiguous(),
            torch.from_numpy(mask).unsqueeze(1),
            [sample.name for sample in samples],
        )


class EpochSampler(Sampler[tuple[int, int]]):
    """(epoch, i) for every i of a data set in an order drawn from (seed, epoch); `start` an epoch before iterating."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch, self.skip = length, seed, 0, 0

    def start(self, epoch: int, skip: int = 0) -> None:
        """The next pass is that of `epoch`, without its first `skip` samples: they were seen before a resume."""
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        return self.length - self.skip

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.length)
        return iter([(self.epoch, int(i)) for i in order[self.skip :]])


# ------------------------------------------------------------------------------------------------------ test images


def split_pairs(pairs: list[Pair], fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """(training pairs, validation pairs): `fraction` of them, at least one, drawn by `seed`; none for 0."""
    if not fraction:
        return pairs, []
    if len(pairs) < 2:
        raise ValueError(f"val_fraction is {fraction} but there are {len(pairs)} pairs; at least 2 can be split")
    count = min(len(pairs) - 1, max(1, round(fraction * len(pairs))))
    held = set(np.random.default_rng(seed).permutation(len(pairs))[:count].tolist())
    return [p for i, p in enumerate(pairs) if i not in held], [p for i, p in enumerate(pairs) if i in held]


class TestImage(NamedTuple):
    """One image ready for the network, and what its map is called and how large it becomes."""

    image: Tensor  # (3, size, size) float32
    height: int
    width: int
    name: str


class TestImages(Dataset):
    """The images of one folder as the original predicts them: antialiased bilinear resize, ImageNet statistics."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    def __init__(self, images: str | Path | dict[str, Path], cfg: Config):
        """images: a folder, or name -> file."""
        self.cfg = cfg
        self.files = list((images if isinstance(images, dict) else list_images(images)).items())

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> TestImage:
        name, path = self.files[index]
        try:
            with Image.open(path) as file:
                image = file.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{path} cannot be decoded ({error}); replace it") from error
        small = image.resize((self.cfg.size, self.cfg.size), Image.Resampling.BILINEAR)
        array = np.asarray(small, np.float32) / 255
        array = normalise(array, self.cfg.test_mean, self.cfg.test_std)
        return TestImage(torch.from_numpy(array.transpose(2, 0, 1).copy()), image.height, image.width, name)


def native_map(pred: np.ndarray, height: int, width: int) -> Image.Image:
    """The 8-bit grey map of pred (h, w) float in [0, 1] at native size: truncated to 8 bits, then resized, bilinear."""
    return Image.fromarray((pred * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)


def write_map(path: Path, pred: np.ndarray, height: int, width: int) -> None:
    """Write `native_map` as PNG, whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        native_map(pred, height, width).save(temporary, format="PNG")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


__all__ = [
    "Batch",
    "Check",
    "Config",
    "Data",
    "EpochSampler",
    "Pair",
    "Sample",
    "TestImage",
    "TestImages",
    "check_pairs",
    "find_pairs",
    "image_and_mask_folders",
    "image_folder",
    "list_images",
    "mask_folder",
    "native_map",
    "read_grey",
    "read_image",
    "read_mask",
    "split_pairs",
    "write_map",
]
