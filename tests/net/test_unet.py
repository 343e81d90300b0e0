"""The U-Net on pictures: trained and exported as the others are. tests/net/test_volumes.py has it on volumes."""

import pytest
import torch

import net
import train
from tests.helpers import TinyBackbone, losses, small
from tools import export


@pytest.mark.parametrize("size", [(64, 64), (67, 97)])
def test_a_unet_gives_logits_of_a_pictures_size_and_a_slope_to_each_weight(size):
    model = net.build("unet", TinyBackbone(), 2, deep_supervision=True)
    logits, *deep = model(torch.randn(2, 3, *size))
    assert logits.shape == (2, 2, *size) and [each.shape[:2] for each in deep] == [(2, 2)] * 2
    sum(each.square().mean() for each in (logits, *deep)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_unet_learns_from_pictures_and_its_checkpoint_says_what_it_is(polyp_folder):
    last = train.train(small(polyp_folder, network="unet", epoch=3, batch=8, lr=0.01))
    found = losses(polyp_folder)
    assert found[-1] < found[0]
    network, _, classes = net.kind_of(torch.load(last, weights_only=True))
    assert (network, classes) == ("unet", 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_a_unet_of_pictures_is_exported_for_any_size():
    torch.manual_seed(0)
    model = export.Model(net.build("unet", "tiny"), (0.5,) * 3, (0.2,) * 3)
    program = export.captured(model, None).module()
    for size in ((67, 97), (64, 128)):
        image = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
        torch.testing.assert_close(program(image), model(image), rtol=0, atol=1e-5)
