"""`load` in Python and prediction_rgb.py without a config file: both by the record of the run, to the same maps."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import net
import prediction_rgb
from configs import Config
from engine import checkpoint
from engine.inference import load
from files import deal_folds, read_map
from tests.conftest import ROOT
from tests.helpers import small

OWN = {"size": (96, 128), "train_mean": (51, 102, 153), "train_std": (51, 51, 51), "test_flip": True}


def run_of(folder: Path, seed: int = 0, **fields) -> Path:
    """A checkpoint as a run leaves it, its record beside it."""
    cfg = small(folder, scales=(), **fields)
    torch.manual_seed(seed)
    network = net.build(cfg.network, cfg.backbone, cfg.classes)
    torch.nn.init.normal_(network.output1[0].weight, std=0.5)  # random weights alone say 0.5 everywhere
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model-1")
    record = dataclasses.asdict(cfg) | {"device": "cuda:9"}  # of another machine
    (folder / "config.json").write_text(json.dumps({"config": record}), encoding="utf-8")
    return folder / "model-1"


def predicted(snapshot, image: Path, out: Path, *words: str) -> np.ndarray:
    """The map of one image as the script writes it."""
    arguments = ["--snapshot", str(snapshot), "--images", str(image), "--out", str(out), "--workers", "0"]
    prediction_rgb.main([*arguments, *words])
    return np.asarray(Image.open(out / f"{image.stem}.png"), np.int32)


@pytest.fixture
def photo(tmp_path, rng) -> Path:
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    small = rng.integers(0, 255, (9, 12, 3), np.uint8)
    Image.fromarray(small).resize((150, 110), Image.Resampling.BICUBIC).save(path)
    return path


def test_maps_in_python_equal_the_files_with_everything_from_the_runs_record(tmp_path, photo, capsys):
    snapshot = run_of(tmp_path / "run", **OWN)
    predictor = load(snapshot)
    assert capsys.readouterr().out == f"settings of the run: {tmp_path}/run/config.json\n"
    image = np.asarray(Image.open(photo))
    found = predictor(image)
    assert (found.dtype, found.shape) == (np.float32, image.shape[:2])
    assert 0 <= found.min() < 0.4 and 0.6 < found.max() <= 1
    file = predicted(snapshot, photo, tmp_path / "maps")
    said = capsys.readouterr().out
    assert f"settings of the run: {tmp_path}/run/config.json\n" in said and "NOTE" not in said
    difference = np.abs(np.floor(found * 255) - file)
    assert (difference <= 1).mean() > 0.999 and difference.max() <= 2
    record = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert (record["size"], record["test_mean"], record["test_flip"]) == ([96, 128], [0.2, 0.4, 0.6], True)


def test_flags_change_what_the_record_says_and_a_config_file_takes_its_place(tmp_path, photo, capsys):
    snapshot = run_of(tmp_path / "run", **OWN)
    predicted(snapshot, photo, tmp_path / "flag", "--size", "96", "--test_flip", "False")
    said = capsys.readouterr().out
    assert f"settings of the run: {tmp_path}/run/config.json" in said
    assert "NOTE: trained with size (96, 128), predicting with 96" in said
    (tmp_path / "mine.py").write_text("from configs import Config\nconfig = Config(backbone='tiny', size=128)\n")
    words = [str(tmp_path / "mine.py"), "--snapshot", str(snapshot), "--images", str(photo), "--workers", "0"]
    prediction_rgb.main([*words, "--out", str(tmp_path / "file")])
    said = capsys.readouterr().out
    assert "settings of the run" not in said and said.count("NOTE: trained") == 3, "size, mean and std"
    sizes = [json.loads((tmp_path / name / "maps.json").read_text())["size"] for name in ("flag", "file")]
    assert sizes == [96, 128]
    assert load(snapshot, size=96).cfg == dataclasses.replace(load(snapshot).cfg, size=96, scales=())


def test_a_file_without_a_record_is_told_by_its_entries_and_what_is_assumed_is_said(tmp_path, capsys):
    torch.save(net.build("m2snet").state_dict(), tmp_path / "authors.pth")
    torch.save(net.build("msnet", "tiny").state_dict(), tmp_path / "other.pth")
    assert load(tmp_path / "authors.pth").cfg == Config(network="m2snet")
    load(tmp_path / "other.pth", backbone="tiny")
    assumed = "assumed are size 352, test_mean 0.485,0.456,0.406, test_std 0.229,0.224,0.225"
    assert capsys.readouterr().out.splitlines() == [
        f"no config.json beside {tmp_path}/authors.pth: its entries tell network m2snet, backbone res2net50; {assumed}",
        f"no config.json beside {tmp_path}/other.pth: its entries tell network msnet; {assumed}",
    ]


def test_several_classes_give_a_map_each_and_a_file_alone_tells_how_many(tmp_path, photo, capsys):
    snapshot = run_of(tmp_path / "run", classes=3, label_values=(0, 80, 255))
    image = np.asarray(Image.open(photo))
    found = load(snapshot)(image)
    assert found.shape == (3, 110, 150)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    (tmp_path / "run" / "config.json").unlink()
    capsys.readouterr()
    assert load(snapshot, backbone="tiny", size=64)(image).shape == (3, 110, 150)
    assert "tell network msnet, classes 3, label_values (0, 1, 2); assumed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((64, 64), np.uint8), r"uint8 of shape \(64, 64\)"),
        (np.zeros((64, 64, 3), np.float32), r"float32 of shape \(64, 64, 3\)"),
        (np.zeros((64, 64, 4), np.uint8), r"uint8 of shape \(64, 64, 4\)"),
    ],
)
def test_an_array_that_is_no_rgb_image_is_refused(tmp_path, image, found):
    predictor = load(run_of(tmp_path / "run"))
    with pytest.raises(ValueError, match=rf"image is {found}; expected uint8, \(H, W, 3\), RGB"):
        predictor(image)


def test_a_record_of_older_code_predicts_as_its_training_was(tmp_path, capsys):
    """It kept ImageNet's statistics beside any to train with, lacks newer fields and has some that are gone."""
    snapshot = run_of(tmp_path / "run", **OWN)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    imagenet = {"test_mean": Config().test_mean, "test_std": Config().test_std}
    del record["config"]["probabilities"]
    record["config"] |= imagenet | {"gone": 1}
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    assert load(snapshot).cfg.test_mean == pytest.approx((0.2, 0.4, 0.6))
    said = capsys.readouterr().out
    assert "config.json has fields that this code no longer has: gone" in said
    assert said.count("does not say all that maps depend on; assumed are probabilities False\n") == 1
    (tmp_path / "run" / "config.json").write_text(json.dumps({"config": {"size": 0}}))
    with pytest.raises(ValueError, match=r"config\.json: size is 0; expected a side, .*\. Give a config file in place"):
        load(snapshot)
    (tmp_path / "run" / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json is no record of a run"):
        load(snapshot)


def test_what_a_partial_record_leaves_open_is_assumed_and_said_once(tmp_path, photo, capsys):
    snapshot = run_of(tmp_path / "run", **OWN)
    kept = {
        "network": "msnet",
        "backbone": "tiny",
        "classes": 1,
        "label_values": [],
        "class_names": [],
        "size": [96, 128],
    }
    (tmp_path / "run" / "config.json").write_text(json.dumps({"config": kept | {"lr": 0.1}}))
    predicted(snapshot, photo, tmp_path / "maps")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "assumed" in line]
    assert line == (
        f"NOTE: {tmp_path}/run/config.json does not say all that maps depend on; assumed are "
        f"test_mean {Config().test_mean}, test_std {Config().test_std}, test_amp 'off', tf32 False, "
        "test_scales (1.0,), test_flip False, probabilities False"
    )


def test_the_readmes_example_runs_as_written(tmp_path, photo, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?load\(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    run_of(tmp_path / "saved_model" / "msnet").rename(tmp_path / "saved_model" / "msnet" / "model-50")
    (tmp_path / "my").mkdir()
    Image.open(photo).save(tmp_path / "my" / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    assert names["map"].shape == (110, 150) and len(example.splitlines()) <= 6


def test_one_image_is_predicted_beside_others_but_not_into_their_folder(tmp_path, photo):
    snapshot = run_of(tmp_path / "run")
    Image.open(photo).save(photo.with_name("b.png"))
    predicted(snapshot, photo, photo.parent / "maps")
    assert sorted(path.name for path in (photo.parent / "maps").iterdir()) == ["a.png", "maps.json"]
    with pytest.raises(ValueError, match="is read from; give a folder apart"):
        predicted(snapshot, photo, photo.parent)
    with pytest.raises(ValueError, match="is read from; give a folder apart"):
        predicted(snapshot, photo.parent, photo.parent / "maps")


# ------------------------------------------------------------------------------------------------------- ensembles


def test_several_checkpoints_by_list_or_pattern_predict_the_mean_of_their_maps(tmp_path, photo):
    runs = [run_of(tmp_path / f"fold-{i}", seed=i) for i in (1, 2)]
    image = np.asarray(Image.open(photo))
    each = [load(run)(image) for run in runs]
    assert np.abs(each[0] - each[1]).max() > 0.1
    mean = load(runs)(image)
    np.testing.assert_allclose(mean, np.mean(each, 0), atol=1e-6)
    pattern = f"{tmp_path}/fold-*/model-1"
    assert checkpoint.named(pattern) == checkpoint.named(",".join(map(str, runs))) == runs
    assert np.abs(predicted(pattern, photo, tmp_path / "maps") - np.floor(mean * 255)).max() <= 2
    record = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert record["snapshot"] == [*map(str, runs)]
    assert record["sha256"] == [hashlib.sha256(run.read_bytes()).hexdigest() for run in runs]
    predicted(runs[0], photo, tmp_path / "maps", "--snapshot", str(runs[1]), "--skip-existing")  # the same two
    with pytest.raises(ValueError, match=r"holds other maps than these would be: sha256 was \["):
        predicted(runs[0], photo, tmp_path / "maps", "--skip-existing")


def test_each_member_predicts_with_the_network_size_and_statistics_of_its_own_run(tmp_path, photo, capsys):
    image = np.asarray(Image.open(photo))
    bright = {"train_mean": (51, 102, 153), "train_std": (51, 51, 51)}
    runs = [run_of(tmp_path / "a"), run_of(tmp_path / "b", 1, size=(96, 128), network="m2snet", **bright)]
    each = [load(run)(image) for run in runs]
    capsys.readouterr()
    mean = load(runs)(image)
    np.testing.assert_allclose(mean, np.mean(each, 0), atol=1e-6)
    said = capsys.readouterr().out
    assert f"NOTE: {runs[1]} predicts as its own run was: network m2snet, size (96, 128), test_mean (0.2, 0.4, " in said
    assert "trained with" not in said
    pattern = f"{tmp_path}/*/model-1"
    assert np.abs(predicted(pattern, photo, tmp_path / "maps") - np.floor(mean * 255)).max() <= 1
    record = json.loads((tmp_path / "maps" / "maps.json").read_text())
    assert (record["size"], record["network"]) == ([64, [96, 128]], ["msnet", "m2snet"])
    assert record["backbone"] == "tiny", "shared"
    predicted(pattern, photo, tmp_path / "maps", "--skip-existing")


def test_members_that_are_alike_read_an_image_once(tmp_path):
    runs = [run_of(tmp_path / name, size=size) for name, size in (("a", 64), ("b", 96), ("c", 64))]
    assert [cfg.size for cfg in load(runs)._tensors.inputs] == [64, 96]


def test_a_flag_holds_for_every_member_and_what_that_changes_is_noted(tmp_path, photo, capsys):
    runs = [run_of(tmp_path / "a"), run_of(tmp_path / "b", size=96)]
    predicted(f"{tmp_path}/*/model-1", photo, tmp_path / "maps", "--size", "64")
    said = capsys.readouterr().out
    assert f"NOTE: trained with size 96, predicting with 64 ({tmp_path}/b/config.json)" in said
    assert "own run" not in said
    assert json.loads((tmp_path / "maps" / "maps.json").read_text())["size"] == 64
    assert [cfg.size for cfg in load(runs, size=64)._tensors.inputs] == [64]
    with pytest.raises(ValueError, match="does not fit M2SNet: it is a checkpoint of MSNet"):
        load(runs, network="m2snet")


def test_members_of_other_classes_are_refused(tmp_path):
    runs = [run_of(tmp_path / "a"), run_of(tmp_path / "b", classes=2, label_values=(0, 255))]
    with pytest.raises(ValueError, match="b/model-1 was trained with classes 2, .*a/model-1 with 1; only maps of the"):
        load(runs)


def test_a_fold_is_predicted_by_none_that_was_trained_on_it(polyp_folder):
    runs = [run_of(polyp_folder / f"fold-{i}", folds=3, datapath=str(polyp_folder / "TrainDataset")) for i in (1, 2)]
    parts = deal_folds([f"00{i}" for i in range(6)], 3, 0)
    for run, (test, *others) in zip(runs, (parts, [parts[1], parts[0], parts[2]]), strict=True):
        listed = {"train": others[0] + others[1], "validation": [], "test": test}
        (run.parent / "split.json").write_text(json.dumps(listed))
    arguments = ["--mapspath", str(polyp_folder / "maps"), "--workers", "0", "--snapshot"]
    with pytest.raises(ValueError, match=r"fold-2/model-1 was trained on 2 of the 2 images that are held out here"):
        prediction_rgb.main([*arguments, f"{polyp_folder}/fold-*/model-1"])
    assert not (polyp_folder / "maps").exists()


@pytest.mark.parametrize(
    ("snapshot", "message"),
    [
        ("nothing-*/model-1", r"no file fits the pattern nothing-\*/model-1; expected checkpoints"),
        ("", "snapshot is ''; expected a checkpoint"),
        (("model-1", "configs/mine.py"), r"configs/mine\.py is no checkpoint; a config file stands before --snapshot"),
    ],
)
def test_names_of_no_checkpoint_are_refused(snapshot, message):
    with pytest.raises(ValueError, match=message):
        checkpoint.named(snapshot)


def test_a_name_with_a_comma_or_a_bracket_is_that_file(tmp_path):
    for name in ("a,b", "run[1]"):
        (tmp_path / name).touch()
        assert checkpoint.named(str(tmp_path / name)) == [tmp_path / name]
    assert checkpoint.named([tmp_path / "a,b", f"{tmp_path}/a,b", "c,d"]) == [tmp_path / "a,b", Path("c"), Path("d")]


# ---------------------------------------------------------------------------------------------------- probabilities


def test_probabilities_are_maps_of_16_bits_that_scoring_reads_right(tmp_path, photo):
    snapshot = run_of(tmp_path / "run", classes=2, label_values=(0, 255), class_names=("back", "lesion"))
    maps = load(snapshot)(np.asarray(Image.open(photo)))
    for words in ((), ("--probabilities", "True")):
        arguments = ["--snapshot", str(snapshot), "--images", str(photo), "--out", str(tmp_path / f"maps{len(words)}")]
        prediction_rgb.main([*arguments, "--workers", "0", *words])
    eight, sixteen = tmp_path / "maps0", tmp_path / "maps2"
    file = cv2.imread(str(sixteen / "lesion" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert file.dtype == np.uint16
    np.testing.assert_array_equal(file, np.round(maps[1] * 65535))
    grey, kind = read_map(sixteen / "lesion" / "a.png")
    assert kind == "16-bit" and np.abs(grey - maps[1] * 255).max() <= 0.502
    apart = np.abs(grey.astype(int) - read_map(eight / "lesion" / "a.png")[0])
    assert apart.max() <= 2
    assert (eight / "label" / "a.png").read_bytes() == (sixteen / "label" / "a.png").read_bytes()
    with pytest.raises(ValueError, match="probabilities was True, is False; leave out --skip-existing"):
        prediction_rgb.main([*arguments, "--workers", "0", "--skip-existing"])
