"""Predict maps: python prediction_rgb.py configs/polyp_msnet.py --snapshot FILE [--images DIR --out DIR]

Without --images, every test set of the Config: <testpath>/<set>/images -> <mapspath>/<set>/*.png.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import net
from configs import Config, parse
from dataset import TestImages, image_folder, write_map
from engine import checkpoint, run


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, extra = parse(
        "Predict maps of test sets, or of any folder of images.",
        arguments,
        images={"metavar": "DIR", "help": "a folder of images, masks not needed; in place of the test sets"},
        out={"metavar": "DIR", "help": "where the maps of --images go"},
    )
    if bool(extra.images) != bool(extra.out):
        raise SystemExit("prediction_rgb.py: error: --images and --out go together")
    if not cfg.snapshot:
        raise SystemExit("prediction_rgb.py: error: --snapshot FILE says which checkpoint to predict with")
    if extra.images:
        jobs = {Path(extra.images): Path(extra.out)}
    else:
        jobs = {Path(cfg.testpath, name): Path(cfg.mapspath, name) for name in cfg.testsets}
    predict(cfg, jobs)


def predict(cfg: Config, jobs: dict[Path, Path]) -> None:
    """Write the map of every image under each folder of `jobs` into the folder it maps to."""
    device = run.device(cfg.device)
    # every set is looked up before the first map is written
    sets = {out: TestImages(image_folder(folder), cfg) for folder, out in jobs.items()}
    network = net.load_checkpoint(net.build(cfg.network, cfg.backbone, cfg.classes), cfg.snapshot).to(device)
    for out, images in sets.items():
        checkpoint.require_writable(out)
        predict_set(network, images, out, device, cfg.workers)
        print(f"{out}: {len(images)} maps")


@torch.inference_mode()
def predict_set(network: nn.Module, images: TestImages, out: Path, device: torch.device, workers: int) -> None:
    network.eval()
    loader = DataLoader(images, batch_size=None, num_workers=run.workers(workers))
    for image, height, width, name in tqdm(loader, out.name, unit="image", disable=None):
        pred = torch.sigmoid(network(image[None].to(device)))[0, 0]
        write_map(out / f"{name}.png", pred.float().cpu().numpy(), height, width)


if __name__ == "__main__":
    main()
