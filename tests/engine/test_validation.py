"""Validation: held-out images are scored as prediction would, and the best network is kept."""

import warnings

import numpy as np
import pytest
import torch

import prediction_rgb
import train
from files import find_pairs, read_map, read_mask, split_pairs
from metrics import Scores
from tests.helpers import Tiny, small


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
    team, pairs = train.distributed.Team(0, 1, torch.device("cpu")), train.parts_of_run(cfg).validation
    assert train.validate(network, pairs, cfg, team, log) == pytest.approx(min(printed), abs=6e-5)
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
    team = train.distributed.Team(0, 1, torch.device("cpu"))
    with pytest.warns(UserWarning, match="no mask of the 3 held out shows rim: M_dice is the mean of 1 of 2 classes"):
        assert train.validate(nothing, find_pairs(tmp_path), cfg, team, log) < 0.3
    for path in (tmp_path / "masks").iterdir():
        write_png(path, np.zeros((64, 64), np.uint8))
    with (
        pytest.warns(UserWarning, match="shows core, rim: M_dice is the mean of 0 of 2 classes"),
        pytest.warns(UserWarning, match="M_dice is undefined for every image held out; no checkpoint is chosen"),
    ):
        assert np.isnan(train.validate(nothing, find_pairs(tmp_path), cfg, team, log))
    log.close()
