"""Parts of a data set: validation, folds, and lists made by others. Names in, names out; no file is copied."""

import csv
import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs import Config
from files.folders import SUFFIXES
from files.pairs import Pair, find_pairs
from files.writing import write_file

SEEN = "fingerprints"  # in a run's split.json, beside its parts: of what it trains on or chooses by -> its name


class Parts(NamedTuple):
    """The pairs of a run."""

    train: list[Pair]
    validation: list[Pair]
    test: list[Pair]


def group_of(name: str, group: str = "", stratify: str = "") -> str:
    """The clip, volume or patient that a pair belongs to.

    What `group`, a regular expression, finds in the name (its first bracket, if it has one); without it the
    sub-folder, unless that is the class that `stratify` finds (benign/, malignant/); else the pair is alone.
    ValueError for a name in which `group` finds nothing.
    """
    if group:
        return _found("group", group, name)
    folder = name.rpartition("/")[0]
    if stratify and folder.strip("/") == _found("stratify", stratify, name).strip("/"):
        return name
    return folder or name


def _found(setting: str, pattern: str, name: str) -> str:
    found = re.search(pattern, name)
    if not (found and (text := found[1] if found.re.groups else found[0])):
        raise ValueError(f"{setting} is {pattern!r}, which finds nothing in the name {name!r}")
    return text


def _groups(names: Iterable[str], group: str, stratify: str) -> tuple[dict[str, list[str]], dict[str, str]]:
    """(group -> its names, group -> its class), in an order of their own. A group's class is its first name's."""
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(group_of(name, group, stratify), []).append(name)
    return groups, {key: _found("stratify", stratify, names[0]) if stratify else "" for key, names in groups.items()}


def split_pairs(
    pairs: list[Pair], fraction: float, seed: int, group: str = "", stratify: str = ""
) -> tuple[list[Pair], list[Pair]]:
    """(training pairs, validation pairs): about `fraction` of them, and of each class, drawn by `seed`; none for 0.

    The pairs of one group (see `group_of`) stay together: neighbouring frames of a clip are all but equal.
    ValueError where that would hold out more than twice the fraction.
    """
    if not fraction:
        return pairs, []
    groups, kinds = _groups((pair.name for pair in pairs), group, stratify)
    shuffled = [sorted(groups)[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    held = set[str]()
    for kind in sorted(set(kinds.values())):
        members = [key for key in shuffled if kinds[key] == kind]
        room = round(fraction * sum(len(groups[key]) for key in members))
        for key in members:
            size = len(groups[key])
            if size <= room and len(held) + size < len(pairs):
                held.update(groups[key])
                room -= size
    if not held:
        held.update(groups[min(shuffled, key=lambda key: len(groups[key]))])
    if len(groups) < 2 or len(held) > max(1, 2 * fraction * len(pairs)):
        raise ValueError(
            f"val_fraction is {fraction} but the {len(pairs)} pairs form {len(groups)} group(s), of which the smallest "
            f"has {min(map(len, groups.values()))}; let `group` (or `stratify`, for folders that are classes) find more"
        )
    return [pair for pair in pairs if pair.name not in held], [pair for pair in pairs if pair.name in held]


def deal_folds(names: Sequence[str], folds: int, seed: int, group: str = "", stratify: str = "") -> list[list[str]]:
    """`names` in `folds` disjoint parts, each sorted; equal for one seed on any machine and in any order of `names`.

    Groups (see `group_of`) stay whole. With `stratify`, a regular expression for the class in a name, each part gets
    its share of every class. ValueError for fewer groups than folds, or a name without a class.
    """
    groups, kinds = _groups(names, group, stratify)
    if len(groups) < folds:
        raise ValueError(f"{len(names)} images form {len(groups)} group(s); folds is {folds}, expected at most as many")
    parts: list[list[str]] = [[] for _ in range(folds)]
    dealt = {kind: [0] * folds for kind in set(kinds.values())}
    shuffled = [list(groups)[i] for i in np.random.default_rng(seed).permutation(len(groups))]
    for key in sorted(shuffled, key=lambda key: -len(groups[key])):  # the largest first, each to whom has least
        so_far = dealt[kinds[key]]
        part = min(range(folds), key=lambda i: (so_far[i], len(parts[i]), i))
        parts[part] += groups[key]
        so_far[part] += len(groups[key])
    return [sorted(part) for part in parts]


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
        found: Any = {}
        if path.suffix.lower() == ".json":
            found = json.loads(text)
            if isinstance(found, dict) and isinstance(found.get(SEEN), dict):
                del found[SEEN]
            found = {str(i): names for i, names in enumerate(found, start=1)} if isinstance(found, list) else found
        elif path.suffix.lower() == ".csv":
            for row in (table := csv.DictReader(text.splitlines())):
                if not (row.get("name") and row.get("part")):
                    raise ValueError(f"its line {table.line_num} lacks name or part; columns {table.fieldnames}")
                found.setdefault(row["part"], []).append(row["name"])
        elif path.suffix.lower() == ".txt":
            found = {"train": [line.strip() for line in text.splitlines() if line.strip()]}
        else:
            raise ValueError("its name ends in neither .json, .csv nor .txt")
        lists = isinstance(found, dict) and all(isinstance(names, list) for names in found.values())
        if not lists or not all(isinstance(name, str) for names in found.values() for name in names):
            raise ValueError("it holds something else than names in parts")
    except ValueError as error:
        raise ValueError(
            f"{path} cannot be read ({error}); expected JSON of parts, CSV with columns name and part, or TXT"
        ) from error
    return {{"val": "validation"}.get(part, part): [_bare(name) for name in names] for part, names in found.items()}


def hold_out(pairs: list[Pair], cfg: Config) -> Parts:
    """The parts that `cfg.split`, or `cfg.folds` and `cfg.fold`, make of `pairs`; without either all is to train on.

    Of a list without folds, what it does not name is to test on, or to train on where it names only what to test on.
    """
    parts = parts_of(pairs, cfg)
    if not parts:
        return Parts(pairs, [], [])
    everything, validation = {pair.name for pair in pairs}, set(parts.get("validation", ()))
    if cfg.folds:
        test = set(parts[str(cfg.fold)])
        train = {name for part, names in parts.items() if part != str(cfg.fold) for name in names}
    else:
        train = set(parts.get("train", everything - validation - set(parts.get("test", ()))))
        test = set(parts.get("test", everything - validation - train))
    if twice := sorted(train & test | train & validation | validation & test):
        raise ValueError(f"split {cfg.split}: {twice[0]} is in two of its parts")
    if not train or not (test or validation):
        raise ValueError(f"{cfg.split}: {len(train)} images to train on, {len(test)} to test on; expected both")
    return Parts(*([pair for pair in pairs if pair.name in part] for part in (train, validation, test)))


def held_out_of(cfg: Config) -> list[Pair]:
    """The pairs of datapath that the Config's fold or list keeps to test on; none without either."""
    if not (cfg.folds or cfg.split):
        return []
    return hold_out(find_pairs(cfg.datapath, cfg.include, cfg.field_of_view, cfg.observer), cfg).test


def parts_of(pairs: Sequence[Pair], cfg: Config) -> dict[str, list[str]]:
    """Part -> names of pairs: read from `cfg.split`, or dealt into `cfg.folds`; none without either."""
    names = [pair.name for pair in pairs]
    if not cfg.split:
        dealt = deal_folds(names, cfg.folds, cfg.seed, cfg.group, cfg.stratify) if cfg.folds else []
        return {str(i): part for i, part in enumerate(dealt, start=1)}
    parts = read_split(cfg.split)
    fitting = [str(i) for i in range(1, cfg.folds + 1)] or ["train", "validation", "test"]
    if set(parts) - set(fitting) or (cfg.folds and len(parts) < cfg.folds):
        hint = "" if cfg.folds else f"; or --folds {len(parts)}, with parts 1 to {len(parts)}"
        raise ValueError(f"{cfg.split} has parts {', '.join(parts)}; expected {', '.join(fitting)}{hint}")
    bare = {name.rpartition("/")[2]: name for name in names}
    known = {name: name for name in names} | (bare if len(bare) == len(names) else {})

    def pair_name(listed: str, part: str) -> str:
        # "images/clip1/001" is the pair clip1/001; of a list's own folders one after the other may be too many
        words = listed.split("/")
        for i in range(len(words)):
            name = "/".join(words[i:])
            if name in known and (len(words) == 1 or "/" in name or "/" not in known[name]):
                return known[name]
        raise ValueError(f"{cfg.split} lists {listed!r} in {part}, which {cfg.datapath} does not hold")

    return {part: [pair_name(name, part) for name in members] for part, members in parts.items()}


def maps_of_fold(cfg: Config, fold: int, root: str | Path = "") -> Path:
    """Where the maps of the images that `fold` holds out are, below `root` (mapspath); of a list, its test part."""
    return Path(root or cfg.mapspath, f"fold-{fold}" if cfg.folds else "test")


def write_split(path: Path, parts: Parts) -> None:
    """JSON of the names in each part, such as `read_split` reads, and fingerprints of what is trained or chosen by."""
    record: dict[str, Any] = {part: [pair.name for pair in pairs] for part, pairs in parts._asdict().items()}
    record[SEEN] = {fingerprint(pair.image): pair.name for pair in parts.train + parts.validation}
    write_file(path, json.dumps(record, indent=1) + "\n")


def fingerprint(path: str | Path) -> str:
    """What a file and its copies share, wherever they lie: a hash of its size and of sixteen pieces spread over it.

    Not of all of it: a data set of 3-megabyte photographs would be read a second time before its first step.
    """
    piece = 4096
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = hashlib.sha256(str(size).encode())
            for i in range(16):
                file.seek(max(0, size - piece) * i // 15)
                found.update(file.read(piece))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} has vanished; is its disk still there?") from error
    return found.hexdigest()[:16]


def seen_by(snapshot: str | Path, images: dict[str, Path]) -> list[str]:
    """The names of `images` that a checkpoint was trained, or chosen, by: known again as files, of whatever name."""
    beside = Path(snapshot).with_name("split.json")
    # none in the records of older runs
    files = json.loads(beside.read_text(encoding="utf-8")).get(SEEN, {}) if beside.is_file() else {}
    return [name for name, path in images.items() if files and fingerprint(path) in files]


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
    path = Path(unicodedata.normalize("NFC", name.replace("\\", "/")))
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix()
