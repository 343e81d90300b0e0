"""Runs that are killed, told to stop, or starved, and go on as if nothing had happened; validation."""

import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import time
import warnings
from pathlib import Path

import pytest
import torch

import train
from engine import checkpoint
from engine.log import Log
from engine.stop import Stop
from tests.helpers import Tiny, all_losses, losses, small
from tests.lives import Run, read_for_ever


def start(folder, size=1, **fields) -> Run:
    """A run in processes of its own, saving after every step."""
    cfg = small(folder, **({"epoch": 3, "batch": 2, "save_every": 1, "backbone": "res2net50"} | fields))
    return Run(folder, dataclasses.asdict(cfg), size)


def wait_for(path, run, seconds=90.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert run.alive, run.said()
        assert time.monotonic() < deadline, f"no {path} after {seconds} s"
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2], ids=["one_process", "two_processes"])
def test_a_run_killed_at_twenty_random_moments_ends_bit_identical(polyp_folder, size):
    fields = {"epoch": 5, "batch": 3, "check_data": False, "ema": 0.9 * (size == 1), "workers": size - 1}
    names, saved = ("model-5", "model-5-ema")[: 3 - size], polyp_folder / "saved"
    last = saved / "last.pt"

    def finished(run: Run) -> tuple[list, list]:
        assert run.wait() == [0] * size, run.said()
        return losses(polyp_folder), [torch.load(saved / name, weights_only=True) for name in names]

    curve, expected = finished(start(polyp_folder, size, **fields))
    assert len(curve) == 10
    saved.rename(polyp_folder / "uninterrupted")

    rng, kills = random.Random(0), 0
    while True:  # lives, until the run has ended after twenty kills; a run that ends before is checked and begun anew
        run = start(polyp_folder, size, resume=last.exists(), **fields)
        if kills < 20:
            if not kills:
                wait_for(last, run)  # however slow the machine: the later ones may be killed before their first step
            time.sleep(rng.uniform(0.1, 2.5))
        if kills < 20 and run.alive:
            run.kill()
            kills += 1
            if last.exists():
                checkpoint.load(last)  # at no moment unreadable
            continue
        ours, weights = finished(run)
        assert ours == curve
        for mine, other in zip(weights, expected, strict=True):
            assert mine.keys() == other.keys()
            assert all(torch.equal(mine[key], value) for key, value in other.items())
        if kills == 20:
            break
        shutil.rmtree(saved)


@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_a_killed_run_leaves_no_reading_process_behind(method):
    receiver, sender = multiprocessing.Pipe(duplex=False)
    main = multiprocessing.get_context(method).Process(target=read_for_ever, args=(sender,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork, where this process has threads
        main.start()
    worker = receiver.recv()
    main.kill()
    main.join()
    deadline = time.monotonic() + 30
    while is_running(worker):
        assert time.monotonic() < deadline, f"process {worker} outlives the run it read for"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


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
def test_what_a_scheduler_or_a_closing_terminal_sends_saves_too(polyp_folder, monkeypatch, number, capsys):
    """Sent to the reading processes as well, as to every process of a job."""
    monkeypatch.setattr(train.net, "build", lambda network, backbone, classes, pretrained=False: Tiny(classes))
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


def test_a_changed_config_is_refused_field_by_field_unless_allowed(polyp_folder):
    train.train(small(polyp_folder, epoch=2))
    with pytest.raises(ValueError, match=r"epoch was 2, is 3; lr was 0\.05, is 0\.01.*resume_changed"):
        train.train(small(polyp_folder, epoch=3, lr=0.01, resume=True))
    train.train(small(polyp_folder, epoch=3, resume=True, resume_changed=("epoch",), workers=1))
    assert len(losses(polyp_folder)) == 6


def test_a_run_does_not_go_on_with_other_images(polyp_folder):
    train.train(small(polyp_folder, epoch=2))
    for kind in ("image", "mask"):
        (polyp_folder / "TrainDataset" / kind / "004.png").unlink()
    with pytest.raises(ValueError, match=r"was trained on 6 images, now there are 5; 1 are in one .* first 004"):
        train.train(small(polyp_folder, epoch=2, resume=True))


def test_resuming_nothing_and_resuming_a_damaged_file_are_clear_errors(polyp_folder):
    with pytest.raises(FileNotFoundError, match=r"no .*last\.pt to resume from"):
        train.train(small(polyp_folder, resume=True))
    (polyp_folder / "saved").mkdir()
    (polyp_folder / "saved" / "last.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"last\.pt cannot be read"):
        train.train(small(polyp_folder, resume=True))


def test_a_loss_that_is_not_finite_leaves_last_as_it_was(polyp_folder):
    with pytest.raises(FloatingPointError, match=r"loss is nan at step \d+"):
        train.train(small(polyp_folder, epoch=30, lr=1e30, save_every=1))
    state = checkpoint.load(polyp_folder / "saved" / "last.pt")["network"]
    assert checkpoint.load(polyp_folder / "saved" / "last.pt")["step"] < 60
    assert state


def test_random_states_survive_a_file(tmp_path):
    checkpoint.save(checkpoint.random_states(), tmp_path / "states")
    first = (random.random(), torch.rand(3))
    checkpoint.restore_random_states(checkpoint.load(tmp_path / "states"))
    assert random.random() == first[0]
    assert torch.equal(torch.rand(3), first[1])


def test_a_resumed_log_forgets_the_steps_after_its_checkpoint(tmp_path):
    log = Log(tmp_path / "log.csv")
    for value in (3.0, 2.0, 1.0):
        log.add(1, 0.1, all_losses(value), torch.tensor(1.0), ["a"])
    log.flush()
    log.close()
    resumed = Log(tmp_path / "log.csv", resume_after=2)
    resumed.add(1, 0.1, all_losses(7.0), torch.tensor(1.0), ["a"])
    resumed.flush()
    resumed.close()
    assert resumed.mean(1) == pytest.approx(4.0)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_gradients_are_clipped_when_asked(polyp_folder):
    from engine.precision import Precision

    layer = torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = [p.clone() for p in layer.parameters()]
    Precision("off", torch.device("cpu"), grad_clip=0.1).step(1000 * layer(torch.ones(1, 2)).sum(), optimiser, layer)
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, layer.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.1, rel=1e-4)


# -------------------------------------------------------------------------------------------------------- validation


def test_validation_chooses_model_best_by_the_score_that_prediction_would_get(polyp_folder, capsys, tmp_path):
    import prediction_rgb
    from files import find_pairs, read_map, read_mask, split_pairs
    from metrics import Scores

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
