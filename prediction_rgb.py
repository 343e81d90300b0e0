"""Predict maps: python prediction_rgb.py [configs/polyp_msnet.py] --snapshot FILE [--images DIR --out DIR]

Without a config file, with the settings of the run that wrote FILE, by the config.json beside it.
Or a run's folder (saved_model/mine) says both: its settings, and its model-best or else its last checkpoint.
Without --images, every test set of the Config: <testpath>/<set>/images -> <mapspath>/<set>/*.png;
or, of a Config with folds, the images that the fold holds out -> <mapspath>/fold-<n>/*.png;
--fold all does so for every fold, each by its own checkpoint.
Several checkpoints predict together: their maps are averaged, each one's with network, size and statistics of its run.
With several classes each of these folders has one of grey maps per class, and label/, label images.
"""

import gc

if __name__ == "__main__":
    gc.disable()  # `errors_in_one_line` enables it

import dataclasses
from argparse import Namespace
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

import weights
from configs import (
    OF_VOLUMES,
    SETTINGS,
    Config,
    differences,
    errors_in_one_line,
    fold_or_all,
    folder_of_run,
    is_run,
    of_run,
    outlived_output,
    parse,
    recorded,
)
from dataset import TestImages, Volumes, to_predict
from engine import checkpoint, machine
from engine.inference import OWN, Ensemble, VolumeEnsemble, config_of_flags, ensemble, members
from engine.loading import Loader, workers
from files import (
    Files,
    files_of,
    find_images,
    fingerprint,
    fingerprints,
    folders_of,
    held_out_of,
    is_whole,
    left_aside,
    maps_of_fold,
    masks_beside,
    require_apart,
    require_own,
    require_same_source,
    require_unseen,
    require_writable,
    seen_by,
    trained_on,
    write_maps_record,
)

WRITERS = 8  # threads that resize and encode maps: two of them keep up with some 300 images/s, which a GPU passes


FLAGS: dict[str, dict[str, Any]] = {
    "snapshot": {
        **{"metavar": "FILE", "nargs": "+", "action": "extend"},
        "help": "checkpoint to predict with, or a run's folder; of several, or a pattern, the maps are averaged",
    },
    "images": {"metavar": "DIR", "help": "a folder of images, or one; masks not needed; in place of test sets"},
    "out": {"metavar": "DIR", "help": "where the maps of --images go"},
    "fold": {
        **{"metavar": "N|all", "type": fold_or_all},
        "help": "of folds the part to predict, by a checkpoint that has not seen it; all: each by its own",
    },
    "skip-existing": {"action": "store_true", "help": "leave maps alone that are already there"},
}


def main(arguments: Sequence[str] | None = None) -> None:
    words = "Predict maps of test sets, or of any folder of images."
    cfg, extra = parse(words, arguments, "predict", config_of_flags, **FLAGS)
    if bool(extra.images) != bool(extra.out):
        raise SystemExit("prediction_rgb.py: error: --images and --out go together")
    folder = "" if by_file(extra) or not extra.config else str(folder_of_run(extra.config))
    if not (meant := extra.snapshot or [word for word in (cfg.snapshot or folder,) if word]):
        raise SystemExit("prediction_rgb.py: error: --snapshot FILE says which checkpoint to predict with")
    files = checkpoint.named(meant)
    if [*map(str, files)] != meant:
        print(f"checkpoints: {', '.join(map(str, files))}")
    with outlived_output():
        cfgs = [*of_folds(cfg, files, extra)] if extra.fold == "all" else [of_checkpoints(cfg, files, extra.fold)]
        # every set of every fold is looked up before the first map is written
        for found in [find_sets(cfg, extra) for cfg in cfgs]:
            predict(*found, extra.skip_existing)


def of_checkpoints(cfg: Config, files: Sequence[Path], fold: int | None = None) -> Config:
    """`cfg` for some checkpoints, with what the first one's run had planned."""
    cfg = cfg.filled(recorded(files[0])).changed(fold=cfg.fold if fold is None else fold)
    return dataclasses.replace(cfg, snapshot=",".join(map(str, files)))


def of_folds(cfg: Config, files: Sequence[Path], extra: Namespace) -> Iterator[Config]:
    """`cfg` for each fold and its own of the `files`; without a config file as its own run was, but for the flags."""
    if not cfg.folds:
        raise ValueError("fold is 'all' but folds is 0; give --folds 5 as training had it, or the folder of the run")
    if extra.images:
        raise ValueError("--fold all predicts what each fold holds out; leave it out, and --images has all folds' mean")
    chosen = checkpoint.by_fold(files, cfg.folds)
    if missing := [str(fold) for fold, own in chosen.items() if not own]:
        print(f"NOTE: no checkpoint of fold {', '.join(missing)} of {cfg.folds}: what it holds out is NOT predicted")
    fields = Config.__dataclass_fields__
    flags = {name: getattr(cfg, name) for name, text in vars(extra).items() if name in fields and text is not None}
    for fold, own in chosen.items():
        if own:
            theirs = None if by_file(extra) else of_run(own[0])
            yield of_checkpoints(theirs.changed(**flags) if theirs else cfg, own, fold)


def by_file(extra: Namespace) -> bool:
    """Whether a config file was given, which says all; without one each checkpoint has what its own run had."""
    return bool(extra.config) and not is_run(extra.config)


def find_sets(cfg: Config, extra: Namespace) -> tuple[list[Config], dict[Path, dict[str, Files]], dict[Path, set[str]]]:
    """(a Config per checkpoint, folder of maps -> its images, and those trained on) of what the flags ask for.

    A folder or an image, what a fold holds out, or the test sets. What a person should know of them is said.
    """
    snapshots = checkpoint.named(cfg.snapshot)
    if extra.images:
        sets = {Path(extra.out): images_of(cfg, extra.images)}
        used = {path for files in sets[Path(extra.out)].values() for path in files}
        if Path(extra.images).is_dir() and (others := left_aside(extra.images, used)):
            print(f"NOTE: not predicted: {others}")
    elif held_out := held_out_of(cfg):
        for snapshot in snapshots:
            require_unseen(snapshot, held_out)
        sets = {maps_of_fold(cfg, cfg.fold): {pair.name: pair.channels for pair in held_out}}
    else:
        sets = {Path(cfg.mapspath, name): images_of(cfg, Path(cfg.testpath, name)) for name in cfg.testsets}
    flags = [name for name, value in vars(extra).items() if value is not None]
    given = {*flags, *(OWN if by_file(extra) and cfg.dims == 2 else ())}
    cfgs = members(cfg, snapshots, given)
    for note in (note for pair in zip(cfgs, snapshots, strict=True) for note in differences(*pair)):
        print(f"NOTE: {note}")
    seen = {}
    for out, files in sets.items():
        images = firsts(files)
        seen[out] = {name for snapshot in snapshots for name in seen_by(snapshot, images)}
        if first := next((name for name in images if name in seen[out]), None):
            print(
                f"NOTE: {out}: {len(seen[out])} of {len(images)} images were trained on or chosen by, first {first}; "
                "their maps say nothing about new images"
            )
        require_place(out, images, one=bool(extra.images) and Path(extra.images).is_file())
    return cfgs, sets, seen


def images_of(cfg: Config, root: str | Path) -> dict[str, Files]:
    """name -> the file of each image under `root`, or the files of a volume's channels."""
    if cfg.dims == 3:
        return find_images(root, volumes=True)
    return {name: (path,) for name, path in find_images(root).items()}


def firsts(files: Mapping[str, Files]) -> dict[str, Path]:
    """name -> the file that an image, or a volume, is known by."""
    return {name: channels[0] for name, channels in files.items()}


def require_place(out: Path, images: dict[str, Path], one: bool) -> None:
    """ValueError if maps would come among the images that are read, or their masks; beside `one` image they may."""
    read = folders_of(images)
    among = {folder for folder in read if not one or folder.resolve() == out.resolve()}
    require_apart(out, among | masks_beside(read), around=True)


def predict(
    cfgs: Sequence[Config], sets: dict[Path, dict[str, Files]], seen: dict[Path, set[str]], skip_existing: bool = False
) -> None:
    """Write the map of every image (name -> files) of each set into its folder, as <name>.png or <name>.nii.gz.

    cfgs: one per checkpoint, of several the `members`. seen: of each set the images that a checkpoint was trained on.
    """
    cfg = cfgs[0]
    # ---- what there is; whatever can be refused is refused here, before the first map
    for out, files in sets.items():
        require_own(out, (path for name in files for path in files_of(cfg, out, name)))
    machine.settle(cfg, machine.device(cfg.device))
    predictor = ensemble(cfgs, checkpoint.named(cfg.snapshot))
    settings = source(cfgs)
    for out in sets:
        if skip_existing:
            require_same_source(out, settings)
        require_writable(out)
    # ---- from here on files are written
    for out, files in sets.items():
        images = firsts(files)
        prints = {name: "+".join(map(fingerprint, channels)) for name, channels in files.items()}
        known = fingerprints(out) if skip_existing else {}
        there = {n for n, image in images.items() if known.get(n) == prints[n] and complete(out, n, image, cfg)}
        # what will be replaced goes first: the record is of these pictures and this checkpoint
        for path in (path for name in images.keys() - there for path in files_of(cfg, out, name, all_kinds=True)):
            path.unlink(missing_ok=True)
        missing = {name: channels for name, channels in files.items() if name not in there}
        # maps that stay, in this record or not, stay what they are
        write_maps_record(out, settings, known | prints, seen[out] | (trained_on(out) - missing.keys()))
        if missing:
            predict_set(predictor, to_predict(predictor.inputs, missing), out, cfg)
        print(f"{out}: {len(missing)} maps" + (f", {len(there)} were there" if skip_existing else ""))


def source(cfgs: Sequence[Config]) -> dict[str, Any]:
    """What maps are from, for their record: the checkpoint, its hash, and every setting that a map depends on.

    Of several checkpoints both are lists, and so is a setting that they do not share.
    """
    files = checkpoint.named(cfgs[0].snapshot)
    names, hashes = zip(*((str(file), weights.sha256(file)) for file in files), strict=True)
    several = len(names) > 1
    proof = {"snapshot": names if several else names[0], "sha256": hashes if several else hashes[0]}
    names_of = SETTINGS if cfgs[0].dims == 2 else (*SETTINGS, *OF_VOLUMES)
    settings = {name: [getattr(cfg, name) for cfg in cfgs] for name in names_of}
    return proof | {name: each[0] if each == each[:1] * len(each) else each for name, each in settings.items()}


def predict_set(predictor: Ensemble | VolumeEnsemble, images: TestImages | Volumes, out: Path, cfg: Config) -> None:
    """Decode in processes, predict here, encode in threads, all at the same time."""
    waiting: deque[Future] = deque()
    size, device = images.batch_bytes, predictor.device
    with (
        Loader(images, images.collate, cfg.workers, size, device, batch_size=images.at_once) as loader,
        tqdm(total=len(images), desc=out.name, unit="image", disable=None) as bar,
        ThreadPoolExecutor(workers(WRITERS)) as pool,
    ):
        for batch in loader:
            for case, pred in zip(batch.cases, predictor(batch), strict=True):
                waiting.append(pool.submit(case.write, out, case.finished(pred), cfg))
            bar.update(len(batch.cases))
            while len(waiting) > 4 * images.at_once:  # a slow disk holds the network back, not the memory
                waiting.popleft().result()
        finish(waiting)


def finish(waiting: Iterable[Future]) -> None:
    """Wait for maps that are being written; the first that could not be raises its error."""
    for future in waiting:
        future.result()


def complete(out: Path, name: str, image: Path, cfg: Config) -> bool:
    """Whether every file that `write_maps` writes for an image is there and whole."""
    return all(is_whole(path, image) for path in files_of(cfg, out, name))


if __name__ == "__main__":
    with errors_in_one_line("prediction_rgb.py"):
        main()
