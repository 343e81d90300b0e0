"""A field of view in training: found beside the images, turned with them, and nothing outside it is learned from."""

import numpy as np
import pytest
import torch
from PIL import Image

from configs import Config
from dataset import Data
from files import check_pairs, find_pairs
from lossnet import Criterion, LossNet, dice_loss, msnet_terms, structure_loss
from tests.miniatures import vessel_drive


@pytest.fixture
def drive(tmp_path):
    vessel_drive(tmp_path)
    return tmp_path / "DRIVE" / "training"


def test_the_folder_mask_of_drive_is_the_field_and_not_the_label(drive):
    pairs = find_pairs(drive, field_of_view="mask")
    assert [pair.within.name for pair in pairs] == ["21_training_mask.gif", "22_training_mask.gif"]
    assert [pair.masks[0].name for pair in pairs] == ["21_manual1.gif", "22_manual1.gif"]
    assert find_pairs(drive)[0].within is None
    assert check_pairs(pairs).pairs == 2


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (lambda d: (d / "mask/22_training_mask.gif").unlink(), ValueError, "22_training.tif has no field of view in"),
        (lambda d: (d / "mask").rename(d / "fields"), FileNotFoundError, "no folder 'mask' beside its images"),
        (
            lambda d: Image.new("L", (88, 66)).save(d / "mask/22_training_mask.gif"),
            ValueError,
            "22_training_mask.gif is an empty field of view",
        ),
        (
            lambda d: Image.new("L", (66, 88), 255).save(d / "mask/22_training_mask.gif"),
            ValueError,
            "22_training_mask.gif is 66x88 but its image",
        ),
    ],
)
def test_a_field_that_is_missing_empty_or_of_another_size_is_refused(drive, harm, error, message):
    harm(drive)
    with pytest.raises(error, match=message):
        check_pairs(find_pairs(drive, field_of_view="mask"))


def test_a_field_is_mirrored_and_turned_with_its_image_and_ends_where_the_image_ends(drive):
    fields = {"datapath": str(drive), "size": 96, "scales": (64,), "field_of_view": "mask"}
    data = Data(Config(**fields, rotate=10))
    for i in range(2):
        sample = data[3, i]
        _, mask, _, within = data.collate([sample])
        assert (mask.shape, within.shape) == ((1, 1, 64, 64), (1, 1, 64, 64))
        black = sample.image == 0  # what a rotation brings in
        assert black.all(2).any() and not sample.mask[1][black.all(2)].any()
    still = Data(Config(**fields, mode="test"))
    assert torch.equal(still.collate([still[0, 0]]).within, torch.ones(1, 1, 64, 64))
    assert Data(Config(**fields | {"field_of_view": ""})).collate([sample]).within is not None


@pytest.mark.parametrize(("classes", "weighted"), [(1, False), (2, True)])
@pytest.mark.usefixtures("short_sighted")
def test_nothing_outside_is_learned_from(classes, weighted):
    torch.manual_seed(0)
    logits = torch.randn(2, classes, 64, 64, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(2, classes, 64, 64, dtype=torch.float64) > 0.7).double()
    within = torch.zeros(2, 1, 64, 64, dtype=torch.float64)
    within[:, :, 10:40, 20:60] = 1
    criterion = Criterion(msnet_terms(LossNet().double(), 0.1, weighted) | {"dice": (1, dice_loss)})
    criterion(logits, mask, within)["total"].backward()
    outside = (within == 0).expand_as(logits)
    assert logits.grad[outside].abs().max() == 0
    assert logits.grad[~outside].abs().min() > 0
    whole, all_of_it = (criterion(logits, mask, w) for w in (None, torch.ones_like(within)))
    torch.testing.assert_close(whole, all_of_it, rtol=1e-12, atol=0)


def test_the_loss_of_a_batch_is_the_mean_of_its_images_however_large_their_fields():
    torch.manual_seed(0)
    logits, mask = torch.randn(2, 1, 32, 32, dtype=torch.float64), torch.rand(2, 1, 32, 32).round().double()
    within = torch.ones(2, 1, 32, 32, dtype=torch.float64)
    within[1, :, 6:] = 0
    whole = structure_loss(logits, mask, within=within)
    halves = [structure_loss(logits[i : i + 1], mask[i : i + 1], within=within[i : i + 1]) for i in range(2)]
    assert whole.item() == pytest.approx((sum(halves) / 2).item(), rel=1e-12)


def test_the_loss_inside_is_the_mean_over_what_counts():
    logits, mask = torch.randn(2, 1, 32, 32, dtype=torch.float64), torch.zeros(2, 1, 32, 32, dtype=torch.float64)
    within = torch.rand(2, 1, 32, 32).round().double()
    keep = within.bool()
    bce = torch.stack([-torch.log(1 - torch.sigmoid(image[k])).mean() for image, k in zip(logits, keep)]).mean()
    pred = torch.sigmoid(logits) * within
    iou = (1 - 1 / (pred.sum((2, 3)) + 1)).mean()  # no mask, so every pixel inside weighs 1
    assert structure_loss(logits, mask, within=within).item() == pytest.approx((bce + iou).item(), rel=1e-12)


def test_a_field_on_file_is_grey_of_any_format(drive):
    Image.fromarray(np.full((66, 88), 1, np.uint8)).save(drive / "mask/21_training_mask.gif")
    with pytest.warns(UserWarning, match="valued 0/1"):
        assert (
            Data(Config(datapath=str(drive), size=64, scales=(64,), field_of_view="mask", mode="test"))[0, 0]
            .mask[1]
            .all()
        )
