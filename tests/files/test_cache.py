"""Images kept in memory: one copy for all processes, however they are started, or each copy counted and said."""

import os
import pickle
from functools import partial
from multiprocessing import get_context

import numpy as np
import pytest

from files import MemoryCache
from files.cache import machine_memory


def refuse() -> np.ndarray:
    raise AssertionError("made a second time")


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="each process has a copy of its own on this system")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_is_not_forked_fills_the_cache_of_this_one(method):
    cache = MemoryCache(4, (2, 3))
    cache.get(0, partial(np.full, (2, 3), 5.0))
    process = get_context(method).Process(target=cache.get, args=(1, partial(np.full, (2, 3), 7.0)))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert (cache.get(0, refuse) == 5).all() and (cache.get(1, refuse) == 7).all()


def test_where_memory_cannot_be_shared_each_copy_is_counted_and_said(monkeypatch, capsys):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("multiprocessing.get_start_method", lambda allow_none: "spawn")
    monkeypatch.setattr("files.cache.machine_memory", lambda: 10 << 20)
    cache = MemoryCache(1, (1 << 20,), processes=2)
    assert "NOTE: cache=ram takes 8 MiB for 2 processes, a copy each" in capsys.readouterr().out
    with pytest.raises(MemoryError, match="needs 12 MiB for 3 processes, a copy each and this machine has 10; give a"):
        MemoryCache(1, (1 << 20,), processes=3)
    cache.get(0, partial(np.zeros, 1 << 20))
    assert len(pickle.dumps(cache)) < 1000, "what is in it is not sent to the other processes"
    assert (pickle.loads(pickle.dumps(cache)).get(0, partial(np.ones, 1 << 20)) == 1).all()


def test_processes_of_torchrun_are_counted(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr("files.cache.machine_memory", lambda: 10 << 20)
    with pytest.raises(MemoryError, match="needs 12 MiB for 3 processes"):
        MemoryCache(1, (1 << 20,))


def test_a_system_that_does_not_say_its_memory_refuses_nothing(monkeypatch):
    monkeypatch.delattr(os, "sysconf_names")
    assert machine_memory() is None
    MemoryCache(10, (10,))


def test_a_containers_limit_is_what_there_is(monkeypatch, tmp_path):
    class Limits(type(tmp_path)):
        """A container's of 5 MiB, as cgroups say it."""

        def is_file(self):
            return str(self).endswith("memory.max")

        def read_text(self, *_, **__):
            return "5242880\n"

    monkeypatch.setattr("files.cache.Path", Limits)
    assert machine_memory() == 5 << 20


def test_a_cache_that_memory_cannot_hold_is_refused():
    with pytest.raises(MemoryError, match="cache=ram needs .* give a folder instead"):
        MemoryCache(10**9, (352, 352, 4))
