"""Reading: any format and depth is one array, the same for training, prediction and scoring."""

import numpy as np
import pytest
import torch

import files
from configs import Labels
from dataset import Config, TestImages
from files import find_pairs
from tests.miniatures import IMAGE, blob


def test_grey_maps_of_any_depth_are_read_and_the_conversion_is_named(tmp_path, write_png, rng):
    from PIL import Image

    grey = rng.integers(0, 256, (7, 9), np.uint8)
    assert files.read_map(write_png(tmp_path / "8.png", grey))[1] == ""
    deep, note = files.read_map(write_png(tmp_path / "16.png", grey.astype(np.uint16) * 257))
    assert note == "16-bit"
    assert np.array_equal(deep, grey)
    colour, note = files.read_map(write_png(tmp_path / "rgb.png", np.dstack([grey] * 3)))
    assert note == "RGB"
    assert np.array_equal(colour, grey)
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    palette, note = files.read_map(tmp_path / "palette.png")
    assert note == "palette"
    assert np.array_equal(palette, grey)


def test_gif_masks_and_deep_masks_keep_their_lesion(tmp_path, write_png):
    from PIL import Image

    Image.fromarray(blob(5)).save(tmp_path / "a_manual1.gif")
    assert np.array_equal(files.read_mask(tmp_path / "a_manual1.gif"), blob(5))
    Image.fromarray(IMAGE).save(tmp_path / "a.gif")
    assert np.abs(files.read_image(tmp_path / "a.gif").astype(int) - IMAGE).max() <= 1
    for value in (255, 65535):  # OpenCV would read the first as empty
        deep = write_png(tmp_path / f"{value}.png", blob(5, value=value, dtype=np.uint16))
        assert np.array_equal(files.read_mask(deep), blob(5))


def test_an_image_turned_by_exif_is_one_way_up_everywhere(tmp_path, write_png):
    from PIL import Image

    stored = np.zeros((60, 90, 3), np.uint8)
    stored[:, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: 90 rows of 60 pixels, the first 30 bright
    (tmp_path / "images").mkdir()
    Image.fromarray(stored).save(tmp_path / "images" / "1.png", exif=exif)
    assert files.read_image(tmp_path / "images" / "1.png").shape == (90, 60, 3)
    assert files.read_image(tmp_path / "images" / "1.png")[:30].mean() > 250
    sample = TestImages(tmp_path / "images", Config())[0]
    assert (sample.case.height, sample.case.width) == (90, 60)
    assert sample.image[0, :100].mean() > sample.image[0, 200:].mean() + 1
    write_png(tmp_path / "masks" / "1.png", blob(0, (60, 90)))
    with pytest.raises(ValueError, match=r"1\.png is 90x60 but its image .* is 60x90, turned as its EXIF says"):
        files.check_pairs(find_pairs(tmp_path))


def test_parts_of_a_mask_must_be_of_one_size(tmp_path, write_png):
    parts = [write_png(tmp_path / "a.png", blob(0)), write_png(tmp_path / "b.png", blob(0, (70, 81)))]
    with pytest.raises(ValueError, match=r"b\.png is 81x70 but .*a\.png, of the same image, is 80x70"):
        files.read_mask(*parts)


def test_sixteen_bit_images_are_the_same_in_training_and_prediction(tmp_path, write_png, rng):
    grey = rng.integers(0, 256, (70, 80), np.uint8)
    deep = write_png(tmp_path / "images" / "a.png", grey.astype(np.uint16) * 257)
    write_png(tmp_path / "images" / "b.png", grey)
    assert np.array_equal(files.read_image(deep)[..., 0], grey)
    images = TestImages(tmp_path / "images", Config())
    assert torch.equal(images[0].image, images[1].image)
    write_png(deep, grey.astype(np.uint16) * 16)  # twelve bits in sixteen
    pair = files.Pair("a", deep, (write_png(tmp_path / "m.png", blob(0)),))
    with pytest.raises(ValueError, match=r"a\.png has 16-bit values up to 4080, all but black"):
        files.check_pairs([pair])


def test_scoring_reads_a_mask_as_training_does(tmp_path, write_png):
    deep = write_png(tmp_path / "deep.png", blob(0, value=1, dtype=np.uint16))
    parts = (write_png(tmp_path / "0.png", blob(0, value=1)), write_png(tmp_path / "1.png", blob(30)))
    for paths in ((deep,), parts):
        with pytest.warns(UserWarning, match="valued 0/1"):
            trained = files.read_mask(*paths) > 127
        scored, _ = files.read_gt(paths)
        assert np.array_equal(scored > scored.max() // 2, trained)
    with pytest.raises(ValueError, match=r"other\.png is 40x30 but .*1\.png"):
        files.read_gt((parts[1], write_png(tmp_path / "other.png", blob(0, (30, 40)))))


def labelled(values, shape=(70, 80)) -> np.ndarray:
    """A background of 0, and a block of each value."""
    mask = np.zeros(shape, np.uint8)
    for i, value in enumerate(values):
        mask[10:20, 12 * i + 2 : 12 * i + 10] = value
    return mask


@pytest.mark.parametrize("values", [(1, 255), (1, 2, 3, 255), (2, 254), (1, 200)])
def test_labels_beside_what_is_to_be_ignored_are_no_mask_for_any_reader(tmp_path, write_png, values):
    from report.cases import Case
    from report.reading import How
    from report.scoring import score_files

    mask, image = write_png(tmp_path / "m.png", labelled(values)), write_png(tmp_path / "i.png", IMAGE)
    sound = write_png(tmp_path / "n.png", blob(0))
    said = rf"m\.png holds {values[0]}.* pixels\) and {values[-1]} \(80\): a lesion of 1, and {values[-1]} for what"
    for read in (
        lambda: files.read_mask(mask),
        lambda: files.read_mask(mask, sound),
        lambda: files.check_pairs([files.Pair("i", image, (mask,))]),
        lambda: score_files([Case(str(sound), (str(mask),))], How("official")),
        lambda: score_files([Case(str(sound), (str(mask), str(sound)))], How("official")),
    ):
        with pytest.raises(ValueError, match=said):
            read()
    score_files([Case(str(mask), (str(sound),))], How("official"))  # a map may hold any value
    labels = Labels((0, *values))
    assert len(files.read_planes([mask], labels)) == labels.count, "as label images they are read"


def test_a_mask_of_jpeg_or_with_soft_edges_is_no_label_image(tmp_path, write_png, rng):
    """CVC-ClinicDB has a mask with flat areas of 11, and values from 8 to 28; Kvasir's hold 0..7 and 248..255."""
    flat = blob(0)
    flat[40:50, 10:40], flat[40, 10] = 11, 28
    noise = blob(0).astype(int) + rng.integers(-3, 4, (70, 80))
    for i, mask in enumerate(
        (flat, np.clip(noise, 0, 255).astype(np.uint8), np.where(blob(0), 255, 1).astype(np.uint8) * 0)
    ):
        path = write_png(tmp_path / f"{i}.png", mask)
        assert files.read_mask(path).shape == (70, 80)
