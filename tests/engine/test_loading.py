"""Reading in processes: little shared memory, errors, deaths and silences."""

import os
import pickle
import shutil
import signal
import time
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
import torch.utils.data._utils

from engine import loading
from engine.loading import Loader


class Numbers(NamedTuple):
    values: torch.Tensor
    names: list[str]
    within: torch.Tensor | None = None


def numbers(samples) -> Numbers:
    return Numbers(torch.tensor(samples), [str(x) for x in samples])


class Ten(torch.utils.data.Dataset):
    """Ten numbers; reading the one at `at` does `deed`."""

    def __init__(self, at: int = -1, deed=None):
        self.at, self.deed = at, deed

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> float:
        if index == self.at:
            self.deed()
        return float(index)


def loader(data=None, processes: int = 1, **more) -> Loader:
    return Loader(data or Ten(), numbers, processes, 1000, torch.device("cpu"), batch_size=4, **more)


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    """PyTorch gives a process that is told to end this many seconds."""
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)


def test_where_shared_memory_is_short_batches_come_through_pipes_and_are_the_same(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(loading, "SHARED", tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=3999))
    monkeypatch.setattr(torch.Tensor, "share_memory_", lambda _: pytest.fail("shared all the same"))
    with loader(say=said.append) as short:
        found = [(batch.values.tolist(), batch.names, batch.within) for batch in short]
    assert [values for values, *_ in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert found[2] == ([8, 9], ["8.0", "9.0"], None)
    assert len(said) == 1 and "has 0 MiB free, 1 workers need up to 1: batches come through pipes" in said[0]


def test_shared_memory_counts_every_process_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=60_000))
    monkeypatch.setattr(loading, "SHARED", tmp_path)
    assert loading.enough_shared_memory(8, 1000, loading.silent)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert not loading.enough_shared_memory(8, 1000, loading.silent)


def test_room_that_another_program_takes_meanwhile_costs_no_batch(monkeypatch):
    def full(_):
        raise RuntimeError("unable to allocate shared memory(shm) for file: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert loading.unpacked(pickle.loads(pickle.dumps(loading.packed(numbers([1.0, 2.0]), True)))).values.tolist() == [
        1,
        2,
    ]


class Unsendable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (ValueError("a.png cannot be decoded"), ValueError, "^a.png cannot be decoded$"),
        (FileNotFoundError("a.png has vanished"), FileNotFoundError, "^a.png has vanished$"),
        (MemoryError("no room"), MemoryError, "^no room$"),
        (Unsendable("this", "that"), RuntimeError, "^Unsendable: this and that$"),
    ],
)
def test_what_a_process_raises_is_raised_here_in_its_own_words(error, kind, words):
    def fail():
        raise error

    with pytest.raises(kind, match=words) as caught, loader(Ten(5, fail)) as failing:
        list(failing)
    assert "Traceback" in str(caught.value.__cause__), "and where is known"


@pytest.mark.parametrize(
    ("deed", "words"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "exited unexpectedly"),
        (lambda: time.sleep(600), "timed out after 1 seconds"),
    ],
    ids=["killed", "stuck"],
)
def test_a_process_that_dies_or_falls_silent_is_named_and_ended(monkeypatch, deed, words):
    monkeypatch.setattr(loading, "PATIENCE", 1)
    with pytest.raises(ChildProcessError, match=f"{words}.*try fewer --workers"), loader(Ten(5, deed)) as reading:
        list(reading)
    (process,) = reading._loader._iterator._workers
    process.join(10)
    assert not process.is_alive()


def test_a_process_that_dies_while_the_run_computes_is_named_too():
    def step() -> None:
        reading._loader._iterator._workers[0].kill()
        time.sleep(60)

    with pytest.raises(ChildProcessError, match="is killed by signal: Killed"), loader() as reading:
        [step() for _ in reading]


class Passes:
    """A batch sampler of three epochs: epoch * 10 and more, in twos."""

    epochs, steps = 3, 2

    def __init__(self):
        self.now = 0, 0

    def start(self, epoch: int, done: int = 0) -> None:
        self.now = epoch, done

    def __iter__(self):
        epoch, done = self.now
        yield from [[10 * epoch, 10 * epoch + 1], [10 * epoch + 2, 10 * epoch + 3]][done:]


class Noted(torch.utils.data.Dataset):
    """Numbers that leave a file when they are read."""

    def __init__(self, folder):
        self.folder = folder

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> float:
        (self.folder / str(index)).touch()
        return float(index)


@pytest.mark.parametrize("processes", [0, 1])
def test_an_epoch_begins_to_be_read_before_the_one_before_has_ended(processes, tmp_path):
    found = []
    with Loader(Noted(tmp_path), numbers, processes, 1000, torch.device("cpu"), batch_sampler=Passes()) as read:
        for epoch, done in ((0, 0), (1, 0), (2, 0)):
            batches = read.epoch(epoch, done)
            found.append([next(batches).values.tolist()])
            ahead = tmp_path / str(10 * epoch + 10)
            for _ in range(500 if processes and epoch < 2 else 0):
                if ahead.exists():
                    break
                time.sleep(0.01)
            assert ahead.exists() == (processes == 1 and epoch < 2)
            found[-1] += [batch.values.tolist() for batch in batches]
    assert found == [[[0, 1], [2, 3]], [[10, 11], [12, 13]], [[20, 21], [22, 23]]]


@pytest.mark.parametrize("processes", [0, 2])
def test_an_epoch_that_is_not_the_next_is_read_as_it_is(processes):
    with Loader(Ten(), numbers, processes, 1000, torch.device("cpu"), batch_sampler=Passes()) as read:
        assert [batch.values.tolist() for batch in read.epoch(0, 1)] == [[2, 3]]
        assert [batch.values.tolist() for batch in read.epoch(1)] == [[10, 11], [12, 13]]
        assert [batch.values.tolist() for batch in read.epoch(0, 1)] == [[2, 3]]
        assert next(read.epoch(1)).values.tolist() == [10, 11]
        assert [batch.values.tolist() for batch in read.epoch(2)] == [[20, 21], [22, 23]]
