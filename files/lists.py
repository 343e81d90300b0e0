"""Lists of parts: made by others, or written beside a run, whose checkpoints know their images again by them."""

import csv
import hashlib
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from files.listing import PICTURES, VOLUMES, bare_name
from files.pairs import Pair
from files.writing import write_file

SEEN = "fingerprints"  # in a run's split.json, beside its parts: of what it trains on or chooses by -> its name


class Parts(NamedTuple):
    """The pairs of a run."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]


def read_split(path: str | Path) -> dict[str, list[str]]:
    """Part -> names, from a list made by others or written beside a run.

    .json: {"train": [...], "validation": [...], "test": [...]}, {"1": [...], "2": [...]} or a list of folds; .csv:
    columns name and part; .txt: the names to train on, a line each. Folders in front and endings such as .png may stay.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no split file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # with or without Windows' mark
        listed: Any = {}
        if path.suffix.lower() == ".json":
            listed = json.loads(text)
            if isinstance(listed, dict) and isinstance(listed.get(SEEN), dict):
                del listed[SEEN]
            listed = {str(i): names for i, names in enumerate(listed, start=1)} if isinstance(listed, list) else listed
        elif path.suffix.lower() == ".csv":
            for row in (table := csv.DictReader(text.splitlines())):
                if not (row.get("name") and row.get("part")):
                    raise ValueError(f"its line {table.line_num} lacks name or part; columns {table.fieldnames}")
                listed.setdefault(row["part"], []).append(row["name"])
        elif path.suffix.lower() == ".txt":
            listed = {"train": [line.strip() for line in text.splitlines() if line.strip()]}
        else:
            raise ValueError("its name ends in neither .json, .csv nor .txt")
        lists = isinstance(listed, dict) and all(isinstance(names, list) for names in listed.values())
        if not lists or not all(isinstance(name, str) for names in listed.values() for name in names):
            raise ValueError("it holds something else than names in parts")
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read ({error}); expected JSON of parts, CSV with columns name and part, or TXT"
        ) from error
    return {{"val": "validation"}.get(part, part): [_bare(name) for name in names] for part, names in listed.items()}


def write_split(path: Path, parts: Parts, start: str = "") -> None:
    """JSON of the names in each part, such as `read_split` reads, and fingerprints of what is trained or chosen by.

    What the checkpoint `start`, that training begins with, has seen is seen here too: `path` keeps it where that goes.
    """
    record: dict[str, Any] = {part: [pair.name for pair in pairs] for part, pairs in parts._asdict().items()}
    before = _seen(start) | _seen(path) if start else {}
    record[SEEN] = before | {fingerprint(pair.image): pair.name for pair in parts.train + parts.validation}
    write_file(path, json.dumps(record, indent=1) + "\n")


def fingerprint(path: str | Path) -> str:
    """What a file and its copies share, wherever they lie: a hash of its size and of sixteen pieces spread over it.

    Not of all of it: a data set of 3-megabyte photographs would be read a second time before its first step.
    """
    piece = 4096
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest = hashlib.sha256(str(size).encode())
            for i in range(16):
                file.seek(max(0, size - piece) * i // 15)
                digest.update(file.read(piece))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} has vanished; is its disk still there?") from error
    return digest.hexdigest()[:16]


def seen_by(snapshot: str | Path, images: dict[str, Path]) -> list[str]:
    """The names of `images` that a checkpoint was trained, or chosen, by: known again as files, of whatever name."""
    files = _seen(snapshot)
    return [name for name, path in images.items() if files and fingerprint(path) in files]


def _seen(snapshot: str | Path) -> dict[str, str]:
    """Fingerprint -> name in the split.json beside a checkpoint; none in those of older runs."""
    beside = Path(snapshot).with_name("split.json")
    return json.loads(beside.read_text(encoding="utf-8")).get(SEEN, {}) if beside.is_file() else {}


def require_unseen(snapshot: str | Path, pairs: Sequence[Pair]) -> None:
    """ValueError if the split.json beside a checkpoint names one of `pairs` as trained, or chosen, by.

    By name alone: public sets hold one picture twice (BUSI does), and deal it into two folds.
    """
    beside = Path(snapshot).with_name("split.json")
    parts = read_split(beside) if beside.is_file() else {}
    seen = {*parts.get("train", ()), *parts.get("validation", ())}
    if known := [pair.name for pair in pairs if pair.name in seen]:
        raise ValueError(
            f"{snapshot} was trained on {len(known)} of the {len(pairs)} images that are held out here, first "
            f"{known[0]} ({beside}); is it of another fold, seed or split?"
        )


def _bare(name: str) -> str:
    name = unicodedata.normalize("NFC", Path(name.replace("\\", "/")).as_posix())
    return bare_name(name, VOLUMES) or bare_name(name, PICTURES) or name
