"""Validation chooses by any score of any protocol, of masks that are read where the images are."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

import configs
import prediction_rgb
import train
from configs import Config
from dataset import HeldOut
from engine import distributed
from engine.inference import Predictor
from engine.validation import better, chosen_by
from files import find_pairs, native_map, read_map, read_mask, split_pairs
from metrics import PROTOCOLS, Scores
from tests.conftest import ROOT
from tests.helpers import Tiny, small, validated

ALONE = distributed.Team(0, 1, torch.device("cpu"))


@pytest.fixture
def layered(tmp_path, write_png, rng):
    """Three pairs of 50 x 60 pixels: layers 1 and 2 on a ground of 0, and a field of view."""
    for i in range(3):
        write_png(tmp_path / "images" / f"{i}.png", rng.integers(0, 255, (50, 60, 3), np.uint8))
        labels = np.zeros((50, 60), np.uint8)
        labels[10 + i : 20], labels[20 : 35 - i] = 1, 2
        write_png(tmp_path / "masks" / f"{i}.png", labels)
        write_png(tmp_path / "fields" / f"{i}.png", np.where(np.arange(60) < 50, 255, 0) * np.ones((50, 1), np.uint8))
    return tmp_path


def of_layers(folder, **fields):
    cfg = small(folder, classes=3, label_values=(0, 1, 2), field_of_view="fields", **fields)
    return cfg, find_pairs(folder, field_of_view="fields")


def test_maps_of_level_1_find_nothing_where_masks_are_measured(layered):
    network, log = Tiny().eval(), train.Log(layered / "log.csv")
    torch.nn.init.zeros_(network.head[0].weight)
    torch.nn.init.constant_(network.head[0].bias, math.log(1.5 / 253.5))  # a sigmoid of 1.5 / 255
    cfg = small(layered, val_protocol="volume", val_score="false_alarms")
    for i in range(3):
        Image.fromarray(np.zeros((50, 60), np.uint8)).save(layered / "masks" / f"{i}.png")
    Image.fromarray(np.eye(50, 60, dtype=np.uint8) * 255).save(layered / "masks" / "0.png")  # one mask shows something
    assert validated(network, find_pairs(layered), cfg, log) == 0
    log.close()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_score_of_every_protocol_is_that_of_the_maps_that_prediction_would_write(layered, protocol):
    torch.manual_seed(0)
    network, log = Tiny(3).eval(), train.Log(layered / "log.csv")
    cfg, pairs = of_layers(layered, val_protocol=protocol, val_score=PROTOCOLS[protocol].names[0])
    expected = [Scores(protocol) for _ in range(2)]
    data = HeldOut(pairs, cfg)
    for image, case, _ in (data[i] for i in range(3)):
        pred = Predictor(network, ALONE.device)(image[None])[0].numpy()
        for scores, c in zip(expected, (1, 2), strict=True):
            grey = np.array(native_map(pred[c], case.height, case.width))
            scores.update(grey >= 128 if protocol == "volume" else grey, case.planes[c], case.within)
    for name in PROTOCOLS[protocol].names[::5]:
        mean = np.mean([scores.result()[name] for scores in expected])
        found = validated(network, pairs, dataclasses.replace(cfg, val_score=name), log)
        assert found == pytest.approx(mean, rel=1e-6), name  # batches of four: to rounding
    log.close()


def test_a_held_out_pair_has_its_masks_as_they_are_scored_at_native_size(layered):
    cfg, pairs = of_layers(layered)
    image, case, _ = HeldOut(pairs, cfg)[1]
    assert (tuple(image.shape), case.height, case.width) == ((3, 64, 64), 50, 60)
    labels = np.asarray(Image.open(layered / "masks" / "1.png"))
    assert np.array_equal(case.planes, np.stack([(labels == value) * 255 for value in (0, 1, 2)]))
    assert (case.within.dtype, case.within.shape, case.within.sum()) == (bool, (50, 60), 50 * 50)
    assert HeldOut(find_pairs(layered), cfg)[1].case.within is None
    (batch,) = train.held_out(pairs, cfg, ALONE)
    assert (batch.image.shape, [x[1:3] for x in batch.cases]) == ((3, 3, 64, 64), [(50, 60)] * 3)
    assert np.array_equal(batch.cases[1].planes, case.planes)
    assert np.array_equal(batch.cases[1].within, case.within)


def test_each_process_reads_its_own_share(layered):
    cfg, pairs = of_layers(layered)
    counts = [train.held_out(pairs, cfg, distributed.Team(rank, 2, ALONE.device)).count for rank in range(2)]
    assert counts == [2, 1]


def test_a_score_is_checked_against_its_protocol_and_where_it_belongs_is_said(tmp_path):
    chosen_by(small(tmp_path, val_protocol="layers", val_score="MED"))
    with pytest.raises(ValueError, match=r"is 'M_dice'; expected one of Dice, MED; .* val_protocol official$"):
        chosen_by(small(tmp_path, val_protocol="layers", val_score="M_dice"))
    with pytest.raises(ValueError, match=r"expected one of MAE, .*; it is a score of val_protocol binary, layers"):
        chosen_by(small(tmp_path, val_score="Dice"))


@pytest.mark.parametrize(
    ("protocol", "score"),
    [("official", "M_dice"), ("pranet", "meanDic"), ("infnet", "meanDic"), ("binary", "Jaccard"), ("layers", "Dice")],
)
def test_a_protocol_that_is_named_alone_chooses_by_its_own_score(protocol, score, tmp_path):
    cfg = small(tmp_path, val_protocol=protocol)
    assert chosen_by(cfg).score == score
    assert chosen_by(cfg.changed(val_protocol="layers")).score == "Dice", "a flag over a file that names official"
    assert chosen_by(cfg.changed(val_protocol="official")).score == "M_dice"
    assert Config().val_score == "M_dice", "as runs have it that are resumed"


def test_oct_chooses_by_a_score_of_its_own():
    cfg = configs.load(ROOT / "configs" / "oct_goals.py")
    chosen_by(cfg)
    assert (cfg.val_protocol, cfg.val_score) == (cfg.protocol, "Dice")
    assert chosen_by(cfg).scored == ("RNFL", "GCIPL", "choroid")


def test_a_smaller_distance_is_better_and_an_undefined_one_never():
    assert better("MED", 9.0, -math.inf) and better("MED", 1.0, 9.0) and not better("MED", 9.0, 1.0)
    assert better("Dice", 0.9, 0.1) and not better("Dice", 0.1, 0.9)
    assert not any(better(name, math.nan, best) for name in ("MED", "Dice") for best in (-math.inf, 0.5))


def test_validation_chooses_model_best_by_the_score_that_prediction_would_get(polyp_folder, capsys, tmp_path):
    cfg = small(polyp_folder, epoch=3, batch=2, val_fraction=0.34, val_score="MAE")
    train.train(cfg)
    printed = [float(text.split()[0]) for text in capsys.readouterr().out.split("MAE=")[1:]]
    assert len(printed) == 3
    training, held_out = split_pairs(find_pairs(cfg.datapath), 0.34, cfg.seed)
    assert (len(training), len(held_out)) == (4, 2)
    assert not {p.name for p in training} & {p.name for p in held_out}

    best = polyp_folder / "saved" / "model-best"
    arguments = ["--snapshot", str(best), "--images", cfg.datapath, "--out", str(tmp_path / "maps")]
    prediction_rgb.main([*arguments, "--backbone", "tiny", "--size", "64", "--workers", "0", "--device", "cpu"])
    scores = Scores()
    for pair in held_out:
        scores.update(read_map(tmp_path / "maps" / f"{pair.name}.png")[0], read_mask(*pair.masks))
    assert scores.result()["MAE"] == pytest.approx(min(printed), abs=6e-5)


def test_a_run_that_goes_on_with_another_score_chooses_anew(polyp_folder, capsys):
    """An M_dice of 0.3 so far is no MAE that later ones must be below."""
    fields = {"batch": 2, "val_fraction": 0.34}
    train.train(small(polyp_folder, epoch=1, **fields))
    changed = ("epoch", "val_protocol", "val_score")
    other = {"val_protocol": "layers", "val_score": "MED", "resume": True, "resume_changed": changed}
    capsys.readouterr()
    train.train(small(polyp_folder, epoch=2, **fields, **other))
    said = capsys.readouterr().out
    assert "NOTE: val_protocol, val_score changed; the best score so far was another's, and model-best begins" in said
    assert said.splitlines()[-1].endswith(" best")
    train.train(small(polyp_folder, epoch=3, **fields, **other))
    assert "begins anew" not in capsys.readouterr().out


def test_validating_on_a_test_set_warns(polyp_folder):
    test = polyp_folder / "TestDataset"
    fields = {"valpath": str(test / "small"), "testpath": str(test), "testsets": ("small",)}
    with pytest.warns(UserWarning, match="is a test set: choosing a checkpoint by it spoils its scores"):
        train.parts_of_run(small(polyp_folder, **fields))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train.parts_of_run(small(polyp_folder, **fields | {"testsets": ("else",)}))


def test_an_unknown_validation_score_names_the_known(polyp_folder):
    with pytest.raises(ValueError, match="val_score is 'Dice'; expected one of MAE, maxF"):
        train.train(small(polyp_folder, val_score="Dice"))


def test_the_best_model_is_the_network_that_was_scored(polyp_folder, tiny, capsys):
    cfg = small(polyp_folder, epoch=4, batch=2, val_fraction=0.34, ema=0.8, val_score="MAE")
    train.train(cfg)
    saved, lines = polyp_folder / "saved", [x for x in capsys.readouterr().out.splitlines() if "MAE=" in x]
    printed = [float(line.split("MAE=")[1].split()[0]) for line in lines]
    assert lines[printed.index(min(printed))].endswith("best, of averaged weights")
    assert sorted(path.name for path in saved.glob("model-*")) == ["model-4", "model-4-ema", "model-best"]
    network, log = Tiny(), train.Log(polyp_folder / "log.csv")
    network.load_state_dict(torch.load(saved / "model-best", weights_only=True), strict=True)
    pairs = train.parts_of_run(cfg).validation
    assert validated(network, pairs, cfg, log) == pytest.approx(min(printed), abs=6e-5)
    log.close()


def test_a_class_that_no_held_out_mask_shows_has_no_part_in_the_score(tmp_path, write_png):
    """A network that finds nothing would have half of the best score for it."""
    for i in range(3):
        write_png(tmp_path / "images" / f"{i}.png", np.full((64, 64, 3), 40 * i, np.uint8))
        labels = np.zeros((64, 64), np.uint8)
        labels[10:30, 10:30] = 1
        write_png(tmp_path / "masks" / f"{i}.png", labels)
    cfg = small(tmp_path, classes=3, label_values=(0, 1, 2), class_names=("ground", "core", "rim"))
    nothing, log = Tiny(3), train.Log(tmp_path / "log.csv")
    torch.nn.init.zeros_(nothing.head[0].weight)
    with torch.no_grad():
        nothing.head[0].bias.copy_(torch.tensor([50.0, 0.0, 0.0]))
    with pytest.warns(UserWarning, match="no mask of the 3 held out shows rim: M_dice is the mean of 1 of 2 classes"):
        assert validated(nothing, find_pairs(tmp_path), cfg, log) < 0.3
    for path in (tmp_path / "masks").iterdir():
        write_png(path, np.zeros((64, 64), np.uint8))
    with (
        pytest.warns(UserWarning, match="shows core, rim: M_dice is the mean of 0 of 2 classes"),
        pytest.warns(UserWarning, match="M_dice is undefined for every image held out; no checkpoint is chosen"),
    ):
        assert np.isnan(validated(nothing, find_pairs(tmp_path), cfg, log))
    log.close()
