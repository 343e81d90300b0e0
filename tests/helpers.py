"""What several test files share: a Config that trains in a moment, networks, golden weights, scores, counters."""

import copy
import csv
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import net
import train
from configs import ORIGINAL, Config
from configs.config import STATISTICS
from engine import distributed
from engine.inference import Predictor
from engine.log import Log
from engine.validation import chosen_by, validate
from files import Pair
from metrics import Scores
from net.backbones import IMAGENET, Backbone
from tests.golden import recipe


class TinyBackbone(Backbone):
    """A backbone of another family: level 1 has not 64 channels, so it needs a reduction.

    5 MB of network in place of 120: for claims about a run, its files and its data, which hold of any network.
    """

    channels = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8}
    strides = {1: (8, 8), 2: (8, 8), 3: (8, 8), 4: (16, 16), 5: (32, 32)}
    smallest = (64, 64)
    statistics = IMAGENET

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.BatchNorm2d(8), nn.ReLU())

    def features(self, image: Tensor) -> dict[int, Tensor]:
        level = self.stem(image)
        return {1: level, 2: level} | {k: F.avg_pool2d(level, 2 ** (k - 3), ceil_mode=True) for k in (3, 4, 5)}


net.BACKBONES["tiny"] = TinyBackbone
STATISTICS["tiny"] = ORIGINAL


class Tiny(nn.Module):
    """A network of a hundred weights, for what does not depend on the network."""

    def __init__(self, classes: int = 1):
        super().__init__()
        self.resnet = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(8, classes, 3, 1, 1), nn.Upsample(scale_factor=2))

    def require_shape(self, shape: tuple[int, ...]) -> None:
        """Any will do."""

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.resnet(image))


def small(folder: Path, **fields) -> Config:
    """A Config that trains in a moment."""
    defaults = {
        "datapath": str(folder / "TrainDataset"),
        "savepath": str(folder / "saved"),
        "backbone": "tiny",
        "backbone_weights": "random",
        "lossnet_weights": "random",
        "lossnet_factor": 0.0,
        "epoch": 1,
        "batch": 3,
        "size": 64,
        "scales": (64,),
        "workers": 0,
        "device": "cpu",
    }
    return Config(**(defaults | fields))


def all_losses(value: float) -> dict[str, Tensor]:
    """What the original's criterion gives, as if every loss were `value`."""
    return dict.fromkeys(("total", "structure", "lossnet"), torch.tensor(value))


def validated(network: nn.Module, pairs: list[Pair], cfg: Config, log: Log) -> float:
    """The validation score of one process alone."""
    team = distributed.Team(0, 1, torch.device("cpu"))
    predictor = Predictor(network, team.device)
    return validate(predictor, train.held_out(pairs, cfg, team), chosen_by(cfg), team, log)


def losses(folder: Path) -> list[float]:
    with open(folder / "saved" / "log.csv") as file:
        return [float(row["total"]) for row in csv.DictReader(file)]


def filled(name: str) -> net.MSNet:
    """The network with the weights that the golden values were measured with, to be changed at will."""
    return copy.deepcopy(_filled(name))


@cache
def _filled(name: str) -> net.MSNet:
    return recipe.fill(net.build(name))


def with_golden_batchnorm(network: net.MSNet, name: str, golden: dict) -> net.MSNet:
    prefix = f"{name}/bn/"
    stored = {
        key.removeprefix(prefix): torch.from_numpy(value) for key, value in golden.items() if key.startswith(prefix)
    }
    assert stored
    network.load_state_dict({**network.state_dict(), **stored})
    return network.eval()


def noisy(rng, count: int, noise: float) -> Scores:
    """The scores of `count` maps of one mask, in grey that differs from pixel to pixel and from map to map."""
    scores = Scores(keep_curves=True)
    gt = np.zeros((count, 30, 30), bool)
    gt[:, 5:20, 8:22] = True
    pred = np.clip(gt * 200 + rng.normal(0, noise, gt.shape) + rng.normal(0, noise, (count, 1, 1)), 0, 255)
    scores.update(pred.astype(np.uint8), gt)
    return scores


class Bar:
    """In place of tqdm's."""

    done = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count):
        self.done += count


def memory_of(work: Callable[[], object]) -> int:
    """Bytes that numpy and Python hold at most while `work` is done a second time; PyTorch's are not counted."""
    work()  # what is imported and cached on the way
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def require_equal_to_dense(view: nn.Module, dense: nn.Module, x: Tensor, conv: Callable[..., Tensor]) -> None:
    """A box view (kernel, width) beside the convolution of ones and the BatchNorm `dense` that it stands for.

    x (N, width, *space) float64: maps, gradients and running statistics.
    """
    width, kernel = x.shape[1], view.kernel
    dense.load_state_dict(view.norm.state_dict())
    ones = torch.ones(width, width, *[kernel] * (x.ndim - 2), dtype=torch.float64)
    expected = torch.relu(dense(conv(x, ones, padding=kernel // 2)))
    actual = view(x)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    target = torch.randn_like(actual)
    (g_actual,) = torch.autograd.grad((actual * target).sum(), x, retain_graph=True)
    (g_expected,) = torch.autograd.grad((expected * target).sum(), x)
    torch.testing.assert_close(g_actual, g_expected, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(dict(view.norm.named_buffers()), dict(dense.named_buffers()), rtol=1e-9, atol=1e-9)


ATEN = torch.ops.aten
# what the host must wait for the device for, to know a value or a size; lift_fresh: Python's numbers are copied there
WAITS = {
    *(ATEN._local_scalar_dense, ATEN.nonzero, ATEN.masked_select, ATEN.is_nonzero, ATEN.bincount, ATEN.equal),
    *(ATEN._unique2, ATEN.unique_consecutive, ATEN.unique_dim, ATEN.lift_fresh, ATEN.repeat_interleave),
}


class SeesWaits(TorchDispatchMode):
    """`seen`: the operations for which a host would wait for its device."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        by_truth = func.overloadpacket in (ATEN.index, ATEN.index_put, ATEN.index_put_) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if by_truth or func.overloadpacket in WAITS:
            self.seen.add(str(func))
        return func(*args, **(kwargs or {}))


class Counts(TorchDispatchMode):
    """`operations`: how many were run, views and reshapes left out; on a GPU each is a kernel to launch."""

    def __init__(self):
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        aliases = [returned.alias_info for returned in func._schema.returns]
        self.operations += not any(alias is not None and not alias.is_write for alias in aliases)
        return func(*args, **(kwargs or {}))
