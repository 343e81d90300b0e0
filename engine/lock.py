"""One run at a time in a folder: a lock that ends with the process that holds it, however it ends."""

import errno
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from engine import distributed
from files import require_writable

HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}  # what the systems say of a lock that another has
_open: set[IO[str]] = set()

if sys.platform == "win32":
    import msvcrt

    def _take(file: IO[str]) -> None:
        file.seek(1 << 30)  # what is locked cannot be read, and who holds it shall be
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    # a reading process that outlives the run for a moment must not hold its lock
    os.register_at_fork(after_in_child=lambda: [file.close() for file in _open])


@contextmanager
def alone(folder: str | Path, team: distributed.Team) -> Iterator[None]:
    """Make `folder` and keep other runs out; what was made and not used is gone afterwards.

    Process 0 locks. Raises ValueError naming the run that is at work there, PermissionError as require_writable; the
    other processes of the team then exit. Where a disk knows no locks, says so and goes on.
    """
    folder = Path(folder)
    file: IO[str] | None = None
    trouble: Exception | None = None
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    if team.writes:
        try:
            file = _locked(require_writable(folder) / ".lock")
        except (ValueError, OSError) as error:
            trouble = error
    if distributed.any_of(int(trouble is not None)):
        raise trouble or SystemExit(1)  # process 0 says why
    try:
        yield
    finally:
        if file:
            with suppress(OSError):  # Windows removes no open file
                os.unlink(file.name)
            _open.discard(file)
            file.close()
        for place in made if team.writes else ():
            with suppress(OSError):  # it holds the run
                place.rmdir()


def _locked(path: Path) -> IO[str]:
    """The lock's file, open and ours, with our name in it."""
    while True:
        file = open(path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115 - the caller closes it
        try:
            _take(file)
        except OSError as error:
            with file:
                if error.errno in HELD:
                    file.seek(0)
                    holder = file.read(200).strip() or "another process"
                    raise ValueError(
                        f"a run is at work in {path.parent}: {holder}; wait for its end, stop it, or give another "
                        "savepath"
                    ) from error
            print(f"NOTE: {path.parent} cannot be locked ({error}); see to it that no other run works there")
            return open(path, "a+", encoding="utf-8")
        with suppress(FileNotFoundError):
            # not the file that another run removed between our opening and our locking it
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                break
        file.close()
    _open.add(file)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
    file.flush()
    return file
