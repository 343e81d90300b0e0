"""Launches the kernels of `kernels.py`; imported by `gpu.kernels_for` alone, where there is Triton.

Maps are (N, H, W) on one CUDA device, levels uint8 or float64. A program works on BLOCK pixels of one image; what it
sums is written beside the others' sums and added up by torch, in an order that does not change from run to run.
"""

import torch
from torch import Tensor

from metrics import kernels

FAR = 255  # rows to the nearest foreground pixel of a column, and no more: above FADED, and a byte
FADED = 200  # columns looked at to either side, see `nearest.FADED`
ABREAST = 8  # of them before the next look at how near the farthest pixel of a block is; divides FADED
LANES = 32  # columns of a program that walks down an image
BLOCK = 512
TURNS = 8  # blocks of a program that counts
MOST_PIXELS = 2**31 - 2**16  # of an image, whose pixels are counted in int32


def probe(device: torch.device) -> None:
    """Build what official needs and run it on one pixel, to find out whether it can be built here, without waiting."""
    gt = torch.ones(1, 1, 1, dtype=torch.bool, device=device)
    one = torch.ones(1, dtype=torch.float64, device=device)
    error_sums(gt.to(torch.uint8), gt, ~gt, one - 1, one, True)
    tally(gt.to(torch.int16), 2048)


def tally(index: Tensor, bins: int) -> Tensor:
    """(N, bins) int32: how often each number below `bins`, a power of two, occurs in an image of index (N, H, W) int16.

    A negative one is not counted.
    """
    index = index.contiguous()
    count, pixels = len(index), index[0].numel()
    counts = torch.zeros(count, bins, dtype=torch.int32, device=index.device)
    blocks = _blocks(pixels, BLOCK * TURNS)
    with torch.cuda.device_of(index):
        kernels.tally[(count * blocks,)](index, counts, pixels, blocks, BINS=bins, BLOCK=BLOCK, TURNS=TURNS)
    return counts


def columns(gt: Tensor) -> Tensor:
    """(N, H, W) uint8: rows to the nearest foreground pixel of the same column, at most FAR; gt (N, H, W) bool."""
    gt = gt.contiguous()
    count, height, width = gt.shape
    distance = torch.empty(gt.shape, dtype=torch.uint8, device=gt.device)
    blocks = _blocks(width, LANES)
    with torch.cuda.device_of(gt):
        kernels.columns[(count * blocks,)](
            gt.view(torch.uint8), distance, height, width, blocks, FAR=FAR, BLOCK=LANES, num_warps=1
        )
    return distance


def nearest_level(level: Tensor, gt: Tensor, distance: Tensor, leftmost: bool) -> Tensor:
    """(N, H, W): the level of the nearest foreground pixel where one is within reach, elsewhere the pixel's own.

    distance: from `columns`. leftmost: which of several, official's if true, else pranet's; see `weighted_f`.
    """
    level, gt = level.contiguous(), gt.contiguous()
    count, height, width = gt.shape
    nearest = torch.empty_like(level)
    blocks = _blocks(height * width, BLOCK)
    with torch.cuda.device_of(gt):
        kernels.nearest_level[(count * blocks,)](
            *(level, gt.view(torch.uint8), distance, nearest, height, width, blocks), LEFTMOST=leftmost, BLOCK=BLOCK
        )
    return nearest


def error_sums(
    level: Tensor, gt: Tensor, background: Tensor, offset: Tensor, top: Tensor, leftmost: bool
) -> tuple[Tensor, Tensor]:
    """The weighted F's sums over foreground and background, (N,) float64 each, in levels: `missed`, `false positive`.

    background (N, H, W) bool: what of the rest counts. offset, top: (N,) float64, the levels of p = 0 and of p = 1.
    """
    level, gt, background = level.contiguous(), gt.contiguous(), background.contiguous()
    count, height, width = gt.shape
    distance = columns(gt)
    nearest = nearest_level(level, gt, distance, leftmost)
    blocks = _blocks(height * width, BLOCK)
    # two, not halves of one: each begins where Triton expects it, so that a kernel is built once
    missed, false_positive = (torch.empty(count, blocks, dtype=torch.float64, device=gt.device) for _ in range(2))
    along = torch.arange(-3, 4, dtype=torch.float64, device=gt.device)
    gaussian = torch.softmax(along.square() / -50, 0)  # `weighted_f.GAUSSIAN`, made where it is needed: no copy
    with torch.cuda.device_of(gt):
        kernels.missed[(count * blocks,)](
            *(nearest, gt.view(torch.uint8), top, gaussian, missed, height, width, blocks), BLOCK=BLOCK
        )
        kernels.false_positive[(count * blocks,)](
            *(level, background.view(torch.uint8), distance, offset, false_positive, height, width, blocks),
            FAR=FAR,
            FADED=FADED,
            ABREAST=ABREAST,
            BLOCK=BLOCK,
        )
    return missed.sum(1), false_positive.sum(1)


def _blocks(pixels: int, block: int) -> int:
    """How many blocks it takes."""
    return -(-pixels // block)
