"""A pair's comparison beside its definition: in PyTorch's operations with derivatives by hand, and as kernels."""

import copy

import pytest
import torch
from torch import Tensor, nn

import fused
import net
from net.blocks import BoxView
from net.compare import compare
from tests.golden import recipe
from tests.helpers import Counts, SeesWaits, TinyBackbone

LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}
# (N, C, *space), whether channels are last in memory
SHAPES = {
    "one block": ((2, 64, 5, 6), True),
    "blocks and a rest": ((1, 64, 9, 11), True),
    "channels first": ((2, 64, 7, 5), False),
    "a width that is no power of two": ((3, 24, 6, 6), True),
    "one row": ((2, 8, 1, 3), True),
    "a volume": ((2, 8, 3, 4, 5), True),
}


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch) -> str:
    """Where the kernels run; on a CPU Triton's interpreter runs them."""
    if request.param == "cpu":
        monkeypatch.setattr(fused, "usable", lambda *tensors: all(x.dtype in fused.DTYPES for x in tensors))
    return request.param


def views_of(width: int, dims: int = 2, training: bool = True) -> list[nn.Module]:
    return [recipe.fill(BoxView(k, width, dims), str(k)).train(training) for k in (3, 5)]


def pair_of(shape, last: bool = True, dtype=torch.float32) -> list[Tensor]:
    """Two maps as after a ReLU, equal at a quarter of the places besides."""
    torch.manual_seed(0)
    a, b = torch.randn(2, *shape).relu()
    b = torch.where(torch.rand(shape) < 0.25, a, b)
    return [x.to(dtype, memory_format=LAYOUTS[x.ndim] if last else torch.contiguous_format) for x in (a, b)]


def defined(a: Tensor, b: Tensor, views: list[nn.Module]) -> Tensor:
    """Eq. 2 word by word, for autograd to differentiate."""
    difference = (a - b).abs()
    for view in views:
        difference = difference + (view(a) - view(b)).abs()
    return difference


def results(how, pair, views, device="cpu", dtype=None) -> list[Tensor]:
    """out, the gradients of a, b and each weight, and the running statistics, in float64 on the CPU."""
    a, b = (x.detach().to(device, dtype).requires_grad_() for x in pair)
    views = [copy.deepcopy(view).to(device, dtype if dtype == torch.float64 else None) for view in views]
    out = how(a, b, views)
    weights = [weight for view in views for weight in view.parameters()]
    torch.manual_seed(1)
    g = torch.randn(out.shape).to(pair[1].dtype).to(out)
    found = [out, *torch.autograd.grad(out, [a, b, *weights], g), *(x for view in views for x in view.buffers())]
    return [x.detach().double().cpu() for x in found]


def require_near(found, exact, tolerance: float, beside=None):
    """Within `tolerance` of the largest value, or four times as far as the results `beside` are."""
    assert len(found) == len(exact)
    for i, (one, other) in enumerate(zip(found, exact)):
        far = 4 * (beside[i] - other).abs().max() if beside else 0
        assert (one - other).abs().max() <= tolerance * other.abs().max() + far, f"result {i}"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_kernels_give_what_the_definition_gives_in_float32(device, shape, training):
    shape, last = SHAPES[shape]
    pair, views = pair_of(shape, last), views_of(shape[1], len(shape) - 2, training)
    exact = results(defined, pair, views, dtype=torch.float64)
    require_near(results(compare, pair, views, device), exact, 1e-6, beside=results(defined, pair, views))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_derivatives_by_hand_are_those_of_autograd_in_float64(shape, training):
    shape, last = SHAPES[shape]
    pair, views = pair_of(shape, last), views_of(shape[1], len(shape) - 2, training)
    found, exact = (results(how, pair, views, dtype=torch.float64) for how in (compare, defined))
    require_near(found, exact, 1e-12)


@pytest.mark.parametrize("resized", [False, True])
@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 2**-10), ("bfloat16", 2**-7)])
def test_half_precision_is_rounded_once(device, dtype, rounding, resized):
    """What is stored in half precision is off by its last place, what is not by float32's rounding.

    Under autocast a map that was resized is float32.
    """
    pair, views = pair_of((2, 64, 7, 6), dtype=getattr(torch, dtype)), views_of(64)
    if resized:
        pair = [pair[0].float() + 0.1 * torch.rand(pair[0].shape) * (pair[0] > 0), pair[1]]
    found, exact = results(compare, pair, views, device), results(defined, pair, views, dtype=torch.float64)
    for one, other in zip(found[:3], exact[:3]):
        # a gradient has two parts, of which one may cancel the other: the last place is that of the larger
        assert ((one - other).abs() <= rounding * other.abs() + 1e-5 * other.abs().max()).all()
    require_near(found[3:], exact[3:], 1e-5)


def test_a_resized_map_meets_one_of_half_precision_in_operations_too():
    half, views = pair_of((2, 16, 7, 6), dtype=torch.bfloat16), views_of(16)
    pair = [half[0].float(), half[1]]
    found, exact = results(compare, pair, views), results(defined, pair, views, dtype=torch.float64)
    require_near(found, exact, 2**-6)
    out = compare(*(x.requires_grad_() for x in pair), views)
    out.sum().backward()
    assert [x.dtype for x in (out, pair[0].grad, pair[1].grad)] == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_nothing_is_asked_of_pairs_without_views_or_gradients(device):
    pair, views = pair_of((2, 8, 4, 5)), views_of(8)
    g = torch.ones(2, 8, 4, 5)
    for i in (0, 1):
        a, b = (x.clone().to(device).requires_grad_(i == k) for k, x in enumerate(pair))
        compare(a, b).backward(g.to(device))
        sign = torch.sign(pair[0] - pair[1]) * (1 - 2 * i)
        assert (pair[0] == pair[1]).any() and torch.equal((a, b)[i].grad.cpu(), sign), "a tie has no slope"
        assert (a, b)[1 - i].grad is None
        compare(a, b, [view.to(device) for view in views]).sum().backward()  # an expanded gradient
        assert (a, b)[i].grad.isfinite().all() and (a, b)[1 - i].grad is None
    with torch.no_grad():
        assert not compare(*(x.to(device) for x in pair), views).requires_grad


def test_equal_maps_have_no_difference_and_no_slope(device):
    a, _ = pair_of((2, 8, 4, 5))
    out, *gradients = results(compare, (a, a.clone()), views_of(8), device)[:7]
    assert not out.any() and not any(g.any() for g in gradients)


def test_what_is_not_a_number_stays_so(device):
    a, b = pair_of((1, 8, 4, 5))
    a[0, 0, 0, 0] = torch.nan
    for training in (True, False):
        out, to_a, *_ = results(compare, (a, b), views_of(8, training=training), device)
        assert out[0, 0, 0, 0].isnan()
    assert to_a.isfinite().any()


def test_the_same_pair_gives_the_same_bits(device):
    pair, views = pair_of((1, 64, 6, 7), dtype=torch.float16), views_of(64)
    once, again = (results(compare, pair, views, device) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(once, again))


def m2snet(device: str) -> net.MSNet:
    return recipe.fill(net.M2SNet(TinyBackbone(), width=8)).to(device, memory_format=torch.channels_last)


def step(network: net.MSNet, image: Tensor, amp: bool = False) -> list[Tensor]:
    """Logits, gradients and buffers after a training step."""
    device = next(network.parameters()).device.type
    image = image.to(device, memory_format=torch.channels_last)
    with torch.autocast(device, torch.bfloat16, enabled=amp):
        logits = network(image).float()
    logits.square().mean().backward()
    found = (logits, *(p.grad for p in network.parameters()), *network.buffers())
    return [x.detach().double().cpu() for x in found]


@pytest.fixture
def idle(device, monkeypatch):
    """The interpreter's own operations are no GPU's."""
    if device == "cpu":
        monkeypatch.setattr("fused.pair._launch", lambda *_, **__: None)


@pytest.mark.usefixtures("idle")
def test_a_step_of_the_network_asks_the_device_for_nothing(device):
    network, image = m2snet(device), recipe.images(1, 64, 64, 3)
    with SeesWaits() as mode:
        step(network, image, amp=True)
    assert not mode.seen


@pytest.mark.gpu
def test_a_network_trains_with_kernels_as_without(monkeypatch):
    found = []
    for usable in (fused.usable, lambda *tensors: False):
        monkeypatch.setattr(fused, "usable", usable)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False, deterministic=True):
            found.append(step(m2snet("cuda"), recipe.images(2, 128, 128, 3)))
    most = max(x.norm() for x in found[1][1:])
    for one, other in zip(*found, strict=True):
        # where two maps are equal but for rounding, the sign of their difference is by chance
        assert (one - other).norm() <= 1e-2 * other.norm() + 1e-3 * most


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize(("kernels", "most"), [(False, (39, 44)), (True, (20, 15))])
def test_a_pair_takes_few_operations_besides_its_kernels(device, kernels, most, monkeypatch):
    monkeypatch.setattr(fused, "usable", lambda *tensors: kernels)
    a, b = (x.to(device).requires_grad_() for x in pair_of((1, 8, 4, 4), dtype=torch.bfloat16))
    views = [view.to(device) for view in views_of(8)]
    with Counts() as forward:
        out = compare(a, b, views)
    with Counts() as backward:
        out.backward(out)
    assert forward.operations <= most[0] and backward.operations <= most[1]


def test_gradients_taken_under_autocast_are_no_others():
    pair, views = pair_of((2, 8, 4, 5), dtype=torch.bfloat16), views_of(8)
    outside = results(compare, pair, views)
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(one, other) for one, other in zip(results(compare, pair, views), outside))


def test_views_that_differ_in_more_than_their_side_are_taken_one_by_one():
    pair, views = pair_of((2, 8, 4, 5)), views_of(8)
    views[1].norm.momentum = 0.3
    found, exact = (results(how, pair, views, dtype=torch.float64) for how in (compare, defined))
    require_near(found, exact, 1e-12)


def test_kernels_take_dense_maps_of_one_dtype_on_a_gpu_alone(monkeypatch):
    monkeypatch.setattr(fused, "_builds", lambda device, dtype: True)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    a, b = pair_of((2, 8, 4, 5))
    assert fused.usable(a, b) and fused.usable(a.contiguous(), b)
    assert not fused.usable(a.double(), b.double()) and fused.usable(a, b.half())
    assert not fused.usable(a[..., 1:], b[..., 1:])
    monkeypatch.undo()
    assert not fused.usable(a, b)


def test_where_triton_cannot_build_that_is_said_once(monkeypatch):
    def broken(*_):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr("fused.mse.mean_squared", broken)
    fused._builds.cache_clear()
    with pytest.warns(UserWarning, match=r"Triton builds no kernels for cpu .*C compiler") as said:
        assert not any(fused._builds(torch.device("cpu"), torch.float16) for _ in range(2))
    assert len(said) == 1
    fused._builds.cache_clear()
