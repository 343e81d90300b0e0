"""Validation chooses by any score of any protocol, of masks that are read where the images are."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from PIL import Image

import configs
import train
from dataset import HeldOut
from engine import distributed
from engine.inference import Predictor
from engine.validation import better
from files import find_pairs, native_map
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


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_score_of_every_protocol_is_that_of_the_maps_that_prediction_would_write(layered, protocol):
    torch.manual_seed(0)
    network, log = Tiny(3).eval(), train.Log(layered / "log.csv")
    cfg, pairs = of_layers(layered, val_protocol=protocol, val_score=PROTOCOLS[protocol].names[0])
    expected = [Scores(protocol) for _ in range(2)]
    data = HeldOut(pairs, cfg)
    for image, planes, within in (data[i] for i in range(3)):
        pred = Predictor(network, ALONE.device)(image.image[None])[0].numpy()
        for scores, c in zip(expected, (1, 2), strict=True):
            scores.update(np.array(native_map(pred[c], image.height, image.width)), planes[c], within)
    for name in PROTOCOLS[protocol].names[::5]:
        mean = np.mean([scores.result()[name] for scores in expected])
        found = validated(network, pairs, dataclasses.replace(cfg, val_score=name), log)
        assert found == pytest.approx(mean, rel=1e-6), name  # batches of four: to rounding
    log.close()


def test_a_held_out_pair_has_its_masks_as_they_are_scored_at_native_size(layered):
    cfg, pairs = of_layers(layered)
    image, planes, within = HeldOut(pairs, cfg)[1]
    assert (tuple(image.image.shape), image.height, image.width) == ((3, 64, 64), 50, 60)
    labels = np.asarray(Image.open(layered / "masks" / "1.png"))
    assert np.array_equal(planes, np.stack([(labels == value) * 255 for value in (0, 1, 2)]))
    assert (within.dtype, within.shape, within.sum()) == (bool, (50, 60), 50 * 50)
    assert HeldOut(find_pairs(layered), cfg)[1].within is None
    (batch,) = train.held_out(pairs, cfg, ALONE)
    assert (batch.image.shape, batch.sizes) == ((3, 3, 64, 64), [(50, 60)] * 3)
    assert np.array_equal(batch.planes[1], planes) and np.array_equal(batch.within[1], within)


def test_each_process_reads_its_own_share(layered):
    cfg, pairs = of_layers(layered)
    counts = [train.held_out(pairs, cfg, distributed.Team(rank, 2, ALONE.device)).count for rank in range(2)]
    assert counts == [2, 1]


def test_a_score_is_checked_against_its_protocol_and_where_it_belongs_is_said(tmp_path):
    train.check(small(tmp_path, val_protocol="layers", val_score="MED"))
    with pytest.raises(ValueError, match=r"is 'M_dice'; expected one of Dice, MED; .* val_protocol official$"):
        train.check(small(tmp_path, val_protocol="layers"))
    with pytest.raises(ValueError, match=r"expected one of MAE, .*; it is a score of val_protocol binary, layers"):
        train.check(small(tmp_path, val_score="Dice"))


def test_oct_chooses_by_a_score_of_its_own():
    cfg = configs.load(ROOT / "configs" / "oct_goals.py")
    train.check(cfg)
    assert (cfg.val_protocol, cfg.val_score) == (cfg.protocol, "Dice")
    assert train.chosen_by(cfg).scored == ("RNFL", "GCIPL", "choroid")


def test_a_smaller_distance_is_better_and_an_undefined_one_never():
    assert better("MED", 9.0, -math.inf) and better("MED", 1.0, 9.0) and not better("MED", 9.0, 1.0)
    assert better("Dice", 0.9, 0.1) and not better("Dice", 0.1, 0.9)
    assert not any(better(name, math.nan, best) for name in ("MED", "Dice") for best in (-math.inf, 0.5))
