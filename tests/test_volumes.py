"""Volumes from a folder to a table: trained, stopped and gone on with, predicted onto their own grids, scored."""

import dataclasses
import itertools
import json
import shutil

import cv2
import nibabel
import numpy as np
import pytest
import torch

import prediction_rgb
import test_score
import train
from configs import Config
from dataset import to_train
from engine import checkpoint
from files import find_pairs, read_label_volume
from metrics import Scores
from report import sheet
from tests.lives import Run, wait_for
from tests.miniatures import LPS, OBLIQUE, hippocampus, label_volume, scan, volume
from tools import export, panels
from volumes import planned
from volumes.reading import values

CLASSES = {"classes": 3, "label_values": (0, 1, 2), "class_names": ("background", "anterior", "posterior")}


def tiny(folder, **fields) -> Config:
    """A Config that trains on volumes in a moment."""
    defaults = {
        **{"datapath": str(folder / "Task04_Hippocampus"), "savepath": str(folder / "saved")},
        **{"mapspath": str(folder / "maps"), "size": (8, 8, 8), "backbone": "volume", "backbone_weights": "random"},
        **{"widths": (4, 4, 4, 4, 4), "strides": ("1", "2", "2", "1", "1"), "width": 4, "lossnet_factor": 0.0},
        **{"protocol": "volume", "val_protocol": "volume", "val_score": "Dice"},
        **{"batch": 2, "epoch": 2, "schedule": "constant", "workers": 0, "device": "cpu"},
    }
    return Config(**(defaults | CLASSES | fields))


@pytest.fixture
def task(tmp_path):
    hippocampus(tmp_path, 6)
    return tmp_path


def flags(cfg: Config, *names: str) -> list[str]:
    """Fields of a Config as one would type them."""
    words = []
    for name in names:
        value = getattr(cfg, name)
        words += [f"--{name}", ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return words


@pytest.mark.parametrize(("network", "deep"), [("m2snet", False), ("m2snet", True), ("unet", True)])
def test_a_fold_is_trained_predicted_on_its_own_grids_and_scored(task, network, deep, capsys):
    cfg = tiny(task, network=network, deep_supervision=deep, size=(0, 0, 0), strides=(), folds=3, val_fraction=0.25)
    cfg = dataclasses.replace(cfg, probabilities=True)
    last = train.train(cfg)
    record = json.loads((last.parent / "config.json").read_text())["config"]
    assert record["spacing"] == [1, 1, 1] and record["inputs"] == 1 and min(record["size"]) > 0 and record["strides"]
    assert "spacing = 1, 1, 1: mm, the median of" in (last.parent / "plan.txt").read_text()

    where = flags(cfg, "datapath", "mapspath", "workers", "device", "probabilities")
    prediction_rgb.main(["--snapshot", str(last), *where])
    held_out = json.loads((last.parent / "split.json").read_text())["test"]
    for name in held_out:
        label, grid = read_label_volume(task / "maps" / "fold-1" / f"{name}.nii.gz")
        source = nibabel.load(task / "Task04_Hippocampus" / "imagesTr" / f"{name}.nii.gz")
        assert np.allclose(grid.affine, source.affine) and grid.shape == source.shape
        of_classes = [task / "maps" / "fold-1" / "probabilities" / c / f"{name}.nii.gz" for c in cfg.class_names]
        probabilities = np.stack([nibabel.load(path).get_fdata() for path in of_classes])
        np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
        assert np.array_equal(probabilities.argmax(0), label)
    capsys.readouterr()
    labels = str(task / "Task04_Hippocampus" / "labelsTr")
    score = flags(cfg, "classes", "label_values", "class_names", "protocol")
    test_score.main(["--gt", labels, "--pred", f"ours={task / 'maps' / 'fold-1'}", *score])
    assert "mean of anterior, posterior, protocol volume" in capsys.readouterr().out


def test_validation_is_the_score_of_what_is_predicted(task):
    """The score that chooses a checkpoint is that of test_score.py on the files of prediction_rgb.py."""
    pairs = find_pairs(task / "Task04_Hippocampus", volumes=True)
    names = [pair.name for pair in pairs]
    (task / "split.json").write_text(json.dumps({"train": names[:4], "validation": names[4:], "test": []}))
    cfg = tiny(task, epoch=1, split=str(task / "split.json"), background=-1)  # so that no class is left out
    last = train.train(cfg)
    images = task / "images"
    images.mkdir()
    for pair in pairs[4:]:
        shutil.copy(pair.image, images)
    where = flags(cfg, "workers", "device")
    prediction_rgb.main(["--snapshot", str(last), "--images", str(images), "--out", str(task / "out"), *where])
    found = []
    for value in (0, 1, 2):
        scores = Scores("volume")
        for pair in pairs[4:]:
            label, _ = read_label_volume(task / "out" / pair.image.name)
            gt, _ = read_label_volume(pair.masks[0])
            scores.update(label == value, gt == value)
        found.append(scores.result()["Dice"])
    best = torch.load(last.parent / "last.pt", weights_only=True)["best"]
    assert best == pytest.approx(np.mean(found), abs=1e-9) and best > 0


def test_a_run_that_stops_goes_on_to_the_same_bits(task):
    whole = train.train(tiny(task, savepath=str(task / "whole")))
    train.train(tiny(task, epoch=1))
    cfg = tiny(task, resume=True, size=(0, 0, 0), strides=())  # what was planned, or given, is as the run had it
    ours = train.train(dataclasses.replace(cfg, resume_changed=("epoch",)))
    expected, found = (torch.load(path, weights_only=True) for path in (whole, ours))
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.slow
def test_a_run_of_volumes_killed_and_gone_on_with_by_two_processes_ends_as_one_that_was_not(task):
    def finished(run: Run) -> dict:
        assert run.wait() == [0, 0], run.said()
        return torch.load(task / "saved" / "model-3", weights_only=True)

    cfg = tiny(task, epoch=3, save_every=1, val_fraction=0.3, rotate=30.0, background=-1)
    expected = finished(Run(task, dataclasses.asdict(cfg), 2))
    (task / "saved").rename(task / "uninterrupted")
    run = Run(task, dataclasses.asdict(cfg), 2)
    wait_for(task / "saved" / "last.pt", run)
    run.kill()
    found = finished(Run(task, dataclasses.asdict(dataclasses.replace(cfg, resume=True)), 2))
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    best = [checkpoint.load(task / folder / "last.pt")["best"] for folder in ("saved", "uninterrupted")]
    assert best[0] == best[1] > 0  # every volume was validated by one of both


@pytest.mark.slow
def test_two_processes_train_on_volumes_as_one_does(task):
    for size in (1, 2):
        cfg = tiny(task, network="unet", epoch=2, lr=1e-3, savepath=str(task / f"{size}"))
        run = Run(task, dataclasses.asdict(cfg), size)
        assert run.wait() == [0] * size, run.said()
    one, two = (torch.load(task / f"{size}" / "model-2", weights_only=True) for size in (1, 2))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("check_data", [False, True])
def test_channels_that_do_not_fit_are_refused_before_an_earlier_run_is_moved(task, check_data):
    (task / "saved").mkdir()
    (task / "saved" / "last.pt").touch()
    volume(task / "val" / "imagesTr" / "v.nii.gz", np.stack([scan(), scan(1)], 3))
    volume(task / "val" / "labelsTr" / "v.nii.gz", label_volume())
    with pytest.raises(ValueError, match="expected 2, as the others have"):
        train.train(tiny(task, inputs=2, check_data=check_data))
    with pytest.raises(ValueError, match=r"v\.nii\.gz has 2 channels; expected 1, as the others have \(inputs\)"):
        train.train(tiny(task, valpath=str(task / "val"), check_data=check_data))
    assert [path.name for path in (task / "saved").iterdir()] == ["last.pt"]


def test_a_cache_lies_apart_from_the_volumes(task):
    with pytest.raises(ValueError, match="imagesTr/cache would be written into, but .*imagesTr is read from"):
        train.train(tiny(task, cache=str(task / "Task04_Hippocampus" / "imagesTr" / "cache")))


def test_what_is_of_pictures_says_so_of_a_run_on_volumes(task, monkeypatch):
    last = train.train(tiny(task, epoch=1))
    with pytest.raises(ValueError, match="model-1 is of volumes, and a model is of pictures; prediction_rgb.py"):
        export.main(["--snapshot", str(last), "--out", str(task / "model.onnx")])
    with pytest.raises(ValueError, match=r"start is .*model-1', trained with strides 1,2,2,1,1, and this run has 1,1,"):
        train.train(tiny(task, start=str(last), strides=("1", "1", "2", "2", "1"), savepath=str(task / "other")))
    with pytest.raises(ValueError, match=r"width was 4, is 8.*start anew: the weights of a run fit no other width"):
        train.train(tiny(task, resume=True, width=8, resume_changed=("width",)))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_seed_gives_the_same_patches_on_any_number_of_workers(task, workers):
    cfg = tiny(task, rotate=30, zoom=0.4, noise=0.1, gamma=0.5, cache=str(task / "cache"), patches=2)
    cfg, _ = planned(cfg, find_pairs(cfg.datapath, volumes=True), None)
    data = to_train(cfg, find_pairs(cfg.datapath, volumes=True))
    assert len(data) == 12
    keys = [(epoch, i) for epoch in range(2) for i in range(12)]
    loader = torch.utils.data.DataLoader(
        data, batch_sampler=[[key] for key in keys], collate_fn=data.collate, num_workers=workers
    )
    again = to_train(cfg, data.pairs)
    for key, batch in zip(keys, loader, strict=True):
        image, mask, name = again[key]
        assert np.array_equal(batch.image[0], image) and np.array_equal(batch.mask[0], mask) and batch.names == [name]
    different = [data[key][0] for key in keys]
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(different))


def test_a_third_of_the_patches_is_about_a_class_and_masks_are_one_hot(task):
    cfg = tiny(task, size=(3, 3, 3), foreground=1.0)
    cfg, _ = planned(cfg, find_pairs(cfg.datapath, volumes=True), None)
    data = to_train(cfg, find_pairs(cfg.datapath, volumes=True))
    middles = [data[0, i][1][:, 1, 1, 1] for i in range(6)]
    assert all(middle[0] == 0 for middle in middles)  # never the background
    for i in range(6):
        assert (data[1, i][1].sum(0) == 1).all()


def test_a_channel_is_cut_at_the_percentiles_of_ct(tmp_path):
    for i in range(3):
        array = scan(i, scale=400) - 1000
        volume(tmp_path / "imagesTr" / f"ct_{i}.nii.gz", array.astype(np.int16), LPS)
        volume(tmp_path / "labelsTr" / f"ct_{i}.nii.gz", label_volume(values=(1,)), LPS)
    cfg = tiny(tmp_path, datapath=str(tmp_path), classes=1, label_values=(), class_names=(), size=(0, 0, 0), strides=())
    pairs = find_pairs(tmp_path, volumes=True)
    cfg, lines = planned(cfg, pairs, None)
    assert cfg.spacing == (0.8, 0.8, 5.0)
    low, high = cfg.intensity[:2]
    inside = np.concatenate(
        [nibabel.load(p.image).get_fdata()[nibabel.load(p.masks[0]).get_fdata() > 0] for p in pairs]
    )
    assert (low, high) == pytest.approx(np.percentile(inside, (0.5, 99.5)), abs=1e-3)
    assert any("CT" in line for line in lines)


@pytest.mark.parametrize("affine", [LPS, OBLIQUE], ids=["LPS", "oblique"])
def test_a_prediction_lies_over_its_source_whatever_the_orientation(tmp_path, affine, monkeypatch):
    """A network that finds what is bright gives back the bright block, voxel on voxel, at another spacing too."""

    class Bright(torch.nn.Module):
        def forward(self, x):
            return 8 * (x - 1)

        def require_shape(self, shape):
            pass

    image = np.zeros((40, 36, 12), np.float32)
    image[10:22, 6:15, 3:8] = 100
    image += 1  # nothing of it is 0, which would be no tissue
    source = volume(tmp_path / "images" / "a.nii.gz", image, affine)
    monkeypatch.setattr("net.build", lambda *_, **__: Bright())
    monkeypatch.setattr("net.load", lambda network, path: network)
    monkeypatch.setattr("net.fold_batchnorm", lambda network: network)
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model")
    cfg = tiny(tmp_path, classes=1, label_values=(), class_names=(), spacing=(1.0, 1.0, 1.5), inputs=1)
    names = "size", "backbone", "lossnet_factor", "protocol", "val_protocol", "val_score", "spacing", "strides"
    words = flags(cfg, *names, "workers", "device")
    prediction_rgb.main([*words, "--inputs=1", f"--snapshot={tmp_path / 'model'}", f"--images={tmp_path / 'images'}",
                         f"--out={tmp_path / 'out'}"])  # fmt: skip
    found, grid = read_label_volume(tmp_path / "out" / "a.nii.gz")
    assert np.allclose(grid.affine, nibabel.load(source).affine, atol=1e-4)
    scores = Scores("volume")
    scores.update(found > 0, image > 100)
    assert scores.result()["Dice"] > 0.85
    centre = [np.argwhere(x).mean(0) for x in (found > 0, image > 100)]
    assert np.abs(centre[0] - centre[1]).max() < 0.5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"backbone": "res2net50"}, "backbone is 'res2net50'; expected volume, where size is three sides"),
        ({"lossnet_factor": 0.1}, "lossnet_factor is 0.1; expected 0.0 where size is three sides"),
        ({"protocol": "official"}, "protocol is 'official'; expected volume"),
        ({"size": 352}, "backbone is 'volume'; expected volume only where size is three sides"),
        ({"inputs": 2, "intensity": (-1, 1, 0, 1)}, r"intensity is .* expected \(\) where there are several channels"),
        ({"cache": "ram"}, "cache is 'ram'; expected a folder"),
        ({"structure_factor": 0.0}, "structure_factor is 0.0; expected above 0, or another loss"),
    ],
)
def test_what_is_of_images_is_refused_for_volumes(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **fields)


@pytest.mark.parametrize("values", ["", "0,1,2"])
def test_a_panel_draws_the_same_slices_with_the_outlines_of_mask_and_map(task, monkeypatch, values):
    root = task / "Task04_Hippocampus"
    maps = task / "maps"
    for path in sorted((root / "labelsTr").glob("h*.nii.gz")):
        label = nibabel.load(path).get_fdata()
        volume(maps / path.name, (label * (path.name != "hippocampus_000.nii.gz")).astype(np.uint8))
    out = task / "panel" / "p.png"
    words = ["--images", root / "imagesTr", "--masks", root / "labelsTr", "--maps", maps, "--out", out, "--most", 2]
    monkeypatch.setattr("sys.argv", ["panels", *map(str, words), *([f"--label_values={values}"] if values else [])])
    seen = []
    monkeypatch.setattr(panels, "sheet", lambda titles, rows: seen.extend(rows) or sheet.sheet(titles, rows))
    panels.main()
    assert cv2.imread(str(out)) is not None
    empty, whole = (np.array_equal(*cells) for _, cells in seen)
    assert whole and not empty  # a map that is its mask, and one that finds nothing
    pure = {tuple(pixel) for pixel in seen[1][1][0].reshape(-1, 3).tolist() if (min(pixel), max(pixel)) == (0, 255)}
    assert len(pure) == (2 if values else 1)  # outlines are resized, and mixed with the grey beside them


def first_pair(task):
    return find_pairs(task / "Task04_Hippocampus", volumes=True)[:1]


def test_one_class_is_its_own_value_from_training_to_scores(task):
    """Of labels 0, 1 and 2 the class 2 alone: what is trained on, validated, written and scored."""
    one = {"classes": 1, "label_values": (2,), "class_names": ("posterior",)}
    cfg, _ = planned(tiny(task, **one), find_pairs(task / "Task04_Hippocampus", volumes=True), None)
    data = to_train(dataclasses.replace(cfg, size=(12, 10, 8), foreground=0.0), first_pair(task))
    _, mask, _ = data[0, 0]
    assert mask.sum() == 48  # label 1 has as many more
    assert np.array_equal(values(np.array([0, 1], np.uint8), cfg.labels), [0, 2])
    with pytest.raises(ValueError, match="label_values is .0,.; expected a value above 0"):
        tiny(task, classes=1, label_values=(0,), class_names=())


def test_what_surrounds_a_volume_is_the_background_whatever_its_place(task):
    cfg = tiny(task, label_values=(2, 1, 0), class_names=("c", "b", "a"), size=(20, 20, 20), foreground=0.0)
    cfg, _ = planned(cfg, first_pair(task), None)
    data = to_train(cfg, first_pair(task))
    _, mask, _ = data[0, 0]
    assert (mask[:, 0, 0, 0] == (0, 0, 1)).all()
    turned = to_train(dataclasses.replace(cfg, rotate=180.0), data.pairs)
    for i in range(20):
        assert turned[i, 0][1][:2].sum() < 200  # 96 voxels of both, and no corner


def test_maps_of_other_settings_are_not_taken_for_these(task, capsys):
    last = train.train(tiny(task, epoch=1))
    images = task / "Task04_Hippocampus" / "imagesTs"
    words = ["--snapshot", str(last), "--images", str(images), "--out", str(task / "out"), "--workers=0"]
    prediction_rgb.main([*words, "--probabilities", "True"])
    (map_,) = (task / "out").glob("*.nii.gz")
    inside = [*(task / "out" / "probabilities").glob("*/*.nii.gz")]
    assert len(inside) == 3
    for changed in ("--spacing=2,2,2", "--overlap=0.1", "--mirror=0"):
        with pytest.raises(ValueError, match="holds other maps than these would be"):
            prediction_rgb.main([*words, "--probabilities", "True", "--skip-existing", changed])
    prediction_rgb.main([*words, "--strides=2,2,1,1,1"])
    assert "trained with strides ['1', '2', '2', '1', '1'], predicting with" in capsys.readouterr().out
    assert map_.exists() and not any(path.exists() for path in inside)  # of other settings


def test_folds_that_read_volumes_otherwise_predict_the_mean_of_what_each_predicts(task, capsys):
    """Folds of CT: each with its own spacing, patch and intensities, planned from other volumes."""
    own: list[dict] = [{}, {"spacing": (1.5, 1, 0.9), "size": (8, 10, 8), "intensity": (0, 900, 400, 200)}]
    lasts = [train.train(tiny(task, epoch=1, savepath=str(task / f"{i}"), **fields)) for i, fields in enumerate(own)]
    images = task / "Task04_Hippocampus" / "imagesTs"
    words = ["--images", str(images), "--workers=0", "--probabilities=True"]

    def probabilities(*snapshots):
        out = task / f"out-{len(list(task.glob('out-*')))}"
        prediction_rgb.main([*words, "--out", str(out), "--snapshot", *map(str, snapshots)])
        return np.stack([nibabel.load(path).get_fdata() for path in sorted(out.glob("probabilities/*/*.nii.gz"))])

    one, other = probabilities(lasts[0]), probabilities(lasts[1])
    assert np.abs(one - other).max() > 0.01
    capsys.readouterr()
    np.testing.assert_allclose(probabilities(*lasts), (one + other) / 2, atol=1e-5)
    assert "predicts as its own run was: size (8, 10, 8), spacing (1.5, 1.0, 0.9), intensity" in capsys.readouterr().out
    shutil.copytree(lasts[1].parent, task / "2")
    twice = probabilities(*lasts, task / "2" / lasts[1].name)  # two that read alike count as two
    np.testing.assert_allclose(twice, (one + 2 * other) / 3, atol=1e-5)
