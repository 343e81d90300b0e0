"""Every task's Config on a miniature of its data set: two steps, predict, score."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import prediction_rgb
import test_score
import train
from configs.command_line import load
from files import find_pairs, read_mask
from tests.conftest import ROOT

TRAIN, TEST = ("a", "b"), ("c", "d")


def picture(path: Path, number: int, mode: str = "RGB") -> None:
    array = np.random.default_rng(number).integers(0, 255, (66, 88, 3), np.uint8)
    save(path, Image.fromarray(array).convert(mode))


def mask(path: Path, left: int = 20) -> None:
    array = np.zeros((66, 88), np.uint8)
    array[20:40, left : left + 20] = 255
    save(path, Image.fromarray(array))


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def video_polyp(data: Path) -> None:
    for part, clip in (("CVC-300", "1"), ("CVC-612", "4"), ("Kvasir", "9")):
        picture(data / f"VPS-TrainSet/{part}/Train/{clip}/Frame/f1.jpg", 1)
        mask(data / f"VPS-TrainSet/{part}/Train/{clip}/GT/f1.png")
    for name in ("CVC-ColonDB-300", "CVC-ClinicDB-612-Valid", "CVC-ClinicDB-612-Test"):
        for clip in ("2", "3"):
            picture(data / f"VPS-TestSet/{name}/Frame/{clip}/f1.png", 2)
            mask(data / f"VPS-TestSet/{name}/GT/{clip}/f1.png")


def covid(data: Path) -> None:
    for root, names in (
        ("TrainingSet/LungInfection-Train/Doctor-label", TRAIN),
        ("TestingSet/LungInfection-Test", TEST),
    ):
        for i, name in enumerate(names):
            picture(data / "COVID-19" / root / "Imgs" / f"{name}.jpg", i, "L")
            mask(data / "COVID-19" / root / "GT" / f"{name}.png")


def covid_by_volume(data: Path) -> None:
    for root in ("TrainingSet/LungInfection-Train/Doctor-label", "TestingSet/LungInfection-Test"):
        for volume in "abc" if "Train" in root else "bcde":
            name = f"volume_{volume}_{'01' if 'Train' in root else '02'}"
            picture(data / "COVID-19" / root / "Imgs" / f"{name}.jpg", 1, "L")
            mask(data / "COVID-19" / root / "GT" / f"{name}.png")


def oct_goals(data: Path) -> None:
    for i in range(1, 6):
        picture(data / f"GOALS/Train/Image/{i:04d}.png", i)
        labels = np.full((66, 88), 255, np.uint8)
        for value, top in ((0, 10), (80, 22), (160, 40)):
            labels[top + i : top + i + 10] = value
        save(data / f"GOALS/Train/Layer_Masks/{i:04d}.png", Image.fromarray(labels))
        picture(data / f"GOALS/Train/Layer_show/{i:04d}.png", i)


def breast_busi(data: Path) -> None:
    for kind in ("benign", "malignant", "normal"):
        for i in range(1, 5):
            stem = data / "Dataset_BUSI_with_GT" / kind / f"{kind} ({i})"
            picture(stem.with_suffix(".png"), i)
            mask(stem.with_name(f"{stem.name}_mask.png"))
    mask(data / "Dataset_BUSI_with_GT/benign/benign (2)_mask_1.png", 60)


def skin_isic2018(data: Path) -> None:
    for part, word in (("train", "Training"), ("test", "Test")):
        for i in range(2):
            picture(data / f"ISIC2018/{part}/ISIC2018_Task1-2_{word}_Input/ISIC_000000{i}.jpg", i)
            mask(data / f"ISIC2018/{part}/ISIC2018_Task1_{word}_GroundTruth/ISIC_000000{i}_segmentation.png")


def nuclei_dsb2018(data: Path) -> None:
    for i in range(5):
        picture(data / f"stage1_train/id{i}/images/id{i}.png", i, "RGBA")
        for part in range(3):
            mask(data / f"stage1_train/id{i}/masks/m{part}.png", 20 * part)


def vessel_drive(data: Path) -> None:
    for part, first in (("training", 21), ("test", 1)):
        for i in range(first, first + 2):
            picture(data / f"DRIVE/{part}/images/{i:02d}_{part}.tif", i)
            mask(data / f"DRIVE/{part}/1st_manual/{i:02d}_manual1.gif")
            save(data / f"DRIVE/{part}/mask/{i:02d}_{part}_mask.gif", Image.new("L", (88, 66), 255))


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
    tables = [line for line in said.splitlines() if f"protocol {cfg.protocol}" in line]
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
