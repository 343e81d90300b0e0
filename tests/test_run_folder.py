"""A run's folder in place of a config file: what it was trained with is typed once."""

import re
import warnings

import numpy as np
import pytest

import prediction_rgb
import test_score
import train
from configs import command_line, load, parse, print_anywhere
from engine import checkpoint, record
from engine.card import write_card
from engine.machine import device
from report.arguments import sets_of
from tests.helpers import small
from tools import figures, panels


@pytest.fixture
def run(polyp_folder, monkeypatch):
    """The folder of a run that is over, with a checkpoint of each of two epochs."""
    monkeypatch.setattr("engine.record.distributions", lambda: [])
    fields = {"testpath": str(polyp_folder / "TestDataset"), "testsets": ("small",), "protocol": "pranet"}
    cfg = small(polyp_folder, **fields, mapspath=str(polyp_folder / "maps"), epoch=2, save_from=0.0)
    train.train(cfg)
    return polyp_folder / "saved"


def test_a_runs_folder_predicts_and_scores_without_another_word(run, capsys):
    capsys.readouterr()
    prediction_rgb.main([str(run), "--workers", "0"])
    said = capsys.readouterr().out
    assert f"settings of the run: {run / 'config.json'}" in said and f"checkpoints: {run / 'model-2'}" in said
    for words in (run, run / "config.json"):
        test_score.main([str(words), "--processes", "1"])
        assert "small, 2 images, protocol pranet" in capsys.readouterr().out, "the run's own test sets and protocol"
    test_score.main([str(run), "--protocol", "binary"])
    assert "protocol binary" in capsys.readouterr().out, "flags rule over the record"
    (run / "model-2").rename(run / "model-2.pth")
    prediction_rgb.main([str(run), "--workers", "0"])
    assert f"checkpoints: {run / 'model-2.pth'}" in capsys.readouterr().out


def test_what_was_one_commands_is_no_setting_of_a_runs_folder(tmp_path):
    record.write_record(tmp_path / "config.json", small(tmp_path, resume=True, batch=5), device("cpu"))
    assert (load(tmp_path).batch, load(tmp_path).resume) == (5, False)


@pytest.mark.parametrize("name", ["", "config.json"])
def test_a_folder_of_no_run_is_refused_in_a_line(tmp_path, name, capsys):
    with pytest.raises(SystemExit):
        test_score.main([str(tmp_path / name)])
    assert "holds no config.json; expected the folder of a run" in capsys.readouterr().err


def test_the_checkpoint_of_a_folder_is_the_best_or_else_the_last_with_or_without_pth(tmp_path):
    (tmp_path / "model-9").touch()
    (tmp_path / "model-10.pth").touch()
    (tmp_path / "model-11-ema").touch()
    assert checkpoint.named(tmp_path) == [tmp_path / "model-10.pth"]
    (tmp_path / "model-best").touch()
    assert checkpoint.named(tmp_path) == [tmp_path / "model-best"]
    for fold, name in ((1, "model-3"), (3, "model-best.pth")):
        (tmp_path / "folds" / f"fold-{fold}").mkdir(parents=True)
        (tmp_path / "folds" / f"fold-{fold}" / name).touch()
    files = checkpoint.named(tmp_path / "folds")
    assert [file.name for file in files] == ["model-3", "model-best.pth"]
    assert checkpoint.by_fold(files, 3) == {1: files[:1], 2: [], 3: files[1:]}
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"none holds no model-best and no model-<epoch>"):
        checkpoint.named(tmp_path / "none")


def test_all_folds_need_folds_and_each_its_own_checkpoint(run):
    with pytest.raises(ValueError, match=r"fold is 'all' but folds is 0"):
        prediction_rgb.main([str(run), "--fold", "all"])
    with pytest.raises(ValueError, match=r"none of .*model-2 lies in a folder fold-1 to fold-3"):
        prediction_rgb.main([str(run), "--fold", "all", "--folds", "3"])
    with pytest.raises(SystemExit):
        test_score.main(["--fold", "both"])


def test_panels_and_figures_of_a_run_need_no_folders(run, monkeypatch, capsys):
    prediction_rgb.main([str(run), "--workers", "0"])
    monkeypatch.setattr("sys.argv", ["panels", str(run), "--out", str(run.parent / "panel.png")])
    panels.main()
    monkeypatch.setattr("sys.argv", ["figures", str(run), "--out", str(run.parent / "figures")])
    monkeypatch.setattr(figures, "_save", lambda figure, path: path)
    figures.main()
    said = capsys.readouterr().out
    assert "panel.png: image | mask | msnet" in said and "small: small-curves, small-worst-msnet in" in said


def test_label_values_say_how_many_classes_there_are():
    cfg, _ = parse("", ["--label_values", "0,80,160"])
    assert (cfg.classes, cfg.label_values) == (3, (0, 80, 160))


def test_patients_folders_of_images_beside_their_masks_are_one_set(tmp_path, write_png):
    for patient in (1, 2):
        for scan in (3, 4):
            for name in (f"scan {scan}", f"scan {scan} polyp"):
                write_png(tmp_path / "gt" / f"patient {patient}" / "exam" / f"{name}.png", np.eye(9, dtype=np.uint8))
    assert sets_of(tmp_path / "gt") == ({"gt": tmp_path / "gt"}, False), "as training and prediction see them"
    write_png(tmp_path / "sets" / "A" / "1.png", np.eye(9, dtype=np.uint8))
    write_png(tmp_path / "sets" / "B" / "1.png", np.eye(9, dtype=np.uint8))
    assert set(sets_of(tmp_path / "sets")[0]) == {"A", "B"}


def test_what_is_warned_about_is_a_line_without_code():
    print_anywhere()
    ours = warnings.formatwarning("masks are named so", UserWarning, command_line.__file__, 7, "code")
    theirs = warnings.formatwarning("deprecated", UserWarning, "/usr/lib/other.py", 7, "code")
    assert ours == "NOTE: masks are named so\n" and "other.py:7: UserWarning" in theirs


def test_a_finished_run_has_a_card_that_says_what_it_is_and_loads_it(run, monkeypatch):
    card = (run / "model_card.md").read_text()
    assert "# msnet on tiny, trained on" in card and "images: 6 to train on" in card
    assert "| epoch | 2 |" in card and "Not validated" in card and "Licence" in card and "torch" in card
    (code,) = re.findall(r"^```python\n(.*?)^```", card, flags=re.M | re.S)
    found: dict = {"image": np.zeros((70, 80, 3), np.uint8)}
    exec(code, found)
    assert found["map"].shape == (70, 80), "the three lines work as they stand"


def test_a_card_has_the_score_of_the_validation(run):
    write_card(run, "model-best", "M_dice 0.9123")
    card = (run / "model_card.md").read_text()
    assert "held out of the training set: **M_dice 0.9123**, of `model-best`" in card and '/model-best")' in card
