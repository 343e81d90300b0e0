"""Processes that read files: for how many there are cores, and that they end with the one that they read for."""

import multiprocessing
import os
import threading


def usable_cores() -> int:
    """Cores that this process may use; a cluster gives fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def end_with_parent() -> None:
    """Of a process that others feed: end when the one that started it is killed.

    It would wait for work for ever. PyTorch's own watch compares the parent's number: under the start method
    forkserver, Python 3.14's default, that is the server, which in turn lives as long as its children.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
