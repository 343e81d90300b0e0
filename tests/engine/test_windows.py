"""Prediction of volumes by windows: together they are the volume, and no more than one window's length is held."""

import itertools

import pytest
import torch

import net
from engine.windows import WindowPredictor, gaussian, places, total

CPU = torch.device("cpu")


class Pointwise(torch.nn.Module):
    """A network whose logits at a voxel depend on that voxel alone: any windows must give the whole."""

    def forward(self, x):
        return torch.cat((x, -x, 0.5 * x), 1)


@pytest.mark.parametrize("space", [(20, 17, 9), (8, 8, 8), (5, 30, 7), (3, 4, 2)])
@pytest.mark.parametrize("overlap", [0, 0.3, 0.5, 0.75])
def test_windows_of_a_pointwise_network_give_the_whole(space, overlap):
    volume = torch.randn(1, 1, *space, generator=torch.Generator().manual_seed(0))
    predictor = WindowPredictor([Pointwise()], CPU, (8, 8, 8), overlap=overlap, axes=(0, 1, 2), batch=3)
    found = torch.cat(list(predictor(volume)[0]), 1)
    torch.testing.assert_close(found, net.probabilities(Pointwise()(volume))[0], rtol=0, atol=1e-6)


def test_one_window_is_the_network_itself_and_mirrored_views_are_averaged():
    torch.manual_seed(0)
    network = net.build("msnet", net.Volume(1, (4, 4, 6, 6, 8)), 2, width=8).eval()
    volume = torch.randn(1, 1, 16, 20, 18)
    with torch.inference_mode():
        plain = net.probabilities(network(volume))[0]
        views = [
            net.probabilities(network(volume.flip(flips))).flip(flips)[0]
            for many in range(3)
            for flips in itertools.combinations((2, 4), many)
        ]
    one = WindowPredictor([network], CPU, (16, 20, 18))
    torch.testing.assert_close(torch.cat(list(one(volume)[0]), 1), plain, rtol=0, atol=1e-6)
    mirrored = WindowPredictor([network], CPU, (16, 20, 18), axes=(0, 2))
    torch.testing.assert_close(torch.cat(list(mirrored(volume)[0]), 1), torch.stack(views).mean(0), rtol=0, atol=1e-6)


def test_several_networks_are_averaged():
    class Constant(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, x):
            return torch.full_like(x, self.value)

    predictor = WindowPredictor([Constant(0.0), Constant(50.0)], CPU, (4, 4, 4))
    found = torch.cat(list(predictor(torch.zeros(1, 1, 6, 5, 4))[0]), 1)
    torch.testing.assert_close(found, torch.full((1, 6, 5, 4), 0.75))


def test_slabs_come_before_the_volume_is_through():
    """What is held does not grow with the volume: the first slab needs the first windows alone."""

    class Counting(Pointwise):
        seen = 0

        def forward(self, x):
            self.seen += len(x)
            return super().forward(x)

    network = Counting()
    slabs = WindowPredictor([network], CPU, (4, 4, 4))(torch.zeros(1, 1, 400, 4, 4))[0]
    sizes = [next(slabs).shape[1]]
    assert network.seen == 1
    sizes += [slab.shape[1] for slab in slabs]
    assert sum(sizes) == 400 and max(sizes) <= 4


@pytest.mark.parametrize(("side", "window", "overlap"), [(10, 4, 0.5), (4, 4, 0.5), (101, 32, 0.25), (9, 8, 0.9)])
def test_places_begin_at_the_start_end_at_the_end_and_overlap_as_much_as_is_asked(side, window, overlap):
    found = places(side, window, overlap)
    assert found[0] == 0 and found[-1] == side - window
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert all(0 < step <= max(1, -(-window * (1 - overlap) // 1)) for step in steps)
    assert (total(gaussian(window), found, side) > 0).all()
