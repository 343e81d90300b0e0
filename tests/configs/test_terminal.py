"""What is printed may fail: a full disk, a closed pipe, a terminal that is gone; the work does not."""

import gc
import os
import sys
from contextlib import contextmanager

import pytest
import torch

import test_score
import train
from configs import errors_in_one_line, outlived_output
from engine import checkpoint
from engine.log import Log
from tests.helpers import all_losses, losses, small


@contextmanager
def printing_to(stream):
    """With `stream` as stdout, which is closed in the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield
        assert sys.stdout is stream
    if stream:
        stream.close()


def pipe_without_a_reader():
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w")


@pytest.mark.parametrize("take", ["full", "closed", "none"])
def test_a_run_outlives_its_output(polyp_folder, tiny, capfd, take):
    stream = None if take == "none" else open("/dev/full", "w")  # noqa: SIM115
    if take == "closed":
        stream.close()
    cfg = small(polyp_folder, epoch=2)
    names = (
        "datapath",
        "savepath",
        "epoch",
        "batch",
        "size",
        "device",
        "backbone_weights",
        "lossnet_factor",
        "workers",
    )
    words = [word for name in names for word in (f"--{name}", str(getattr(cfg, name)))]
    with printing_to(stream):
        train.main(words)
    assert len(losses(polyp_folder)) == 4 and (polyp_folder / "saved" / "model-2").exists()
    said = capfd.readouterr().err
    assert said.count("NOTE: what is printed is lost from here on") == (take != "none"), said


def test_a_reader_that_has_gone_ends_a_script_without_a_word(capfd):
    nobody = printing_to(pipe_without_a_reader())
    with nobody, pytest.raises(SystemExit) as ended, errors_in_one_line("test_score.py"):
        print("a table")
    assert ended.value.code == 1 and capfd.readouterr().err == ""


def test_a_script_lets_what_it_has_imported_be():
    gc.unfreeze()
    gc.disable()
    try:
        with errors_in_one_line("train.py"):
            assert gc.isenabled() and gc.get_freeze_count() > 100_000
    finally:
        gc.enable()
        gc.unfreeze()


def test_scores_are_written_before_they_are_printed(polyp_folder):
    masks = polyp_folder / "TestDataset" / "small" / "masks"
    maps = polyp_folder / "maps"
    maps.mkdir()
    for path in masks.iterdir():
        (maps / path.name).write_bytes(path.read_bytes())
    words = ["--gt", str(masks), "--pred", str(maps), "--out", str(polyp_folder / "out"), "--processes", "1"]
    with printing_to(pipe_without_a_reader()), pytest.raises(SystemExit), errors_in_one_line("test_score.py"):
        test_score.main(words)
    assert (polyp_folder / "out" / "scores.csv").stat().st_size


def test_words_that_come_back_are_printed_again(capsys):
    with outlived_output():
        print("one")
    print("two")
    assert capsys.readouterr().out == "one\ntwo\n"


def test_a_validation_that_fails_costs_no_epoch_and_is_made_up_for(polyp_folder, tiny, monkeypatch):
    fields = {"epoch": 2, "val_fraction": 0.5}
    train.train(small(polyp_folder, **fields))
    last = polyp_folder / "saved" / "last.pt"
    best = checkpoint.load(last)["best"]
    last.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(train, "validate", lambda *_: (_ for _ in ()).throw(MemoryError("no room")))
        with pytest.raises(MemoryError, match="no room"):
            train.train(small(polyp_folder, **fields))
    assert checkpoint.load(last)["step"] == 1
    train.train(small(polyp_folder, **fields, resume=True))
    assert checkpoint.load(last)["best"] == best and len(losses(polyp_folder)) == 2


def test_curves_that_cannot_be_written_stop_no_run(tmp_path, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    log = Log(tmp_path / "log.csv")
    log._board.close()
    log._board.add_scalar = full
    for _ in range(2):
        log.scalar("a", 1.0)
        log.add(1, 0.1, all_losses(1.0), torch.tensor(1.0), ["a"])
        log.flush()
    log.panel("a", torch.rand(1, 3, 4, 4), torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4))
    log.close()
    assert capsys.readouterr().out.count("TensorBoard cannot be written") == 1
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3
