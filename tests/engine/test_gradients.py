"""Replayed steps beside steps that are computed each time. A recorder that reruns stands in where there is no CUDA."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

import net
from engine import graphs, optim
from engine.gradients import Gradients, Graphs
from engine.graphs import Replays
from engine.inference import Predictor
from engine.precision import Precision
from engine.windows import WindowPredictor
from lossnet import Criterion, msnet_terms

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SIDES = (64, 96)


class Rerun:
    """As CUDA records: nothing is computed now; a replay reads inputs where they were and leaves what it finds."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, function):
        self.recorded += 1
        logits, losses = torch.empty(0), {"total": torch.empty(()), "structure": torch.empty(())}

        def replay() -> None:
            self.replayed += 1
            found = function()
            logits.resize_(found[0].shape).copy_(found[0])
            for name, loss in losses.items():
                loss.copy_(found[1][name])

        return replay, (logits, losses)


def batches(count, device, within=False):
    random = torch.Generator().manual_seed(3)
    for i in range(count):
        side = SIDES[i % 2]
        image = torch.randn(2, 3, side, side, generator=random)
        mask = (torch.rand(2, 1, side, side, generator=random) > 0.5).float()
        field = (torch.rand(2, 1, side, side, generator=random) > 0.2).float() if within else None
        yield tuple(None if x is None else x.to(device) for x in (image, mask, field))


class Run:
    """A network and all that trains it, `kind` its gradients."""

    def __init__(self, network, kind, device, amp="off", **more):
        self.network = copy.deepcopy(network).to(device).train()
        self.precision = Precision(amp, torch.device(device))
        self.optimiser = optim.sgd(optim.groups_of(self.network, 1.0), 0.01, 0.9, 5e-4, nesterov=True)
        criterion = Criterion(msnet_terms())
        self.gradients = kind(self.network, criterion, self.precision, self.optimiser, **more)

    def step(self, *batch):
        found = self.gradients(*batch)
        self.precision.step(self.optimiser, self.network)
        return found

    def weights(self):
        return torch.cat([x.detach().double().flatten().cpu() for x in self.network.state_dict().values()])


def small_network(name="m2snet"):
    torch.manual_seed(0)
    return net.build(name, "tiny")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("within", [False, True], ids=["all", "field_of_view"])
def test_a_replayed_step_is_the_step(device, within):
    # in float64 nobody sees in which order a GPU adds
    network, record = small_network().double(), None if device == "cuda" else Rerun()
    computed, replayed = Run(network, Gradients, device), Run(network, Graphs, device, record=record)
    found = []
    for image, *others in batches(8, device, within):
        batch = (image.double(), *others)
        found.append((computed.step(*batch), replayed.step(*batch)))
        torch.testing.assert_close(replayed.weights(), computed.weights(), rtol=1e-5, atol=1e-6)
    for (logits, losses), (its_logits, its_losses) in found:  # after the last replay: nothing was overwritten
        torch.testing.assert_close(its_logits, logits, rtol=1e-4, atol=1e-5)
        assert its_losses.keys() == losses.keys()
        torch.testing.assert_close(its_losses["total"], losses["total"], rtol=1e-5, atol=1e-6)
    assert len(replayed.gradients.replays.recordings) == len(SIDES)
    if record:
        assert (record.recorded, record.replayed) == (2, 6), "the first of each size is computed"


@pytest.mark.gpu
def test_float16_replayed_trains_as_float16_computed():
    ends = []
    for kind in (Gradients, Graphs):
        run = Run(small_network(), kind, "cuda", "native-fp16")
        losses = [run.step(*batch)[1]["total"].item() for batch in list(batches(2, "cuda")) * 12]
        ends.append((losses, run.precision.scale))
    assert ends[0][1] == ends[1][1], "as many steps were left out"
    torch.testing.assert_close(*(torch.tensor(losses) for losses, _ in ends), rtol=0.02, atol=0.02)


def test_a_size_without_and_with_a_field_of_view_are_two():
    record = Rerun()
    run = Run(small_network(), Graphs, "cpu", record=record)
    (image, mask, field), _ = batches(2, "cpu", within=True)
    for _ in range(3):
        run.step(image, mask)
        run.step(image, mask, field)
        run.step(image, mask, None, 0.5)
    assert record.recorded == len(run.gradients.replays.recordings) == 3


def test_what_cannot_be_recorded_is_computed_and_said_once():
    def refuse(function):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    said: list[str] = []
    network = small_network()
    computed, other = Run(network, Gradients, "cpu"), Run(network, Graphs, "cpu", record=refuse, say=said.append)
    for batch in batches(6, "cpu"):
        computed.step(*batch), other.step(*batch)
    assert torch.equal(computed.weights(), other.weights())
    assert said == [
        "NOTE: kernels are launched one by one, slower: no CUDA graph could be recorded "
        "(operation not permitted when stream is capturing)"
    ]


class Waits(nn.Module):
    """A network that asks the device for a number."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, image):
        return self.head(self.resnet(image)) * (1.0 if image.mean().item() < 9 else 2.0)


@pytest.mark.gpu
def test_a_network_that_waits_for_the_device_trains_on_without_a_graph():
    said: list[str] = []
    network = Waits()
    computed, other = Run(network, Gradients, "cuda"), Run(network, Graphs, "cuda", say=said.append)
    for batch in batches(6, "cuda"):
        computed.step(*batch), other.step(*batch)
    torch.testing.assert_close(computed.weights(), other.weights())
    assert len(said) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["off", "native-fp16"])
def test_maps_that_are_replayed_are_those_of_their_own_images(amp):
    """Of two sizes, mirrored and in three scales too; nothing that a replay gave is overwritten by the next."""
    network = small_network().cuda()
    images = [image.cpu() for image, *_ in batches(8, "cuda")]
    with torch.no_grad():  # statistics of its own: by those of the start its sums over boxes overflow float16
        for _ in range(50):
            network(images[0].cuda())
    network.eval()
    for more in ({}, {"scales": (0.75, 1.0, 1.25), "flip": True}):
        replayed, computed = (Predictor(network, torch.device("cuda"), amp, **more) for _ in range(2))
        computed._maps = computed._maps.function
        found = [replayed(image) for image in images]
        assert isinstance(replayed._maps, Replays) and replayed._maps.recordings
        for maps, image in zip(found, images, strict=True):
            torch.testing.assert_close(maps, computed(image), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [Predictor, lambda network, device: WindowPredictor([network], device, (8, 8, 8))])
def test_a_predictor_and_the_memory_of_its_graphs_end_together(kind, monkeypatch):
    """A run makes one for every validation; Python's collector would find a circle some validations later."""
    monkeypatch.setattr(graphs.CudaRecorder, "__init__", lambda self: None)
    gc.disable()
    try:
        predictor = kind(nn.Conv2d(3, 1, 1), torch.device("cuda"))
        ends = [weakref.ref(what) for what in (predictor, getattr(predictor, "_maps", predictor))]
        del predictor
        assert [end() for end in ends] == [None, None]
    finally:
        gc.enable()


def test_no_more_graphs_are_kept_than_a_host_can_hold(monkeypatch):
    monkeypatch.setattr(graphs, "MOST", 1)
    record = Rerun()
    run = Run(small_network("msnet"), Graphs, "cpu", record=record)
    for batch in batches(6, "cpu"):
        run.step(*batch)
    assert record.recorded == 1
