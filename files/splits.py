"""Parts of a data set: validation, folds, and lists made by others. Names in, names out; no file is copied."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs import Config
from files.pairs import SUFFIXES, Pair


def group_of(name: str, pattern: str = "") -> str:
    """The clip, volume or patient that a pair belongs to.

    What `pattern`, a regular expression, finds in the name (its first group, if it has one); without a pattern the
    sub-folder; else the pair is alone.
    """
    if pattern and (found := re.search(pattern, name)):
        return found[1] if found.re.groups else found[0]
    return name.rpartition("/")[0] or name


def split_pairs(pairs: list[Pair], fraction: float, seed: int, group: str = "") -> tuple[list[Pair], list[Pair]]:
    """(training pairs, validation pairs): about `fraction` of them, drawn by `seed`; none for 0.

    The pairs of one group (see `group_of`) stay together: neighbouring frames of a clip are all but equal.
    """
    if not fraction:
        return pairs, []
    groups: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs):
        groups.setdefault(group_of(pair.name, group), []).append(i)
    if len(groups) < 2:
        raise ValueError(
            f"val_fraction is {fraction} but the {len(pairs)} pairs form {len(groups)} group(s); "
            "at least 2 can be split"
        )
    names, held, wanted = sorted(groups), set[int](), round(fraction * len(pairs))
    for j in np.random.default_rng(seed).permutation(len(names))[: len(names) - 1]:
        if not held or len(held) + len(groups[names[j]]) <= wanted:
            held.update(groups[names[j]])
    return [p for i, p in enumerate(pairs) if i not in held], [p for i, p in enumerate(pairs) if i in held]


def deal_folds(names: Sequence[str], folds: int, seed: int, group: str = "", stratify: str = "") -> list[list[str]]:
    """`names` in `folds` disjoint parts, each sorted; equal for one seed on any machine and in any order of `names`.

    Groups (see `group_of`; alone, unless `group` or `stratify` say otherwise or sub-folders tell) stay whole. With
    `stratify`, a regular expression for the class in a name, each part gets its share of every class. ValueError for
    fewer groups than folds, or a name without a class.
    """
    # sub-folders that are classes (benign/, malignant/) are no groups
    groups: dict[str, list[str]] = {}
    for name in sorted(names):
        groups.setdefault(name if stratify and not group else group_of(name, group), []).append(name)
    if len(groups) < folds:
        raise ValueError(f"{len(names)} images form {len(groups)} group(s); folds is {folds}, expected at most as many")
    kinds = {key: _class_of(members[0], stratify) for key, members in groups.items()}
    parts: list[list[str]] = [[] for _ in range(folds)]
    dealt = {kind: [0] * folds for kind in set(kinds.values())}
    order = np.random.default_rng(seed).permutation(len(groups))
    shuffled = [list(groups)[i] for i in order]
    for key in sorted(shuffled, key=lambda key: -len(groups[key])):  # the largest first, each to whom has least
        so_far = dealt[kinds[key]]
        part = min(range(folds), key=lambda i: (so_far[i], len(parts[i]), i))
        parts[part] += groups[key]
        so_far[part] += len(groups[key])
    return [sorted(part) for part in parts]


def _class_of(name: str, pattern: str) -> str:
    if not pattern:
        return ""
    found = re.search(pattern, name)
    if not found:
        raise ValueError(f"stratify is {pattern!r}, which finds no class in the name {name!r}")
    return found[1] if found.re.groups else found[0]


def read_split(path: str | Path) -> dict[str, list[str]]:
    """Part -> names, from a list made by others or written beside a run.

    .json: {"train": [...], "test": [...]}, {"1": [...], "2": [...]} or a list of folds; .csv: columns name and part;
    .txt: the names to train on, a line each. Folders in front and endings such as .png may stay.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no split file {path}")
    try:
        if path.suffix.lower() == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
            found = {str(i): names for i, names in enumerate(found, start=1)} if isinstance(found, list) else found
        elif path.suffix.lower() == ".csv":
            found = {}
            with open(path, newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    found.setdefault(row["part"], []).append(row["name"])
        elif path.suffix.lower() == ".txt":
            lines = path.read_text(encoding="utf-8").splitlines()
            found = {"train": [line.strip() for line in lines if line.strip()]}
        else:
            raise ValueError("its name ends in neither .json, .csv nor .txt")
        if not isinstance(found, dict) or not all(isinstance(name, str) for part in found.values() for name in part):
            raise ValueError("it holds something else than names in parts")
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); expected JSON of parts, CSV with columns name and part, or TXT"
        ) from error
    return {part: [_bare(name) for name in names] for part, names in found.items()}


def hold_out(pairs: list[Pair], cfg: Config) -> tuple[list[Pair], list[Pair]]:
    """(pairs to train on, pairs to test on) by `cfg.split` or `cfg.folds` and `cfg.fold`; all and none without them."""
    parts = parts_of(pairs, cfg)
    if not parts:
        return pairs, []
    by_name = {pair.name: pair for pair in pairs}
    if str(cfg.fold) in parts:
        test = set(parts[str(cfg.fold)])
        train = {name for part, names in parts.items() if part != str(cfg.fold) for name in names}
    else:
        train = set(parts.get("train", by_name.keys() - set(parts.get("test", ()))))
        test = set(parts.get("test", by_name.keys() - train - set(parts.get("validation", ()))))
    if both := sorted(train & test):
        raise ValueError(f"split {cfg.split}: {both[0]} is both trained and tested on")
    if not train or not test:
        raise ValueError(f"{cfg.split}: {len(train)} images to train on, {len(test)} to test on; expected both")
    return [pair for pair in pairs if pair.name in train], [pair for pair in pairs if pair.name in test]


def parts_of(pairs: Sequence[Pair], cfg: Config) -> dict[str, list[str]]:
    """Part -> names of pairs: read from `cfg.split`, or dealt into `cfg.folds`; none without either."""
    names = [pair.name for pair in pairs]
    if not cfg.split:
        dealt = deal_folds(names, cfg.folds, cfg.seed, cfg.group, cfg.stratify) if cfg.folds else []
        return {str(i): part for i, part in enumerate(dealt, start=1)}
    parts = read_split(cfg.split)
    if cfg.folds and len(parts) != cfg.folds:
        raise ValueError(f"{cfg.split} has {len(parts)} parts ({', '.join(parts)}) and folds is {cfg.folds}")
    if not cfg.folds and not {"train", "test"} & parts.keys():
        listed = ", ".join(parts)
        raise ValueError(f"{cfg.split} has parts {listed}; expected train or test, or --folds {len(parts)}")
    short = {name.rpartition("/")[2]: name for name in names}
    known = {name: name for name in names} | (short if len(short) == len(names) else {})
    for part, members in parts.items():
        for name in members:
            if known.get(name) is None and known.get(name.rpartition("/")[2]) is None:
                raise ValueError(f"{cfg.split} lists {name!r} in {part}, which {cfg.datapath} does not hold")
    return {part: [known.get(n) or known[n.rpartition("/")[2]] for n in members] for part, members in parts.items()}


def maps_of_fold(cfg: Config, fold: int) -> Path:
    """Where the maps of the images that `fold` holds out are; of a split without folds, its test part."""
    return Path(cfg.mapspath, f"fold-{fold}" if cfg.folds else "test")


def write_split(path: Path, train: Sequence[Pair], validation: Sequence[Pair], test: Sequence[Pair]) -> None:
    """JSON of the names in each part, such as `read_split` reads."""
    parts = {"train": train, "validation": validation, "test": test}
    path.write_text(
        json.dumps({part: [pair.name for pair in pairs] for part, pairs in parts.items()}, indent=1) + "\n",
        encoding="utf-8",
    )


def _bare(name: str) -> str:
    path = Path(name.replace("\\", "/"))
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).as_posix()
