"""What this machine's GPU computes, beside what its CPU computes, and how fast.

python -m tools.gpu_check [--json FILE] [--quick]

Scores of every protocol, maps of both networks and short float16 trainings are compared, each with a limit; then speeds
are measured. Exit status 0 if all is within its limits, 1 if something differs or fails, 2 without a CUDA device.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from tqdm import tqdm

from engine import machine, record
from files import write_file
from lossnet import LossNet
from metrics import OF_LEVELS
from net import NETWORKS, MSNet
from tools.benchmark import prediction, scoring
from tools.benchmark import training as speed
from tools.gpu_check import equality, training
from tools.gpu_check.line import FULL, QUICK, TOY, Line, Sizes

Parts = dict[str, Callable[[], Iterable[Line]]]
PAPERS = [name for name, made in NETWORKS.items() if issubclass(made, MSNet)]  # the networks that papers print


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there too")
    parser.add_argument("--quick", action="store_true", help="fewer maps, seeds and steps")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ..; cpu tries the program itself, at toy sizes")
    given = parser.parse_args(arguments)
    try:
        device = machine.device(given.device)
    except ValueError as error:
        print(f"tools.gpu_check: {error}. Nothing was checked", file=sys.stderr)
        return 2
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)
    machine.allow_tf32(False)  # as a Config has it
    sizes = TOY if device.type == "cpu" else QUICK if given.quick else FULL
    versions, todo = describe(device), parts(sizes, device)
    print(
        *(f"{name}: {value}" for name, value in versions.items()), f"{sizes}\n\nto do:", *todo, "", sep="\n", flush=True
    )
    start = time.perf_counter()
    lines, seconds = check(todo)
    wrong = [line for line in lines if line.wrong]
    print(f"\n{len(lines)} lines in {time.perf_counter() - start:.0f} s, {len(wrong)} wrong", *wrong, sep="\n")
    if given.json:
        found = {"machine": versions, "sizes": vars(sizes), "seconds": seconds, "wrong": len(wrong)}
        write_file(given.json, json.dumps(found | {"lines": [line.record() for line in lines]}, indent=2) + "\n")
    return 1 if wrong else 0


def describe(device: torch.device) -> dict[str, str]:
    """The device, its driver, the versions of what computes, commit and date."""
    found = {"device": platform.processor() or platform.machine()}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found = {"device": f"{card.name}, {card.total_memory >> 20} MiB, {card.multi_processor_count} multiprocessors"}
        found |= {"driver": driver(), "CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}
    modules = {"torch": torch, "torchvision": torchvision, "numpy": np, "OpenCV": cv2}
    found |= {name: module.__version__ for name, module in modules.items()}
    return found | {
        "Python": platform.python_version(),
        "commit": record.git_commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def driver() -> str:
    """What nvidia-smi says; PyTorch knows its own CUDA alone."""
    if not shutil.which("nvidia-smi"):
        return "unknown: no nvidia-smi"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0] or "unknown"


def parts(sizes: Sizes, device: torch.device) -> Parts:
    """What is done, in its order, by the name under which it is announced."""
    lossnet = LossNet()  # one for all: it takes seconds to make, and precisions must not differ in it
    compare = "scores beside the CPU's, one image at a time there, a batch here"
    found: Parts = {f"{compare}: {name}": partial(equality.scores, name, sizes, device) for name in OF_LEVELS}
    found |= {f"maps beside the CPU's: {name}": partial(equality.maps, name, sizes, device) for name in PAPERS}
    half = f"training in half precision beside float32, {sizes.seeds} seeds, {sizes.steps} steps each"
    # M2SNet alone: it holds all of MSNet, and its sums over boxes are what could overflow
    found[f"{half}: m2snet"] = partial(training.half, "m2snet", sizes, device, lossnet)
    batch, size = sizes.batch, sizes.size
    for name in PAPERS:
        what = f"{name}, batch {batch} at {size}"
        train = partial(speed.on_device, name, batch, size, device, lossnet)
        predict = partial(prediction.on_device, name, batch, size, device)
        found[f"speed of training steps, {what}"] = partial(measured, f"train, {what}", train)
        found[f"speed of prediction, {what}"] = partial(measured, f"predict, {what}", predict)
    score = partial(scoring.on_device, 4 * batch, sizes.map_side, device)
    found["speed of the official scores"] = partial(measured, "score", score)
    return found


def measured(what: str, measure: Callable[[], dict]) -> Iterator[Line]:
    return (Line(f"{what}, {name}", value) for name, value in measure().items())


def check(todo: Parts) -> tuple[list[Line], dict[str, float]]:
    """Every line, printed as it is found, and each part's seconds. A part that fails is a line and ends no other."""
    lines: list[Line] = []
    seconds: dict[str, float] = {}

    def add(line: Line) -> None:
        lines.append(line)
        tqdm.write(str(line))

    with tqdm(todo.items(), unit="part") as bar:
        for name, part in bar:
            bar.set_postfix_str(name)
            start = time.perf_counter()
            try:
                for line in part():
                    add(line)
            except Exception as error:
                add(Line(name, f"{type(error).__name__}: {error}", failed=True))
            seconds[name] = round(time.perf_counter() - start, 1)
    return lines, seconds


if __name__ == "__main__":
    sys.exit(main())
