"""The memory that prediction_rgb.py takes for a made-up CT, in a process of its own."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import net
from configs import Config
from configs.volumes import RECIPE
from engine import checkpoint, record
from files import Grid, write_volume

CLASSES = {"classes": 3, "label_values": (0, 1, 2), "class_names": ("background", "organ", "node")}
# a network that leaves the memory to the volume, and takes minutes on one core
SMALL = {"widths": (4, 4, 4, 4, 4), "width": 4, "strides": ("2", "2", "2", "1", "1"), "network": "msnet"}
READ = {"size": (96, 96, 96), "spacing": (0.8, 0.8, 1.0), "inputs": 1, "intensity": (-160.0, 240.0, 40.0, 80.0)}
# what it prints last is its peak: a child's, as its parent sees it, begins with the parent's own
PROGRAM = """
import sys, prediction_rgb
prediction_rgb.main(sys.argv[1:])
from tools.benchmark.training import peak_of_this_process
print(peak_of_this_process())
"""
ROOT = Path(__file__).parents[2]


def measure(shape: tuple[int, int, int]) -> dict:
    """Seconds, and MiB that were resident at most: voxels of the network's spacing, no window twice, one thread."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cfg = Config(**(RECIPE | SMALL | READ | CLASSES | {"test_flip": False, "overlap": 0.0, "workers": 0}))
        network = net.build(cfg.network, cfg.backbone, cfg.classes, **cfg.shape)
        checkpoint.save(network.state_dict(), folder / "model")
        record.write_record(folder / "config.json", cfg, torch.device("cpu"))
        rng, grid = np.random.default_rng(0), Grid(shape, np.diag((0.8, 0.8, 1.0, 1.0)))
        (folder / "images").mkdir()
        # of 0..1023: less air than a scan has, which for memory is the same
        write_volume(folder / "images" / "ct.nii", rng.integers(0, 1024, shape, np.uint16), grid)
        begun = time.monotonic()
        words = ["--snapshot", folder / "model", "--images", folder / "images", "--out", folder / "out", "--workers=0"]
        one = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", PROGRAM, *map(str, words)]
        done = subprocess.run(command, check=True, cwd=ROOT, env=one, stdout=subprocess.PIPE, text=True)
        seconds, peak = time.monotonic() - begun, int(done.stdout.split()[-1])
    what = f"predict a CT of {' x '.join(map(str, shape))}, 3 classes"
    return {f"{what} [s]": round(seconds, 1), f"{what}, peak [MiB]": peak}
