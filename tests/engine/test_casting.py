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


def test_every_weight_begins_where_matrix_units_can_read_it():
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Conv2d(5, 7, 3), nn.Conv2d(7, 2, 1))
    seen: list[int] = []
    for layer in network:
        layer.register_forward_pre_hook(
            lambda module, _: seen.extend((module.weight.data_ptr(), module.bias.data_ptr()))
        )
    with torch.autocast("cpu", torch.bfloat16):
        CastOnce(network, torch.bfloat16)(torch.randn(1, 3, 9, 9)).sum().backward()
    assert len(seen) == 6 and not any((place - seen[0]) % 16 for place in seen)
    gradients = [weight.grad.data_ptr() for weight in network.parameters()]
    assert not any((place - gradients[0]) % 16 for place in gradients)


def test_what_is_no_plain_layer_is_left_to_autocast():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, (self.weight - self.weight.mean()) / self.weight.std(), self.bias)

    network = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), Standardised(4, 4, 1), nn.Conv2d(4, 2, 1, bias=False)
    )
    cast = CastOnce(network, torch.bfloat16).weights
    assert [*cast] == [(network[0], "weight"), (network[0], "bias"), (network[3], "weight")]


class Twice(nn.Module):
    """One layer under two names, as CoaT's position encodings are."""

    def __init__(self) -> None:
        super().__init__()
        self.first = self.second = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.second(self.first(x))


class Tied(Twice):
    """Two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(3, 3, 1)
        self.second.weight = self.first.weight


class Hooked(Twice):
    """A weight that a hook makes of others before each call."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.utils.spectral_norm(nn.Conv2d(3, 3, 1))


class Still(Twice):
    """Nothing but a scale trains."""

    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return super().forward(x) * self.scale


@pytest.mark.parametrize("kind", [Twice, Tied, Hooked, Still])
def test_layers_and_weights_that_are_shared_hooked_or_still_train_as_under_autocast(kind):
    found = []
    for wrapped in (False, True):
        torch.manual_seed(0)
        network = kind()
        model = CastOnce(network, torch.bfloat16) if wrapped else network
        parameters = dict(network.named_parameters())
        for _ in range(2):
            logits, *_ = taught(model, network, torch.ones(1, 3, 2, 2))
        assert all(network.get_parameter(name) is weight for name, weight in parameters.items())
        found.append([logits, *(p.grad for p in parameters.values() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_network_that_fails_has_its_own_weights_again():
    network = nn.Sequential(nn.Conv2d(3, 4, 1))
    weight = network[0].weight
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError):
        CastOnce(network, torch.bfloat16)(torch.ones(1, 2, 2, 2))
    assert network[0].weight is weight
