"""The kernels give what PyTorch's own operations give; without a GPU Triton's interpreter runs them, on tiny maps."""

import ast
import sys
import warnings
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from metrics import OF_LEVELS, Scores, gpu, inputs, nearest, summary, weighted_f
from tests.conftest import ROOT

from .conftest import made_up_pair

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
needs_triton = [pytest.mark.skipif(find_spec("triton") is None, reason="this PyTorch comes without Triton")]
needs_triton += [pytest.mark.gpu] if GPU else []


def spots(height: int, width: int, *places: tuple[int, int]) -> np.ndarray:
    gt = np.zeros((height, width), bool)
    for place in places:
        gt[place] = True
    return gt


MASKS = {
    "empty": spots(9, 11),
    "full": ~spots(9, 11),
    "a corner": spots(9, 11, (8, 10)),
    "a chessboard of spots": spots(13, 14, *[(y, x) for y in (2, 6, 10) for x in (3, 7, 12)]),
    "a column": spots(21, 1, (3, 0), (12, 0), (13, 0)),
    "a row": spots(1, 45, (0, 20)),
    "at random": np.random.default_rng(1).random((23, 29)) < 0.03,
}


@pytest.fixture
def kernels():
    from metrics import launch

    return launch


def maps(*masks: np.ndarray, dtype: torch.dtype = torch.uint8) -> tuple[torch.Tensor, torch.Tensor]:
    """Levels that tell every pixel from its neighbours, and gts."""
    gt = torch.from_numpy(np.stack(masks))
    level = torch.randint(0, 256, gt.shape, generator=torch.Generator().manual_seed(7), dtype=torch.uint8).to(dtype)
    return (level if dtype == torch.uint8 else level / 1.7).to(DEVICE), gt.to(DEVICE)


def rows_to_nearest(gt: torch.Tensor) -> torch.Tensor:
    """By comparing each row with each."""
    row = torch.arange(gt.shape[1], device=gt.device)
    apart = (row[:, None] - row).abs()[None, :, :, None]
    return torch.where(gt[:, None], apart, 255).amin(2).clamp(max=255).to(torch.uint8)


class TestOnADevice:
    pytestmark = needs_triton

    @pytest.mark.parametrize("name", MASKS)
    def test_rows_to_the_nearest_foreground_of_a_column_are_exact(self, kernels, name):
        _, gt = maps(MASKS[name])
        assert torch.equal(kernels.columns(gt), rows_to_nearest(gt))

    def test_a_column_of_more_than_255_rows_is_far_and_no_more(self, kernels):
        _, gt = maps(spots(270, 2, (269, 0)))
        assert torch.equal(kernels.columns(gt), rows_to_nearest(gt))

    @pytest.mark.parametrize("ties", nearest.OFFSETS)
    @pytest.mark.parametrize("name", MASKS)
    def test_the_nearest_pixel_is_the_same_to_the_bit(self, kernels, name, ties):
        level, gt = maps(MASKS[name], dtype=torch.float64 if ties == "pranet" else torch.uint8)
        within_reach = nearest.squared_distance(gt) <= nearest.FARTHEST
        expected = torch.where(within_reach, nearest.nearest_error(level.double(), gt, ties), level.double())
        found = kernels.nearest_level(level, gt, kernels.columns(gt), ties == "official")
        assert found.dtype == level.dtype
        assert torch.equal(found.double(), expected)

    @pytest.mark.parametrize("name", [name for name in MASKS if name != "empty"])
    def test_sums_of_errors_are_the_same(self, kernels, name):
        self.compare_sums(kernels, *maps(MASKS[name]))

    def test_sums_of_float_maps_in_a_batch_of_several_blocks_are_the_same(self, kernels, monkeypatch):
        monkeypatch.setattr(kernels, "BLOCK", 128)
        rng = np.random.default_rng(2)
        self.compare_sums(kernels, *maps(rng.random((9, 17)) < 0.1, rng.random((9, 17)) < 0.6, dtype=torch.float64))

    def test_the_distance_is_exact_far_away_and_black_pixels_have_no_part(self, kernels):
        gt = torch.from_numpy(spots(2, 80, (0, 3))).to(DEVICE)[None]
        level = torch.zeros_like(gt, dtype=torch.uint8)
        level[0, 1, 60] = 1
        self.compare_sums(kernels, level, gt, offset=0)

    def test_an_empty_gt_scores_0(self, kernels, monkeypatch):
        monkeypatch.setattr(kernels, "FADED", 8)  # nothing is near: all the columns are looked at
        monkeypatch.setattr(weighted_f, "kernels_for", lambda maps: kernels)
        level, gt = maps(MASKS["empty"])
        zero, span = (torch.full((1,), value, dtype=torch.float64, device=DEVICE) for value in (0, 255))
        assert weighted_f.weighted_f_batch(level, gt, None, zero, span).tolist() == [0]

    def compare_sums(self, kernels, level, gt, offset=-2.0):
        background = ~gt
        background[:, :, -1] = False  # outside a field of view
        low, top = (torch.full((len(gt),), value, dtype=torch.float64, device=DEVICE) for value in (offset, 260))
        found = kernels.error_sums(level, gt, background, low, top, True)
        expected = weighted_f.error_sums(level, gt, background, low, top, "official")
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-12)

    @pytest.mark.parametrize("bins", [512, 2048])
    def test_counts_are_exact_and_negative_numbers_are_not_counted(self, kernels, bins):
        index = torch.randint(-40, bins, (2, 71, 83), generator=torch.Generator().manual_seed(3), dtype=torch.int16)
        index[0, :30], index[1, 3] = 0, bins - 1
        index = index.to(DEVICE)
        found = kernels.tally(index, bins)
        assert torch.equal(found, summary.tally(index, bins) if not GPU else tallied(index, bins))
        assert found.sum() == (index >= 0).sum()

    @pytest.mark.parametrize("protocol", OF_LEVELS)
    def test_scores_by_kernels_are_those_of_the_cpu(self, kernels, monkeypatch, rng, protocol):
        pred, gt = (torch.from_numpy(each[None]) for each in made_up_pair(rng, 11, 13))
        within = torch.ones_like(gt, dtype=torch.bool)
        within[:, :, :3] = False
        here, there = Scores(protocol), Scores(protocol)
        here.update(pred, gt)
        here.update(pred, gt, within)
        monkeypatch.setattr(inputs, "on_cpu", lambda maps: False)
        for module in (summary, weighted_f):
            monkeypatch.setattr(module, "kernels_for", lambda maps: kernels)
        there.update(pred.to(DEVICE), gt.to(DEVICE))
        there.update(pred.to(DEVICE), gt.to(DEVICE), within.to(DEVICE))
        for name, values in here.per_image.items():
            np.testing.assert_allclose(there.per_image[name], values, rtol=0, atol=1e-11, err_msg=name)

    def test_the_probe_builds_all_of_them(self, kernels):
        kernels.probe(DEVICE)


def tallied(index: torch.Tensor, bins: int) -> torch.Tensor:
    return summary.tally(index.cpu(), bins).to(index.device)


@pytest.fixture
def fresh():
    gpu.built.cache_clear()
    yield
    gpu.built.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_kernels_that_cannot_be_built_are_done_without_and_that_is_said_once(monkeypatch):
    def probe(device):
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\nmore")

    monkeypatch.setattr(gpu, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "metrics.launch", SimpleNamespace(probe=probe))
    with pytest.warns(UserWarning, match=r"cannot be built here \(Failed to find C compiler.*; PyTorch"):
        assert gpu.built(DEVICE) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert gpu.built(DEVICE) is None


@pytest.mark.usefixtures("fresh")
def test_without_triton_nothing_is_tried_or_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "metrics.launch", raising=False)
    assert gpu.built(DEVICE) is None


def test_maps_on_the_cpu_have_no_kernels(monkeypatch):
    monkeypatch.setattr(gpu, "built", lambda device: pytest.fail("looked for Triton"))
    assert gpu.kernels_for(torch.zeros(1, 2, 2)) is None


def test_only_the_kernels_import_triton_and_only_when_they_are_asked_for():
    for path in sorted((ROOT / "metrics").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert (path.name == "kernels.py") == ("triton" in names), path
        at_top = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "metrics"]
        imported = {alias.name for node in at_top for alias in node.names}
        assert "launch" not in imported and (path.name == "launch.py") == ("kernels" in imported), path


class Launches(TorchDispatchMode):
    """Counts operations, and keeps the widest element of what is as large as a batch."""

    def __init__(self, pixels: int):
        super().__init__()
        self.pixels, self.count, self.widest = pixels, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        self.count += not func.is_view
        if isinstance(made, torch.Tensor) and made.numel() >= self.pixels:
            self.widest = max(self.widest, made.element_size())
        return made


def test_beside_its_kernels_a_batch_costs_a_hundred_operations_and_stays_bytes(monkeypatch, rng):
    """1580 and float64 by PyTorch's own."""
    zeros = SimpleNamespace(
        tally=lambda index, bins: torch.zeros(len(index), bins, dtype=torch.int32),
        error_sums=lambda level, gt, *_: torch.zeros(2, len(gt), dtype=torch.float64),
    )
    monkeypatch.setattr(inputs, "on_cpu", lambda maps: False)
    for module in (summary, weighted_f):
        monkeypatch.setattr(module, "kernels_for", lambda maps: zeros)
    pred, gt = (torch.from_numpy(np.stack([each] * 4)) for each in made_up_pair(rng, 60, 70))
    with Launches(pred.numel()) as seen:
        Scores().update(pred, gt)
    assert seen.count <= 100
    assert seen.widest == 2
