"""Patches of volumes to train on, drawn and augmented so that a seed means the same on any number of workers."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from augment import stream
from augment.solid import APPEARANCE, motion, patch_of
from configs import Config
from files import DiskCache, Pair, file_key
from volumes.reading import planes, read_image, read_indices


class Patches(Dataset):
    """`cfg.patches` of each pair's volume: (C, *size) float32, and its mask (classes, *size) float32, 0 or 1.

    A part `cfg.foreground` of them is about a voxel of a class that is drawn among those the volume has, the background
    not; the others lie anywhere in it. Index with (epoch, i): the random choices follow from (seed, epoch, i) alone.
    Volumes are resampled once where `cache` is a folder, else for every patch.
    """

    def __init__(self, cfg: Config, pairs: Sequence[Pair], batch: Callable[..., Any]):
        """batch: what a batch is made into, of images, masks and names."""
        self.cfg, self.pairs, self._labels, self._batch = cfg, pairs, cfg.labels, batch
        self._outside = cfg.labels.outside or 0  # the class of what is not in a volume
        self._cache = None
        if cfg.cache:
            made_with = cfg.spacing, cfg.intensity, cfg.label_values
            self._cache = DiskCache(cfg.cache, [file_key(*made_with, files=pair.files) for pair in pairs])

    def __len__(self) -> int:
        return len(self.pairs) * self.cfg.patches

    def __getitem__(self, index: Sequence[int]) -> tuple[np.ndarray, np.ndarray, str]:
        cfg, (epoch, i, *_) = self.cfg, index
        seeds = cfg.seed, epoch, i
        pair, name = i % len(self.pairs), self.pairs[i % len(self.pairs)].name
        volume = self._cache.get(pair, lambda: self._read(pair)) if self._cache else self._read(pair)
        matrix = motion((stream(seeds, "rotate"), stream(seeds, "zoom")), cfg.rotate, cfg.zoom, cfg.spacing)
        patch = patch_of(volume, self._centre(volume, stream(seeds, "place")), cfg.sides, matrix, self._outside)
        flips = stream(seeds, "flip").random(3)
        turned = [1 + axis for axis in cfg.mirror if flips[axis] < cfg.flip]
        patch = np.flip(patch, turned) if turned else patch
        image, mask = patch[:-1], planes(patch[-1], self._labels).astype(np.float32)
        for field, change in APPEARANCE.items():
            if strength := float(getattr(cfg, field)):
                image = change(image, stream(seeds, field), strength)
        return np.ascontiguousarray(image, np.float32), mask, name

    def _centre(self, volume: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The voxel about which a patch lies; within the volume as far as it is longer than the patch."""
        room = np.maximum(np.array(volume.shape[1:]) - self.cfg.sides, 0)
        half = (np.array(self.cfg.sides) - 1) / 2
        if rng.random() < self.cfg.foreground:
            # which classes there are is asked of every patch, for volumes may be many; it takes less than reading one
            counts = np.bincount(volume[-1].astype(np.uint8).ravel(), minlength=2)
            outside = self._labels.outside if self._labels.several else 0
            if there := [c for c in np.flatnonzero(counts) if c != outside]:
                places = np.flatnonzero(volume[-1] == rng.choice(there))
                voxel = np.unravel_index(rng.choice(places), volume.shape[1:])
                return np.array(voxel, float)
        start = np.where(room > 0, rng.integers(0, room + 1), (np.array(volume.shape[1:]) - self.cfg.sides) / 2)
        return start + half

    def _read(self, i: int) -> np.ndarray:
        """(C + 1, *space) float32: a pair's volume as the network sees it, and its class indices."""
        image, frame, grid = read_image(self.pairs[i].channels, self.cfg)
        indices = frame.labels_forward(read_indices(self.pairs[i], self._labels, grid), max(2, self._labels.count))
        return np.concatenate((image, indices[None].astype(np.float32)))

    def batch_bytes(self, patches: int) -> int:
        """What a batch takes."""
        return 4 * patches * (self.cfg.inputs + self.cfg.classes) * int(np.prod(self.cfg.sides))

    def collate(self, samples: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> Any:
        """A batch of images (N, C, *size), masks (N, classes, *size), names."""
        images, masks, names = zip(*samples, strict=True)
        return self._batch(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)), list(names))
