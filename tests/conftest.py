"""Fixtures that several test files share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.helpers import Tiny

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
sys.path.insert(0, str(GOLDEN))  # for `import recipe`


def pytest_collection_modifyitems(items):
    """`-m gpu` without a CUDA device skips and says why; with one, what cannot run fails."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True, scope="session")
def threads():
    """As many threads as cores, or as OMP_NUM_THREADS says: under pytest-xdist each worker takes its share."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))


@pytest.fixture(autouse=True, scope="session")
def alone():
    """Nobody else computes: what a run says of a busy machine is no matter of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.machine.load_and_cores", lambda: (0.0, os.cpu_count() or 1))
        yield


@pytest.fixture(autouse=True, scope="session")
def disk():
    """Nobody waits for it: that guards against a power cut, which no test can make, and costs minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def short_sighted(monkeypatch) -> None:
    """LossNet sees 32 pixels a side in place of 224: a fiftieth of the work, for claims that hold at any side."""
    monkeypatch.setattr("lossnet.vgg.SIDE", 32)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr("net.build", lambda network, backbone, classes, pretrained=False: Tiny(classes))
    monkeypatch.setattr("engine.record.distributions", lambda: [])  # which packages there are takes a second to say


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def golden():
    """The arrays of network.npz by key."""
    with np.load(GOLDEN / "network.npz") as file:
        return dict(file)


@pytest.fixture
def polyp_folder(tmp_path) -> Path:
    """TrainDataset/{image,mask} and TestDataset/small/{images,masks} with made-up pairs, one empty, one of odd size."""
    from tools.demo_data import write_demo_data

    write_demo_data(tmp_path, train=6, test=2)
    (tmp_path / "TestDataset" / "held-out").rename(tmp_path / "TestDataset" / "small")
    return tmp_path


@pytest.fixture
def write_png() -> Callable[..., Path]:
    def write(path: Path, array: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), array)
        return path

    return write


@pytest.fixture
def sets(tmp_path, write_png):
    """tmp/gt/{one,two}/masks and tmp/{good,bad}/{one,two}: two data sets, two methods, the good one better."""
    rng = np.random.default_rng(0)
    for dataset in ("one", "two"):
        for i in range(6):
            mask = np.zeros((40, 50), np.uint8)
            mask[8 + i : 28, 10:30] = 255
            write_png(tmp_path / "gt" / dataset / "masks" / f"{i}.png", mask)
            for method, shift in (("good", 1), ("bad", 6)):
                grey = cv2.GaussianBlur(np.roll(mask, shift + i, 1), (0, 0), 2) // 2 + rng.integers(0, 40, mask.shape)
                write_png(tmp_path / method / dataset / f"{i}.png", grey.astype(np.uint8))
    return tmp_path
