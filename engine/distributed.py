"""One run on several processes: torchrun --nproc_per_node N train.py ... on one machine or many.

Without torchrun every function here does what one process needs: nothing. `batch` is the images of a step over all
processes, so a run means the same on any number of them.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


class Team(NamedTuple):
    """This process among those of the run."""

    rank: int
    size: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this is the one process that prints and writes files."""
        return self.rank == 0


@contextmanager
def team(device: torch.device) -> Iterator[Team]:
    """Join the processes that torchrun started, each on a CUDA device of its own where `device` is CUDA."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(0, 1, device)
        return
    if device.type == "cuda":
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"process {local} of this machine has no GPU: there are {torch.cuda.device_count()}; "
                "give torchrun as many processes as GPUs"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    # gloo beside nccl: what only the processes must agree on never waits for a GPU
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), size, device)
    finally:
        dist.destroy_process_group()


def synchronised(network: nn.Module, team: Team, convert: Callable) -> nn.Module:
    """`network`, converted so that its BatchNorms see all processes; ValueError where PyTorch's cannot."""
    if team.size == 1:
        return network
    if team.device.type != "cuda":
        raise ValueError("sync_batchnorm is True on the CPU; PyTorch's SyncBatchNorm needs CUDA")
    return convert(network)


def wrap(network: nn.Module, team: Team) -> nn.Module:
    """`network`, its gradients averaged over the processes; running statistics follow those of process 0."""
    if team.size == 1:
        return network
    return DistributedDataParallel(network, device_ids=[team.device] if team.device.type == "cuda" else None)


def wait() -> None:
    """Until every process is here, for as long as what one of them does alone may take: a command, reading all files.

    The process group's own patience, made for steps, ends within minutes.
    """
    if dist.is_initialized():
        patient: Any = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        dist.barrier(patient)


def of_first(team: Team, make: Callable[[], T]) -> T:
    """What `make` gives in process 0, in all of them."""
    found = make() if team.writes else None
    wait()
    return gathered(found)[0]


def follow_first(network: nn.Module) -> None:
    """Give every process the buffers of process 0, whose running statistics are those of the checkpoints."""
    if dist.is_initialized():
        for buffer in network.buffers():
            dist.broadcast(buffer, 0)


def any_of(number: int) -> int:
    """The largest of a number that every process gives: what one of them knows, all of them know."""
    if not dist.is_initialized():
        return number
    told = torch.tensor(number)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return int(told)


def total(tensor: Tensor) -> Tensor:
    """Sum over the processes."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def gathered(value: Any) -> list[Any]:
    """The value of every process, in order of rank, on every process."""
    if not dist.is_initialized():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
