"""The layers of MSNet and M2SNet, and the only file that knows 2 from 3 dimensions."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from fused import captured
from net import normed

Norm = nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm | nn.InstanceNorm2d | nn.InstanceNorm3d


class Layers(NamedTuple):
    """What PyTorch calls by another name in each number of dimensions."""

    conv: Callable[..., nn.Conv2d | nn.Conv3d]
    transposed: Callable[..., nn.ConvTranspose2d | nn.ConvTranspose3d]
    norm: Callable[..., nn.BatchNorm2d | nn.BatchNorm3d]
    instance_norm: Callable[..., nn.InstanceNorm2d | nn.InstanceNorm3d]
    box_sum: Callable[[Tensor, int], Tensor]
    interpolation: str


def _box_sum_2d(x: Tensor, kernel: int) -> Tensor:
    if captured():  # ONNX has no divisor_override, and its exporters drop it without a word
        return F.avg_pool2d(x, kernel, stride=1, padding=kernel // 2) * kernel**2
    return F.avg_pool2d(x, kernel, stride=1, padding=kernel // 2, divisor_override=1)


def _box_sum_3d(x: Tensor, kernel: int) -> Tensor:
    # padded first: avg_pool3d refuses maps smaller than its kernel even where its own padding would make up for it
    padded = F.pad(x, [kernel // 2] * 6)
    if captured():
        return F.avg_pool3d(padded, kernel, stride=1) * kernel**3
    return F.avg_pool3d(padded, kernel, stride=1, divisor_override=1)


LAYERS = {
    2: Layers(nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, _box_sum_2d, "bilinear"),
    3: Layers(nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, nn.InstanceNorm3d, _box_sum_3d, "trilinear"),
}


def conv_bn_relu(channels: int, width: int, dims: int = 2) -> nn.Sequential:
    """Convolution of 3 a side with bias, BatchNorm, ReLU: (N, channels, *space) -> (N, width, *space)."""
    layers = LAYERS[dims]
    return ConvNormRelu(layers.conv(channels, width, 3, padding=1), layers.norm(width), nn.ReLU(inplace=True))


class ConvNormRelu(nn.Sequential):
    """The three in order; on a GPU in training the norm takes the bias in, and the ReLU with it."""

    def forward(self, x: Tensor) -> Tensor:
        conv: Any = self[0]
        if not normed.usable(x, self[1]) or any(map(normed.hooked, self)):
            return super().forward(x)
        return normed.norm_relu(conv._conv_forward(x, conv.weight, None), self[1], bias=conv.bias)


def conv_norm_leaky(
    channels: int, width: int, dims: int, stride: int | tuple[int, ...] = 1, batch_norm: bool = False
) -> nn.Sequential:
    """Convolution of 3 a side with bias, InstanceNorm (BatchNorm if told), LeakyReLU, begun as nnU-Net begins them."""
    layers = LAYERS[dims]
    conv = layers.conv(channels, width, 3, stride, padding=1)
    nn.init.kaiming_normal_(conv.weight, a=0.01)
    norm = layers.norm(width) if batch_norm else layers.instance_norm(width, affine=True)
    return nn.Sequential(conv, norm, nn.LeakyReLU(0.01, inplace=True))


def resize_like(x: Tensor, other: Tensor) -> Tensor:
    """x (N, C, *space) at the size of `other`, bilinear (trilinear) with align_corners=False."""
    size = other.shape[2:]
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size, mode=LAYERS[x.ndim - 2].interpolation, align_corners=False)


def cut_like(x: Tensor, other: Tensor) -> Tensor:
    """x (N, C, *space) without what it is longer than `other` at the end of each axis."""
    if captured():  # a slice as long as a side that is not known yet is refused by the program when it runs
        return F.pad(x, [n for own, side in zip(x.shape[:1:-1], other.shape[:1:-1]) for n in (0, side - own)])
    whole = (slice(None), slice(None), *map(slice, other.shape[2:]))
    return x[whole]


def neighbours(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names of each convolution and the BatchNorm right behind it in an nn.Sequential: what nothing comes between."""
    for name, child in module.named_modules(prefix=prefix):
        if isinstance(child, nn.Sequential):
            for i, (first, second) in enumerate(pairwise(child)):
                if isinstance(first, nn.Conv2d | nn.Conv3d) and isinstance(second, nn.BatchNorm2d | nn.BatchNorm3d):
                    yield f"{name}.{i}".lstrip("."), f"{name}.{i + 1}".lstrip(".")


class BoxView(nn.Module):
    """A pair's view through a fixed filter of k a side [M2SNet, section 3.1]: ReLU(BN(ones-convolution(x))).

    x (N, width, *space) -> the same shape. The filter is a dense width x width x k x k (x k) kernel of ones that never
    trains, so every output channel is one and the same map: the channel sum, summed over a box of k a side (zeros
    outside). It is computed once and takes `width` affine maps; a dense convolution would cost width^2 times the
    multiply-adds. One view serves all ten units and both inputs; its BatchNorm sees its inputs in the order of the
    calls.

    In 3D, which is ours, each volume is standardised by itself, in training as in prediction: the running statistics of
    one BatchNorm mix twenty maps of other scales, and are none of theirs.
    """

    norm: Norm

    def __init__(self, kernel: int, width: int, dims: int = 2):
        super().__init__()
        self.kernel, self.dims = kernel, dims
        self.norm = LAYERS[dims].norm(width) if dims == 2 else LAYERS[dims].instance_norm(width, affine=True)
        self.register_load_state_dict_pre_hook(_drop_ones_kernel)
        self.register_load_state_dict_pre_hook(_refuse_running_statistics)

    def forward(self, x: Tensor) -> Tensor:
        # float32 even under autocast: the sum of 64 x 25 activations overflows float16
        total = x.sum(1, keepdim=True, dtype=at_least_float32(x.dtype))
        normal = LAYERS[self.dims].box_sum(total, self.kernel)
        if by_own_statistics(self.norm):
            normal = standardised(rows(normal[None, None], self.norm), [self.norm])[0].view(normal.shape).to(x.dtype)
        channel = (1, -1) + (1,) * self.dims
        scale, shift = (of_channels.view(channel).to(normal.dtype) for of_channels in self.affine())
        return torch.addcmul(shift, normal, scale).relu_().to(x.dtype)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift (width,) of the one map, which is standardised first where `by_own_statistics`."""
        norm = self.norm
        if by_own_statistics(norm):
            return norm.weight, norm.bias
        # the running statistics of the 64 channels are equal only up to how they were trained
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        return scale, norm.bias - norm.running_mean * scale


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return dtype if dtype == torch.float64 else torch.float32


def by_own_statistics(norm: Norm) -> bool:
    """Whether a map is standardised by its own mean and variance now, not by running ones."""
    return norm.training or norm.running_mean is None


def rows(boxes: Tensor, norm: Norm) -> Tensor:
    """(views, rows, n) of maps (views, inputs, N, 1, *space): what has a mean together is a row.

    That is an input with all its N maps, or where there are no running statistics each map.
    """
    return boxes.flatten(2) if norm.track_running_stats else boxes.flatten(3).flatten(1, 2)


def standardised(boxes: Tensor, norms: Sequence[Norm]) -> tuple[Tensor, Tensor, Tensor | int]:
    """Maps (views, rows, n) with mean 0 and variance 1 over n, what they were scaled by, and n over all processes.

    The norm of each view, all alike, enters its inputs' statistics into its running ones, one input after the other.
    """
    var, mean = torch.var_mean(boxes, 2, correction=0, keepdim=True)
    n: Tensor | int = boxes.shape[2]
    if isinstance(norms[0], nn.SyncBatchNorm):
        mean, var, n = _over_all_processes(mean, var, boxes.shape[2])
    if norms[0].track_running_stats:
        with torch.no_grad():
            _track(norms, mean.flatten(1), (var * (n / (n - 1))).flatten(1))
    scale = torch.rsqrt(var + norms[0].eps)
    return (boxes - mean) * scale, scale, n


def _track(norms: Sequence[Norm], mean: Tensor, var: Tensor) -> None:
    """Enter statistics (views, inputs), of one input or two, into the running ones."""
    momentum, inputs = norms[0].momentum, mean.shape[1]
    assert momentum is not None
    share = 1 - (1 - momentum) ** inputs
    if inputs == 2:  # two steps of `momentum` are one of `share` to here
        mean, var = (torch.lerp(found[:, 0], found[:, 1], momentum / share) for found in (mean, var))
    for norm, of_mean, of_var in zip(norms, mean, var):
        assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
        norm.running_mean.lerp_(of_mean.to(norm.running_mean.dtype).expand_as(norm.running_mean), share)
        norm.running_var.lerp_(of_var.to(norm.running_var.dtype).expand_as(norm.running_var), share)
        norm.num_batches_tracked += inputs


def _over_all_processes(mean: Tensor, var: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and count over the maps of every process, as SyncBatchNorm takes them; gradients included."""
    count, total = all_reduce(torch.stack((torch.full_like(mean, n), mean * n)))
    middle = total / count
    return middle, all_reduce((var + (mean - middle) ** 2) * n) / count, count


def _drop_ones_kernel(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """Checkpoints written while the kernel was an nn.Conv2d carry it; it must be the constant that it stands for."""
    for name, constant in (("weight", 1), ("bias", 0)):
        value = state_dict.pop(prefix + name, None)
        if value is not None and not bool((value == constant).all()):
            raise ValueError(
                f"checkpoint entry {prefix}{name} is not constant {constant}: M2SNet's fixed filter is all ones "
                "without bias; this checkpoint was trained with another network"
            )


def _refuse_running_statistics(module: nn.Module, state_dict: dict, prefix: str, *_: object) -> None:
    """Weights of volumes trained while a view was standardised over the batch would give other maps without a word."""
    assert isinstance(module, BoxView)
    if not module.norm.track_running_stats and prefix + "norm.running_var" in state_dict:
        raise ValueError(
            f"its {prefix}norm has running statistics: trained before M2SNet's views of volumes were standardised by "
            "each volume's own; train it anew"
        )
