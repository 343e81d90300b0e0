"""What a benchmark says of a step: counted right, the same on every machine."""

import os
import subprocess
import sys

import pytest
import torch

import net
from lossnet import vgg
from tests.conftest import ROOT
from tests.helpers import TinyBackbone
from tools.benchmark import counting, training


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(net.BACKBONES, "res2net50", TinyBackbone)
    monkeypatch.setattr(vgg, "SIDE", 32)


def test_an_operation_counts_with_what_it_reads_and_writes_and_neither_a_view_nor_fresh_memory():
    a, b = torch.zeros(4, 8), torch.zeros(8)
    with counting.Counter() as counter:
        a.t().reshape(8, 4)[1:].unsqueeze(0).detach()  # reshaped without a copy
        assert counter.operations == 0
        torch.empty_like(a), a.new_empty(9)
        assert counter.operations == 0
        (a + b).mul_(2)
    assert counter.operations == 2
    assert counter.bytes == 4 * (32 + 8 + 32) + 4 * (32 + 32)


def test_shapes_alone_count_what_a_step_that_is_computed_counts(tiny):
    network = net.build("m2snet").train().to(memory_format=torch.channels_last)
    criterion = training.Criterion(training.msnet_terms(training.LossNet()))
    image = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    mask = (torch.rand(2, 1, 64, 64) > 0.5).float()
    with counting.Counter() as forward:
        logits = network(image).float()
    with counting.Counter() as loss:
        total = criterion(logits, mask)["total"]
    with counting.Counter() as backward:
        total.backward()
    computed = [(counter.operations, counter.bytes) for counter in (forward, loss, backward)]
    found = counting.step("m2snet", 2, 64, "off")
    assert list(found) == ["forward", "loss", "backward"]
    assert [(part.operations, part.bytes) for part in found.values()] == computed


def test_float16_asks_for_what_bfloat16_does(tiny):
    half, other = (counting.step("msnet", 1, 64, amp) for amp in ("native-fp16", "native-bf16"))
    assert half == other


def test_a_step_is_said_with_its_operations_bytes_and_shares(tiny, monkeypatch):
    work = {"forward": counting.Work(7, 3_000_000_000, 5), "backward": counting.Work(1, 1_000_000_000, 15)}
    monkeypatch.setattr(training, "peak", lambda dtype: {torch.float16: 40.0}[dtype])
    monkeypatch.setattr(training, "bandwidth", lambda: 8e9)
    assert counting.asked(work) == {
        **{"forward [operations]": 7, "backward [operations]": 1, "all [operations]": 8},
        **{"forward [GB]": 3.0, "backward [GB]": 1.0, "all [GB]": 4.0},
    }
    assert training.shares(work, 2.0, "native-fp16") == {
        "share of a matrix product's speed": 0.25,
        "share of a copy's bandwidth": 0.25,
    }


def test_without_triton_a_step_is_counted_in_pytorchs_operations(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = counting.measure("msnet", 1, 64)
    assert len(found) == 2 * 8 and all(name.startswith("PyTorch's operations") for name in found)
    assert not training.in_kernels(torch.device("cpu"), "off")


def printed(code: str) -> list[float]:
    """The numbers that a process of its own prints, for the tests have Triton interpreted."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return list(map(float, run.stdout.split()))


@pytest.mark.slow
def test_on_a_gpu_a_step_asks_for_no_more_than_was_aimed_at():
    """M2SNet: 1325 operations, 2.46 GB an image."""
    code = """
from tools.benchmark import counting
asked = counting.asked(counting.step("m2snet", 1, 352, "native-fp16", kernels=True))
print(asked["all [operations]"], asked["all [GB]"])
"""
    operations, gigabytes = printed(code)
    assert 1200 < operations < 1350 and 2.2 < gigabytes < 2.6


def test_a_map_that_a_kernel_is_given_twice_counts_once_and_one_that_it_overwrites_twice():
    code = """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from fused import norm, pool
from tools.benchmark import counting

launched = []
with FakeTensorMode(), counting._in_kernels(None, launched):
    x = torch.zeros(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    of_channels = torch.zeros(8)
    pool.rectify_(x, of_channels)
    norm.forward(x, norm.Seen(torch.zeros(2, 8), of_channels, of_channels), norm.Parts(8, (torch.zeros_like(x),)))
print(*launched)
"""
    x, of_channels = 4 * 256, 4 * 8
    assert printed(code) == [2 * (x + of_channels), 2 * x + 2 * of_channels + of_channels]
