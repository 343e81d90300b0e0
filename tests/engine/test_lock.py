"""Two runs in one folder: the second is refused, a dead one is in nobody's way, and nothing is left behind."""

import errno
import os
import signal
import subprocess
import sys

import pytest
import torch

import train
from engine import distributed, lock
from tests.conftest import ROOT
from tests.helpers import small

ALONE = distributed.Team(0, 1, torch.device("cpu"))
HOLDER = """
import os, sys, time, torch
from engine import distributed, lock
with lock.alone(sys.argv[1], distributed.Team(0, 1, torch.device("cpu"))):
    child = os.fork()  # as a reading process that outlives the run
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_naming_the_first_and_touches_nothing(polyp_folder):
    saved = polyp_folder / "saved"
    with lock.alone(saved, ALONE):
        (saved / "last.pt").write_text("of the first")
        said = (
            rf"a run is at work in .*saved: process {os.getpid()} on {os.uname().nodename}, since 20.*another savepath"
        )
        for fields in ({}, {"resume": True}):
            with pytest.raises(ValueError, match=said):
                train.train(small(polyp_folder, **fields))
        assert sorted(os.listdir(saved)) == [".lock", "last.pt"]
        with lock.alone(small(polyp_folder, folds=2, fold=2).run_folder, ALONE):
            pass
    assert os.listdir(saved) == ["last.pt"]


def test_a_run_that_is_killed_holds_nothing_though_its_children_live(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(ValueError, match=f"process {holder.pid} on"), lock.alone(tmp_path, ALONE):
            pass
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        with lock.alone(tmp_path, ALONE):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.kill()
        holder.communicate()


def test_a_disk_without_locks_is_said_and_an_unused_folder_goes(tmp_path, monkeypatch, capsys):
    def refused(*_) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_take", refused)
    with lock.alone(tmp_path / "new" / "folder", ALONE):
        assert "No locks available); see to it that no other run works there" in capsys.readouterr().out
    assert not (tmp_path / "new").exists()


def test_when_process_0_is_refused_the_others_exit(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "any_of", lambda number: 1)  # what process 0 tells
    with pytest.raises(SystemExit), lock.alone(tmp_path, distributed.Team(1, 2, torch.device("cpu"))):
        pass
    assert not os.listdir(tmp_path)
