"""What PyTorch has no operation for, as Triton kernels: one pass each over maps that stay bytes. See `gpu.kernels_for`.

Maps are (N, H, W) on one CUDA device, levels uint8 or float64. A program works on BLOCK pixels of one image; what it
sums is written beside the others' sums and added up by torch, in an order that does not change from run to run.
"""

# mypy: disallow-untyped-defs=False
# (a kernel's arguments are Triton's pointers and numbers)
import torch
import triton
import triton.language as tl
from torch import Tensor

FAR = 255  # rows to the nearest foreground pixel of a column, and no more: above FADED, and a byte
FADED = 200  # columns looked at to either side, see `weighted_f.FADED`
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
    blocks = triton.cdiv(pixels, BLOCK * TURNS)
    with torch.cuda.device_of(index):
        _tally[(count * blocks,)](index, counts, pixels, blocks, BINS=bins, BLOCK=BLOCK, TURNS=TURNS)
    return counts


def columns(gt: Tensor) -> Tensor:
    """(N, H, W) uint8: rows to the nearest foreground pixel of the same column, at most FAR; gt (N, H, W) bool."""
    gt = gt.contiguous()
    count, height, width = gt.shape
    distance = torch.empty(gt.shape, dtype=torch.uint8, device=gt.device)
    blocks = triton.cdiv(width, LANES)
    with torch.cuda.device_of(gt):
        _columns[(count * blocks,)](
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
    blocks = triton.cdiv(height * width, BLOCK)
    with torch.cuda.device_of(gt):
        _nearest_level[(count * blocks,)](
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
    blocks = triton.cdiv(height * width, BLOCK)
    # two, not halves of one: each begins where Triton expects it, so that a kernel is built once
    missed, false_positive = (torch.empty(count, blocks, dtype=torch.float64, device=gt.device) for _ in range(2))
    along = torch.arange(-3, 4, dtype=torch.float64, device=gt.device)
    gaussian = torch.softmax(along.square() / -50, 0)  # `weighted_f.GAUSSIAN`, made where it is needed: no copy
    with torch.cuda.device_of(gt):
        _missed[(count * blocks,)](
            *(nearest, gt.view(torch.uint8), top, gaussian, missed, height, width, blocks), BLOCK=BLOCK
        )
        _false_positive[(count * blocks,)](
            *(level, background.view(torch.uint8), distance, offset, false_positive, height, width, blocks),
            FAR=FAR,
            FADED=FADED,
            ABREAST=ABREAST,
            BLOCK=BLOCK,
        )
    return missed.sum(1), false_positive.sum(1)


# ---- below, height, width, pixels and blocks are not specialised: a kernel is built once for all sizes


@triton.jit(do_not_specialize=["pixels", "blocks"])
def _tally(index, counts, pixels, blocks, BINS: tl.constexpr, BLOCK: tl.constexpr, TURNS: tl.constexpr):
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)  # a batch may have more than 2^31 pixels
    first = program % blocks * (BLOCK * TURNS)
    bins = tl.arange(0, BINS)
    found = tl.zeros((BINS,), tl.int32)
    for turn in range(TURNS):
        at = first + turn * BLOCK + tl.arange(0, BLOCK)
        number = tl.load(index + image * pixels + at, mask=at < pixels, other=-1).to(tl.int32)
        counted = number >= 0
        found += tl.histogram(tl.where(counted, number, 0), BINS)
        # what is not counted is in bin 0: older Tritons take no mask
        found -= tl.where(bins == 0, tl.sum(tl.where(counted, 0, 1), 0), 0)
    tl.atomic_add(counts + image * BINS + bins, found, mask=found != 0, sem="relaxed")


@triton.jit(do_not_specialize=["height", "width", "blocks"])
def _columns(gt, distance, height, width, blocks, FAR: tl.constexpr, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    x = program % blocks * BLOCK + tl.arange(0, BLOCK)
    there = x < width
    at = image * height * width + x
    rows = tl.full((BLOCK,), FAR, tl.int32)
    for _ in range(height):  # down: rows to the nearest above
        inside = tl.load(gt + at, mask=there, other=0) != 0
        rows = tl.where(inside, 0, tl.minimum(rows + 1, FAR))
        tl.store(distance + at, rows.to(tl.uint8), mask=there)
        at += width
    tl.debug_barrier()  # what is read below was written above, by whichever thread
    rows = tl.full((BLOCK,), FAR, tl.int32)
    for _ in range(height):  # and up
        at -= width
        above = tl.load(distance + at, mask=there, other=0).to(tl.int32)
        rows = tl.minimum(above, rows + 1)
        tl.store(distance + at, rows.to(tl.uint8), mask=there)


@triton.jit(do_not_specialize=["height", "width", "blocks"])
def _nearest_level(level, gt, distance, nearest, height, width, blocks, LEFTMOST: tl.constexpr, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    at = program % blocks * BLOCK + tl.arange(0, BLOCK)
    there = at < height * width
    here = image * height * width + at
    y, x = at // width, at % width
    best = tl.full((BLOCK,), 10000, tl.int32)
    move = tl.zeros((BLOCK,), tl.int32)
    for dx in range(-4, 5):  # 4^2 <= 18, the squared distance within reach
        near = there & (x + dx >= 0) & (x + dx < width)
        rows = tl.load(distance + here + dx, mask=near, other=255).to(tl.int32)
        squared = rows * rows + dx * dx
        near = near & (squared <= 18)
        # above or below it may be as near: the preferred one, or else the other
        dy = -rows if LEFTMOST else tl.where(dx <= 0, -rows, rows)
        seen = near & (y + dy >= 0) & (y + dy < height)
        hit = tl.load(gt + here + dy * width + dx, mask=seen, other=0) != 0
        dy = tl.where(hit, dy, -dy)
        preference = squared * 32 + dx + 4 if LEFTMOST else squared * 32 + tl.where(dx <= 0, dy + 4, 20 - dy)
        better = near & (preference < best)
        best = tl.where(better, preference, best)
        move = tl.where(better, dy * width + dx, move)
    tl.store(nearest + here, tl.load(level + here + move, mask=there, other=0), mask=there)


@triton.jit(do_not_specialize=["height", "width", "blocks"])
def _missed(nearest, gt, top, gaussian, sums, height, width, blocks, BLOCK: tl.constexpr):
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    at = program % blocks * BLOCK + tl.arange(0, BLOCK)
    here = image * height * width + at
    y, x = at // width, at % width
    inside = tl.load(gt + here, mask=at < height * width, other=0) != 0
    highest = tl.load(top + image)
    total = tl.zeros((BLOCK,), tl.float64)
    if tl.max(inside.to(tl.int32), 0) > 0:  # most blocks have no foreground
        error = highest - tl.load(nearest + here, mask=inside, other=0).to(tl.float64)
        smooth = tl.zeros((BLOCK,), tl.float64)
        for dy in range(-3, 4):
            row = inside & (y + dy >= 0) & (y + dy < height)
            line, weight = nearest + here + dy * width, tl.load(gaussian + dy + 3)
            for dx in range(-3, 4):
                near = row & (x + dx >= 0) & (x + dx < width)
                spread = highest - tl.load(line + dx, mask=near, other=0).to(tl.float64)
                smooth += tl.where(near, spread, 0.0) * (weight * tl.load(gaussian + dx + 3))
        total = tl.where(inside, tl.minimum(error, smooth), 0.0)
    tl.store(sums + program, tl.sum(total, 0))


@triton.jit(do_not_specialize=["height", "width", "blocks"])
def _false_positive(
    level,
    background,
    distance,
    offset,
    sums,
    height,
    width,
    blocks,
    FAR: tl.constexpr,
    FADED: tl.constexpr,
    ABREAST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0)
    image = (program // blocks).to(tl.int64)
    at = program % blocks * BLOCK + tl.arange(0, BLOCK)
    there = at < height * width
    here = image * height * width + at
    x = at % width
    error = tl.load(level + here, mask=there, other=0).to(tl.float64) - tl.load(offset + image)
    outside = tl.load(background + here, mask=there, other=0) != 0
    outside = outside & (error != 0)  # black pixels add nothing, however far they are
    rows = tl.load(distance + here, mask=outside, other=0).to(tl.int32)
    squared = rows * rows
    shift = 1
    # exact: a column that is farther than the farthest pixel of the block is nobody's nearest
    limit = tl.minimum(tl.max(squared, 0), FADED * FADED + 1)
    while shift * shift < limit:
        for more in tl.static_range(ABREAST):
            dx = shift + more
            left = tl.load(distance + here - dx, mask=outside & (x >= dx), other=FAR).to(tl.int32)
            right = tl.load(distance + here + dx, mask=outside & (x + dx < width), other=FAR).to(tl.int32)
            rows = tl.minimum(left, right)
            squared = tl.minimum(squared, rows * rows + dx * dx)
        shift += ABREAST
        limit = tl.minimum(tl.max(squared, 0), FADED * FADED + 1)
    weight = 2 - tl.exp2(tl.sqrt(squared.to(tl.float64)) / -5.0)  # -5 is exact in any type, ln(0.5) / 5 is not
    tl.store(sums + program, tl.sum(tl.where(outside, error * weight, 0.0), 0))
