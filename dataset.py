"""Training pairs and test images as tensors: what is read, augmented, and stacked into batches.

The original normalises at full resolution in float64 and then resizes; both are linear, so resizing first gives the
same numbers for less work.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from augment import AUGMENTATIONS, augmented
from augment.original import flip, normalise, resize, rotate
from configs import Config
from files import (
    DiskCache,
    Files,
    MemoryCache,
    Pair,
    file_key,
    find_pairs,
    list_images,
    native_map,
    pairs_of,
    read_image,
    read_mask,
    read_planes,
    read_whole_image,
    write_maps,
)
from volumes import Patches, VolumeCase, Volumes


class Sample(NamedTuple):
    """What `Data` gives for one index, before batching."""

    image: np.ndarray  # (H, W, 3) float32 of the Config's size, normalised, augmented
    mask: np.ndarray  # (C, H, W) float32 in [0, 1], soft at the edges; a field of view is one plane more
    scale: int  # the longer side this sample would have its batch resized to
    name: str


class Batch(NamedTuple):
    """A training batch: image (N, 3, H, W), mask (N, C, H, W) float32 in [0, 1], and the names of the N pairs.

    within (N, 1, H, W): the field of view, 1 where loss counts; None where everything does. Of volumes the patches,
    (N, inputs, *size) and (N, C, *size).
    """

    image: Tensor
    mask: Tensor
    names: list[str]
    within: Tensor | None = None

    def to(self, device: torch.device, layout: torch.memory_format = torch.contiguous_format) -> "Batch":
        """The batch on a device, its images in this order of memory."""
        image, mask = self.image.to(device, non_blocking=True), self.mask.to(device, non_blocking=True)
        within = self.within if self.within is None else self.within.to(device, non_blocking=True)
        return Batch(image.contiguous(memory_format=layout), mask, self.names, within)


class Data(Dataset):
    """The training pairs under `cfg.datapath`, or those given, augmented as the original does and as fields add to it.

    Index with a `Key`, as `Batches` does, and the random choices follow from (seed, epoch, i) alone: the same
    whichever worker makes them, and different in every epoch. A plain i draws them from torch's generator, which every
    worker seeds differently (the original's workers all drew the same numbers).
    """

    def __init__(self, cfg: Config, pairs: list[Pair] | None = None):
        self.cfg = cfg
        self.pairs = pairs_of(cfg) if pairs is None else pairs
        self._labels = cfg.labels
        self._strengths = {name: float(getattr(cfg, name)) for name in AUGMENTATIONS}
        self._cache: MemoryCache | DiskCache | None = None
        if cfg.cache == "ram":
            planes = 3 + cfg.classes + bool(cfg.field_of_view)
            self._cache = MemoryCache(len(self.pairs), (*cfg.sides, planes), min(cfg.workers, os.cpu_count() or 1))
        elif cfg.cache:
            made_with = cfg.sides, cfg.train_mean, cfg.train_std, cfg.label_values
            keys = [file_key(*made_with, files=pair.files) for pair in self.pairs]
            self._cache = DiskCache(cfg.cache, keys)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: "int | Key") -> Sample:
        cfg = self.cfg
        if isinstance(index, tuple):
            key = Key(*index)
            seeds: tuple[int, ...] = cfg.seed, key.epoch, key.i
        else:
            key = Key(0, index)
            seeds = (int(torch.randint(2**62, ()).item()),)
        rng = np.random.default_rng(seeds)
        image, mask = self._kept(key.i) if self._cache else self._read(key.i)
        if cfg.mode == "train":
            # flip, turn, scale: the order of these draws is what a seed means; other augmentations draw elsewhere
            if rng.random() < cfg.flip:
                image, mask = flip(image, mask)
            image, mask = rotate(image, mask, rng.uniform(-cfg.rotate, cfg.rotate), self._labels.outside)
            statistics = cfg.train_mean, cfg.train_std
            image, mask = augmented(image, mask, self._strengths, seeds, statistics, self._labels.outside)
        return Sample(image, mask, key.scale or int(rng.choice(cfg.scales)), self.pairs[key.i].name)

    def _kept(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """`_read` by way of the cache, which has both as one (H, W, 3 + planes)."""
        assert self._cache

        def joined() -> np.ndarray:
            image, mask = self._read(i)
            return np.dstack((image, *mask))

        ready = self._cache.get(i, joined)
        return ready[..., :3], ready[..., 3:].transpose(2, 0, 1)

    def _read(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) and (planes, H, W) float32: the normalised image and the mask of a pair, before anything random."""
        cfg, pair = self.cfg, self.pairs[i]
        image = resize(read_image(pair.image).astype(np.float32), cfg.plane)
        planes = [*read_planes(pair.masks, self._labels)] + ([read_mask(pair.within)] if pair.within else [])
        mask = [resize(plane.astype(np.float32), cfg.plane) / 255 for plane in planes]
        return normalise(image, cfg.train_mean, cfg.train_std), np.stack(mask)

    def batch_bytes(self, images: int) -> int:
        """What a batch takes at the largest side."""
        return 4 * images * (3 + self.cfg.classes + bool(self.cfg.field_of_view)) * max(self.cfg.scales) ** 2

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack, at the size that the first sample drew."""
        sides, classes = self.cfg.sides_at(samples[0].scale), self.cfg.classes
        # OpenCV parts the colours in a tenth of the time that a transposed copy takes
        image = np.stack([cv2.split(resize(sample.image, sides)) for sample in samples])
        planes = torch.from_numpy(np.stack([[resize(plane, sides) for plane in sample.mask] for sample in samples]))
        return Batch(
            torch.from_numpy(image),
            planes[:, :classes],
            [sample.name for sample in samples],
            planes[:, classes:] if planes.shape[1] > classes else None,
        )


class Key(NamedTuple):
    """Which sample: epoch and index, and the side of its batch (0: it draws its own)."""

    epoch: int
    i: int
    scale: int = 0


class Batches(Sampler[list[Key]]):
    """The batches of an epoch, drawn from (seed, epoch): which pairs, in which order, at which side.

    Every one of `size` processes takes its part of each batch, all of them at one side, so that a step is the same
    step on any number of processes. `start` an epoch before iterating.
    """

    def __init__(self, length: int, cfg: Config, rank: int = 0, size: int = 1):
        self.length, self.cfg, self.rank, self.size = length, cfg, rank, size
        self.epoch, self.done = 0, 0

    def start(self, epoch: int, done: int = 0) -> None:
        """The next pass is that of `epoch`, without its first `done` batches: they were seen before a resume."""
        self.epoch, self.done = epoch, done

    @property
    def epochs(self) -> int:
        """As many as the run has."""
        return self.cfg.epoch

    @property
    def steps(self) -> int:
        """Batches of a whole epoch; the last may be smaller."""
        return -(-self.length // self.cfg.batch)

    def __len__(self) -> int:
        return self.steps - self.done

    def count(self, step: int) -> int:
        """Images of a batch over all processes; the last one of an epoch may be smaller."""
        return min(self.cfg.batch, self.length - step * self.cfg.batch)

    def share(self, step: int) -> float:
        """The part of a batch's images that this process has; 0 where there were too few and it got a stand-in."""
        return len(range(self.rank, self.count(step), self.size)) / self.count(step)

    def __iter__(self) -> Iterator[list[Key]]:
        rng = np.random.default_rng((self.cfg.seed, self.epoch))
        # of volumes every patch is of one size
        scales = self.cfg.scales or (0,)
        order, sides = rng.permutation(self.length), rng.choice(scales, self.done + len(self))
        for step in range(self.done, len(sides)):
            batch = order[step * self.cfg.batch :][: self.cfg.batch]
            mine = batch[self.rank :: self.size] if self.rank < len(batch) else batch[:1]
            yield [Key(self.epoch, int(i), int(sides[step])) for i in mine]


# ------------------------------------------------------------------------------------------------------ test images


class ImageCase(NamedTuple):
    """An image that is predicted: its name and native size; of one held out, what its map is scored against."""

    name: str
    height: int
    width: int
    planes: np.ndarray | None = None  # (C, height, width) uint8, 255 where the class is
    within: np.ndarray | None = None  # (height, width) bool, True where it counts; None: everywhere

    @property
    def units(self) -> dict[str, Any]:
        """What a score has to know beside map and mask: nothing, where lengths are in pixels."""
        return {}

    def finished(self, pred: np.ndarray) -> np.ndarray:
        """What the network has to give for `write`: its map (C, h, w) float32 as it is."""
        return pred

    def maps(self, pred: Tensor) -> list[np.ndarray]:
        """Of each class (height, width) uint8, as they are written and scored."""
        return [np.array(native_map(plane, self.height, self.width)) for plane in pred.numpy()]

    def pictures(self, planes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What a person is shown of `maps` or `planes`: these."""
        return list(planes)

    def write(self, folder: Path, found: np.ndarray, cfg: Config) -> None:
        """The files of what `finished` gave."""
        write_maps(folder, self.name, found, self.height, self.width, cfg.labels, cfg.probabilities)


class TestImage(NamedTuple):
    """One image ready for the network, (3, H, W) float32 of the Config's size."""

    image: Tensor
    case: ImageCase
    others: tuple[Tensor, ...] = ()  # the same image for further networks, each of a size of its own


class TestBatch(NamedTuple):
    """Images ready for the network, (N, 3, H, W), or a volume, and what becomes of their maps."""

    image: Tensor
    cases: Sequence[ImageCase | VolumeCase]
    others: tuple[Tensor, ...] = ()  # likewise


def prepared(image: Image.Image, cfg: Config) -> Tensor:
    """(3, H, W) float32 of the Config's size, as the original predicts: antialiased resize, ImageNet's statistics."""
    small = image.resize(cfg.plane[::-1], Image.Resampling.BILINEAR)
    array = normalise(np.asarray(small, np.float32) / 255, cfg.test_mean, cfg.test_std)
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


class TestImages(Dataset):
    """The images of one folder, ready for the network; `others` are Configs of further networks that read them too."""

    __test__ = False  # not a test case, whatever pytest makes of the name

    def __init__(self, images: str | Path | Mapping[str, Path], cfg: Config, others: Sequence[Config] = ()):
        """images: a folder, or name -> file."""
        self.cfg, self.others, self.at_once = cfg, others, cfg.test_batch
        self.files = list((list_images(images) if isinstance(images, (str, Path)) else images).items())
        self.batch_bytes = 4 * cfg.test_batch * 3 * sum(math.prod(each.plane) for each in (cfg, *others))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> TestImage:
        name, path = self.files[index]
        image = read_whole_image(path)
        others = tuple(prepared(image, cfg) for cfg in self.others)
        return TestImage(prepared(image, self.cfg), ImageCase(name, image.height, image.width), others)

    @staticmethod
    def collate(images: Sequence[TestImage]) -> TestBatch:
        others = tuple(map(torch.stack, zip(*(x.others for x in images), strict=True)))
        return TestBatch(torch.stack([x.image for x in images]), [x.case for x in images], others)


class HeldOut(TestImages):
    """Pairs to validate on: the image as `TestImages` gives it, its masks as they are scored."""

    def __init__(self, pairs: Sequence[Pair], cfg: Config):
        super().__init__({pair.name: pair.image for pair in pairs}, cfg)
        self.pairs, self._labels = pairs, cfg.labels

    def __getitem__(self, index: int) -> TestImage:
        (image, case, _), pair = super().__getitem__(index), self.pairs[index]
        within = read_mask(pair.within) > 127 if pair.within else None
        return TestImage(image, case._replace(planes=read_planes(pair.masks, self._labels), within=within))


# ---------------------------------------------------------------------------------------------- images or volumes


def to_train(cfg: Config, pairs: list[Pair]) -> "Data | Patches":
    """What `Batches` draws from: images, or patches of volumes."""
    return Data(cfg, pairs) if cfg.dims == 2 else Patches(cfg, pairs, Batch)


def to_predict(cfgs: Sequence[Config], files: Mapping[str, Files]) -> "TestImages | Volumes":
    """name -> the file of an image, or those of a volume's channels. cfgs: of each kind of input that is read."""
    if cfgs[0].dims == 3:
        return Volumes(files, cfgs[0], TestBatch, others=cfgs[1:])
    return TestImages({name: path for name, (path,) in files.items()}, cfgs[0], cfgs[1:])


def to_validate(cfg: Config, pairs: Sequence[Pair]) -> "HeldOut | Volumes":
    """The same of pairs, with what they are scored against."""
    if cfg.dims == 2:
        return HeldOut(pairs, cfg)
    return Volumes({pair.name: pair.channels for pair in pairs}, cfg, TestBatch, pairs)


__all__ = [
    "Batch",
    "Batches",
    "Config",
    "Data",
    "HeldOut",
    "ImageCase",
    "Key",
    "Pair",
    "Sample",
    "TestBatch",
    "TestImage",
    "TestImages",
    "find_pairs",
    "prepared",
    "to_predict",
    "to_train",
    "to_validate",
]
