"""Every task's Config on a miniature of its data set: two steps, predict, score."""

import dataclasses
from pathlib import Path

import pytest

import prediction_rgb
import test_score
import train
from configs.command_line import load
from files import find_pairs, read_mask
from tests.conftest import ROOT
from tests.miniatures import (
    breast_busi,
    covid,
    covid_by_volume,
    nuclei_dsb2018,
    oct_goals,
    skin_isic2018,
    vessel_drive,
    video_polyp,
)

EXPECTED = {  # the first map of each, and how many
    video_polyp: ("CVC-ClinicDB-612-Test/2/f1.png", 6),
    covid: ("LungInfection-Test/c.png", 2),
    covid_by_volume: ("fold-1/TestingSet/LungInfection-Test/volume_b_02.png", 2),
    oct_goals: ("fold-1/GCIPL/0003.png", 5),  # four classes and the label image
    breast_busi: ("fold-1/benign/benign (3).png", 2),
    skin_isic2018: ("test/ISIC_0000000.png", 2),
    nuclei_dsb2018: ("fold-1/id2/id2.png", 1),
    vessel_drive: ("test/01_test.png", 2),
}


@pytest.mark.parametrize("make", EXPECTED, ids=lambda make: make.__name__)
def test_a_task_trains_two_steps_predicts_and_scores(tmp_path, make, capsys, monkeypatch):
    make(tmp_path / "data")
    config = f"configs/{make.__name__}.py"
    cfg = load(ROOT / config)
    monkeypatch.chdir(ROOT)
    here = {name: str(tmp_path / getattr(cfg, name)) for name in ("datapath", "testpath", "savepath", "mapspath")}
    flags = [text for name, value in here.items() for text in (f"--{name}", value)]
    flags += ["--backbone_weights", "random", "--lossnet_factor", "0", "--size", "64", "--scales", "64"]
    flags += ["--backbone", "tiny", "--workers", "0", "--epoch", "2", "--batch", "3"]
    train.main([config, *flags])
    folder = Path(dataclasses.replace(cfg, **here).run_folder)
    assert len((folder / "log.csv").read_text().splitlines()) > 2
    prediction_rgb.main([config, *flags, "--snapshot", str(folder / "model-2")])
    maps = sorted(path.relative_to(here["mapspath"]).as_posix() for path in Path(here["mapspath"]).rglob("*.png"))
    assert (maps[0], len(maps)) == EXPECTED[make]
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr("sys.exit", lambda code: None)  # the folds that were not trained are an error, rightly
        test_score.main([config, *flags])
    said = capsys.readouterr().out
    titles = [line for line in said.splitlines() if not line.startswith("methods on data sets")]
    tables = [line for line in titles if f"protocol {cfg.protocol}" in line]
    assert len(tables) == (cfg.classes + (cfg.classes > 1) if cfg.folds else len(cfg.testsets))
    assert all(line.endswith("per cent") == cfg.percent for line in tables)
    for name in cfg.columns:
        assert name in said
    assert ("mean of groups" in said) == cfg.by_group
    assert "NOT scored" not in said
    assert said.count("error: ") == max(0, cfg.folds - 1) * cfg.classes


def test_the_nuclei_of_an_image_are_its_mask(tmp_path):
    nuclei_dsb2018(tmp_path)
    (pair, *_) = find_pairs(tmp_path / "stage1_train")
    assert (read_mask(*pair.masks) > 0).sum() == 20 * 60
