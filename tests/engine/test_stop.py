"""Stop: signals, the wall clock and a second Ctrl-C end a run that has saved."""

import multiprocessing
import os
import signal

import pytest

import train
from engine import checkpoint
from engine.stop import Stop
from tests.helpers import losses, small
from tests.lives import start, wait_for


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_how_to_go_on(polyp_folder, number, code):
    run = start(polyp_folder, epoch=300, workers=1, backbone="tiny")
    wait_for(polyp_folder / "saved" / "last.pt", run)
    os.kill(run.processes[0].pid, number)
    assert run.wait() == [code], run.said()
    assert f"stopped by {number.name} at step" in run.said()
    step = checkpoint.load(polyp_folder / "saved" / "last.pt")["step"]
    assert len(losses(polyp_folder)) == step


def test_the_wall_clock_stops_a_run(polyp_folder):
    with pytest.raises(SystemExit) as stop:
        train.train(small(polyp_folder, epoch=3, walltime=1e-9))
    assert stop.value.code == 124
    assert checkpoint.load(polyp_folder / "saved" / "last.pt")["step"] == 1
    train.train(small(polyp_folder, epoch=3, resume=True))
    assert len(losses(polyp_folder)) == 6


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU])
def test_what_a_scheduler_or_a_closing_terminal_sends_saves_too(polyp_folder, tiny, monkeypatch, number, capsys):
    """Sent to the reading processes as well, as to every process of a job."""
    added = train.Log.add

    def add(log, *words):
        added(log, *words)
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(train.Log, "add", add)
    with pytest.raises(SystemExit) as stopped:
        train.train(small(polyp_folder, epoch=3, workers=1))
    assert stopped.value.code == 128 + number
    assert checkpoint.load(polyp_folder / "saved" / "last.pt")["step"] == 1
    assert f"stopped by {number.name} at step 1" in capsys.readouterr().out


def test_a_run_under_nohup_ignores_that_the_terminal_closes(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.reason == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_interrupt_does_not_wait():
    with Stop() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert (stop.reason, stop.name(stop.reason)) == (130, "SIGINT")
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
