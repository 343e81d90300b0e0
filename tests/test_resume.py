"""Runs that are killed or fail, and go on as if nothing had happened, or say why they do not."""

import multiprocessing
import random
import shutil
import time
import warnings
from pathlib import Path

import pytest
import torch
import torch.utils.data._utils

import train
from engine import checkpoint
from tests.helpers import losses, small
from tests.lives import Run, read_for_ever, start, wait_for, warm_up


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2], ids=["one_process", "two_processes"])
def test_a_run_killed_at_twenty_random_moments_ends_bit_identical(polyp_folder, size):
    """At moments spread over most of what an uninterrupted life lasts here, about half of which is saving."""
    fields = {"epoch": 3, "batch": 3, "check_data": False}
    fields |= {"ema": 0.9 * (size == 1), "workers": size - 1}
    names, saved = ("model-3", "model-3-ema")[: 3 - size], polyp_folder / "saved"
    last = saved / "last.pt"

    def finished(run: Run) -> tuple[list, list]:
        assert run.wait() == [0] * size, run.said()
        return losses(polyp_folder), [torch.load(saved / name, weights_only=True) for name in names]

    warm_up()
    begun = time.monotonic()
    curve, expected = finished(start(polyp_folder, size, **fields))
    lasts = time.monotonic() - begun
    assert len(curve) == 6
    saved.rename(polyp_folder / "uninterrupted")

    rng, kills = random.Random(0), 0
    while True:  # lives, until the run has ended after twenty kills; a run that ends before is checked and begun anew
        run = start(polyp_folder, size, resume=last.exists(), **fields)
        if kills < 20:
            if not kills:
                wait_for(last, run)  # however slow the machine: the later ones may be killed before their first step
            time.sleep(rng.uniform(0, 0.6 * lasts))  # a resumed life has less to do
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


@pytest.mark.parametrize("method", [pytest.param("forkserver", marks=pytest.mark.slow), "fork"])
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
