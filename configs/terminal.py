"""Where a program's words go: its mistakes in one line, and a terminal, pipe or disk that takes no more of them."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


@contextmanager
def errors_in_one_line(script: str) -> Iterator[None]:
    """Of a mistake in settings or data its message alone, exit status 1; with TRACEBACK=1 in the environment, all.

    A reader that has gone, as of `| head`, ends the script with status 1 and no words.

    What the script has imported stays: Python need not look at it again for what is garbage, which at the end would
    take PyTorch's near million objects most of a second. While it imports, a script switches that off.
    """
    gc.freeze()
    gc.enable()
    try:
        yield
        if sys.stdout and not sys.stdout.closed:
            sys.stdout.flush()  # here, and not where Python exits and can but complain
    except SystemExit:
        _give_up(sys.stdout)
        raise
    except BrokenPipeError:
        _give_up(sys.stdout)
        sys.exit(1)
    except (ValueError, OSError, FloatingPointError, MemoryError, ModuleNotFoundError) as error:
        if os.environ.get("TRACEBACK"):
            raise
        _give_up(sys.stdout)
        sys.exit(f"{script}: error: {str(error) or type(error).__name__} (TRACEBACK=1 shows where)")


@contextmanager
def outlived_output() -> Iterator[None]:
    """Within the block nothing that is printed can fail: hours of work outlive the terminal or the disk of its words.

    The first that is lost is said where that can still be read: on stderr.
    """
    before = sys.stdout, sys.stderr
    streams: Any = [Outlived(stream) for stream in before]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before
        for stream in before:
            _give_up(stream)


class Outlived:
    """A stream that loses what it cannot write, and goes on; None is one that was closed from the start."""

    def __init__(self, stream: Any):
        self._stream, self._lost = stream, False

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def isatty(self) -> bool:
        return bool(self._stream) and not self._stream.closed and self._stream.isatty()

    def _try(self, what: str, *words: str) -> None:
        if self._stream is None:
            return
        try:
            getattr(self._stream, what)(*words)
        except (OSError, ValueError) as error:
            if not self._lost:
                self._lost = True
                print(f"NOTE: what is printed is lost from here on ({error}); the work goes on", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _give_up(stream: Any) -> None:
    """Have what a stream still holds go nowhere if it cannot go where it should: Python would fail on its exit."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
    except AttributeError:  # None: it was closed before Python started
        pass
