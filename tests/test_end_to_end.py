"""The three scripts as users call them, meeting only through files: train, predict, score, table, panel."""

import json
import subprocess
import sys

import cv2
import pytest

from tests.conftest import ROOT


def python(*words) -> str:
    done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_train_predict_score_and_look(polyp_folder):
    saved, maps, test = polyp_folder / "saved", polyp_folder / "maps", polyp_folder / "TestDataset"
    common = ["--network", "m2snet", "--size", "64", "--workers", "1", "--device", "cpu"]
    data = ["--datapath", polyp_folder / "TrainDataset", "--savepath", saved, "--scales", "64,80"]
    out = python(
        *("train.py", "configs/demo.py", *common, *data, "--epoch", "1", "--batch", "3"),
        *("--lossnet_factor", "0.1", "--before", "", "--after", ""),
    )
    assert "1 empty masks" in out
    sets = ["--testpath", test, "--testsets", "small", "--mapspath", maps]
    python("prediction_rgb.py", "configs/demo.py", *common, *sets, "--snapshot", saved / "model-1")
    out = python("test_score.py", "configs/demo.py", *common, *sets, "--out", polyp_folder / "out")
    assert out.startswith("dataset: small MAE: ")
    (summary,) = json.loads((polyp_folder / "out" / "summary.json").read_text())
    assert (summary["method"], summary["images"]) == ("m2snet", 2)
    masks, images = test / "small" / "masks", test / "small" / "images"
    panel = polyp_folder / "panel.png"
    python("-m", "tools.panels", "--images", images, "--masks", masks, "--maps", maps / "small", "--out", panel)
    assert cv2.imread(str(panel)).shape[0] > 2 * 160
