"""Threads and processes that score. PyTorch is imported inside of functions: `start_server` is there to be earlier."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any

THREADS = 3  # of pictures, which start at once; more would wait for each other's Python
# images; with fewer, starting a process takes longer than it saves
WORTH_A_PROCESS = {"forkserver": 64, "spawn": 500}
WORTH_A_THREAD = 16
Submit = Callable[..., Future]


def start_server() -> None:
    """Have a process import what scores while its caller does: those that it forks later start at once.

    On Linux only. Elsewhere there is no fork, or none that the system's libraries bear with.
    """
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
        from multiprocessing import forkserver

        # PyTorch by name too: before Python 3.13 the server finds nothing of ours but from this very folder
        multiprocessing.set_forkserver_preload(["report.server", "torch", "cv2"])
        with suppress(OSError):  # its socket is a file: TMPDIR may be too long a name for one, or full
            forkserver.ensure_running()
            multiprocessing.set_start_method("forkserver", force=True)  # another is set by the question for it


def workers_for(images: int, at_most: int, volumes: bool) -> tuple[int, AbstractContextManager[Submit]]:
    """(how many, their `submit`): processes where they are worth their start, else threads; `at_most` of either.

    images: what there is to score, a volume being as many as it takes as long as. Volumes are scored in no threads.
    """
    method = start_method()
    worth = WORTH_A_PROCESS["spawn" if volumes else method]  # a volume takes memory too: not one a core at once
    processes = max(1, min(at_most, images // worth))
    threads = 1 if volumes else max(1, min(at_most, THREADS, images // WORTH_A_THREAD))
    if processes > (1 if method == "forkserver" else threads):
        return processes, in_processes(processes, method)
    return threads, in_threads(threads)


def start_method() -> str:
    """How processes are started: forked by the server where there is one."""
    return "forkserver" if multiprocessing.get_start_method(allow_none=True) == "forkserver" else "spawn"


@contextmanager
def in_processes(count: int, method: str = "spawn") -> Iterator[Submit]:
    """`submit` of a process pool."""
    with ProcessPoolExecutor(count, multiprocessing.get_context(method), _start) as pool:
        try:
            yield pool.submit
        except ChildProcessError:
            for process in multiprocessing.active_children():  # the pool would wait for one that hangs, for ever
                process.kill()
            raise


@contextmanager
def in_threads(count: int) -> Iterator[Submit]:
    """`submit` of a thread pool, or of this very thread if one is enough."""
    if count == 1:
        yield here
        return
    import cv2
    import torch

    pool, before = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)), cv2.getNumThreads()
    cv2.setNumThreads(1)  # of the whole process, PyTorch's of a thread
    try:
        yield pool.submit
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error nobody wants the rest
        cv2.setNumThreads(before)


def here(function: Callable, *arguments: Any) -> Future:
    """`submit` of the calling thread, which waits."""
    future: Future = Future()
    try:
        future.set_result(function(*arguments))
    except (ValueError, OSError) as error:
        future.set_exception(error)
    return future


def _start() -> None:
    """In a process that scores: one core is enough for it, and it ends when the script is killed."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(script: Any) -> None:
    script.join()  # the server lives as long as what it has forked, which would wait for work for ever
    os._exit(1)
