"""`prediction_rgb.py` over a folder, its start taken off, beside predicting image by image."""

import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

import net
from engine.inference import Predictor
from files import read_map
from tools.benchmark.clock import DEVICE, ROOT, interleaved
from tools.benchmark.reference import dense, predict

WAYS = {"float32": "off", "bfloat16": "native-bf16"}
ON_CUDA = {"float16": "native-fp16"}
TOGETHER = 5  # batches of a turn on a GPU


def measure(name: str, count: int, side: int, size: int) -> dict:
    """Images per second, ratios, and how far the maps are apart."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        torch.manual_seed(0)
        network = settled(net.build(name), size)
        torch.save(network.state_dict(), root / "model")
        few = make_images(root / "few", 1, side)
        many = make_images(root / "many", count, side)
        reference = dense(network).to(DEVICE)
        (root / "reference").mkdir()

        def script(images: list[Path], amp: str, out: str) -> None:
            words = ["prediction_rgb.py", "--network", name, "--snapshot", root / "model", "--size", size]
            words += ["--images", images[0].parent, "--out", root / out, "--test_amp", amp]
            subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True, cwd=ROOT)

        ways = {"reference": lambda: predict(reference, many, root / "reference", size)}
        for way, amp in WAYS.items():
            ways[way] = lambda amp=amp, way=way: script(many, amp, way)  # type: ignore[misc]
            ways[f"{way} start"] = lambda amp=amp: script(few, amp, "few-maps")  # type: ignore[misc]
        times = interleaved(ways, repeats=3)
        found: dict = {"reference [images/s]": round(count / times["reference"], 2)}
        for way in WAYS:
            # the start is one image's run without that image
            seconds = (times[way] - times[f"{way} start"]) * count / (count - 1)
            found[f"{way} [images/s]"] = round(count / seconds, 2)
            found[f"{way} / reference"] = round(times["reference"] / seconds, 2)
            apart = [
                np.abs(grey(root / way / file.name) - grey(file)) for file in sorted((root / "reference").iterdir())
            ]
            found[f"{way}, grey levels apart, largest and mean"] = (
                f"{max(a.max() for a in apart)}, {np.mean([a.mean() for a in apart]):.4f}"
            )
    return found


def on_device(name: str, batch: int, size: int, device: torch.device) -> dict:
    """Images per second of the network alone, as prediction runs it: batches in, maps out, no files."""
    torch.manual_seed(0)
    network = net.fold_batchnorm(net.build(name)).to(device).to(memory_format=torch.channels_last)
    images = torch.randn(batch, 3, size, size)
    images = images.pin_memory() if device.type == "cuda" else images
    count, turns = TOGETHER if device.type == "cuda" else 1, {}
    for way, amp in ways_of(device).items():
        predictor = Predictor(network, device, amp)
        turns[way] = lambda predictor=predictor: [predictor(images) for _ in range(count)]
        turns[way]()  # the first one allocates
    return {f"{way} [images/s]": round(count * batch / seconds, 2) for way, seconds in interleaved(turns).items()}


def ways_of(device: torch.device) -> dict[str, str]:
    """Name -> test_amp of what `device` can predict with."""
    return WAYS | (ON_CUDA if device.type == "cuda" else {})


def settled(network: net.Network, size: int) -> net.Network:
    """`network` in evaluation mode with statistics of some images: random ones would saturate every map."""
    network.train()
    device = next(network.parameters()).device
    with torch.no_grad():
        for _ in range(15):
            network(torch.randn(2, 3, size, size).to(device))
    return network.eval()


def make_images(folder: Path, count: int, side: int) -> list[Path]:
    """JPEG photographs of blurred noise, (side, side) pixels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        image = cv2.GaussianBlur(rng.integers(0, 256, (side, side, 3), np.uint8), (0, 0), 5)
        image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), image)
    return sorted(folder.iterdir())


def grey(path: Path) -> np.ndarray:
    return read_map(path)[0].astype(np.int16)
