"""Images in, maps out: the one way that validation and prediction run a network, and `load`, for use in Python."""

from argparse import Namespace
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

import net
import weights
from configs import Config, differences, of_run, record_beside
from dataset import ImageCase, TestBatch, prepared
from engine import checkpoint, machine
from engine.graphs import Replays
from engine.precision import Precision
from engine.windows import WindowPredictor, maps_of, mean_of
from files import native_probabilities

# what a checkpoint was trained with and an ensemble's members may have each to themselves
OWN = ("network", "backbone", "size", "test_mean", "test_std")
OWN_OF_VOLUMES = ("network", "widths", "strides", "width", "deep_supervision", "size", "spacing", "intensity")


class Predictor:
    """`predictor(images)`: (N, 3, H, W) -> (N, classes, H, W) float32 in [0, 1], on the CPU.

    With several `scales` of the input, or with `flip`, the maps of all views are averaged, each brought back to H x W
    and unmirrored; an input keeps at least 64 pixels a side.
    """

    def __init__(
        self,
        network: nn.Module,
        device: torch.device,
        amp: str = "off",
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
    ):
        self.network, self.device, self.precision = network, device, Precision(amp, device)
        self.scales, self.flips = scales, (False, True) if flip else (False,)
        # not a method: graphs that refer to what holds them, and a GPU's memory with them, outlive it
        maps = partial(maps_of, network, self.precision)
        self._maps = Replays(maps) if device.type == "cuda" else maps

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
        pred = self._maps(images.flip(3) if flip else images)
        pred = pred.flip(3) if flip else pred
        return pred if scale == 1 else F.interpolate(pred, size, mode="bilinear", align_corners=False)


class Ensemble:
    """`Predictor`s of several networks as one: the mean of their maps."""

    def __init__(self, members: Sequence[Predictor], cfgs: Sequence[Config]):
        """cfgs: of each member, whose size and statistics its images have."""
        self.members, self.device = members, members[0].device
        inputs = [(cfg.sides, cfg.test_mean, cfg.test_std) for cfg in cfgs]
        distinct = list(dict.fromkeys(inputs))
        self._reads = [distinct.index(mine) for mine in inputs]
        self.inputs = [cfgs[inputs.index(each)] for each in distinct]  # a Config for each kind of image that is read

    def __call__(self, batch: TestBatch) -> list[np.ndarray]:
        """N maps (C, h, w) of a batch that holds N images for each of `inputs`.

        Maps of one size have their mean there, and that is h, w; those of several have it at native size.
        """
        images = batch.image, *batch.others
        sizes = [(case.height, case.width) for case in batch.cases if isinstance(case, ImageCase)]
        maps = [member(images[kind]) for member, kind in zip(self.members, self._reads, strict=True)]
        if len({pred.shape for pred in maps}) == 1:
            return [*torch.stack(maps).mean(0).numpy()]
        native = [
            [native_probabilities(p, *size) for p, size in zip(pred.numpy(), sizes, strict=True)] for pred in maps
        ]
        return [np.mean(of_image, 0) for of_image in zip(*native, strict=True)]


class VolumeEnsemble:
    """The same of volumes. Members that read them alike are one `WindowPredictor`."""

    def __init__(self, networks: Sequence[nn.Module], cfgs: Sequence[Config], device: torch.device):
        """cfgs: of each member, whose patch, spacing and intensities its volumes have."""
        read = [(cfg.sides, cfg.spacing, cfg.intensity) for cfg in cfgs]
        distinct = list(dict.fromkeys(read))
        alike = [[network for network, mine in zip(networks, read) if mine == each] for each in distinct]
        self.inputs, self.device = [cfgs[read.index(each)] for each in distinct], device
        self._windows = [by_windows(cfg, these, device) for cfg, these in zip(self.inputs, alike, strict=True)]
        self._weights = [len(these) / len(networks) for these in alike]

    def __call__(self, batch: TestBatch) -> list[Iterator[Tensor]]:
        """Of each volume its slabs, see `WindowPredictor`; where members read it otherwise, on its own grid."""
        if len(self._windows) == 1:
            return self._windows[0](batch.image)
        each = [windows(images) for windows, images in zip(self._windows, (batch.image, *batch.others), strict=True)]
        return [self._mean(case, slabs) for case, *slabs in zip(batch.cases, *each, strict=True)]

    def _mean(self, case: Any, several: Sequence[Iterator[Tensor]]) -> Iterator[Tensor]:
        there = [frame.planes_back(slabs) for frame, slabs in zip(case.read, several, strict=True)]
        return mean_of(there, self._weights)


def members(cfg: Config, snapshots: Sequence[Path], given: Collection[str]) -> list[Config]:
    """`cfg` for each checkpoint: network, backbone, size and statistics are its own run's, but for those `given`;
    of volumes the channels, strides, patch, spacing and intensities.

    cfg is the first one's; so is that of a file without a record. What is another's is said. ValueError for one of
    other classes, or of other channels of a volume.
    """
    configs, own_fields = [cfg], OWN if cfg.dims == 2 else OWN_OF_VOLUMES
    for snapshot in snapshots[1:]:
        theirs = (None if {*own_fields} <= {*given} else of_run(snapshot)) or cfg
        for name in ("classes", "label_values", *(("inputs",) if cfg.dims == 3 else ())):
            if name not in given and (was := getattr(theirs, name)) != (first := getattr(cfg, name)):
                why = "they read other images" if name == "inputs" else "only maps of the same classes have a mean"
                raise ValueError(f"{snapshot} was trained with {name} {was}, {snapshots[0]} with {first}; {why}")
        own = {name: getattr(theirs, name) for name in own_fields if name not in given}
        if other := [f"{name} {value}" for name, value in own.items() if value != getattr(cfg, name)]:
            print(f"NOTE: {snapshot} predicts as its own run was: {', '.join(other)}")
        configs.append(cfg.changed(**own))
    return configs


def ensemble(cfgs: Sequence[Config], snapshots: Sequence[Path]) -> "Ensemble | VolumeEnsemble":
    """What `cfgs` say of prediction, with a checkpoint each. ValueError for one of another network."""
    device, first = machine.device(cfgs[0].device), cfgs[0]

    def network_of(cfg: Config, snapshot: Path) -> nn.Module:
        network = net.load(net.build(cfg.network, cfg.backbone, cfg.classes, **cfg.shape), snapshot)
        network.require_shape((cfg.test_batch, cfg.inputs or 3, *cfg.sides))
        return net.fold_batchnorm(network).to(device)

    networks = [network_of(cfg, snapshot) for cfg, snapshot in zip(cfgs, snapshots, strict=True)]
    if first.dims == 3:
        return VolumeEnsemble(networks, cfgs, device)
    views = first.test_amp, first.test_scales, first.test_flip
    return Ensemble([Predictor(each.to(memory_format=torch.channels_last), device, *views) for each in networks], cfgs)


def predictor_of(cfg: Config, network: nn.Module, device: torch.device) -> Predictor | WindowPredictor:
    """What a run validates with: one view, in float32; of volumes as they are predicted."""
    return by_windows(cfg, [network], device) if cfg.dims == 3 else Predictor(network, device)


def by_windows(cfg: Config, networks: Sequence[nn.Module], device: torch.device) -> WindowPredictor:
    """What `cfg` says of the prediction of volumes."""
    axes = cfg.mirror if cfg.test_flip else ()
    return WindowPredictor(networks, device, cfg.sides, cfg.test_amp, cfg.overlap, axes, cfg.test_batch)


def config_of(snapshot: Path) -> Config:
    """The settings that a checkpoint is to predict with; says where they are from.

    The record of its run; without one what its entries tell, and the original's size and statistics. The default for a
    file that is not there: whoever opens it has the words.
    """
    if cfg := of_run(snapshot):
        print(f"settings of the run: {record_beside(snapshot)}")
        return cfg
    if not snapshot.is_file():
        return Config()
    network, backbone, classes = net.kind_of(weights.load(snapshot))
    if backbone == "volume":
        raise ValueError(
            f"{snapshot} is of volumes and has no config.json beside it, which says its size, spacing and strides; "
            "keep the two together"
        )
    told: dict[str, Any] = {key: name for key, name in (("network", network), ("backbone", backbone)) if name}
    if classes > 1:
        told |= {"classes": classes, "label_values": tuple(range(classes))}
    cfg = Config(**told)
    mean, std = (",".join(f"{value:.4g}" for value in values) for values in (cfg.test_mean, cfg.test_std))
    kind = ", ".join(f"{name} {value}" for name, value in told.items()) or "nothing"
    print(
        f"no config.json beside {snapshot}: its entries tell {kind}; "
        f"assumed are size {cfg.size}, test_mean {mean}, test_std {std}"
    )
    return cfg


def config_of_flags(flags: Namespace) -> Config:
    """What a command line without a config file begins from: the run of the (first) snapshot that it gives."""
    return config_of(checkpoint.named(flags.snapshot)[0]) if flags.snapshot else Config()


class ImagePredictor:
    """`predictor(image)`: (H, W, 3) uint8 RGB -> (H, W) float32 in [0, 1]; with several classes (C, H, W).

    The map that prediction_rgb.py writes of such a file, before it has 8 bits. ValueError for another image.
    """

    def __init__(self, cfg: Config, tensors: Ensemble):
        self.cfg, self._tensors = cfg, tensors

    def __call__(self, image: np.ndarray) -> np.ndarray:
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ValueError(f"image is {image.dtype} of shape {image.shape}; expected uint8, (H, W, 3), RGB")
        height, width = image.shape[:2]
        inputs = [prepared(Image.fromarray(image), cfg)[None] for cfg in self._tensors.inputs]
        (pred,) = self._tensors(TestBatch(inputs[0], [ImageCase("", height, width)], tuple(inputs[1:])))
        maps = native_probabilities(pred, height, width)
        return maps if len(maps) > 1 else maps[0]


def load(snapshot: str | Path | Sequence[str | Path], device: str = "auto", **fields: Any) -> ImagePredictor:
    """What makes maps of images, as the run of a checkpoint had it: see `ImagePredictor`.

    snapshot: a file, a pattern, or several, whose maps are averaged. All else (network, backbone, classes, size,
    statistics, views, precision) is from the config.json beside it, of several views, precision and classes from the
    first one's, unless given as fields of Config; without one the entries tell network, backbone and classes, and what
    is assumed is said. `tf32` is set for the whole process.
    """
    files = checkpoint.named(snapshot)
    cfg = config_of(files[0]).changed(device=device, **fields)
    cfgs = members(cfg, files, fields)
    for each, file in zip(cfgs, files, strict=True):
        for difference in differences(each, file):
            print(f"NOTE: {difference}")
    machine.allow_tf32(cfg.tf32)
    predictors = ensemble(cfgs, files)
    if not isinstance(predictors, Ensemble):
        raise ValueError(
            f"{files[0]} is of volumes: python prediction_rgb.py --snapshot FILE --images DIR --out DIR reads these"
        )
    return ImagePredictor(cfg, predictors)
