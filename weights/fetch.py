"""Downloading weights: streamed beside the goal, checked, then renamed; half a file never has the real name."""

import http.client
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from weights.backbones import wanted
from weights.files import check, expected_sha256, home_of, how_to_get, load, record_of, sha256
from weights.table import WEIGHTS, Source, Weight

TIMEOUT = 30  # seconds without one byte after which a source counts as dead
SLOWEST = 1 << 10  # bytes per second, on average, below which it counts as dead too
LARGEST = 4 << 30  # bytes, of a source whose size nobody published


def download(name: str, folder: str | Path | None = None, opener: Callable[..., Any] = urllib.request.urlopen) -> Path:
    """Fetch weights, known ones or of a backbone of timm's, into folder (default as in locate).

    They come from the first source that gives the right file; licence and address are printed before. A right file that
    is already there is kept. Nothing half-written stays, whatever interrupts. A file without a published hash must open
    as a checkpoint; its hash is printed and recorded beside it as <file>.sha256.
    FileNotFoundError: no source gave it. OSError: the folder cannot be written.
    """
    weight, home = wanted(name), home_of(folder)
    for source in weight.sources:
        path = home / source.file
        if path.is_file() and not check(path, source):
            if not expected_sha256(path, source):
                load(path)
                _record(path)
            return path
    failures = []
    for source in weight.sources:
        print(f"{source.file}: licence {weight.licence}, from {source.url}", flush=True)
        try:
            return _fetch(source, home, opener)
        except (ConnectionError, ValueError) as error:
            failures.append(f"{source.url}: {error}")
        except OSError as error:
            raise OSError(
                f"cannot write {source.file} in {home}: {error}; set MSNET_WEIGHTS to a folder you own"
            ) from error
    raise FileNotFoundError(_by_hand(weight, home, failures))


def _by_hand(weight: Weight, home: Path, failures: list[str]) -> str:
    """What to do where no source gave it: of timm's in one line, of known weights with all that is known."""
    if weight.name in WEIGHTS:
        return "\n  ".join([f"could not download {weight.name!r}", *failures]) + how_to_get(weight, home)
    first = weight.sources[0]
    return (
        f"could not download {weight.name!r} ({'; '.join(failures)}); where there is a network fetch {first.url}, and "
        f"put it here as {home / first.file}"
    )


def _fetch(source: Source, home: Path, opener: Callable[..., Any]) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / source.file
    bar = tqdm(desc=source.file, unit="B", unit_scale=True, disable=None)  # None: no bar where nobody watches
    with _replacing(path) as part:
        with bar, part.open("xb") as file, closing(_chunks(source, opener)) as chunks:
            for chunk, bar.total in chunks:
                file.write(chunk)
                bar.update(len(chunk))
        if trouble := check(part, source):
            raise ValueError(trouble)
        if not source.sha256:
            load(part)
    if not source.sha256:
        _record(path)
    return path


@contextmanager
def _replacing(path: Path) -> Generator[Path, None, None]:
    """Where to make a new file ("x": no link is followed), which takes the place of `path` if the block ends well."""
    # in the same folder, so that the last step is one atomic rename; nobody can foresee the name
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _chunks(source: Source, opener: Callable[..., Any]) -> Generator[tuple[bytes, int | None], None, None]:
    """The bytes of a source, each piece with the announced total. Trouble, too many or too few: ConnectionError."""
    request = urllib.request.Request(source.url, headers={"User-Agent": "msnet-weights"})
    received, total, began = 0, 0, time.monotonic()
    try:
        with opener(request, timeout=TIMEOUT) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            most = source.size or LARGEST
            if total > most:
                raise ConnectionError(f"it announces {total} bytes, expected at most {most}")
            # read1 gives what is there: a source that drips does not hold the clock back until a piece is full
            read = getattr(answer, "read1", answer.read)
            while chunk := read(1 << 20):
                received += len(chunk)
                if received > most:
                    raise ConnectionError(f"it gives more than the expected {most} bytes")
                if (seconds := time.monotonic() - began) > TIMEOUT and received < SLOWEST * seconds:
                    raise ConnectionError(f"it stalls: {received} bytes in {seconds:.0f} s")
                yield chunk, total or None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise ConnectionError(str(error) or type(error).__name__) from error
    if received < total:
        raise ConnectionError(f"the connection broke after {received} of {total} bytes")


def _record(path: Path) -> None:
    digest = sha256(path)
    with _replacing(record_of(path)) as part, part.open("x", encoding="utf-8") as file:
        file.write(f"{digest}  {path.name}\n")
    print(f"{path.name}: no published hash; it opens as a checkpoint; its sha256 {digest} is now recorded beside it")
