"""Training steps, LossNet included, beside the original's form."""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import net
from engine.precision import Precision
from engine.run import keep_memory
from lossnet import LossNet, total_loss
from tools.benchmark.clock import DEVICE, interleaved, peak
from tools.benchmark.reference import dense

WAYS = {"reference": "off", "float32": "off", "bfloat16": "native-bf16"}
ON_CUDA = {"reference with cuDNN": "off", "float16": "native-fp16"}


def measure(network: str, batch: int, size: int) -> dict:
    """Images per second, ratios, peak memory, multiply-adds and share of the machine's peak."""
    ways = WAYS | (ON_CUDA if DEVICE.type == "cuda" else {})
    steps = {name: make_step(network, name, amp, batch, size) for name, amp in ways.items()}
    for step in steps.values():
        step()  # the first one allocates
    times = interleaved(steps)
    found: dict = {f"{name} [images/s]": round(batch / seconds, 2) for name, seconds in times.items()}
    found |= {f"{name} / reference": round(times["reference"] / times[name], 2) for name in ways if name != "reference"}
    found |= {f"{name} [MiB]": peak_memory(network, name, amp, batch, size) for name, amp in ways.items()}
    macs = {"reference": multiply_adds(network, True, size), "ours": multiply_adds(network, False, size)}
    found |= {f"{name}, forward [GMAC per image]": round(value / 1e9, 2) for name, value in macs.items()}
    loss = lossnet_multiply_adds()
    for name, dtype in {"float32": torch.float32, "bfloat16": torch.bfloat16}.items():
        # backward costs a network's forward twice; the frozen LossNet is run for map and mask and once backward
        work = batch * (3 * macs["ours"] + 3 * loss)
        found[f"{name}, share of a matrix product's speed"] = round(work / times[name] / peak(dtype), 2)
    return found


def make_step(name: str, way: str, amp: str, batch: int, size: int) -> Callable[[], float]:
    """One optimiser step on random images, ready to run; in the original's form where `way` begins with reference."""
    torch.manual_seed(0)
    plain = way.startswith("reference")
    if not plain:
        keep_memory()
    order = torch.contiguous_format if plain else torch.channels_last
    precision = Precision(amp, DEVICE)
    network = net.build(name)
    network = (dense(network) if plain else network).to(DEVICE).to(memory_format=order).train()
    lossnet = LossNet().to(DEVICE).to(memory_format=order)
    sgd = torch.optim.SGD if plain else precision.sgd
    groups = [{"params": [p for p in network.parameters() if p.requires_grad]}]
    optimiser = sgd(groups, lr=1e-3, momentum=0.9, weight_decay=5e-4, nesterov=True)
    image = torch.randn(batch, 3, size, size).to(DEVICE).contiguous(memory_format=order)
    mask = (torch.rand(batch, 1, size, size) > 0.5).float().to(DEVICE)

    def step() -> float:
        torch.backends.cudnn.enabled = way != "reference"
        with precision.autocast():
            loss = total_loss(network(image).float(), mask, lossnet).total
        precision.step(loss, optimiser, network)
        return loss.item()

    return step


def peak_memory(name: str, way: str, amp: str, batch: int, size: int) -> int:
    """MiB of a process that takes two steps: allocated on the GPU, or resident."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory_here, (name, way, amp, batch, size))


def _peak_memory_here(name: str, way: str, amp: str, batch: int, size: int) -> int:
    step = make_step(name, way, amp, batch, size)
    step(), step()
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated() >> 20
    # not getrusage: its peak begins with that of the process that started this one
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(status["VmHWM"].split()[0]) >> 10


def multiply_adds(name: str, plain: bool, size: int) -> int:
    network = net.build(name).eval()
    return _count(dense(network) if plain else network, torch.zeros(1, 3, size, size))


def lossnet_multiply_adds() -> int:
    return _count(torch.nn.Sequential(*LossNet().blocks), torch.zeros(1, 3, 224, 224))


def _count(network: torch.nn.Module, image: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops() // 2
