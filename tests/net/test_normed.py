"""BatchNorm in training with what stands around it, as kernels, beside PyTorch's own operations in float64."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

import fused
from net.backbones.pool import AvgPool
from net.backbones.res2net import Bottle2neck
from net.blocks import conv_bn_relu
from net.normed import norm_relu, usable

LAST = torch.channels_last
TOLERANCE = {torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}  # of the largest value


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch) -> str:
    """Where the kernels run; on a CPU Triton's interpreter runs them. Float32 is float32: no TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    if request.param == "cpu":
        monkeypatch.setattr(fused, "built", lambda *tensors: all(x.dtype in fused.DTYPES for x in tensors))
    return request.param


def image(*shape: int, dtype=torch.float32) -> Tensor:
    return (2 * torch.randn(shape) + 1).to(dtype, memory_format=LAST)


def random_affine(module: nn.Module) -> nn.Module:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return module


def differentiated(out: Tensor, of: list[Tensor], module: nn.Module) -> list[Tensor]:
    """out, its gradients for `of` and the weights, and the running statistics, in float64 on the CPU."""
    torch.manual_seed(1)
    g = torch.randn(out.shape).to(out)
    found = torch.autograd.grad(out, [*of, *module.parameters()], g)
    return [x.detach().double().cpu() for x in (out, *found, *module.buffers())]


def require_near(found: list[Tensor], exact: list[Tensor], dtype: torch.dtype) -> None:
    for i, (one, other) in enumerate(zip(found, exact, strict=True)):
        far = (one - other).abs().max() / other.abs().max().clamp(min=1e-2)
        assert far <= TOLERANCE[dtype], f"result {i} of {len(exact)} is {far:.1e} of the largest off"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("shape", "plus", "bias"),
    [
        ((2, 64, 5, 7), True, True),
        ((3, 26, 9, 8), False, False),
        ((1, 104, 13, 11), False, True),
        ((8, 3, 1, 1), True, False),
    ],
    ids=str,
)
def test_a_norm_its_bias_its_addition_and_its_relu_are_what_pytorch_gives(device, shape, plus, bias, dtype):
    torch.manual_seed(0)
    norm = random_affine(nn.BatchNorm2d(shape[1]))
    x, more, offset = image(*shape, dtype=dtype), image(*shape, dtype=dtype), torch.randn(shape[1])
    results = []
    for where, kind in ((device, dtype), ("cpu", torch.float64)):
        own = copy.deepcopy(norm).to(where, kind if kind == torch.float64 else None)
        maps = [leaf.to(where, kind).requires_grad_() for leaf in ((x, more) if plus else (x,))]
        by = offset.to(where, torch.float64 if kind == torch.float64 else None).requires_grad_() if bias else None
        assert usable(maps[0], own) == (kind != torch.float64)
        out = norm_relu(maps[0], own, maps[1] if plus else None, by)
        results.append(differentiated(out, maps + ([by] if bias else []), own))
    if bias:  # of no consequence; what is left of it in float64 is rounding
        place = 2 + plus
        assert not results[0].pop(place).any() and results[1].pop(place).abs().max() < 1e-12 * max(shape[2] * 100, 1)
    require_near(*results, dtype)


def test_a_variance_far_from_zero_keeps_its_digits(device):
    for far in (False, True):
        x = image(2, 32, 20, 20).mul_(0.01).add_(1000).to(device)
        if far:
            x[0, :, 0, 0] = 900
        norm = nn.BatchNorm2d(32, momentum=1.0).to(device)
        norm_relu(x, norm)
        torch.testing.assert_close(norm.running_var.double(), x.double().var((0, 2, 3)), rtol=1e-4, atol=0)


def test_one_channel_lies_last_and_first_at_once(device):
    x, norm = torch.randn(2, 1, 4, 5).to(device), nn.BatchNorm2d(1).to(device)
    assert x.stride(1) == 20 and usable(x, norm)
    torch.testing.assert_close(norm_relu(x, norm), copy.deepcopy(norm)(x).relu())


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_seen_in_what_comes_out_and_in_the_statistics(device, value):
    x = image(2, 8, 4, 4).to(device)
    x[1, :, 2, 2] = value
    norm = nn.BatchNorm2d(8).to(device)
    norm_relu(x, norm)
    assert not norm.running_mean.isfinite().any() and not norm.running_var.isfinite().any()


def test_a_convolution_that_a_hook_makes_anew_has_it_made(device):
    layers = conv_bn_relu(5, 16).to(device)
    prune.random_unstructured(layers[0], "weight", 0.5)
    x = image(2, 5, 6, 7).to(device)
    for _ in range(2):
        layers(x).sum().backward()
    with torch.no_grad():
        layers[0].weight_orig.add_(1)
        found, expected = layers(x), layers[2](layers[1](layers[0](x)))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("channels", "planes", "stride", "first", "side", "dtype"),
    [
        (256, 64, 1, False, (5, 7), torch.float32),
        (256, 64, 1, False, (5, 7), torch.float16),
        (64, 64, 1, True, (7, 5), torch.float32),
        (64, 128, 2, True, (5, 8), torch.float32),
        (64, 64, 2, True, (6, 8), torch.bfloat16),
    ],
)
def test_a_block_of_res2net_is_what_pytorch_gives(device, channels, planes, stride, first, side, dtype, monkeypatch):
    """Widths of 26 and 52, which are filled up, odd sides, and the pooled first block of a stage."""
    torch.manual_seed(0)
    block = random_affine(Bottle2neck(channels, planes, stride, first))
    x = image(2, channels, *side)

    def results(where: str, kind: torch.dtype, kernels: bool) -> list[Tensor]:
        full = torch.float64 if kind == torch.float64 else torch.float32
        own, leaf = copy.deepcopy(block).to(where, full, memory_format=LAST), x.to(where, full).requires_grad_()
        with torch.autocast(where, dtype=kind, enabled=kind in (torch.float16, torch.bfloat16)):
            assert usable(own.conv1(leaf), own.bn1) == kernels
            out = own(leaf)
        return differentiated(out, [leaf], own)

    found = results(device, dtype, kernels=True)
    monkeypatch.setattr(fused, "built", lambda *tensors: False)
    exact = results("cpu", torch.float64, kernels=False)
    if dtype == torch.float32:
        require_near(found, exact, dtype)
    else:  # as far as PyTorch is, four times at most: ten roundings in a row, which a ReLU turns into more
        beside = results(device, dtype, kernels=False)
        for i, (one, other, near) in enumerate(zip(found, exact, beside, strict=True)):
            assert (one - other).norm() <= 4 * (near - other).norm() + TOLERANCE[dtype] * other.norm(), f"result {i}"


def test_a_convolution_of_the_decoder_is_what_pytorch_gives(device, monkeypatch):
    torch.manual_seed(0)
    layers, pixels = random_affine(conv_bn_relu(5, 64)), image(2, 5, 6, 7)
    results = []
    for kernels in (True, False):
        if not kernels:
            monkeypatch.setattr(fused, "built", lambda *tensors: False)
        own = copy.deepcopy(layers).to(device, memory_format=LAST)
        x = pixels.to(device).requires_grad_()
        results.append(differentiated(own(x), [x], own))
    results = [[x for i, x in enumerate(found) if i != 3] for found in results]  # the bias's gradient is rounding
    require_near(*results, torch.float32)


def test_what_no_kernel_takes_is_computed_as_ever(device):
    x, norm = image(2, 8, 4, 4).to(device), nn.BatchNorm2d(8).to(device)
    assert usable(x, norm)
    assert not usable(x.contiguous(), norm) and not usable(x.double(), norm) and not usable(x[..., 1:], norm)
    hook = norm.register_forward_hook(lambda *_: None)
    assert not usable(x, norm)
    hook.remove()
    assert not usable(x[:1, :, :1, :1], norm)  # one value a channel has no variance, and PyTorch says so
    for other in (nn.BatchNorm2d(8, momentum=None), nn.BatchNorm2d(8, affine=False), nn.SyncBatchNorm(8)):
        assert not usable(x, other.to(device))
    assert not usable(x, norm.eval())
    torch.testing.assert_close(norm_relu(x, norm, x, norm.bias), (norm(x + norm.bias.view(-1, 1, 1)) + x).relu())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    ("window", "side"),
    [((2, 2, 0), (4, 6)), ((2, 2, 0), (5, 6)), ((3, 1, 1), (5, 7)), ((3, 2, 1), (5, 8)), ((3, 2, 1), (6, 9))],
    ids=str,
)
def test_average_pooling_is_what_pytorch_gives(device, window, side, dtype):
    """An odd side that a window of two does not fill is left to PyTorch, as is what no network here has."""
    assert AvgPool(3, 2, ceil_mode=True)(torch.zeros(1, 8, 8, 8).to(device, memory_format=LAST)).shape[2:] == (4, 4)
    ceil = {"ceil_mode": True, "count_include_pad": False} if window[2] == 0 else {}
    x, results = image(2, 24, *side, dtype=dtype), []
    for pool, where, kind in ((AvgPool, device, dtype), (nn.AvgPool2d, "cpu", torch.float64)):
        leaf = x.to(where, kind).requires_grad_()
        results.append(differentiated(pool(*window, **ceil)(leaf), [leaf], nn.Identity()))
    require_near(*results, dtype)


def test_a_graph_of_any_size_pools_any_size():
    sides = {2: torch.export.Dim("height", min=8), 3: torch.export.Dim("width", min=8)}
    pool = AvgPool(2, 2, ceil_mode=True, count_include_pad=False)
    how = {"strict": False, "prefer_deferred_runtime_asserts_over_guards": True}  # as tools.export has it
    program = torch.export.export(pool, (torch.zeros(2, 4, 66, 70),), dynamic_shapes={"x": sides}, **how)
    x = image(2, 4, 35, 41)
    torch.testing.assert_close(program.module()(x), pool(x), rtol=0, atol=0)
