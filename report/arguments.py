"""What is to be scored or drawn: the sets of masks and maps that --gt and --pred name, or a Config."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from configs import Config
from files import are_of_patients, are_volumes, hold_out, is_bids, list_images, maps_of_fold, mask_folder, pairs_of
from files.listing import PICTURES, VOLUMES, entries
from files.names import without_masks
from report import cases

# what find_jobs looks for
FLAGS: dict[str, dict[str, Any]] = {
    "gt": {"metavar": "DIR", "help": "masks, or a test set, or a folder of test sets"},
    "pred": {"metavar": "[NAME=]DIR", "action": "append", "default": [], "help": "maps of a method; may be repeated"},
}


def named_folder(text: str) -> tuple[str, Path]:
    """`[NAME=]DIR` -> (name, the folder's own if none is given; folder). Both may have = in them: what exists decides.

    ValueError where that leaves two readings.
    """
    cuts = [i for i, letter in enumerate(text) if letter == "="]
    readings = [("", text), *((text[:i], text[i + 1 :]) for i in cuts if text[i + 1 :])]
    there = [(name, folder) for name, folder in readings if Path(folder).is_dir()]
    plain = [(name, folder) for name, folder in there if "/" not in name]
    if len(plain) > 1:
        (_, whole), (name, folder) = plain[0], plain[1]
        raise ValueError(f"{text} may be folder {whole} or {name} = {folder}; write ./{text} or {name}=./{folder}")
    first = readings[1] if len(readings) > 1 and "/" not in readings[1][0] else readings[0]
    name, folder = (plain or there or [first])[0]
    return name or Path(folder).name, Path(folder)


def methods_of(preds: Sequence[str]) -> dict[str, list[Path]]:
    """`[NAME=]DIR` texts -> name -> folders; a name given again is another fold or seed of that method.

    ValueError if two folders share a name that was not given on purpose.
    """
    found: dict[str, list[Path]] = {}
    for text in preds:
        name, folder = named_folder(text)
        if name in found and not text.startswith(f"{name}="):
            raise ValueError(f"two folders share the name {name!r}; write NAME=DIR")
        found.setdefault(name, []).append(folder)
    return found


def sets_of(gt: str | Path) -> tuple[dict[str, Path], bool]:
    """(name -> folder, whether they are several): one set of masks, or a folder of sets.

    Loose images make one set of a folder and its sub-folders, unless these have a masks/ each; volumes in a folder per
    patient, or per subject of BIDS, are one set, as are pictures with masks beside them. Other loose files mean
    nothing. FileNotFoundError if there is no folder, ValueError for images that belong to none of the sets.
    """
    root = Path(gt)
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; --gt is a folder of masks, a test set or a folder of test sets")
    there = entries(root)
    inside = [root / name for name, is_folder in there if is_folder]
    endings = PICTURES.read + VOLUMES.read
    loose = [root / name for name, _ in there if name.lower().endswith(endings) and (root / name).is_file()]
    masks = mask_folder(root)
    together = masks == root and (bool(loose) or are_of_patients(root) or (bool(inside) and _lie_with_images(root)))
    if inside and masks.parent != root and not together and not is_bids(root):
        if loose:
            sets = ", ".join(path.name for path in inside)
            raise ValueError(f"{loose[0]} lies beside the test sets {sets}; move it away, or give --gt one of them")
        return {path.name: path for path in inside}, True
    own = root.resolve()
    plain = own.name.lower() in ("mask", "masks", "labelstr", "labelsts")
    return {own.parent.name if plain else own.name: root}, False


def _lie_with_images(root: Path) -> bool:
    """Whether masks are told from the images beside them by their names alone: then patients' folders are one set."""
    if are_volumes(root):
        return False
    try:
        files = list_images(root)
    except ValueError:  # the words of whoever reads them are better
        return False
    return len(without_masks(files)) < len(files)


def chosen(sets: dict[str, Path], names: Sequence[str], gt: str) -> dict[str, Path]:
    """The sets of these names; ValueError for one that --gt does not hold."""
    if missing := [name for name in names if name not in sets]:
        raise ValueError(f"--testsets has {missing[0]!r}, but --gt {gt} holds {', '.join(sets)}")
    return {name: sets[name] for name in names}


def find_jobs(cfg: Config, given: Namespace, fold: int | None = None) -> list[cases.Job]:
    """What is to be scored: --gt and --pred, or the folds (one `fold`, or all) or the test sets of the Config.

    given: the command line. Its --testsets, if it has any, are those of --gt that count.
    """
    methods, prefer_labels = methods_of(given.pred), cases.prefers_labels(cfg.protocol)
    which = cases.Which("", cfg.field_of_view, cfg.observer)
    if given.gt is not None:
        if not methods:
            raise ValueError("--gt needs at least one --pred [NAME=]DIR")
        sets, several = sets_of(given.gt)
        if given.testsets is not None:
            sets = chosen(sets, cfg.testsets, given.gt)
        return cases.jobs_of(sets, methods, several, cfg.labels, which, prefer_labels)
    methods = methods or {cfg.network: [Path(cfg.mapspath)]}
    folds = range(1, max(1, cfg.folds) + 1) if fold is None else [cfg.changed(fold=fold).fold]
    pairs = pairs_of(cfg) if cfg.folds or cfg.split else []
    names = [[pair.name for pair in hold_out(pairs, replace(cfg, fold=fold)).test] for fold in folds if pairs]
    if not any(names):
        sets = {name: Path(cfg.testpath, name) for name in cfg.testsets}
        return cases.jobs_of(sets, methods, True, cfg.labels, which, prefer_labels)
    # each --pred is then what mapspath is: a folder of folds
    if many := [name for name, roots in methods.items() if len(roots) > 1]:
        raise ValueError(
            f"--pred {many[0]} is given more than once; of a Config with folds give the folder of its folds"
        )
    root, which = Path(cfg.datapath), which._replace(include=cfg.include)
    dataset = root.name if fold is None else f"{root.name} fold {fold}"
    jobs = []
    for method, (maps,) in methods.items():
        dealt = [(maps_of_fold(cfg, fold, maps), held_out) for fold, held_out in zip(folds, names, strict=True)]
        jobs += cases.jobs_of_folds(dataset, method, root, dealt, cfg.labels, which, prefer_labels)
    return jobs


def numbers(text: str) -> tuple[int, ...]:
    """0,80,160 -> (0, 80, 160)"""
    return tuple(int(word) for word in text.split(","))
