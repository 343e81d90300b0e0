"""Training steps, LossNet included, beside the original's form."""

from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import fused
import net
from engine.gradients import Gradients, Graphs
from engine.machine import keep_memory
from engine.optim import sgd
from engine.precision import DTYPES, Precision
from lossnet import Criterion, LossNet, msnet_terms
from net import Network
from tools.benchmark import counting
from tools.benchmark.clock import DEVICE, REPEATS, bandwidth, interleaved, peak
from tools.benchmark.reference import dense

WAYS = {"reference": "off", "float32": "off", "bfloat16": "native-bf16"}
ON_CUDA = {"reference with cuDNN": "off", "float16": "native-fp16"}
TOGETHER = 5  # steps that a GPU is given before it is waited for: train.py reads a loss every tenth step

Train = Callable[[Tensor, Tensor, float], Tensor]  # image, mask and learning rate -> the loss, left on the device


def measure(network: str, batch: int, size: int) -> dict:
    """Images per second, ratios, peak memory, multiply-adds, operations, bytes, and shares of the machine's peaks."""
    ways = ways_of(DEVICE)
    times = seconds_per_step({name: make_step(network, name, amp, batch, size) for name, amp in ways.items()})
    found: dict = {f"{name} [images/s]": round(batch / seconds, 2) for name, seconds in times.items()}
    found |= {f"{name} / reference": round(times["reference"] / times[name], 2) for name in ways if name != "reference"}
    found |= {f"{name} [MiB]": peak_memory(network, name, amp, batch, size) for name, amp in ways.items()}
    macs = {"reference": multiply_adds(network, True, size), "ours": multiply_adds(network, False, size)}
    found |= {f"{name}, forward [GMAC per image]": round(value / 1e9, 2) for name, value in macs.items()}
    for name, amp in ways.items():
        if not name.startswith("reference"):
            work = counting.step(network, batch, size, amp, in_kernels(DEVICE, amp))
            found |= _named(name, counting.asked(work) | shares(work, times[name], amp))
    return found


def in_kernels(device: torch.device, amp: str) -> bool:
    """Whether a step runs in the kernels of `fused` there: not without Triton, nor where it builds none."""
    return fused.usable(torch.zeros(1, dtype=DTYPES[amp] or torch.float32, device=device))


def kernels(step: Callable[[], Tensor]) -> int:
    """What a GPU is given to run in a step, copies included: a step in a graph is one launch of so many kernels."""
    with profile(activities=[ProfilerActivity.CUDA], acc_events=True) as found:
        step()
        torch.cuda.synchronize()
    # the rest is what the CPU calls
    return sum(row.count for row in found.key_averages() if row.device_type == DeviceType.CUDA)


def shares(work: Mapping[str, counting.Work], seconds: float, amp: str) -> dict[str, float]:
    """What a step that takes `seconds` uses of what the machine can compute and move."""
    macs = sum(of_part.multiply_adds for of_part in work.values())
    moved = sum(of_part.bytes for of_part in work.values())
    return {
        "share of a matrix product's speed": round(macs / seconds / peak(DTYPES[amp] or torch.float32), 3),
        "share of a copy's bandwidth": round(moved / seconds / bandwidth(), 3),
    }


def on_device(network: str, batch: int, size: int, device: torch.device, lossnet: LossNet | None = None) -> dict:
    """Images per second in each precision, what a step asks for, and of a GPU the MiB, the kernels and its shares.

    One too large for the GPU is named.
    """
    steps: dict[str, Callable[[], Tensor]] = {}
    found: dict = {}
    for way, amp in ways_of(device).items():
        if way.startswith("reference"):
            continue
        before = _start_memory(device)
        try:
            step = make_step(network, way, amp, batch, size, device, lossnet)
            step(), step()  # the first one makes the momentum
        except torch.cuda.OutOfMemoryError:
            found[f"{way} [images/s]"] = f"out of memory at batch {batch}"
            continue
        steps[way] = step
        if device.type == "cuda":
            found[f"{way} [MiB]"] = (torch.cuda.max_memory_allocated() - before) >> 20
    for way, seconds in seconds_per_step(steps).items():
        found[f"{way} [images/s]"] = round(batch / seconds, 2)
        amp = ways_of(device)[way]
        work = counting.step(network, batch, size, amp, in_kernels(device, amp))
        found |= _named(way, counting.asked(work))
        if device.type == "cuda":
            found[f"{way} [kernels]"] = kernels(steps[way])
            found |= _named(way, shares(work, seconds, amp))
    return found


def _named(way: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{way}, {what}": value for what, value in values.items()}


def _start_memory(device: torch.device) -> int:
    """Bytes of the GPU in use before what is measured, from where its peak counts."""
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def ways_of(device: torch.device) -> dict[str, str]:
    """Name -> amp of what can be trained on `device`."""
    return WAYS | (ON_CUDA if device.type == "cuda" else {})


def seconds_per_step(steps: Mapping[str, Callable[[], Tensor]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of a step of each way. A GPU is given several at once: a run does not wait for each either."""
    count = TOGETHER if DEVICE.type == "cuda" else 1
    for step in steps.values():
        step()  # the first one allocates
    turns = {name: lambda step=step: [step() for _ in range(count)] for name, step in steps.items()}
    return {name: seconds / count for name, seconds in interleaved(turns, repeats).items()}


def make_step(
    name: str,
    way: str,
    amp: str,
    batch: int,
    size: int,
    device: torch.device = DEVICE,
    lossnet: LossNet | None = None,
) -> Callable[[], Tensor]:
    """One optimiser step on random images, ready to run; in the original's form where `way` begins with reference."""
    torch.manual_seed(0)
    plain = way.startswith("reference")
    network = net.build(name)
    train = trainer(dense(network) if plain else network, lossnet or LossNet(), amp, device, plain)
    image, mask = torch.randn(batch, 3, size, size), (torch.rand(batch, 1, size, size) > 0.5).float()
    if device.type == "cuda":  # as the loader hands them over
        image, mask = image.pin_memory(), mask.pin_memory()

    def step() -> Tensor:
        torch.backends.cudnn.enabled = way != "reference"
        return train(image, mask, 1e-3)

    return step


def trainer(network: Network, lossnet: LossNet, amp: str, device: torch.device, plain: bool = False) -> Train:
    """What train.py does with a batch, from handing it to the device to the new weights of `network`.

    plain: as the original, contiguous and with an optimiser in many kernels.
    """
    if not plain:
        keep_memory()
    order = torch.contiguous_format if plain else torch.channels_last
    precision = Precision(amp, device)
    network = network.to(device).to(memory_format=order).train()
    lossnet = lossnet.to(device).to(memory_format=order)
    groups = [{"params": [p for p in network.parameters() if p.requires_grad]}]
    optimiser: torch.optim.Optimizer = sgd(groups, 1e-3, 0.9, 5e-4, nesterov=True)
    if plain:
        optimiser = torch.optim.SGD(groups, 1e-3, 0.9, weight_decay=5e-4, nesterov=True)
    criterion = Criterion(msnet_terms(lossnet))

    replays = device.type == "cuda" and not plain
    gradients = (Graphs if replays else Gradients)(network, criterion, precision, optimiser)

    def train(image: Tensor, mask: Tensor, lr: float) -> Tensor:
        for group in optimiser.param_groups:
            group["lr"] = lr
        image = image.to(device, non_blocking=True).contiguous(memory_format=order)
        mask = mask.to(device, non_blocking=True)
        _, loss = gradients(image, mask, None, 1.0)
        precision.step(optimiser, network)
        return loss["total"]

    return train


def peak_memory(name: str, way: str, amp: str, batch: int, size: int) -> int:
    """MiB of a process that takes two steps: allocated on the GPU, or resident."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory_here, (name, way, amp, batch, size))


def _peak_memory_here(name: str, way: str, amp: str, batch: int, size: int) -> int:
    step = make_step(name, way, amp, batch, size)
    step(), step()
    return peak_of_this_process()


def peak_of_this_process() -> int:
    """MiB so far: allocated on the GPU, or resident."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() >> 20
    # not getrusage: its peak begins with that of the process that started this one
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(status["VmHWM"].split()[0]) >> 10


def multiply_adds(name: str, plain: bool, size: int) -> int:
    network = net.build(name).eval()
    return multiply_adds_of(dense(network) if plain else network, torch.zeros(1, 3, size, size))


def multiply_adds_of(network: torch.nn.Module, image: Tensor) -> int:
    """Multiply-adds of one pass of `image` through convolutions, matrix products and attention."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() // 2
