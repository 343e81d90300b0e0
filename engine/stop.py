"""Being told to stop: signals and the wall clock, noticed between two steps."""

import signal
import time
from types import FrameType

WALLTIME = 124  # as timeout(1) exits
# a scheduler's end and Ctrl-C; a terminal that closes; what Slurm is asked to send ahead of the time limit; the limit
# of processor time. Windows has the first two
TOLD = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
]


class Stop:
    """`with Stop(hours) as stop:` then `if stop.reason: sys.exit(stop.reason)` after each step.

    Every signal in TOLD asks for a stop (code 128 + its number: SIGTERM 143, SIGINT 130), so does the wall clock after
    `hours` (0: never; code 124). A second Ctrl-C interrupts at once. A SIGHUP that was ignored stays so: nohup.
    """

    def __init__(self, hours: float = 0.0):
        self.deadline = time.monotonic() + 3600 * hours if hours else float("inf")
        self._signal = 0

    def __enter__(self) -> "Stop":
        deaf = hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        told = [number for number in TOLD if not (deaf and number == signal.SIGHUP)]
        self._before = {number: signal.signal(number, self._notice) for number in told}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def reason(self) -> int:
        """The exit code to stop with, 0 to go on."""
        if self._signal:
            return 128 + self._signal
        return WALLTIME if time.monotonic() > self.deadline else 0

    @staticmethod
    def name(reason: int) -> str:
        return "walltime" if reason == WALLTIME else signal.Signals(reason - 128).name

    def _notice(self, number: int, frame: FrameType | None) -> None:
        if self._signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self._signal = number


def ignore_signals(worker: int) -> None:
    """For processes that read images: a signal may reach all of a job's processes, but only the run decides."""
    for number in TOLD:
        signal.signal(number, signal.SIG_IGN)
