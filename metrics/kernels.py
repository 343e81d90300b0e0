"""What PyTorch has no operation for, as Triton kernels: one pass each over maps that stay bytes. See `launch.py`.

A program does one block of one image. Height, width, pixels and blocks are not specialised: a kernel is built once for
maps of all sizes.
"""

# mypy: disallow-untyped-defs=False
# (a kernel's arguments are Triton's pointers and numbers)
import triton
import triton.language as tl


@triton.jit(do_not_specialize=["pixels", "blocks"])
def tally(index, counts, pixels, blocks, BINS: tl.constexpr, BLOCK: tl.constexpr, TURNS: tl.constexpr):
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
def columns(gt, distance, height, width, blocks, FAR: tl.constexpr, BLOCK: tl.constexpr):
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
def nearest_level(level, gt, distance, nearest, height, width, blocks, LEFTMOST: tl.constexpr, BLOCK: tl.constexpr):
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
def missed(nearest, gt, top, gaussian, sums, height, width, blocks, BLOCK: tl.constexpr):
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
def false_positive(
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
