"""Pretrained weights: which files exist, whether they are whole, and the one place that opens them (see README.md).

locate() and load() never touch the network, download() does. `python -m weights` lists what is there.
"""

from weights.backbones import locate_backbone
from weights.fetch import download
from weights.files import load, locate, sha256
from weights.opening import opened
from weights.table import WEIGHTS, Source, Weight

__all__ = ["WEIGHTS", "Source", "Weight", "download", "load", "locate", "locate_backbone", "opened", "sha256"]
