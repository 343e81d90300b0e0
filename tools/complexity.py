"""What networks cost at a Config's size, one row per backbone, measured on this machine.

python -m tools.complexity [CONFIG] [--backbone res2net50,pvt_v2_b2,...] [--markdown]

Multiply-adds are those of convolutions, matrix products and attention. images/s is the median of single pictures as
prediction runs them, BatchNorm folded; the peak is that of a process of its own that has done nothing else.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from multiprocessing import get_context
from typing import NamedTuple

import torch

import net
from configs import errors_in_one_line, parse
from engine.inference import Predictor
from tools.benchmark.clock import DEVICE, interleaved, machine
from tools.benchmark.training import multiply_adds_of, peak_of_this_process

TITLES = ("backbone", "parameters [M]", "GMAC", "images/s", "peak [MiB]")


class Cost(NamedTuple):
    """Of one network: weights, multiply-adds of an image, images per second, MiB."""

    backbone: str
    parameters: int
    multiply_adds: int
    speed: float
    peak: int

    @property
    def cells(self) -> tuple[str, ...]:
        """As they are printed."""
        millions, giga = self.parameters / 1e6, self.multiply_adds / 1e9
        return (self.backbone, f"{millions:.2f}", f"{giga:.2f}", f"{self.speed:.2f}", str(self.peak))


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, extra = parse(
        "Parameters, multiply-adds, speed and memory of networks.",
        arguments,
        "predict",
        **{
            "backbone": {"metavar": "NAME,...", "help": "one row each, in place of the Config's"},
            "markdown": {"action": "store_true", "help": "print a table for a README"},
        },
    )
    names = extra.backbone.split(",") if extra.backbone else [cfg.backbone]
    configs = [dataclasses.replace(cfg, backbone=name.strip()) for name in names]
    for each in configs:  # all of them, before the first is measured
        net.require_known(each.backbone)
    costs = []
    for each in configs:
        # a process each: what one has allocated is not another's peak
        with get_context("spawn").Pool(1) as pool:
            costs.append(pool.apply(measured, (each.network, each.backbone, each.classes, each.plane)))
    height, width = cfg.plane
    print(f"{cfg.network} at {height} x {width}, {machine()}")
    print("\n".join(table(costs, extra.markdown)))


def measured(network: str, backbone: str, classes: int, sides: tuple[int, int]) -> Cost:
    """Build and measure, here. ValueError where the backbone does not take the size."""
    model, image = net.build(network, backbone, classes).eval(), torch.zeros(1, 3, *sides)
    model.require_shape(image.shape)
    parameters, work = sum(p.numel() for p in model.parameters()), multiply_adds_of(model, image)
    model = net.fold_batchnorm(model).to(DEVICE).to(memory_format=torch.channels_last)
    predictor = Predictor(model, DEVICE)
    predictor(image)  # the first one allocates
    seconds = interleaved({"predict": lambda: predictor(image)})["predict"]
    return Cost(backbone, parameters, work, 1 / seconds, peak_of_this_process())


def table(costs: Iterable[Cost], markdown: bool = False) -> list[str]:
    """Lines: names to the left, numbers to the right."""
    rows = [TITLES, *(cost.cells for cost in costs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    if not markdown:
        return ["  ".join(line).rstrip() for line in lines]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]


if __name__ == "__main__":
    with errors_in_one_line("complexity"):
        main()
