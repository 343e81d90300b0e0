"""LossNet in one batch with derivatives by hand: its kernels beside ATen, the whole beside autograd."""

import copy

import pytest
import torch
import torch.nn.functional as F
from recipe import fill
from torch import Tensor

import fused
from engine.graphs import Replays
from lossnet import LossNet, features, vgg
from tests.helpers import Counts, SeesWaits

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
LAST = torch.channels_last
# (N, C, H, W): two programs and a rest, odd sides, one window of channels that are no power of two, VGG-16's widest
SHAPES = [(1, 64, 13, 12), (2, 8, 5, 7), (3, 5, 2, 2), (1, 512, 3, 2)]
ROUNDING = {torch.float32: 1e-6, torch.float16: 2**-10, torch.bfloat16: 2**-7}


@pytest.fixture(scope="module")
def lossnet() -> LossNet:
    """An eighth of VGG-16's channels: the same blocks in a fiftieth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg, "CHANNELS", tuple(channels // 8 for channels in vgg.CHANNELS))
        return fill(LossNet())


def defined_squares(maps: Tensor, pool: bool) -> tuple[Tensor, Tensor | None]:
    x, y = maps.chunk(2)
    return F.mse_loss(x, y)[None], F.max_pool2d(maps, 2) if pool else None


def defined_slope(maps: Tensor, grad: Tensor, to_pooled: Tensor | None) -> Tensor:
    """By autograd, of what was x before its ReLU."""
    x, y = maps.chunk(2)
    with torch.enable_grad():
        before = x.detach().requires_grad_()
        after = before.relu()
        found, given = [F.mse_loss(after, y)], [grad]
        if to_pooled is not None:
            found, given = [*found, F.max_pool2d(after, 2)], [*given, to_pooled]
        return torch.autograd.grad(found, before, given)[0]


@pytest.fixture
def in_operations(monkeypatch) -> None:
    """In place of the kernels what they stand for, in any dtype."""
    monkeypatch.setattr("fused.pool.rectify_", lambda maps, bias: maps.add_(bias.view(-1, 1, 1)).relu_())
    monkeypatch.setattr("fused.pool.squares", defined_squares)
    monkeypatch.setattr("fused.pool.slope", defined_slope)


def rectified(shape, dtype, device) -> Tensor:
    """Two stacks as after a ReLU, of few numbers: windows of zeros, and windows with several that are largest."""
    torch.manual_seed(0)
    n, *rest = shape
    return (torch.randn(2 * n, *rest) * 2).round().relu().to(device, dtype, memory_format=LAST)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("shape", SHAPES)
def test_pooling_and_its_gradient_are_atens_to_the_bit(device, dtype, shape):
    from fused.pool import slope, squares

    maps = rectified(shape, dtype, device)
    x, zero = maps.chunk(2)[0], torch.zeros((), device=device)
    partial, pooled = squares(maps, pool=True)
    assert pooled.is_contiguous(memory_format=LAST) and torch.equal(pooled, F.max_pool2d(maps, 2))
    assert partial.dtype == torch.float32 and partial.sum().item() == pytest.approx(
        F.mse_loss(*maps.double().chunk(2)).item(), rel=1e-6
    )
    g = torch.randn(len(x), *pooled.shape[1:]).to(pooled)
    found = slope(maps, zero, g)
    assert found.is_contiguous(memory_format=LAST) and torch.equal(found, defined_slope(maps, zero, g))


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_of_equal_numbers_the_first_has_the_gradient_and_what_pooling_drops_has_none(device):
    from fused.pool import slope

    maps = torch.ones(2, 8, 5, 3).to(device, memory_format=LAST)
    found = slope(maps, torch.ones((), device=device), torch.ones(1, 8, 2, 1, device=device))
    expected = torch.tensor([[1.0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]], device=device)
    assert torch.equal(found, expected.expand(1, 8, 5, 3))


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("pool", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_gradients_of_a_map_are_added_in_float32_and_rounded_once(device, dtype, pool, shape):
    from fused.pool import slope

    maps, grad = rectified(shape, dtype, device), torch.tensor(1000.0, device=device)
    n, channels, height, width = shape
    g = torch.randn(n, channels, height // 2, width // 2).to(maps) if pool else None
    exact = defined_slope(maps.double(), grad.double(), g.double() if pool else None)
    torch.testing.assert_close(slope(maps, grad, g).double(), exact, rtol=ROUNDING[dtype], atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_bias_is_added_in_float32_and_what_is_below_zero_cut(device, dtype, shape):
    from fused.pool import rectify_

    torch.manual_seed(0)
    maps, bias = torch.randn(shape).to(device, dtype, memory_format=LAST), torch.randn(shape[1]).to(device, dtype)
    maps[0, 0, 0, 0] = torch.nan
    exact = (maps.double() + bias.double().view(-1, 1, 1)).relu()
    assert rectify_(maps, bias) is maps
    torch.testing.assert_close(maps.double(), exact, rtol=ROUNDING[dtype], atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_a_pooled_map_keeps_what_is_not_a_number(device):
    from fused.pool import squares

    maps = rectified((1, 8, 4, 4), torch.float16, device)
    maps[0, 3, 1, 0] = torch.nan
    partial, pooled = squares(maps, pool=True)
    torch.testing.assert_close(pooled, F.max_pool2d(maps, 2), rtol=0, atol=0, equal_nan=True)
    assert partial.sum().isnan()


def _double(lossnet: LossNet) -> LossNet:
    return copy.deepcopy(lossnet).double()


def results(how, pred: Tensor, target: Tensor) -> list[Tensor]:
    pred = pred.detach().clone().requires_grad_()
    loss = how(pred, target)
    return [loss.detach(), torch.autograd.grad(3 * loss, pred)[0]]


def forced(lossnet: LossNet, dtype: torch.dtype):
    """The loss as CUDA has it under autocast."""
    return lambda pred, target: features.distance(lossnet._prepare(pred), lossnet._prepare(target), lossnet._in(dtype))


@pytest.mark.usefixtures("in_operations")
@pytest.mark.parametrize("side", [32, 37])
@pytest.mark.parametrize(("batch", "channels"), [(1, 1), (2, 3)])
def test_derivatives_by_hand_are_those_of_autograd_in_float64(lossnet, side, batch, channels, monkeypatch):
    monkeypatch.setattr(vgg, "SIDE", side)
    whole = _double(lossnet)
    pred, target = torch.rand(2, batch, channels, 50, 41, dtype=torch.float64).round(decimals=1)
    torch.testing.assert_close(
        results(forced(whole, torch.float64), pred, target), results(whole, pred, target), rtol=1e-12, atol=1e-15
    )


def test_with_its_kernels_it_is_the_loss_in_float32(lossnet, monkeypatch):
    monkeypatch.setattr(vgg, "SIDE", 21)  # then 10, 5 and 2
    pred, target = torch.rand(2, 1, 1, 40, 40)
    found, computed = (results(how, pred, target) for how in (forced(lossnet, torch.float32), lossnet))
    exact = results(_double(lossnet), pred.double(), target.double())
    for one, other, truth in zip(found, computed, exact, strict=True):
        assert (one - truth).norm() <= 2 * (other - truth).norm() + 1e-6 * truth.norm()


@pytest.mark.usefixtures("short_sighted", "in_operations")
def test_equal_maps_have_no_loss_and_no_gradient(lossnet):
    pred = torch.rand(2, 1, 32, 32)
    assert not any(found.any() for found in results(forced(lossnet, torch.float32), pred, pred))


def test_weights_are_cast_once_and_anew_when_they_change(lossnet):
    first = lossnet._in(torch.bfloat16)
    weight, bias = first[0][0]
    assert lossnet._in(torch.bfloat16) is first
    assert weight.shape[1] == 8 and not weight[:, 3:].any() and bias.dtype == torch.bfloat16
    assert torch.equal(weight[:, :3], lossnet.blocks[0][0].weight.bfloat16())
    assert all(weight.is_contiguous(memory_format=LAST) for block in first for weight, _ in block)
    assert lossnet._in(torch.float16)[0][0][0].dtype == torch.float16
    assert lossnet._in(torch.bfloat16) is first  # what a graph of another dtype reads is still there
    other = copy.deepcopy(lossnet)
    place = other._in(torch.float16)[3][2][1].data_ptr()
    other.load_state_dict({key: value + 1 for key, value in other.state_dict().items()})
    found = other._in(torch.float16)[3][2][1]
    assert torch.equal(found, (lossnet.blocks[3][-2].bias + 1).half()) and found.data_ptr() == place
    assert torch.equal(lossnet._in(torch.float16)[3][2][1], lossnet.blocks[3][-2].bias.half())
    moved = _double(lossnet)
    assert moved._in(torch.float64)[0][0][1] is not bias and moved._in(torch.float64)[0][0][1].dtype == torch.float64


@pytest.fixture
def idle(monkeypatch) -> None:
    """The interpreter's own operations are no GPU's."""
    monkeypatch.setattr("fused.pool._launch", lambda *_, **__: None)


@pytest.mark.usefixtures("short_sighted", "idle")
def test_a_step_takes_few_operations_besides_its_kernels_and_asks_the_device_for_nothing(lossnet):
    pred, target = torch.rand(2, 2, 1, 40, 40)
    how, pred = forced(lossnet, torch.float32), pred.requires_grad_()
    how(pred, target)
    with SeesWaits() as waits, Counts() as forward:
        loss = how(pred, target)
    with SeesWaits() as more, Counts() as backward:
        loss.backward()
    assert not waits.seen | more.seen
    assert forward.operations <= 28 and backward.operations <= 24


def test_half_precision_on_cuda_alone_is_taken_together(monkeypatch):
    monkeypatch.setattr(fused, "_builds", lambda device, dtype: True)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: kind == "cuda")
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda kind: torch.bfloat16)
    x = torch.rand(1, 3, 8, 8)
    assert features.half(x) is None
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    assert features.half(x) == torch.bfloat16 and features.half(x.half()) == torch.bfloat16
    assert features.half(x.double()) is features.half(x[:0]) is None, "autocast leaves float64 as it is"
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        assert features.half(x) is None
    with monkeypatch.context() as patch:
        patch.setattr(fused, "usable", lambda *tensors: False)
        assert features.half(x) is None
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    assert features.half(x) is None


@pytest.fixture(scope="module")
def vgg16() -> LossNet:
    torch.manual_seed(0)
    return LossNet().cuda()


def under_autocast(lossnet: LossNet, dtype: torch.dtype):
    """As a step has it; scaled, or float16 would lose the small gradients."""

    def how(pred: Tensor, target: Tensor) -> Tensor:
        with torch.autocast("cuda", dtype):
            return lossnet(pred, target) * 2**14

    return how


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("in_one", [True, False])
def test_half_precision_on_a_gpu_is_as_near_float32_as_step_by_step(vgg16, dtype, in_one, monkeypatch):
    if not in_one:
        monkeypatch.setattr(features, "_in_one", lambda device, dtype: False)
    torch.manual_seed(0)
    pred, target = torch.rand(2, 2, 1, 352, 352, device="cuda")
    poison = torch.full((2**29,), torch.nan, dtype=dtype, device="cuda")
    del poison  # whatever is allocated next held this: nothing may be read before it is written
    vgg16._cast.clear()
    found = results(under_autocast(vgg16, dtype), pred, target.round())
    assert [kind for kind, _ in vgg16._cast] == [dtype], "it went that way"
    monkeypatch.setattr(features, "half", lambda x: None)
    computed = results(under_autocast(vgg16, dtype), pred, target.round())
    exact = [2**14 * x for x in results(vgg16.double(), pred.double(), target.round().double())]
    vgg16.float()
    for one, other, truth in zip(found, computed, exact, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert (one - truth).norm() <= 1.5 * (other - truth).norm() + 2**-8 * truth.norm()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_recorded_loss_is_the_loss(vgg16, dtype):
    how = under_autocast(vgg16, dtype)
    replayed = Replays(lambda *maps: tuple(results(how, *maps)))
    for seed in range(4):
        torch.manual_seed(seed)
        pred, target = torch.rand(2, 2, 1, 96, 96, device="cuda")
        for one, other in zip(replayed(pred, target), results(how, pred, target), strict=True):
            assert (one - other).norm() <= 1e-3 * other.norm(), "a GPU adds in another order each time"
    assert len(replayed.recordings) == 1
