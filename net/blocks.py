"""The layers of MSNet and M2SNet, and the only file that knows images have two dimensions.

A volumetric network would change the seven names below and nothing in msnet.py or res2net.py.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

Conv, BatchNorm, MaxPool, AvgPool, GlobalPool = (
    nn.Conv2d,
    nn.BatchNorm2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
)
SPATIAL = (2, 3)
INTERPOLATION = "bilinear"


def conv_bn_relu(channels: int, width: int) -> nn.Sequential:
    """3 x 3 convolution with bias, BatchNorm, ReLU: (N, channels, H, W) -> (N, width, H, W)."""
    return nn.Sequential(Conv(channels, width, 3, padding=1), BatchNorm(width), nn.ReLU(inplace=True))


def resize_like(x: Tensor, other: Tensor) -> Tensor:
    """x (N, C, h, w) at the height and width of `other`, bilinear with align_corners=False."""
    size = other.shape[2:]
    return x if x.shape[2:] == size else F.interpolate(x, size, mode=INTERPOLATION, align_corners=False)


class BoxView(nn.Module):
    """A pair's view through a fixed k x k filter [M2SNet, section 3.1]: ReLU(BN(ones-convolution(x))).

    x (N, width, H, W) -> the same shape. The filter is a dense width x width x k x k kernel of ones that never trains,
    so every output channel is one and the same map: the channel sum, summed over a k x k box (zeros outside). It is
    computed once and takes `width` affine maps; a dense convolution would cost width^2 times the multiply-adds.
    One view serves all ten units and both inputs; its BatchNorm sees its inputs in the order of the calls.
    """

    def __init__(self, kernel: int, width: int):
        super().__init__()
        self.kernel = kernel
        self.norm = BatchNorm(width)
        self.register_load_state_dict_pre_hook(_drop_ones_kernel)

    def forward(self, x: Tensor) -> Tensor:
        # float32 even under autocast: the sum of 64 x 25 activations overflows float16
        total = x.sum(1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
        box = F.avg_pool2d(total, self.kernel, stride=1, padding=self.kernel // 2, divisor_override=1)
        norm = self.norm
        channel = (1, -1) + (1,) * len(SPATIAL)
        if norm.training:
            mean, var = self._track(box)
            normal = ((box - mean.view(channel)) * torch.rsqrt(var + norm.eps).view(channel)).to(x.dtype)
            scale: Tensor = norm.weight
            shift: Tensor = norm.bias
        else:  # the running statistics of the 64 channels are equal only up to how they were trained
            assert norm.running_mean is not None and norm.running_var is not None
            scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
            normal, shift = box, norm.bias - norm.running_mean * scale
        wide = torch.addcmul(shift.view(channel).to(normal.dtype), normal, scale.view(channel).to(normal.dtype))
        return wide.relu_().to(x.dtype)

    def _track(self, box: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (1,) of the one map (N, 1, H, W), entered into the running statistics as BatchNorm does."""
        var, mean = torch.var_mean(box, dim=(0, *SPATIAL), correction=0)
        norm = self.norm
        n: float | Tensor = box.numel()
        if isinstance(norm, nn.SyncBatchNorm):
            mean, var, n = _over_all_processes(mean, var, box.numel())
        with torch.no_grad():
            assert norm.running_mean is not None and norm.running_var is not None
            assert norm.momentum is not None and norm.num_batches_tracked is not None
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype).expand_as(norm.running_mean), norm.momentum)
            unbiased = (var * (n / (n - 1))).to(norm.running_var.dtype)
            norm.running_var.lerp_(unbiased.expand_as(norm.running_var), norm.momentum)
            norm.num_batches_tracked += 1
        return mean, var


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
