"""Downloading known weights: streamed beside the goal, checked, then renamed; half a file never has the real name."""

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from weights.files import check, expected_sha256, home_of, how_to_get, load, record_of, sha256
from weights.table import Source, known

TIMEOUT = 30  # seconds without one byte after which a source counts as dead


def download(name: str, folder: str | Path | None = None, opener: Callable[..., Any] = urllib.request.urlopen) -> Path:
    """Fetch known weights into folder (default as in locate) from the first source that gives the right file.

    A right file that is already there is kept. Nothing half-written stays, whatever interrupts. A file without a
    published hash must open as a checkpoint; its hash is printed and recorded beside it as <file>.sha256.
    FileNotFoundError: no source gave it. OSError: the folder cannot be written.
    """
    weight, home = known(name), home_of(folder)
    for source in weight.sources:
        path = home / source.file
        if path.is_file() and not check(path, source):
            if not expected_sha256(path, source):
                load(path)
                _record(path)
            return path
    failures = []
    for source in weight.sources:
        try:
            return _fetch(source, home, opener)
        except (ConnectionError, ValueError) as error:
            failures.append(f"{source.url}: {error}")
        except OSError as error:
            raise OSError(
                f"cannot write {source.file} in {home}: {error}; set MSNET_WEIGHTS to a folder you own"
            ) from error
    raise FileNotFoundError("\n  ".join([f"could not download {name!r}", *failures]) + how_to_get(weight, home))


def _fetch(source: Source, home: Path, opener: Callable[..., Any]) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    path = home / source.file
    # In the same folder, so that the last step is one atomic rename; the process id keeps two downloads apart.
    part = home / f".{source.file}.{os.getpid()}.part"
    bar = tqdm(desc=source.file, unit="B", unit_scale=True, disable=None)  # None: no bar where nobody watches
    try:
        with bar, part.open("wb") as file, closing(_chunks(source.url, opener)) as chunks:
            for chunk, bar.total in chunks:
                file.write(chunk)
                bar.update(len(chunk))
        if trouble := check(part, source):
            raise ValueError(trouble)
        if not source.sha256:
            load(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    if not source.sha256:
        _record(path)
    return path


def _chunks(url: str, opener: Callable[..., Any]) -> Generator[tuple[bytes, int | None], None, None]:
    """The bytes at url, each piece with the announced total. Network trouble, a short answer too: ConnectionError."""
    request = urllib.request.Request(url, headers={"User-Agent": "msnet-weights"})
    received, total = 0, 0
    try:
        with opener(request, timeout=TIMEOUT) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(1 << 20):
                received += len(chunk)
                yield chunk, total or None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise ConnectionError(str(error) or type(error).__name__) from error
    if received < total:
        raise ConnectionError(f"the connection broke after {received} of {total} bytes")


def _record(path: Path) -> None:
    digest = sha256(path)
    record_of(path).write_text(f"{digest}  {path.name}\n")
    print(f"{path.name}: no published hash; it opens as a checkpoint; its sha256 {digest} is now recorded beside it")
