"""Whole volumes to predict and to validate on, and what becomes of a prediction: a volume on the source's own grid."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from configs import Config
from files import Grid, Pair, read_grid, volume_files, write_volume
from volumes.frame import Frame, frame_of
from volumes.reading import planes, read_images, read_indices, values


class VolumeCase(NamedTuple):
    """A volume that is predicted: its name, where it lies, and of one held out what it is scored against.

    frame: of the prediction that `finished` is given; read: of each kind of image that is read of it.
    """

    name: str
    frame: Frame
    grid: Grid
    cfg: Config
    truth: np.ndarray | None = None  # (X, Y, Z) uint8 class indices
    read: tuple[Frame, ...] = ()
    within: None = None  # all of a volume counts

    @property
    def units(self) -> dict[str, Any]:
        """What a score has to know beside map and mask: how long a voxel is."""
        return {"spacing": self.grid.spacing}

    @property
    def planes(self) -> list[np.ndarray]:
        """What is scored against, of each class (X, Y, Z) bool."""
        assert self.truth is not None
        return list(planes(self.truth, self.cfg.labels))

    def finished(self, pred: Iterator[Tensor]) -> np.ndarray:
        """(X, Y, Z) uint8 class indices, the likeliest; of one class 1 where its probability is a half or more.

        Where probabilities are asked for, these, (classes, X, Y, Z) float32: their memory grows with the classes.
        """
        there = self.frame.planes_back(pred)
        if self.cfg.probabilities:
            return np.stack([self.frame.back(channel) for channel in torch.cat(list(there), 1).numpy()])
        found, done = np.empty(self.frame.turned, np.uint8), 0
        for part in map(_likeliest, there):  # a loop over slabs would keep one while the next is made
            found[done : done + len(part)] = part.numpy()
            done += len(part)
        return self.frame.back(found)

    def maps(self, pred: Iterator[Tensor]) -> list[np.ndarray]:
        """Of each class (X, Y, Z) bool, as they are written and scored."""
        return list(planes(self._indices(self.finished(pred)), self.cfg.labels))

    def pictures(self, planes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What a person is shown of `maps` or `planes`: (right, front) uint8 of the middle, seen from the feet."""
        turned = [self.frame.turn(plane[None])[0] for plane in planes]
        return [np.where(plane[..., plane.shape[2] // 2], np.uint8(255), np.uint8(0)) for plane in turned]

    def write(self, folder: Path, found: np.ndarray, cfg: Config) -> None:
        """The files of what `finished` gave."""
        labels, (path, *of_classes) = cfg.labels, volume_files(folder, self.name, cfg.labels, cfg.probabilities)
        for channel, file in zip(found if of_classes else (), of_classes, strict=bool(of_classes)):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_volume(file, channel, self.grid)
        path.parent.mkdir(parents=True, exist_ok=True)
        indices = self._indices(found)
        write_volume(path, values(indices, labels), self.grid)

    def _indices(self, found: np.ndarray) -> np.ndarray:
        return _likeliest(torch.from_numpy(found)).numpy() if found.ndim == 4 else found


class Volumes(Dataset):
    """Whole volumes, name -> channels, ready for the network; of pairs with what they are scored against.

    `others` are Configs of further networks that read them too, at a spacing or with intensities of their own: then
    what is predicted has to be on the source's grid, the only one that all share.
    """

    at_once = 1  # they are of many sizes; how many windows go together is the predictor's to say

    def __init__(
        self,
        files: Mapping[str, Sequence[Path]],
        cfg: Config,
        batch: Callable[..., Any],
        pairs: Sequence[Pair] | None = None,
        others: Sequence[Config] = (),
    ):
        """batch: what a batch is made into, of images, cases and the images for each of `others`."""
        self.cfg, self.files, self._batch, self.pairs = cfg, list(files.items()), batch, pairs
        self.kinds = cfg, *others

    def __len__(self) -> int:
        return len(self.files)

    @property
    def batch_bytes(self) -> int:
        """What the largest takes, by the heads of the files."""
        grids = (read_grid(channels[0]) for _, channels in self.files)
        voxels = (sum(math.prod(frame_of(grid, cfg.spacing).shape) for cfg in self.kinds) for grid in grids)
        return max((4 * self.cfg.inputs * many for many in voxels), default=0)

    def __getitem__(self, index: int) -> tuple[list[Tensor], VolumeCase]:
        name, channels = self.files[index]
        found, grid = read_images(channels, self.kinds)
        images, frames = zip(*found, strict=True)
        truth = read_indices(self.pairs[index], self.cfg.labels, grid) if self.pairs else None
        frame = frames[0] if len(frames) == 1 else frames[0].at_source
        return [*map(torch.from_numpy, images)], VolumeCase(name, frame, grid, self.cfg, truth, frames)

    def collate(self, samples: Sequence[tuple[list[Tensor], VolumeCase]]) -> Any:
        ((images, case),) = samples  # stacked, a volume would be in memory twice
        first, *others = (image[None] for image in images)
        return self._batch(first, [case], tuple(others))


def _likeliest(pred: Tensor) -> Tensor:
    """(*space) uint8 of probabilities (classes, *space)."""
    found = torch.empty(pred.shape[1:], dtype=torch.uint8)
    for i, plane in enumerate(pred.unbind(1)):  # argmax takes eight bytes a voxel
        found[i] = plane.argmax(0) if len(plane) > 1 else plane[0] >= 0.5
    return found
