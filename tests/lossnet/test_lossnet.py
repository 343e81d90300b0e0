"""The losses against values measured on the original, and the claims of their docstrings."""

import copy

import numpy as np
import pytest
import recipe
import torch
import torch.nn.functional as F
from torchvision.models.vgg import cfgs, make_layers, vgg16

import fused
from lossnet import TERMS, Criterion, LossNet, dice_loss, msnet_terms, one_vs_rest, structure_loss
from lossnet.squares import mean_squared


@pytest.fixture(scope="module")
def lossnet() -> LossNet:
    return recipe.fill(LossNet()).double()


@pytest.mark.parametrize("seed", [12, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (11, 13))])
def test_losses_equal_the_originals(seed, golden, lossnet):
    """To rounding: LossNet, most of the work, in float64 for one seed and as a run computes it for two."""
    logits, mask = 2 * recipe.images(3, 80, 112, seed + 7)[:, :1], recipe.masks(3, 80, 112, seed + 8)
    found = structure_loss(logits.double(), mask.double()).item()
    assert found == pytest.approx(golden[f"losses/seed{seed}/structure_loss"].item(), rel=1e-8)
    dtype, rounding = (torch.float64, 1e-8) if seed == 11 else (torch.float32, 1e-5)
    found = copy.deepcopy(lossnet).to(dtype)(torch.sigmoid(logits.to(dtype)), mask.to(dtype)).item()
    assert found == pytest.approx(golden[f"losses/seed{seed}/lossnet"].item(), rel=rounding)


def test_weighted_bce_is_the_papers_formula_written_out():
    logits, mask = recipe.images(2, 40, 50, 0)[:, :1].double(), recipe.masks(2, 40, 50, 1).double()
    per_image = []
    for z, m in zip(logits[:, 0].numpy(), mask[:, 0].numpy(), strict=True):
        padded = np.pad(m, 15)
        mean = np.array([[padded[i : i + 31, j : j + 31].mean() for j in range(50)] for i in range(40)])
        w, p = 1 + 5 * abs(mean - m), 1 / (1 + np.exp(-z))
        bce = (w * -(m * np.log(p) + (1 - m) * np.log(1 - p))).sum() / w.sum()
        inter, union = (w * p * m).sum(), (w * (p + m)).sum() - (w * p * m).sum()
        per_image.append(bce + 1 - (inter + 1) / (union + 1))
    assert structure_loss(logits, mask, weighted_bce=True).item() == pytest.approx(np.mean(per_image), rel=1e-10)
    assert structure_loss(logits, mask).item() != pytest.approx(np.mean(per_image), rel=1e-3)


@pytest.mark.usefixtures("short_sighted")
def test_lossnet_never_wakes_and_never_learns(lossnet):
    holder = torch.nn.ModuleDict({"lossnet": lossnet}).train()
    assert not any(module.training for module in holder["lossnet"].modules())
    pred = torch.rand(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    target = torch.rand(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    lossnet(pred, target).backward()
    assert pred.grad.abs().sum() > 0
    assert target.grad is None, "the target's features must carry no graph"
    assert all(p.grad is None and not p.requires_grad for p in lossnet.parameters())


def test_a_random_lossnet_is_torchvisions_random_vgg16():
    """Layer by layer, and as many random numbers later: what a seed means stays what it was."""
    torch.manual_seed(5)
    theirs = make_layers(cfgs["D"])
    for module in theirs:
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    after = torch.rand(1)
    torch.manual_seed(5)
    ours = torch.nn.Sequential(*(layer for block in LossNet().blocks for layer in block))
    assert torch.equal(torch.rand(1), after)
    assert str(ours) == str(theirs[: len(ours)])
    for name, weight in ours.named_parameters():
        assert "bias" in name or torch.equal(weight, theirs.get_parameter(name)), name


@pytest.mark.usefixtures("short_sighted")
def test_lossnet_keeps_vgg16s_weights_and_takes_one_or_three_channels(tmp_path):
    source = make_layers(cfgs["D"])
    with torch.device("meta"):  # the entries of the published file; no 500 MB of classifier
        published = vgg16(weights=None).state_dict()
    state = {key: source.state_dict().get(key.removeprefix("features."), torch.zeros(1)) for key in published}
    torch.save(state, tmp_path / "vgg16.pth")
    lossnet = LossNet(tmp_path / "vgg16.pth")
    assert torch.equal(lossnet.state_dict()["blocks.3.21.weight"], source[21].weight)
    pred, target = torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64)
    three = lossnet(pred.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1))
    assert lossnet(pred, target).item() == pytest.approx(three.item(), rel=1e-6)
    features = source[:4]
    x, y = (
        F.interpolate((m.expand(-1, 3, -1, -1) - lossnet.mean) / lossnet.std, (32, 32), mode="bilinear")
        for m in (pred, target)
    )
    first = F.mse_loss(features(x), features(y)).item()
    assert 0 < first < lossnet(pred, target).item()


def test_a_file_that_is_no_vgg16_is_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not hold VGG-16"):
        LossNet(tmp_path / "other.pth")


def test_wrong_shapes_are_refused(lossnet):
    with pytest.raises(ValueError, match="expected one shape"):
        structure_loss(torch.zeros(1, 1, 64, 64), torch.zeros(1, 64, 64))
    with pytest.raises(ValueError, match="expected one shape"):
        lossnet(torch.zeros(1, 2, 64, 64), torch.zeros(1, 2, 64, 64))


def test_one_vs_rest_is_the_softmax_of_each_class():
    logits = torch.randn(2, 4, 5, 6, dtype=torch.float64) * 30
    torch.testing.assert_close(torch.sigmoid(one_vs_rest(logits)), logits.softmax(1))


@pytest.mark.usefixtures("short_sighted")
def test_several_classes_average_their_binary_losses(lossnet):
    logits = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    mask = F.one_hot(torch.randint(3, (2, 64, 64)), 3).permute(0, 3, 1, 2).double()
    criterion = Criterion(msnet_terms(lossnet) | {"dice": (0.5, dice_loss)})
    whole = criterion(logits, mask)
    assert (*whole,) == criterion.names == ("total", "structure", "lossnet", "dice")
    binary = one_vs_rest(logits)
    parts = [criterion(binary[:, c : c + 1], mask[:, c : c + 1]) for c in range(3)]
    for name, value in whole.items():
        assert value.item() == pytest.approx(np.mean([part[name].item() for part in parts]), rel=1e-10)
    total = whole["structure"] + 0.1 * whole["lossnet"] + 0.5 * whole["dice"]
    assert whole["total"].item() == pytest.approx(total.item(), rel=1e-12)
    alone = Criterion(msnet_terms())(logits, mask)
    assert alone["total"].item() == alone["structure"].item() == pytest.approx(whole["structure"].item(), rel=1e-12)


def test_soft_dice_is_one_minus_the_dice_of_binary_maps_and_zero_of_nothing_in_any_dimensions():
    for sides in ((8, 9), (4, 5, 6)):
        pred, mask = (torch.rand(2, 1, *sides) > 0.6 for _ in range(2))
        per_image = [2 * (p & m).sum() / (p.sum() + m.sum()) for p, m in zip(pred, mask)]
        loss = dice_loss(torch.where(pred, 40.0, -40.0).double(), mask.double())
        assert loss.item() == pytest.approx(1 - np.mean(per_image), abs=2e-2), "one is added above and below"
        nothing = torch.full((1, 1, *sides), -40.0).double()
        assert dice_loss(nothing, torch.zeros_like(nothing)).item() == pytest.approx(0, abs=1e-12)


def test_structure_loss_of_a_volume_weighs_by_windows_of_31_voxels():
    torch.manual_seed(0)
    logits, mask = torch.randn(1, 1, 6, 40, 9).double(), (torch.rand(1, 1, 6, 40, 9) > 0.5).double()
    dense = F.conv3d(mask, torch.ones(1, 1, 31, 31, 31).double(), padding=15) / 31**3
    weight, pred = 1 + 5 * (dense - mask).abs(), torch.sigmoid(logits)
    inter, both = (weight * pred * mask).sum(), (weight * (pred + mask)).sum()
    expected = F.binary_cross_entropy(pred, mask) + 1 - (inter + 1) / (both - inter + 1)
    assert structure_loss(logits, mask).item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_least_for_the_mask_itself_and_blind_outside_the_field_of_view(name):
    mask = torch.zeros(2, 1, 16, 16)
    mask[:, :, 4:10, 5:12] = 1
    within = torch.ones_like(mask)
    within[..., 8:] = 0
    right, wrong = (40 * mask - 20), (20 - 40 * mask).requires_grad_()
    assert TERMS[name](right, mask) < 0.05 < TERMS[name](wrong, mask)
    loss = TERMS[name](wrong, mask, within=within)
    loss.backward()
    assert loss.shape == () and wrong.grad.isfinite().all() and not wrong.grad[..., 8:].any()
    assert TERMS[name](right, mask, within=within) < 0.05


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize(("dtype", "rounding"), [("float32", 1e-6), ("float16", 2**-10), ("bfloat16", 2**-7)])
def test_features_are_compared_by_a_kernel_as_by_pytorch_in_float32(device, dtype, rounding, monkeypatch):
    if device == "cpu":
        monkeypatch.setattr(fused, "usable", lambda *tensors: True)
    torch.manual_seed(0)
    for shape in ((1, 1, 1, 1), (2, 64, 8, 8), (3, 5, 41, 19)):
        x, y = torch.randn(2, *shape).to(getattr(torch, dtype))
        x = x.to(device, memory_format=torch.channels_last).requires_grad_()
        y = y.to(x.device, memory_format=torch.channels_last)
        exact = F.mse_loss(x.double(), y.double())
        loss = mean_squared(x, y)
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=1e-6)
        found, expected = (torch.autograd.grad(1000 * value, x)[0] for value in (loss, exact))
        torch.testing.assert_close(found, expected, rtol=rounding, atol=1e-7)
        assert torch.equal(mean_squared(x, y), loss), "the same to the bit every time"


def test_lower_levels_weigh_half_of_the_one_above_and_have_the_mask_at_their_size():
    logits, mask = torch.randn(2, 3, 8, 8, 4), F.one_hot(torch.randint(3, (2, 8, 8, 4)), 3)
    mask = mask.movedim(-1, 1).float()
    lower = torch.randn(2, 3, 8, 8, 4), torch.randn(2, 3, 4, 2, 2)
    criterion = Criterion({"dice": (1.0, dice_loss), "structure": (0.5, structure_loss)})
    found = criterion(logits, mask, None, *lower)
    small = mask[:, :, 1::2, 2::4, 1::2]
    totals = [criterion(*each)["total"] for each in ((logits, mask), (lower[0], mask), (lower[1], small))]
    assert found["total"].item() == pytest.approx(np.dot((4, 2, 1), totals).item() / 7, rel=1e-5)
    assert found["dice"] == criterion(logits, mask)["dice"]
