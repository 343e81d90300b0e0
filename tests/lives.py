"""Runs in processes of their own, to be killed: a server that has torch imported starts each within a moment."""

import dataclasses
import multiprocessing
import os
import socket
import sys
import time
from pathlib import Path

import torch

# what a run imports on its way, for longer than it trains here: the optimiser the one, the log the other
import torch._dynamo
import torch.utils.tensorboard
from torch.utils.data import DataLoader

import train
from configs import Config
from engine import record
from engine.loading import start_worker
from tests.helpers import small  # imported here, its tiny backbone has a name in these processes too

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["tests.lives"])


def warm_up() -> None:
    """Have the server import what it will fork: after this a life lasts as long as the next."""
    process = server.Process(target=int)
    process.start()
    process.join()


class Pids(torch.utils.data.Dataset):
    """Samples that say which process read them."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return os.getpid()


def read_for_ever(said) -> None:
    """Send the number of a reading process, and keep it."""
    loader = DataLoader(Pids(), num_workers=1, worker_init_fn=start_worker, persistent_workers=True)
    reading = iter(loader)
    said.send(int(next(reading)))
    time.sleep(600)


class Run:
    """`train.train(Config(**fields))` in `size` processes; what they print is in <folder>/out-<rank>.txt."""

    def __init__(self, folder: Path, fields: dict, size: int = 1):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder = folder
        self.processes = [
            server.Process(target=live, args=(fields, folder / f"out-{rank}.txt", rank, size, port))
            for rank in range(size)
        ]
        for process in self.processes:
            process.start()

    @property
    def alive(self) -> bool:
        return any(process.is_alive() for process in self.processes)

    def kill(self) -> None:
        """kill -9, as a power cut would: nobody gets to tidy up."""
        for process in self.processes:
            process.kill()
        self.wait()

    def wait(self, seconds: float = 300) -> list[int | None]:
        for process in self.processes:
            process.join(seconds)
        return [process.exitcode for process in self.processes]

    def said(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob("out-*.txt")))


def live(fields: dict, out: Path, rank: int, size: int, port: int) -> None:
    with open(out, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    torch.set_num_threads(1)
    # else its reading process is the child of a server of its own, which first imports for seconds what is imported
    multiprocessing.set_start_method("fork", force=True)
    os.fsync = lambda file: None  # kill -9 loses nothing that was written, only a power cut would
    record.distributions = lambda: []  # which packages there are takes a second to say
    if size > 1:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
        os.environ.update(where | {"RANK": str(rank), "WORLD_SIZE": str(size)})
    train.train(Config(**fields))


def start(folder, size=1, **fields) -> Run:
    """A run in processes of its own, saving after every step."""
    cfg = small(folder, **({"epoch": 3, "batch": 2, "save_every": 1} | fields))
    return Run(folder, dataclasses.asdict(cfg), size)


def wait_for(path, run, seconds=90.0) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert run.alive, run.said()
        assert time.monotonic() < deadline, f"no {path} after {seconds} s"
        time.sleep(0.01)
