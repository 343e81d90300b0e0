"""Prediction: the maps of the original, any folder, and errors before the first map."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import net
import prediction_rgb
from tests.conftest import GOLDEN
from tests.test_net import filled, with_golden_batchnorm


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("snapshot") / "model-1"
    torch.save(net.build("msnet").state_dict(), path)
    return str(path)


@pytest.mark.parametrize("name", ["msnet", "m2snet"])
def test_maps_equal_the_originals(name, golden, tmp_path):
    torch.save(with_golden_batchnorm(filled(name), name, golden).state_dict(), tmp_path / "model")
    images, out = GOLDEN / "images" / "test", tmp_path / "maps"
    arguments = ["--network", name, "--snapshot", str(tmp_path / "model"), "--workers", "0"]
    prediction_rgb.main([*arguments, "--images", str(images), "--out", str(out)])
    expected = sorted((GOLDEN / "predictions" / name).iterdir())
    assert sorted(path.name for path in out.iterdir()) == [path.name for path in expected]
    for path in expected:
        theirs = np.asarray(Image.open(path), np.int16)
        ours = np.asarray(Image.open(out / path.name), np.int16)
        assert ours.shape == theirs.shape
        difference = np.abs(ours - theirs)
        assert (difference <= 1).mean() >= 0.995
        assert difference.mean() <= 0.2


def test_test_sets_of_a_config_go_to_a_folder_each(polyp_folder, snapshot, capsys):
    shutil.copytree(polyp_folder / "TestDataset" / "small", polyp_folder / "TestDataset" / "other")
    shutil.rmtree(polyp_folder / "TestDataset" / "other" / "masks")  # predicting needs no masks
    arguments = ["--snapshot", snapshot, "--testpath", str(polyp_folder / "TestDataset"), "--testsets", "small,other"]
    prediction_rgb.main([*arguments, "--mapspath", str(polyp_folder / "maps"), "--size", "64", "--workers", "0"])
    for name in ("small", "other"):
        maps = sorted((polyp_folder / "maps" / name).iterdir())
        assert [path.name for path in maps] == ["000.png", "001.png"]
        with Image.open(maps[0]) as image:
            assert (image.mode, image.size) == ("L", (160, 128))
    assert "small: 2 maps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--testsets", "small,absent"], "no folder .*absent; .* holds small"),
        (["--testsets", "small", "--network", "m2snet"], "it is a checkpoint of MSNet"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_map(polyp_folder, snapshot, arguments, message):
    common = ["--snapshot", snapshot, "--testpath", str(polyp_folder / "TestDataset"), "--mapspath"]
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        prediction_rgb.main([*common, str(polyp_folder / "maps"), "--workers", "0", *arguments])
    assert not (polyp_folder / "maps").exists()


def test_a_snapshot_is_asked_for_and_images_need_out(polyp_folder):
    with pytest.raises(SystemExit, match="--snapshot FILE"):
        prediction_rgb.main([])
    with pytest.raises(SystemExit, match="go together"):
        prediction_rgb.main(["--images", "x"])


def test_an_output_folder_that_cannot_be_written_is_named(polyp_folder, snapshot):
    (polyp_folder / "file").write_text("in the way")
    images = str(polyp_folder / "TestDataset" / "small")
    with pytest.raises(PermissionError, match="cannot write into .*file"):
        prediction_rgb.main(["--snapshot", snapshot, "--images", images, "--out", str(polyp_folder / "file" / "maps")])


def test_a_corrupt_image_stops_with_its_name_and_leaves_no_half_written_map(polyp_folder, snapshot):
    folder = polyp_folder / "TestDataset" / "small" / "images"
    (folder / "001.png").write_bytes((folder / "001.png").read_bytes()[:300])
    out = polyp_folder / "maps"
    with pytest.raises(ValueError, match=r"001\.png cannot be decoded"):
        prediction_rgb.main(
            ["--snapshot", snapshot, "--images", str(folder), "--out", str(out), "--size", "64", "--test_batch", "1"]
        )
    assert [path.name for path in out.iterdir()] == ["000.png"]
