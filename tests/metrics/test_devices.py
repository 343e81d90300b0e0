"""What a GPU would do otherwise, shown without one: it rounds some divisions differently, and waiting costs it most."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import metrics.scores
from metrics import OF_LEVELS, Scores, inputs
from metrics.summary import from_levels
from tests.helpers import SeesWaits

from .conftest import made_up_pair, read_pairs

ATEN = torch.ops.aten


class DividesAsCuda(TorchDispatchMode):
    """A tensor divided by a Python number is multiplied by its reciprocal, as CUDA's kernels do."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket is ATEN.div and not isinstance(args[1], torch.Tensor) and not kwargs:
            return args[0] * (1 / args[1])
        return func(*args, **(kwargs or {}))


@pytest.fixture
def batch_path(monkeypatch):
    """What runs on CUDA, on the CPU."""
    monkeypatch.setattr(inputs, "on_cpu", lambda maps: False)


def regular() -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.from_numpy(pred), torch.from_numpy(gt)) for pred, gt in read_pairs("regular").values()]


@pytest.mark.usefixtures("batch_path")
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("protocol", OF_LEVELS)
def test_scores_do_not_depend_on_how_a_device_divides(protocol, floats):
    here, there = Scores(protocol), Scores(protocol)
    for pred, gt in regular()[:8]:
        pred = pred / 255 if floats else pred
        here.update(pred, gt)
        with DividesAsCuda():
            there.update(pred, gt)
    with DividesAsCuda():
        there.result()
    for name, values in here.per_image.items():
        np.testing.assert_allclose(there.per_image[name], values, rtol=0, atol=1e-9, err_msg=name)


def test_the_division_of_cuda_is_another_one():
    with DividesAsCuda():
        there = torch.arange(256).double() / 255
    assert (there != torch.arange(256).double() / 255).any()


def updates(protocol: str, pred: torch.Tensor, gt: torch.Tensor, within: torch.Tensor) -> Scores:
    """8-bit and float maps, with and without a field of view, more than one batch."""
    scores = Scores(protocol)
    for levels in (pred, pred.float() / 255):
        for truth in (gt, gt > 0, gt.float() / 255):
            scores.update(levels, truth)
            scores.update(levels, truth, within)
    return scores


@pytest.fixture
def stacked(rng) -> list[torch.Tensor]:
    pred, gt = (torch.from_numpy(np.stack(maps)) for maps in zip(*[made_up_pair(rng, 40, 50) for _ in range(3)]))
    within = torch.ones(3, 40, 50, dtype=torch.bool)
    within[:, :8] = False
    return [pred, gt, within]


@pytest.mark.usefixtures("batch_path")
@pytest.mark.parametrize("protocol", OF_LEVELS)
def test_update_asks_the_device_for_nothing(protocol, stacked):
    with SeesWaits() as mode:
        scores = updates(protocol, *stacked)
        assert not mode.seen
        assert np.isfinite([*scores.result().values()]).all()
    assert mode.seen, "reading the result must ask"


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("protocol", OF_LEVELS)
def test_update_on_cuda_waits_for_nothing(protocol, stacked):
    there = [maps.cuda() for maps in stacked]
    updates(protocol, *there).result()  # what is made once per process may wait
    try:
        torch.cuda.set_sync_debug_mode("error")
        scores = updates(protocol, *there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = updates(protocol, *stacked).result()
    for name, value in scores.result().items():
        assert value == pytest.approx(expected[name], abs=1e-9), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("protocol", OF_LEVELS)
def test_scores_on_cuda_are_those_of_the_cpu(protocol, floats):
    here, there = Scores(protocol), Scores(protocol)
    for pred, gt in regular():
        pred = pred / 255 if floats else pred
        here.update(pred, gt)
        there.update(pred.cuda(), gt.cuda())
    for name, values in here.per_image.items():
        np.testing.assert_allclose(there.per_image[name], values, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.usefixtures("batch_path")
def test_the_counts_of_batches_become_scores_together(monkeypatch, stacked):
    pred, gt, _ = stacked
    turned = []
    monkeypatch.setattr(metrics.scores, "TOGETHER", {"cpu": 6})
    monkeypatch.setattr(
        metrics.scores, "from_levels", lambda counts, *rest: turned.append(len(counts)) or from_levels(counts, *rest)
    )
    scores, alone = Scores(), Scores()
    for _ in range(3):
        scores.update(pred, gt)
    assert turned == [6]
    assert len(scores) == 9
    alone.update(pred, gt)
    assert scores.result() == pytest.approx(alone.result(), abs=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_maps_on_the_cpu_and_on_cuda_make_one_table(stacked):
    pred, gt, _ = stacked
    mixed, alone = Scores(), Scores()
    for place in ("cpu", "cuda", "cpu"):
        mixed.update(pred.to(place), gt.to(place))
    alone.update(pred, gt)
    assert mixed.result() == pytest.approx(alone.result(), abs=1e-9)
