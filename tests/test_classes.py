"""Several classes: label images in, a softmax, label images out; one class is the binary path, number for number."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dataset
import files
import prediction_rgb
import test_score
import train
from configs import Config, Labels
from dataset import Batches, Data
from metrics import Scores
from report import tables
from report.cases import Job
from tests.helpers import small, validated

VALUES = (0, 80, 160, 255)
NAMES = ("RNFL", "GCIPL", "choroid", "background")


def layers(shift: int = 0, height: int = 80, width: int = 110) -> np.ndarray:
    """(H, W) uint8: three layers across the picture, the rest background."""
    labels = np.full((height, width), 255, np.uint8)
    for value, top in ((0, 15), (80, 28), (160, 50)):
        labels[top + shift : top + shift + 12] = value
    return labels


def write(folder: Path, labels: dict[str, np.ndarray], rng: np.random.Generator) -> None:
    for name in ("Image", "Layer_Masks"):
        (folder / name).mkdir(parents=True)
    for stem, array in labels.items():
        grey = (array // 2 + rng.integers(0, 60, array.shape)).astype(np.uint8)
        Image.fromarray(np.dstack([grey] * 3)).save(folder / "Image" / f"{stem}.png")
        Image.fromarray(array).save(folder / "Layer_Masks" / f"{stem}.png")


@pytest.fixture
def goals(tmp_path, rng) -> Path:
    write(tmp_path / "TrainDataset", {f"{i:04d}": layers(i) for i in range(6)}, rng)
    write(tmp_path / "TestDataset" / "small", {f"{i:04d}": layers(2 * i) for i in range(3)}, rng)
    return tmp_path


def settings(**fields) -> dict:
    return {"classes": 4, "label_values": VALUES, "class_names": NAMES, "background": 255, **fields}


def batches_of(data: Data, cfg: Config) -> list[dataset.Batch]:
    return [data.collate([data[key] for key in keys]) for keys in Batches(len(data), cfg)]


def test_one_class_of_label_images_is_the_binary_path(polyp_folder):
    """The same numbers in every pixel, loss and weight."""
    logs, samples = [], []
    for name, labels in (("binary", {}), ("labels", {"classes": 1, "label_values": (255,)})):
        cfg = small(polyp_folder, savepath=str(polyp_folder / name), epoch=2, val_fraction=0.3, **labels)
        samples.append(batches_of(Data(cfg), cfg))
        train.train(cfg)
        logs.append((polyp_folder / name / "log.csv").read_text())
    for ours, theirs in zip(*samples, strict=True):
        assert torch.equal(ours.image, theirs.image) and torch.equal(ours.mask, theirs.mask)
        assert ours.mask.shape[1] == 1 and 0 < ours.mask.mean() < 1
    assert logs[0] == logs[1]
    networks = [torch.load(polyp_folder / name / "model-2", weights_only=True) for name in ("binary", "labels")]
    assert all(torch.equal(networks[0][key], networks[1][key]) for key in networks[0])


def test_each_plane_is_the_binary_mask_of_its_class(goals, rng):
    cfg = Config(datapath=str(goals / "TrainDataset"), size=96, scales=(64, 96), batch=4, **settings())
    whole = batches_of(Data(cfg), cfg)
    for c, value in enumerate(VALUES[:3]):
        masks = {f"{i:04d}": np.where(layers(i) == value, 255, 0).astype(np.uint8) for i in range(6)}
        write(goals / str(value), masks, rng)
        binary = Config(datapath=str(goals / str(value)), size=96, scales=(64, 96), batch=4)
        for ours, theirs in zip(whole, batches_of(Data(binary), binary), strict=True):
            assert torch.equal(ours.mask[:, c : c + 1], theirs.mask)
    for batch in whole:
        # what a rotation brings in from outside is background: every pixel has a class
        np.testing.assert_allclose(batch.mask.sum(1), 1, atol=2e-5)


@pytest.mark.parametrize("where", ["ram", "cache"])
def test_a_cache_keeps_every_plane(goals, where):
    fields = {"datapath": str(goals / "TrainDataset"), "size": (64, 88), "scales": (88,), **settings()}
    plain = Config(**fields)
    cached = Data(Config(**fields, cache=where if where == "ram" else str(goals / where)))
    for epoch in range(2):
        for i in range(6):
            ours, theirs = cached[epoch, i], Data(plain)[epoch, i]
            assert np.array_equal(ours.mask, theirs.mask) and np.array_equal(ours.image, theirs.image)
            assert ours.mask.shape == (4, 64, 88)


def test_without_a_background_what_comes_from_outside_has_no_class(goals):
    cfg = Config(datapath=str(goals / "TrainDataset"), size=96, rotate=10, **settings(background=-1))
    assert min(Data(cfg)[0, i].mask.sum(0).min() for i in range(6)) == 0
    assert cfg.labels.scored == NAMES


@pytest.mark.parametrize("size", [64, (90, 64)])
def test_label_images_survive_a_round_trip(tmp_path, size):
    labels = layers()
    planes = torch.from_numpy(np.stack([labels == value for value in VALUES]).astype(np.float32))
    files.write_maps(tmp_path, "clip/a", planes.numpy(), *labels.shape, Labels(VALUES, NAMES))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "label/clip/a.png")), labels)
    for name, value in zip(NAMES, VALUES, strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / name / "clip/a.png")), (labels == value) * 255)
    # through another size no value appears that is not a class's, and edges move by a pixel at most
    less = np.stack([dataset.resize(plane, Config(size=size, scales=(90,)).sides) for plane in planes.numpy()])
    back = np.asarray(files.native_labels(less, *labels.shape, Labels(VALUES)))
    assert set(np.unique(back)) == set(VALUES)
    assert (back != labels).mean() < 0.08


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda p: Image.fromarray(np.full((80, 110), 37, np.uint8)).save(p),
            r"0003\.png holds 37 \(8800 pixels\), not",
        ),
        (lambda p: Image.fromarray(layers()).save(p.with_suffix(".jpg")) or p.unlink(), r"0003\.jpg holds .*use PNG"),
        (lambda p: Image.fromarray(layers(0, 40)).save(p), r"0003\.png is 110x40 but its image"),
    ],
)
def test_label_images_with_other_values_are_refused_before_the_first_step(goals, harm, message):
    harm(goals / "TrainDataset" / "Layer_Masks" / "0003.png")
    with pytest.raises(ValueError, match=message):
        train.train(small(goals, **settings()))
    assert not (goals / "saved").exists()


def test_palette_label_images_are_their_indices_or_their_greys(tmp_path):
    indices = np.array([[0, 1], [2, 0]], np.uint8)
    for name, palette in (("colour", [0, 0, 0, 128, 0, 0, 0, 128, 0]), ("grey", [0, 0, 0, 80, 80, 80, 160, 160, 160])):
        image = Image.fromarray(indices)
        image.putpalette(palette)
        image.save(tmp_path / f"{name}.png")
    assert np.array_equal(files.read_labels([tmp_path / "colour.png"], Labels((0, 1, 2))), indices)
    assert np.array_equal(files.read_labels([tmp_path / "grey.png"], Labels((0, 80, 160))), indices * 80)
    image = Image.fromarray(np.minimum(indices, 1))  # one that lacks the only colour that is no grey
    image.putpalette([0, 0, 0, 255, 255, 255, 128, 0, 0])
    image.save(tmp_path / "few.png")
    assert np.array_equal(files.read_labels([tmp_path / "few.png"], Labels((0, 1, 2))), np.minimum(indices, 1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": 3}, r"label_values is \(\); expected one grey value per class, and classes is 3"),
        (settings(label_values=(0, 80, 160)), "expected one grey value per class, and classes is 4"),
        (settings(label_values=(0, 80, 80, 255)), "each value once"),
        (settings(label_values=(0, 80, 160, 300)), r"grey values 0\.\.255"),
        (settings(class_names=("a", "b")), "one name per label value, of 4"),
        (settings(class_names=("a", "b/c", "d", "e")), "names of folders"),
        (settings(class_names=("..", "b", "c", "d")), "names of folders"),
        (settings(class_names=("a", "A", "c", "d")), "each once"),
        (settings(background=7), "background is 7; expected one of label_values, or -1"),
        ({"size": (352, 0)}, "a side, height and width, or a patch's three sides"),
        ({"size": (1, 2, 3)}, "backbone is 'res2net50'; expected volume, where size is three sides"),
        ({"size": (60, 352)}, "sides of at least 64, the shorter included"),
    ],
)
def test_labels_and_sizes_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**fields)


def test_every_layer_is_trained_predicted_and_scored(goals, capsys):
    """Scores of a class equal binary scores of files made for it; validation equals predicting and scoring."""
    fields = settings(network="msnet", epoch=2, valpath=str(goals / "TestDataset" / "small"), size=(64, 88))
    cfg = small(goals, scales=(88,), test_batch=2, **fields)
    train.train(cfg)
    config = goals / "mine.py"
    given = {name: getattr(cfg, name) for name in ("backbone", "size", "scales", "test_batch", *settings())}
    config.write_text(f"from configs import Config\nconfig = Config(**{given!r})\n")
    shared = [str(config), "--testpath", str(goals / "TestDataset"), "--testsets", "small", "--workers", "0"]
    shared += ["--mapspath", str(goals / "maps")]
    predict = [*shared, "--snapshot", str(goals / "saved" / "model-2")]
    prediction_rgb.main(predict)
    maps = goals / "maps" / "small"
    assert sorted(path.name for path in maps.iterdir()) == sorted((*NAMES, "label", "maps.json"))
    (maps / "GCIPL" / "0001.png").unlink()
    prediction_rgb.main([*predict, "--skip-existing"])
    assert "small: 1 maps, 2 were there" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"it predicts 4 classes \(Config field `classes`\)"):
        prediction_rgb.main([*predict, "--classes", "1", "--label_values", "", "--class_names", ""])
    with pytest.raises(SystemExit):
        test_score.main(["--gt", str(goals / "TestDataset" / "small"), "--pred", str(maps)])
    assert "maps of several classes? Give classes and label_values" in capsys.readouterr().out
    label = np.asarray(Image.open(maps / "label" / "0001.png"))
    assert label.shape == (80, 110) and set(np.unique(label)) <= set(VALUES)

    capsys.readouterr()
    test_score.main([*shared, "--out", str(goals / "scores")])
    said = capsys.readouterr().out
    assert said.count("dataset: small ") == 4
    assert "small, mean of RNFL, GCIPL, choroid, protocol official" in said
    summary = {row["class"]: row["scores"] for row in json.loads((goals / "scores" / "summary.json").read_text())}
    for name, value in zip(NAMES, VALUES, strict=True):
        (goals / "gt" / name).mkdir(parents=True)
        for path in (goals / "TestDataset" / "small" / "Layer_Masks").iterdir():
            binary = np.where(np.asarray(Image.open(path)) == value, 255, 0).astype(np.uint8)
            Image.fromarray(binary).save(goals / "gt" / name / path.name)
    test_score.main(["--gt", str(goals / "gt"), "--pred", f"msnet={maps}", "--out", str(goals / "binary")])
    for row in json.loads((goals / "binary" / "summary.json").read_text()):
        assert row["scores"] == summary[row["dataset"]]

    network = train.net.load(train.net.build("msnet", "tiny", classes=4), goals / "saved" / "model-2")
    log = train.Log(goals / "log.csv")
    pairs = files.find_pairs(cfg.valpath)
    found = validated(network, pairs, cfg, log)
    log.close()
    mean = np.mean([summary[name]["M_dice"] for name in NAMES[:3]])
    assert found == pytest.approx(mean, abs=1e-3)  # batch norm is folded in prediction: a grey level here and there

    # the label images alone, as another's would be, in per cent and pixels
    capsys.readouterr()
    arguments = ["--gt", str(goals / "TestDataset" / "small"), "--pred", f"theirs={maps / 'label'}"]
    test_score.main(
        [str(config), *arguments, "--protocol", "layers", "--percent", "True", "--out", str(goals / "theirs")]
    )
    with open(goals / "theirs" / "scores.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["image"] == "0001" and row["class"] == "GCIPL"]
    gt = layers(2) == 80
    dice = 2 * (gt & (label == 80)).sum() / (gt.sum() + (label == 80).sum())
    assert float(rows[0]["Dice"]) == pytest.approx(dice, rel=1e-9)
    assert "per cent" in capsys.readouterr().out


def test_a_picture_of_two_sides_keeps_its_ratio_in_every_batch(goals):
    cfg = Config(datapath=str(goals / "TrainDataset"), size=(128, 176), scales=(88, 176), **settings())
    assert Data(cfg)[0, 0].image.shape == (128, 176, 3)
    data = Data(cfg)
    shapes = {tuple(data.collate([data[0, 0, scale]]).mask.shape[1:]) for scale in (88, 176)}
    assert shapes == {(4, 64, 88), (4, 128, 176)}
    image = dataset.TestImages(goals / "TestDataset" / "small" / "Image", cfg)[0]
    assert (tuple(image.image.shape), image.case.height, image.case.width) == ((3, 128, 176), 80, 110)


# ---------------------------------------------------------------------------------------- scoring, by hand-made maps


@pytest.fixture
def scored(goals):
    """`goals` with maps of a method A: grey maps per class, one row off, and no label images."""
    for i in range(3):
        for name, value in zip(NAMES, VALUES, strict=True):
            path = goals / "A" / name / f"{i:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.where(layers(2 * i + 1) == value, 255, 0).astype(np.uint8)).save(path)
    return goals


def score(folder, *words, status=0) -> None:
    shown = ["--classes", "4", "--label_values", "0,80,160,255", "--class_names", ",".join(NAMES)]
    arguments = ["--gt", str(folder / "TestDataset" / "small"), *shown, "--background", "255", *map(str, words)]
    if not status:
        return test_score.main(arguments)
    with pytest.raises(SystemExit) as done:
        test_score.main(arguments)
    assert done.value.code == status


def test_one_class_of_label_images_is_scored_as_the_binary_path(polyp_folder, tmp_path, capsys):
    rng, small_set = np.random.default_rng(0), polyp_folder / "TestDataset" / "small"
    for path in (small_set / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        files.write_maps(tmp_path / "A", path.stem, (mask / 510 + 0.4 * rng.random(mask.shape))[None], *mask.shape)
    flags, said = ["--gt", str(small_set), "--pred", f"A={tmp_path / 'A'}"], []
    for more in ([], ["--classes", "1", "--label_values", "255", "--background", "-1"]):
        test_score.main([*flags, *more, "--out", str(tmp_path / "out")])
        said.append(json.loads((tmp_path / "out" / "summary.json").read_text())[0]["scores"])
    assert said[0] == said[1]
    assert said[0]["M_dice"] > 0.3


def test_a_class_that_is_not_there_leaves_no_mean(scored, capsys):
    score(scored, "--pred", f"A={scored / 'A'}")
    assert "mean of RNFL, GCIPL, choroid" in capsys.readouterr().out
    shutil.rmtree(scored / "A" / "GCIPL")
    score(scored, "--pred", f"A={scored / 'A'}", status=1)
    assert "has maps of RNFL, choroid, background and none of GCIPL" in capsys.readouterr().out
    for i in range(3):
        (scored / "A" / "label").mkdir(exist_ok=True)
        Image.fromarray(layers(2 * i + 1)).save(scored / "A" / "label" / f"{i:04d}.png")
    score(scored, "--pred", f"A={scored / 'A'}", status=1)  # grey maps and label images are not mixed
    for name in ("RNFL", "choroid", "background"):
        shutil.rmtree(scored / "A" / name)
    score(scored, "--pred", f"A={scored / 'A'}")
    assert "note: small GCIPL / A: scored from label images, for want of grey maps" in capsys.readouterr().out


def test_the_mean_of_classes_needs_them_all_and_says_what_is_undefined(scored):
    jobs, labels = [], Labels(VALUES, NAMES, 255)
    for name in labels.scored:
        scores = Scores("layers", keep_curves=True)
        gt = labels.planes(layers())[NAMES.index(name)]
        scores.update(np.roll(gt, 1, 0), gt)
        job = Job("set", "A", class_name=name, labels=labels, names=["a"], scores=scores)
        jobs += [job] if name == "GCIPL" else [job, replace(job, method="B")]
    *_, mean = tables.blocks(jobs)
    assert mean.lines["A"][0]["MED"] == 1.0
    assert np.isnan(mean.lines["B"][0]["MED"])


def test_a_class_that_no_mask_shows_is_out_of_the_mean_and_said():
    jobs, nothing = [], np.zeros((20, 20), np.uint8)
    for name, gt in (("rim", np.eye(20, dtype=bool)), ("core", nothing > 0)):
        scores = Scores(keep_curves=True)
        scores.update(nothing, gt)  # a network that finds nothing, which is perfect where nothing is
        labels = Labels((1, 2), ("rim", "core"))
        jobs.append(Job("set", "A", class_name=name, labels=labels, names=["a"], scores=scores))
    assert [job.scores.with_foreground for job in jobs] == [1, 0]
    assert jobs[1].scores.result()["M_dice"] == 1
    *_, mean = tables.blocks(jobs)
    assert mean.lines["A"][0]["M_dice"] == jobs[0].scores.result()["M_dice"] < 1e-6
    assert "mean of rim, core, core left out where no mask shows it" in mean.title
    whole = Scores(keep_curves=True).merge(jobs[0].scores).merge(jobs[1].scores)
    assert (whole.with_foreground, whole.subset([1]).with_foreground) == (1, 0)


def test_label_images_scored_as_masks_are_noted(scored, capsys):
    small_set = scored / "TestDataset" / "small"
    with pytest.warns(UserWarning, match="the gt has more"):
        test_score.main(["--gt", str(small_set), "--pred", f"A={scored / 'A' / 'background'}"])
    said = capsys.readouterr().out
    assert "3 masks have areas between black and white (several classes?), cut at half of the largest value" in said
