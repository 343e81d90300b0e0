"""Threads and processes that score."""

import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import cv2
import torch

from files.processes import end_with_parent

THREADS = 3  # of pictures, which start at once; more would wait for each other's Python
WORTH_A_THREAD = 16  # images
WORTH_A_PROCESS = {"fork": 32, "spawn": 500}  # with fewer, starting it takes longer than it saves
Submit = Callable[..., Future]
_method = "spawn"


def may_fork() -> None:
    """Say, before anything is computed, that this process is a script of its own: those that score are forked from it.

    They start at once, where a fresh one imports for seconds. Not so in other programs, whose PyTorch or OpenCV may
    have threads of which a fork has none, and waits for them; nor but on Linux, whose libraries bear with it.
    """
    global _method
    if sys.platform == "linux":
        _method = "fork"
        one_thread()


def workers_for(images: int, at_most: int, volumes: bool) -> tuple[int, AbstractContextManager[Submit]]:
    """(how many, their `submit`): processes where they are worth their start, else threads; `at_most` of either.

    images: what there is to score, a volume being as many as it takes as long as. Volumes are scored in no threads.
    """
    worth = WORTH_A_PROCESS["spawn" if volumes else _method]  # a volume takes memory too: not one a core at once
    processes = max(1, min(at_most, images // worth))
    threads = 1 if volumes else max(1, min(at_most, THREADS, images // WORTH_A_THREAD))
    if processes > (1 if _method == "fork" else threads):
        return processes, in_processes(processes, _method)
    return threads, in_threads(threads)


@contextmanager
def in_processes(count: int, method: str = "spawn") -> Iterator[Submit]:
    """`submit` of a process pool; of threads where the system has no room for processes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking threads: numpy's, which are used to it
            pool = ProcessPoolExecutor(count, multiprocessing.get_context(method), _start)
            pool.submit(int)  # forked are all at once, before a bar has a thread
    except OSError:
        _end_children()
        with in_threads(min(count, THREADS)) as submit:
            yield submit
        return
    with pool:
        try:
            yield pool.submit
        except ChildProcessError:
            _end_children()  # the pool would wait for one that hangs, for ever
            raise


@contextmanager
def in_threads(count: int) -> Iterator[Submit]:
    """`submit` of a thread pool, or of this very thread if one is enough."""
    if count == 1:
        yield here
        return
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


def one_thread() -> None:
    """Have PyTorch and OpenCV compute in the thread that calls them."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _start() -> None:
    """In a process that scores: one core is enough for it, and it ends when the script is killed."""
    one_thread()
    end_with_parent()


def _end_children() -> None:
    for process in multiprocessing.active_children():
        process.kill()
