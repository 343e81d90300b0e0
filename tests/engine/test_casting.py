"""Weights that are cast together beside weights that autocast casts one by one."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import net
from engine.casting import CastOnce


class Casts(TorchDispatchMode):
    """Counts the operations that change a precision."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.count += "_to_copy" in str(function) or "_foreach_copy_" in str(function)
        return function(*arguments, **keywords or {})


def taught(model, network, image):
    with Casts() as casts:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(image)
        logits.float().square().mean().backward()
    return logits, [p.grad for p in network.parameters()], casts.count


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=str)
def test_maps_and_gradients_are_those_of_autocast_to_the_bit(order):
    torch.manual_seed(0)
    one = net.build("m2snet", "tiny").to(memory_format=order).train()
    one.output1.requires_grad_(False)
    other = copy.deepcopy(one)
    image = torch.randn(2, 3, 64, 64).contiguous(memory_format=order)
    logits, gradients, casts = taught(one, one, image)
    its_logits, its_gradients, its_casts = taught(CastOnce(other, torch.bfloat16), other, image)
    assert torch.equal(its_logits, logits) and its_logits.dtype == torch.bfloat16
    for gradient, its in zip(gradients, its_gradients, strict=True):
        assert (its is None) == (gradient is None)
        assert its is None or (torch.equal(its, gradient) and its.stride() == gradient.stride())
    convolutions = sum(type(module) is nn.Conv2d for module in one.modules())
    # of each a weight and a bias, there and back; the last one does not train
    assert casts - its_casts == 4 * (convolutions - 1) - 2
    assert one.state_dict().keys() == other.state_dict().keys(), "the network keeps its own weights"


def test_what_is_no_plain_layer_is_left_to_autocast():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, (self.weight - self.weight.mean()) / self.weight.std(), self.bias)

    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Standardised(4, 4, 1), nn.Conv2d(4, 2, 1, bias=False)
    )
    assert [*CastOnce(network, torch.bfloat16).weights] == ["0.weight", "0.bias", "3.weight"]
