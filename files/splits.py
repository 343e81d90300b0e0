"""Parts of a data set: what a run trains, validates and tests on, by folds, a fraction or a list. No file is copied."""

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from configs import Config
from files.lists import Parts, read_split, seen_by
from files.pairs import Pair, pairs_of
from files.writing import require_apart

SUBJECT = re.compile(r"^((?:.*/)?sub-[^/_]+)/")


def group_of(name: str, group: str = "", stratify: str = "") -> str:
    """The clip, volume or patient that a pair belongs to.

    What `group`, a regular expression, finds in the name (its first bracket, if it has one); without it the subject of
    BIDS, all sessions of it; or the sub-folder, unless that is the class that `stratify` finds (benign/, malignant/);
    else the pair is alone. ValueError for a name in which `group` finds nothing.
    """
    if group:
        return _found("group", group, name)
    if subject := SUBJECT.search(name):
        return subject[1]
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


def hold_out(pairs: list[Pair], cfg: Config) -> Parts:
    """The parts that `cfg.split`, or `cfg.folds` and `cfg.fold`, make of `pairs`; without either all is to train on.

    Of a list without folds, what it does not name is to test on, or to train on where it names only what to test on.
    """
    parts = _named_parts(pairs, cfg)
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


def parts_of_run(cfg: Config) -> Parts:
    """Pairs to train on, to validate on, and those a fold holds out.

    ValueError for a cache among their files. Warned about: a test set as valpath, and held-out images that the
    checkpoint `start` has been trained on.
    """
    parts = _parts_of_run(cfg)
    if cfg.cache not in ("", "ram"):
        require_apart(cfg.cache, {path.parent for pair in parts.train for path in pair.files})
    held_out = {pair.name: pair.image for pair in parts.validation + parts.test}
    if cfg.start and (seen := seen_by(cfg.start, held_out)):
        warnings.warn(
            f"{cfg.start} was trained on or chosen by {len(seen)} of the {len(held_out)} images held out here, first "
            f"{seen[0]}; their scores will say nothing about new images",
            stacklevel=2,
        )
    return parts


def _parts_of_run(cfg: Config) -> Parts:
    parts = hold_out(pairs_of(cfg), cfg)
    if parts.validation and (cfg.valpath or cfg.val_fraction):
        raise ValueError(f"{cfg.split} says what to validate on; leave out valpath and val_fraction")
    if not cfg.valpath:
        train, validation = split_pairs(parts.train, cfg.val_fraction, cfg.seed, cfg.group, cfg.stratify)
        return Parts(train, parts.validation or validation, parts.test)
    if Path(cfg.valpath).resolve() in {Path(cfg.testpath, name).resolve() for name in cfg.testsets}:
        warnings.warn(
            f"valpath {cfg.valpath} is a test set: choosing a checkpoint by it spoils its scores; "
            "use val_fraction instead",
            stacklevel=3,
        )
    validation = pairs_of(cfg, cfg.valpath)
    used = {pair.image.resolve() for pair in parts.train + parts.test}
    if both := [pair for pair in validation if pair.image.resolve() in used]:
        raise ValueError(
            f"valpath {cfg.valpath} holds {len(both)} images that are trained or tested on too, first {both[0].image}"
        )
    return parts._replace(validation=validation)


def held_out_of(cfg: Config) -> list[Pair]:
    """The pairs of datapath that the Config's fold or list keeps to test on; none without either."""
    if not (cfg.folds or cfg.split):
        return []
    return hold_out(pairs_of(cfg), cfg).test


def _named_parts(pairs: Sequence[Pair], cfg: Config) -> dict[str, list[str]]:
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
