"""Being told to stop: signals and the wall clock, noticed between two steps."""

import signal
import time
from types import FrameType


class Stop:
    """`with Stop(hours) as stop:` then `if stop.reason:` after each step; leave with `stop.code`.

    SIGTERM and SIGINT ask for a stop (codes 143 and 130), so does the wall clock after `hours` (0: never; code 124). A
    second Ctrl-C interrupts at once.
    """

    def __init__(self, hours: float = 0.0):
        self.deadline = time.monotonic() + 3600 * hours if hours else float("inf")
        self._signal = 0

    def __enter__(self) -> "Stop":
        self._before = {number: signal.signal(number, self._notice) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def reason(self) -> str:
        if self._signal:
            return signal.Signals(self._signal).name
        return "walltime" if time.monotonic() > self.deadline else ""

    @property
    def code(self) -> int:
        return 128 + self._signal if self._signal else 124

    def _notice(self, number: int, frame: FrameType | None) -> None:
        if self._signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self._signal = number


def ignore_signals(worker: int) -> None:
    """For processes that read images: Ctrl-C reaches all of a terminal's processes, but only the run decides."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
