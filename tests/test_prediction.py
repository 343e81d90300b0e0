"""Prediction: the maps of the original, any folder, and errors before the first map."""

import dataclasses
import json
import os
import runpy
import shutil
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

import files
import net
import prediction_rgb
import test_score
import train
from configs import Config, differences, errors_in_one_line
from tests.conftest import GOLDEN, ROOT
from tests.helpers import filled, small, with_golden_batchnorm

TINY = ["--backbone", "tiny"]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("snapshot") / "model-1"
    torch.save(net.build("msnet", "tiny").state_dict(), path)
    return str(path)


@pytest.mark.parametrize("name", ["msnet", "m2snet"])
def test_maps_equal_the_originals(name, golden, tmp_path):
    torch.save(with_golden_batchnorm(filled(name), name, golden).state_dict(), tmp_path / "model")
    images, out = GOLDEN / "images" / "test", tmp_path / "maps"
    arguments = ["--network", name, "--snapshot", str(tmp_path / "model"), "--workers", "0"]
    prediction_rgb.main([*arguments, "--images", str(images), "--out", str(out)])
    expected = sorted((GOLDEN / "predictions" / name).iterdir())
    assert sorted(path.name for path in out.iterdir()) == [*(path.name for path in expected), "maps.json"]
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
    prediction_rgb.main([*TINY, *arguments, "--mapspath", str(polyp_folder / "maps"), "--size", "64", "--workers", "0"])
    for name in ("small", "other"):
        maps = sorted((polyp_folder / "maps" / name).iterdir())
        assert [path.name for path in maps] == ["000.png", "001.png", "maps.json"]
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
    common = [*TINY, "--snapshot", snapshot, "--testpath", str(polyp_folder / "TestDataset"), "--mapspath"]
    with pytest.raises((FileNotFoundError, ValueError), match=message):
        prediction_rgb.main([*common, str(polyp_folder / "maps"), "--workers", "0", *arguments])
    assert not (polyp_folder / "maps").exists()


def test_masks_beside_images_are_not_predicted_and_what_is_left_aside_is_said(polyp_folder, snapshot, capsys):
    folder, out = polyp_folder / "photos", polyp_folder / "maps"
    shutil.copytree(polyp_folder / "TestDataset" / "small" / "images", folder)
    shutil.copytree(polyp_folder / "TestDataset" / "small" / "masks", folder / "GT")
    (folder / "notes.txt").write_text("")
    arguments = ["--snapshot", snapshot, "--images", str(folder), "--out", str(out), "--size", "64", "--workers", "0"]
    prediction_rgb.main([*TINY, *arguments])
    assert sorted(path.name for path in out.iterdir()) == ["000.png", "001.png", "maps.json"]
    said = f"NOTE: not predicted: 3 other files (2 .png, 1 .txt), first {folder}/GT/000.png\n"
    assert said in capsys.readouterr().out


def test_a_map_of_another_picture_of_that_name_is_not_kept(polyp_folder, snapshot, capsys):
    images, out = polyp_folder / "TestDataset" / "small" / "images", polyp_folder / "maps"
    words = [
        *TINY,
        "--snapshot",
        snapshot,
        "--images",
        str(images),
        "--out",
        str(out),
        "--size",
        "64",
        "--workers",
        "0",
    ]
    prediction_rgb.main(words)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    shutil.copy(polyp_folder / "TrainDataset" / "image" / "002.png", images / "000.png")
    for count in (1, 0):
        prediction_rgb.main([*words, "--skip-existing"])
        assert f"{count} maps, {2 - count} were there" in capsys.readouterr().out
    after = {path.name: path.read_bytes() for path in out.iterdir()}
    assert [name for name in sorted(before) if before[name] != after[name]] == ["000.png", "maps.json"]


def test_nothing_is_written_among_masks_beside_the_images(polyp_folder, snapshot):
    images = polyp_folder / "TestDataset" / "small" / "images"
    words = ["--snapshot", snapshot, "--images", str(images), "--out", str(images.with_name("masks") / "new")]
    with pytest.raises(ValueError, match=r"masks/new would be written into, but \S+masks is read from"):
        prediction_rgb.main([*TINY, *words])


def test_a_snapshot_is_asked_for_and_images_need_out(polyp_folder):
    with pytest.raises(SystemExit, match="--snapshot FILE"):
        prediction_rgb.main([])
    with pytest.raises(SystemExit, match="go together"):
        prediction_rgb.main(["--images", "x"])


def test_an_output_folder_that_cannot_be_written_is_named(polyp_folder, snapshot):
    (polyp_folder / "file").write_text("in the way")
    images = str(polyp_folder / "TestDataset" / "small")
    out = str(polyp_folder / "file" / "maps")
    with pytest.raises(PermissionError, match="cannot write into .*file"):
        prediction_rgb.main([*TINY, "--snapshot", snapshot, "--images", images, "--out", out])


def test_a_corrupt_image_stops_with_its_name_and_leaves_no_half_written_map(polyp_folder, snapshot):
    folder = polyp_folder / "TestDataset" / "small" / "images"
    (folder / "001.png").write_bytes((folder / "001.png").read_bytes()[:300])
    out = polyp_folder / "maps"
    words = [*TINY, "--snapshot", snapshot, "--images", str(folder), "--out", str(out)]
    with pytest.raises(ValueError, match=r"001\.png cannot be decoded"):
        prediction_rgb.main([*words, "--size", "64", "--test_batch", "1"])
    assert sorted(path.name for path in out.iterdir()) == ["000.png", "maps.json"]


def predicted(out) -> dict[str, np.ndarray]:
    return {path.relative_to(out).as_posix(): np.asarray(Image.open(path), np.int16) for path in out.rglob("*.png")}


def test_a_size_other_than_the_runs_is_noted(polyp_folder, tmp_path, capsys):
    train.train(small(polyp_folder))
    images = str(polyp_folder / "TestDataset" / "small" / "images")
    words = ["--snapshot", str(polyp_folder / "saved" / "model-1"), "--images", images, "--workers", "0"]
    words += TINY
    prediction_rgb.main([*words, "--out", str(tmp_path / "a"), "--size", "64"])
    assert "NOTE" not in capsys.readouterr().out
    prediction_rgb.main([*words, "--out", str(tmp_path / "b"), "--size", "96"])
    assert "NOTE: trained with size 64, predicting with 96 (" in capsys.readouterr().out


MINE, HALF = (
    {"train_mean": (51, 102, 153), "train_std": (51, 51, 51)},
    {"test_mean": (0.5,) * 3, "test_std": (0.5,) * 3},
)


@pytest.mark.parametrize(
    ("then", "now", "names"),
    [
        ({}, {}, []),
        ({"size": (352, 352)}, {}, []),
        ({}, {"label_values": (0, 1), "class_names": ("a", "b"), "classes": 2}, ["label_values", "class_names"]),
        ({"label_values": (7,)}, {"label_values": (7,), "class_names": ("7",)}, []),
        (MINE, MINE, []),  # an older run's, of which ImageNet's test statistics are recorded
        (MINE, {"test_mean": (0.2, 0.401, 0.6), "test_std": (0.2,) * 3}, []),
        (MINE, {}, ["for mean", "for std"]),
        (MINE | {"test_mean": (0.2, 0.4, 0.6), "test_std": (0.2,) * 3}, MINE, []),
        (HALF, HALF, []),
        (HALF, {}, ["for mean", "for std"]),
    ],
)
def test_what_maps_depend_on_is_noted_where_it_differs_and_only_there(tmp_path, then, now, names):
    record = dataclasses.asdict(Config()) | then
    del record["percent"]  # as in a record that is older than the field
    (tmp_path / "config.json").write_text(json.dumps({"config": record}))
    said = list(differences(Config(**now), tmp_path / "model-1"))
    assert len(said) == len(names), said
    assert all(line.startswith(f"trained {'' if 'for' in n else 'with '}{n} ") for line, n in zip(said, names))


def test_maps_of_images_that_were_trained_on_are_noted(polyp_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prediction_rgb, "predict", lambda *_: None)
    files.write_split(tmp_path / "split.json", files.Parts(files.find_pairs(polyp_folder / "TrainDataset")[:4], [], []))
    for images, note in (("TrainDataset/image", "4 of 6 images were trained on or chosen by, first 000"), ("Test", "")):
        folder = polyp_folder / ("TestDataset/small/images" if images == "Test" else images)
        words = ["--snapshot", str(tmp_path / "model-1"), "--images", str(folder), "--out", str(tmp_path / "maps")]
        prediction_rgb.main(words)
        said = capsys.readouterr().out
        assert note in said and bool(note) == ("NOTE" in said)


def test_who_scores_maps_of_images_that_were_trained_on_is_told(polyp_folder, tmp_path, capsys):
    train_folder, small, maps = polyp_folder / "TrainDataset", polyp_folder / "TestDataset" / "small", tmp_path / "maps"
    torch.save(net.build("msnet", TINY[1]).state_dict(), tmp_path / "model-1")
    files.write_split(tmp_path / "split.json", files.Parts(files.find_pairs(train_folder)[:4], [], []))
    (tmp_path / "copied").mkdir()
    shutil.copy(tmp_path / "model-1", tmp_path / "copied")  # without what tells that it was trained on anything
    shutil.copytree(train_folder / "image", tmp_path / "other")
    for path in sorted((tmp_path / "other").iterdir())[2:]:
        path.unlink()
    for path in (tmp_path / "other").iterdir():  # another picture of that name
        Image.open(path).convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)

    def predicted_and_scored(images, model="model-1", *more: str, gt=train_folder) -> str:
        words = ["--snapshot", str(tmp_path / model), "--size", "64", *TINY, "--out", str(maps), *more]
        prediction_rgb.main([*words, "--images", str(images)])
        capsys.readouterr()
        test_score.main(["--gt", str(gt), "--pred", f"mine={maps}"])
        return capsys.readouterr().out

    told = "mine: {} of 6 images were trained on or chosen by, first {}"
    assert told.format(4, "000") in predicted_and_scored(train_folder / "image")
    assert told.format(4, "000") in predicted_and_scored(train_folder / "image", "copied/model-1", "--skip-existing")
    assert told.format(2, "002") in predicted_and_scored(tmp_path / "other"), "two have maps of other pictures now"
    (maps / "maps.json").write_text("[" * 200_000)
    test_score.main(["--gt", str(train_folder), "--pred", f"mine={maps}"])
    assert "trained on" not in capsys.readouterr().out
    (maps / "maps.json").unlink()
    os.mkfifo(maps / "maps.json")  # nobody writes into it
    with pytest.warns(UserWarning, match=r"left aside, first maps\.json"):
        test_score.main(["--gt", str(train_folder), "--pred", f"mine={maps}"])
    assert "trained on" not in capsys.readouterr().out
    shutil.rmtree(maps)
    assert "trained on" not in predicted_and_scored(small / "images", gt=small)


@pytest.mark.parametrize(
    ("inside", "names"), [("", ["c/1", "2"]), ("c", ["1"]), ("label", ["c/1", "2"]), ("7", ["c/1", "2"]), ("d", [])]
)
def test_what_was_trained_on_is_known_in_the_folders_of_sets_and_classes_too(tmp_path, inside, names):
    settings = {"snapshot": "model", "class_names": 5, "label_values": [0, 7]}
    files.write_maps_record(tmp_path, settings, {}, ["c/1", "2"])
    assert files.trained_on(tmp_path / inside) == set(names)
    (tmp_path / inside).mkdir(exist_ok=True)
    files.write_maps_record(tmp_path / inside, settings, {}, ["9"])
    assert files.trained_on(tmp_path / inside) == {"9"}, "its own record has the word"


def test_a_mistake_is_one_line(polyp_folder, monkeypatch):
    words = ["train.py", str(ROOT / "configs" / "demo.py"), "--before", "", "--datapath", str(polyp_folder / "absent")]
    monkeypatch.setattr(sys, "argv", words)
    # Python prints a text that it exits with, and the status is 1
    with pytest.raises(SystemExit, match=r"^train\.py: error: no folder .*absent; check datapath[^\n]*$"):
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    monkeypatch.setenv("TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="no folder"), errors_in_one_line("train.py"):
        train.main(words[1:])


def test_clips_keep_their_tree_and_existing_maps_are_skipped(polyp_folder, snapshot, capsys):
    clips = polyp_folder / "Frame"
    for clip in ("a", "b"):
        shutil.copytree(polyp_folder / "TestDataset" / "small" / "images", clips / clip)
    out = polyp_folder / "maps"
    arguments = ["--snapshot", snapshot, "--images", str(clips), "--out", str(out), "--size", "64"]
    arguments += TINY
    prediction_rgb.main(arguments)
    first = predicted(out)
    assert sorted(first) == ["a/000.png", "a/001.png", "b/000.png", "b/001.png"]
    (out / "b" / "001.png").unlink()
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    capsys.readouterr()
    prediction_rgb.main([*arguments, "--skip-existing"])
    assert "1 maps, 3 were there" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == before for path, before in times.items())
    assert all(np.array_equal(first[name], array) for name, array in predicted(out).items())


def test_batches_and_bfloat16_change_maps_by_rounding_only(golden, tmp_path):
    torch.save(with_golden_batchnorm(filled("m2snet"), "m2snet", golden).state_dict(), tmp_path / "model")
    runs = {}
    for name, flags in {
        "one": ["--test_batch", "1"],
        "three": ["--test_batch", "3", "--workers", "2"],
        "bf16": ["--test_amp", "native-bf16"],
    }.items():
        common = ["--network", "m2snet", "--snapshot", str(tmp_path / "model"), "--size", "96"]
        prediction_rgb.main(
            [*common, "--images", str(GOLDEN / "images" / "test"), "--out", str(tmp_path / name), *flags]
        )
        runs[name] = predicted(tmp_path / name)
    for name, ours in runs["three"].items():
        assert np.abs(ours - runs["one"][name]).max() <= 1
    assert np.mean([np.abs(ours - runs["one"][name]).mean() for name, ours in runs["bf16"].items()]) < 4


def test_views_are_averaged_and_a_mirrored_image_gets_the_mirrored_map():
    from engine.inference import Predictor

    torch.manual_seed(0)
    network = net.build("msnet", "tiny").eval()
    images = torch.rand(2, 3, 64, 96)
    views = partial(Predictor, network, torch.device("cpu"))
    plain, mirrored = views(), views(flip=True)
    expected = (plain(images) + plain(images.flip(3)).flip(3)) / 2
    torch.testing.assert_close(mirrored(images), expected)
    torch.testing.assert_close(mirrored(images.flip(3)).flip(3), expected)
    large = torch.nn.functional.interpolate(images, (96, 144), mode="bilinear", align_corners=False)
    large_map = torch.nn.functional.interpolate(plain(large), (64, 96), mode="bilinear", align_corners=False)
    both = views(scales=(1.0, 1.5))(images)
    torch.testing.assert_close(both, (plain(images) + large_map) / 2)


@pytest.mark.parametrize("name", ["msnet", "m2snet"])
def test_folding_batchnorm_changes_logits_by_rounding_only(name, golden):
    network = with_golden_batchnorm(filled(name), name, golden).eval().double()
    image = torch.rand(1, 3, 96, 64, dtype=torch.float64)
    with torch.inference_mode():
        before = network(image)
        after = net.fold_batchnorm(network)(image)
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9 * before.abs().max().item())
    left = [type(module).__name__ for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(left) == (2 if name == "m2snet" else 0), "all but the box views' own are gone"
