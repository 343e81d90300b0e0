"""How fast: two ways side by side in one run, interleaved, medians and ratios.

python -m tools.benchmark train | count | predict | load | score | volumes | ct [--network m2snet] [--json FILE] ...

`train`, `predict` and `load` have a plain reference in the original's form: float32, contiguous, dense filters of ones,
image by image, normalised at full resolution in float64. `score` compares with pysodmetrics and with decoding alone,
`volumes` with MONAI, surface-distance and MedPy: `pip install monai surface-distance medpy`. `train` also counts what a
step asks for (operations, bytes) and which share of the machine's peaks that is; `count` does so alone, in PyTorch's
operations and, on any machine that has Triton, as a GPU runs it.
"""

import argparse
import json
from pathlib import Path

from engine.machine import allow_tf32
from files import write_file
from tools.benchmark import counting, ct, loading, prediction, scoring, training, volumes
from tools.benchmark.clock import machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "count", "predict", "load", "score", "volumes", "ct"))
    parser.add_argument("--network", choices=("msnet", "m2snet"), default="m2snet")
    parser.add_argument("--batch", type=int, default=4, help="images of a training step")
    parser.add_argument("--size", type=int, default=352, help="side of the network's input")
    parser.add_argument("--count", type=int, default=40, help="images to predict, load or score")
    parser.add_argument("--side", type=int, default=500, help="side of the images to predict or score")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    allow_tf32(False)  # as a Config has it
    found: dict = {"machine": machine()}
    if given.what == "train":
        found |= training.measure(given.network, given.batch, given.size)
    elif given.what == "count":
        found |= counting.measure(given.network, given.batch, given.size)
    elif given.what == "predict":
        found |= prediction.measure(given.network, given.count, given.side, given.size)
    elif given.what == "load":
        found |= loading.measure(given.count)
    elif given.what == "ct":
        found |= ct.measure((512, 512, 600))
    elif given.what == "volumes":
        found |= volumes.measure()
    else:
        found |= scoring.measure(given.count, given.side)
    for name, value in found.items():
        print(f"{name}: {value}")
    if given.json:
        write_file(given.json, json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
