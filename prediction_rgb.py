"""Predict maps: python prediction_rgb.py configs/polyp_msnet.py --snapshot FILE [--images DIR --out DIR]

Without --images, every test set of the Config: <testpath>/<set>/images -> <mapspath>/<set>/*.png.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

import net
from configs import Config, parse
from dataset import TestImages, find_images, test_batch, write_map
from engine import checkpoint, run
from engine.inference import Predictor


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, extra = parse(
        "Predict maps of test sets, or of any folder of images.",
        arguments,
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
    if extra.images:
        jobs = {Path(extra.images): Path(extra.out)}
    else:
        jobs = {Path(cfg.testpath, name): Path(cfg.mapspath, name) for name in cfg.testsets}
    predict(cfg, jobs, extra.skip_existing)


def predict(cfg: Config, jobs: dict[Path, Path], skip_existing: bool = False) -> None:
    """Write the map of every image under each folder of `jobs` into the folder it maps to, sub-folders kept."""
    run.keep_memory()
    device = run.device(cfg.device)
    # every set is looked up before the first map is written
    sets = {out: find_images(folder) for folder, out in jobs.items()}
    network = net.load_checkpoint(net.build(cfg.network, cfg.backbone, cfg.classes), cfg.snapshot)
    network = net.fold_batchnorm(network).to(device).to(memory_format=torch.channels_last)
    predictor = Predictor(network, device, cfg.test_amp, cfg.test_scales, cfg.test_flip)
    for out, files in sets.items():
        checkpoint.require_writable(out)
        missing = {name: file for name, file in files.items() if not (skip_existing and map_file(out, name).exists())}
        if missing:
            predict_set(predictor, TestImages(missing, cfg), out, cfg)
        print(f"{out}: {len(missing)} maps" + (f", {len(files) - len(missing)} were there" if skip_existing else ""))


def predict_set(predictor: Predictor, images: TestImages, out: Path, cfg: Config) -> None:
    """Decode in processes, predict here, encode in threads, all at the same time."""
    loader = DataLoader(
        images,
        cfg.test_batch,
        collate_fn=test_batch,
        num_workers=run.workers(cfg.workers),
        worker_init_fn=run.end_with_parent,
        pin_memory=predictor.device.type == "cuda",
    )
    waiting: deque[Future] = deque()
    with tqdm(total=len(images), desc=out.name, unit="image", disable=None) as bar, ThreadPoolExecutor(2) as pool:
        for image, sizes, names in loader:
            preds = predictor(image).numpy()
            for pred, size, name in zip(preds, sizes, names, strict=True):
                waiting.append(pool.submit(write_map, map_file(out, name), pred[0], *size))
            bar.update(len(names))
            while len(waiting) > 4 * cfg.test_batch:  # a slow disk holds the network back, not the memory
                waiting.popleft().result()
        finish(waiting)


def finish(waiting: Iterable[Future]) -> None:
    """Wait for maps that are being written; the first that could not be raises its error."""
    for future in waiting:
        future.result()


def map_file(out: Path, name: str) -> Path:
    return out / f"{name}.png"


if __name__ == "__main__":
    main()
