"""Predict maps: python prediction_rgb.py configs/polyp_msnet.py --snapshot FILE [--images DIR --out DIR]

Without --images, every test set of the Config: <testpath>/<set>/images -> <mapspath>/<set>/*.png;
or, of a Config with folds, the images that the fold holds out -> <mapspath>/fold-<n>/*.png.
With several classes each of these folders has one of grey maps per class, and label/, label images.
"""

import dataclasses
import hashlib
import json
from argparse import Namespace
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

import net
from configs import ORIGINAL, Config, errors_in_one_line, one_side, outlived_output, parse
from dataset import TestImages, bytes_of_test_batch, test_batch
from engine import machine
from engine.inference import Predictor
from engine.loading import Loader
from files import (
    find_images,
    fingerprint,
    folders_of,
    held_out_of,
    is_whole,
    left_aside,
    map_files,
    maps_of_fold,
    masks_beside,
    record_of,
    require_apart,
    require_own,
    require_same_source,
    require_unseen,
    require_writable,
    seen_by,
    write_maps,
    write_maps_record,
)

# what a map depends on besides the checkpoint and the image
SETTINGS = (
    *("network", "backbone", "classes", "label_values", "class_names", "size"),
    *("test_mean", "test_std", "test_amp", "test_scales", "test_flip"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, extra = parse(
        "Predict maps of test sets, or of any folder of images.",
        arguments,
        "predict",
        **{
            "images": {"metavar": "DIR", "help": "a folder of images, masks not needed; in place of the test sets"},
            "out": {"metavar": "DIR", "help": "where the maps of --images go"},
            "skip-existing": {"action": "store_true", "help": "leave maps alone that are already there"},
        },
    )
    if bool(extra.images) != bool(extra.out):
        raise SystemExit("prediction_rgb.py: error: --images and --out go together")
    if not cfg.snapshot:
        raise SystemExit("prediction_rgb.py: error: --snapshot FILE says which checkpoint to predict with")
    with outlived_output():
        predict_sets(cfg, extra)


def predict_sets(cfg: Config, extra: Namespace) -> None:
    """Predict what the flags ask for: a folder, what a fold holds out, or the test sets."""
    # every set is looked up before the first map is written
    if extra.images:
        sets = {Path(extra.out): find_images(extra.images)}
        if others := left_aside(extra.images, {*sets[Path(extra.out)].values()}):
            print(f"NOTE: not predicted: {others}")
    elif held_out := held_out_of(cfg):
        require_unseen(cfg.snapshot, held_out)
        sets = {maps_of_fold(cfg, cfg.fold): {pair.name: pair.image for pair in held_out}}
    else:
        sets = {Path(cfg.mapspath, name): find_images(Path(cfg.testpath, name)) for name in cfg.testsets}
    note_other_settings(cfg)
    for out, images in sets.items():
        if seen := seen_by(cfg.snapshot, images):
            print(
                f"NOTE: {out}: {len(seen)} of {len(images)} images were trained on or chosen by, first {seen[0]}; "
                "their maps say nothing about new images"
            )
    predict(cfg, sets, extra.skip_existing)


def predict(cfg: Config, sets: dict[Path, dict[str, Path]], skip_existing: bool = False) -> None:
    """Write the map of every image (name -> file) of each set into its folder, as <name>.png."""
    # ---- what there is; whatever can be refused is refused here, before the first map
    for out, images in sets.items():
        read = folders_of(images)
        require_apart(out, read | masks_beside(read), around=True)
        require_own(out, (path for name in images for path in map_files(out, name, cfg.labels)))
    machine.keep_memory()
    device = machine.device(cfg.device)
    network = net.load(net.build(cfg.network, cfg.backbone, cfg.classes), cfg.snapshot)
    network.require_shape((cfg.test_batch, 3, *cfg.sides))
    network = net.fold_batchnorm(network).to(device).to(memory_format=torch.channels_last)
    predictor = Predictor(
        network, device, cfg.test_amp, cfg.test_scales, cfg.test_flip, probabilities=net.probabilities
    )
    settings = source(cfg)
    for out in sets:
        if skip_existing:
            require_same_source(out, settings)
        require_writable(out)
    # ---- from here on files are written
    for out, images in sets.items():
        prints = {name: fingerprint(image) for name, image in images.items()}
        known = record_of(out).get("images", {}) if skip_existing else {}
        there = {n for n, image in images.items() if known.get(n) == prints[n] and complete(out, n, image, cfg)}
        # what will be replaced goes first: the record is of these pictures and this checkpoint
        for path in (path for name in images.keys() - there for path in map_files(out, name, cfg.labels)):
            path.unlink(missing_ok=True)
        write_maps_record(out, settings, known | prints)
        missing = {name: file for name, file in images.items() if name not in there}
        if missing:
            predict_set(predictor, TestImages(missing, cfg), out, cfg)
        print(f"{out}: {len(missing)} maps" + (f", {len(there)} were there" if skip_existing else ""))


def source(cfg: Config) -> dict[str, Any]:
    """What maps are from, for their record: the checkpoint, its hash, and every setting that a map depends on."""
    with open(cfg.snapshot, "rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(1 << 20):
            digest.update(piece)
    return {"snapshot": cfg.snapshot, "sha256": digest.hexdigest()} | {n: getattr(cfg, n) for n in SETTINGS}


def note_other_settings(cfg: Config) -> None:
    """Say what differs from the run that wrote the checkpoint, by its config.json, where maps depend on it."""
    record = Path(cfg.snapshot).with_name("config.json")
    if not record.is_file():
        return
    # a field that the record lacks is one that is newer than the run
    try:
        then = dataclasses.asdict(Config()) | json.loads(record.read_text(encoding="utf-8"))["config"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{record} is no record of a run ({error!r}); move it away from the checkpoint") from error
    now = dataclasses.asdict(cfg)
    before, after = (what_maps_depend_on(fields) for fields in (then, now))
    for name, was in before.items():
        if was != after[name]:
            print(f"NOTE: trained with {name} {was}, predicting with {after[name]} ({record}); --{name} changes it")
    original = (tuple(then["train_mean"]), tuple(then["train_std"])) == ORIGINAL
    for name in ("mean", "std"):
        # what a run has for prediction counts beside the original's training statistics only: older code kept
        # ImageNet's beside any
        was = then[f"test_{name}"] if original else [value / 255 for value in then[f"train_{name}"]]
        if any(abs(a - b) > 0.5 / 255 for a, b in zip(was, now[f"test_{name}"], strict=True)):  # half a grey level
            print(
                f"NOTE: trained for {name} {was} on 0..1, predicting with {list(now[f'test_{name}'])} ({record}); "
                f"--test_{name} {','.join(f'{value:.4g}' for value in was)} changes it"
            )


def what_maps_depend_on(fields: dict[str, Any]) -> dict[str, Any]:
    """Of a Config's or a record's fields, in one form: a square's side, lists, the names of classes without any."""
    values = list(fields["label_values"])
    names = list(fields["class_names"]) or list(map(str, values))
    return {"size": one_side(fields["size"]), "label_values": values, "class_names": names}


def predict_set(predictor: Predictor, images: TestImages, out: Path, cfg: Config) -> None:
    """Decode in processes, predict here, encode in threads, all at the same time."""
    waiting: deque[Future] = deque()
    largest = bytes_of_test_batch(cfg)
    with (
        Loader(images, test_batch, cfg.workers, largest, predictor.device, batch_size=cfg.test_batch) as loader,
        tqdm(total=len(images), desc=out.name, unit="image", disable=None) as bar,
        ThreadPoolExecutor(2) as pool,
    ):
        for image, sizes, names in loader:
            preds = predictor(image).numpy()
            for pred, size, name in zip(preds, sizes, names, strict=True):
                waiting.append(pool.submit(write_maps, out, name, pred, size[0], size[1], cfg.labels))
            bar.update(len(names))
            while len(waiting) > 4 * cfg.test_batch:  # a slow disk holds the network back, not the memory
                waiting.popleft().result()
        finish(waiting)


def finish(waiting: Iterable[Future]) -> None:
    """Wait for maps that are being written; the first that could not be raises its error."""
    for future in waiting:
        future.result()


def complete(out: Path, name: str, image: Path, cfg: Config) -> bool:
    """Whether every file that `write_maps` writes for an image is there and whole."""
    return all(is_whole(path, image) for path in map_files(out, name, cfg.labels))


if __name__ == "__main__":
    with errors_in_one_line("prediction_rgb.py"):
        main()
