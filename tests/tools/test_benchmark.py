"""What a benchmark says of a step: counted right, the same on every machine."""

import pytest
import torch

import net
from lossnet import vgg
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
    assert training.asked(work) == {
        **{"forward [operations]": 7, "backward [operations]": 1},
        **{"forward [GB]": 3.0, "backward [GB]": 1.0},
    }
    assert training.shares(work, 2.0, "native-fp16") == {
        "share of a matrix product's speed": 0.25,
        "share of a copy's bandwidth": 0.25,
    }
