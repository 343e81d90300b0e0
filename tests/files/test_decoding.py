"""Decoding: a file that is damaged, hostile, or holds what would be lost is one error that names it."""

import struct
import zlib

import cv2
import numpy as np
import pytest

import files
from configs import Labels
from dataset import Config, TestImages
from tests.miniatures import IMAGE, blob


def instances(path):
    mask = np.zeros((60, 70), np.uint8)
    for i in range(20):
        mask[2 * i + 2 : 2 * i + 4, 5:65] = 12 * i + 3
    cv2.imwrite(str(path), mask)


def colours(path):
    mask = np.zeros((60, 70, 3), np.uint8)
    mask[10:20, 10:40], mask[30:50, 10:40] = (0, 0, 255), (0, 255, 0)
    cv2.imwrite(str(path), mask)


def transparent(path):
    cv2.imwrite(str(path), np.dstack([np.zeros((60, 70, 3), np.uint8), blob(0, (60, 70))]))


def transparent_image(path):
    path.write_bytes(cv2.imencode(".png", np.dstack([np.zeros((70, 80, 3), np.uint8), blob(0)]))[1])


def animated(path):
    from PIL import Image

    frames = [Image.fromarray(blob(left, (60, 70))) for left in (0, 20)]
    frames[0].save(path, format="TIFF", save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (instances, r"m\.png has areas of grey \d+, neither lesion nor background.*Give classes and label_values"),
        (colours, r"m\.png has areas of grey (76|149|150), neither lesion"),
        (transparent, r"m\.png has all it shows in its transparency; save it as grey"),
        (animated, r"m\.png holds 2 pictures; expected one"),
        (
            lambda path: cv2.imwrite(str(path), np.arange(4200, dtype=np.uint16).reshape(60, 70) % 301),
            r"m\.png has 16-bit values up to 300; expected 255 or 65535",
        ),
        (
            lambda path: path.write_bytes(cv2.imencode(".tif", np.ones((60, 70), np.float32))[1].tobytes()),
            r"m\.png holds float32 values; save it with 8 bits",
        ),
    ],
)
def test_masks_whose_lesion_would_be_lost_are_refused(tmp_path, write_png, make, message):
    image, mask = write_png(tmp_path / "i.png", np.zeros((60, 70, 3), np.uint8)), tmp_path / "m.png"
    make(mask)
    with pytest.raises(ValueError, match=message):
        files.check_pairs([files.Pair("i", image, (mask,))])


def bomb(path):
    """A GIF of 200 bytes that claims 60000 x 60000 pixels."""
    path.write_bytes(
        b"GIF89a" + (60000).to_bytes(2, "little") * 2 + b"\x80\0\0" + b"\0" * 6 + b",\0\0\0\0" + b"\x60\xea" * 2
    )


def cut_tiff(path):
    """A TIFF whose directory points beyond its end."""
    path.write_bytes(cv2.imencode(".tif", IMAGE)[1].tobytes()[:60])


def cut_gif(path):
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (70, 80), np.uint8)
    Image.fromarray(noise).save(path, format="GIF")
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("make", [bomb, cut_tiff, cut_gif])
def test_a_hostile_file_is_one_error_that_names_it_wherever_it_is_read(tmp_path, write_png, make):
    hostile, sound = tmp_path / "hostile.gif", write_png(tmp_path / "sound.png", blob(0))
    make(hostile)
    for read in (
        files.read_image,
        files.read_mask,
        files.read_map,
        lambda path: files.read_gt([path]),
        lambda path: files.read_labels([path], Labels((0, 1))),
        lambda path: TestImages({"x": path}, Config())[0],
        lambda path: files.check_pairs([files.Pair("x", path, (sound,))]),
        lambda path: files.check_pairs([files.Pair("x", sound, (path,))]),
    ):
        with pytest.raises(ValueError, match=r"hostile\.gif cannot be decoded \(.+\); replace it$"):
            read(hostile)


@pytest.mark.parametrize("kind", [IndexError, TypeError, struct.error, zlib.error, EOFError])
def test_whatever_a_decoder_raises_names_the_file(kind):
    with (
        pytest.raises(ValueError, match=r"^a\.png cannot be decoded \((of its own|\w+)\); replace it$"),
        files.decoding("a.png"),
    ):
        raise kind("of its own")


def test_a_full_memory_names_the_file_and_does_not_blame_it():
    with pytest.raises(MemoryError, match=r"^a\.png finds no room in memory"), files.decoding("a.png"):
        raise MemoryError("of its own")


def tiff(path, array):
    path.write_bytes(cv2.imencode(".tif", array)[1])


def tiff_marked(path, photometric: int, pixels: np.ndarray, big: bool = False):
    """An uncompressed TIFF of pixels (H, W, samples) uint8 whose photometric interpretation is as given."""
    height, width, samples = pixels.shape
    word, count, start = ("Q", "Q", 16) if big else ("I", "H", 8)
    bits = struct.pack("<4H", 8, 8, 8, 8)
    values = [(256, width), (257, height), (258, 0), (259, 1), (262, photometric), (273, 0), (277, samples)]
    values += [(278, height), (279, pixels.size)]
    strip = start + len(bits) + struct.calcsize("<" + count) + len(values) * (20 if big else 12) + struct.calcsize(word)
    found = struct.pack("<" + count, len(values))
    for tag, value in values:
        content = struct.pack("<" + word, {258: start, 273: strip}.get(tag, value))
        content = bits[: 2 * samples].ljust(8, b"\0") if big and tag == 258 else content
        found += struct.pack("<HH" + word, tag, 3 if tag == 258 else 4, samples if tag == 258 else 1) + content
    head = b"II+\0\x08\0\0\0" if big else b"II*\0"
    head += struct.pack("<" + word, start + len(bits))
    path.write_bytes(head + bits + found + struct.pack("<" + word, 0) + pixels.tobytes())


def saved(**how):
    from PIL import Image

    return lambda path: Image.fromarray(COLOURS).convert(how.pop("mode", "RGB")).save(path, **how)


COLOURS = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8), (80, 70))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: tiff(path, COLOURS.astype(np.float32) / 255),
            "bytes, not an image of 8 or 16 bits",
        ),
        (lambda path: tiff(path, COLOURS[..., 0].astype(np.uint16) * 16), "has 16-bit values up to 39"),
        (
            lambda path: path.write_bytes(cv2.imencode(".png", COLOURS.astype(np.uint16) * 16)[1]),
            "has 16-bit values up to 39",
        ),
        (lambda path: tiff(path, COLOURS[..., 0].astype(np.int16) - 100), "holds int16 values; save it with 8 bits"),
        (lambda path: tiff(path, (COLOURS[..., 0] // 2).astype(np.int8)), "holds int8 values; save it with 8 bits"),
        (animated, "holds 2 pictures; expected one"),
        (transparent_image, "has all it shows in its transparency"),
        (lambda path: tiff_marked(path, 8, COLOURS), "holds CIELAB colours; save it as RGB"),
    ],
)
def test_prediction_refuses_what_training_refuses_in_the_same_words(tmp_path, write_png, make, message):
    image, mask = tmp_path / "i.tif", write_png(tmp_path / "m.png", blob(0))
    make(image)
    said = []
    for read in (
        lambda: files.check_pairs([files.Pair("i", image, (mask,))]),
        lambda: TestImages({"i": image}, Config())[0],
    ):
        with pytest.raises(ValueError, match=rf"i\.tif .*{message}") as error:
            read()
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize(
    "how",
    [
        {"format": "PNG"},
        {"format": "JPEG", "quality": 80},
        {"format": "JPEG", "mode": "L"},
        {"format": "WEBP"},
        {"format": "BMP"},
        {"format": "GIF", "mode": "P"},
        {"format": "PNG", "mode": "P"},
        {"format": "PNG", "mode": "1"},
        {"format": "PNG", "mode": "LA"},
        {"format": "TIFF", "compression": "tiff_lzw"},
        {"format": "TIFF", "mode": "CMYK"},
    ],
)
def test_training_and_prediction_read_the_same_pixels(tmp_path, how):
    path = tmp_path / "i.png"  # what a file is, its first bytes say
    saved(**how)(path)
    assert np.array_equal(np.asarray(files.read_whole_image(path)), files.read_image(path))


@pytest.mark.parametrize("big", [False, True])
def test_three_samples_that_a_tiff_calls_grey_are_colours(tmp_path, big):
    """CVC-ClinicDB's: OpenCV takes the red for grey, Pillow cannot open them."""
    path = tmp_path / "i.tif"
    tiff_marked(path, 1, COLOURS, big)
    assert np.array_equal(files.read_image(path), COLOURS)
    assert np.array_equal(np.asarray(files.read_whole_image(path)), COLOURS)
    grey = cv2.cvtColor(COLOURS, cv2.COLOR_RGB2GRAY)
    for read in (lambda: files.reading.decode_mask(path), lambda: files.read_map(path)[0]):
        assert np.abs(read().astype(int) - grey).max() <= 1, "never the red alone"


@pytest.mark.parametrize(("channels", "photometric"), [(4, 1), (3, 0)])
def test_other_samples_called_grey_are_refused(tmp_path, channels, photometric):
    path = tmp_path / "i.tif"
    tiff_marked(path, photometric, np.dstack([COLOURS, COLOURS])[..., :channels])
    for read in (files.read_image, files.read_whole_image, files.read_mask, files.read_map):
        with pytest.raises(ValueError, match=rf"i\.tif cannot be .*{channels} samples a pixel that are marked as grey"):
            read(path)
