"""Training samples beside normalising at full resolution in float64; one process, one thread."""

import tempfile
from pathlib import Path

import cv2
import numpy as np

from configs import Config
from dataset import Data
from engine.machine import keep_memory
from tools.benchmark import reference
from tools.benchmark.clock import interleaved


def measure(count: int) -> dict:
    """Images per second of 1080p and 500-pixel pairs, JPEG and PNG, read anew and from the caches."""
    cv2.setNumThreads(1)
    keep_memory()  # as a run does, before its reading processes begin
    found: dict = {}
    rng = np.random.default_rng(0)
    for suffix, height, width in (("jpg", 1080, 1920), ("png", 1080, 1920), ("jpg", 500, 574)):
        with tempfile.TemporaryDirectory() as folder:
            make_pairs(Path(folder), count, height, width, suffix)
            plain = Data(Config(datapath=folder))
            ways = {
                "float32": plain,
                "cache=ram": Data(Config(datapath=folder, cache="ram")),
                "cache on disk": Data(Config(datapath=folder, cache=f"{folder}/cache")),
            }
            runs = {
                "reference": lambda data=plain: [reference.sample(p.image, p.masks[0], 352, rng) for p in data.pairs]
            }
            for name, data in ways.items():
                runs[name] = lambda data=data: [data[0, i] for i in range(count)]
                runs[name]()  # fills the caches
            times = interleaved(runs)
        for name, seconds in times.items():
            label = f"{width}x{height} {suffix}, {name}"
            found[f"{label} [ms per image]"] = round(1000 * seconds / count, 2)
            if name != "reference":
                found[f"{label} / reference"] = round(times["reference"] / seconds, 1)
    return found


def make_pairs(folder: Path, count: int, height: int, width: int, suffix: str) -> None:
    rng = np.random.default_rng(0)
    for name in ("image", "mask"):
        (folder / name).mkdir()
    for i in range(count):
        image = cv2.resize(rng.integers(0, 256, (height // 40, width // 40, 3), np.uint8), (width, height))
        noise = rng.normal(0, 2, image.shape)
        cv2.imwrite(str(folder / "image" / f"{i}.{suffix}"), np.clip(image + noise, 0, 255).astype(np.uint8))
        mask = np.zeros((height, width), np.uint8)
        cv2.ellipse(mask, (width // 2, height // 2), (width // 6, height // 5), 0, 0, 360, 255, -1)
        cv2.imwrite(str(folder / "mask" / f"{i}.png"), mask)
