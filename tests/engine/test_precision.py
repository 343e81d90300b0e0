"""apex in its four situations, with stand-ins for what cannot be installed here; averaged weights; clipping."""

import functools
import sys
import warnings

import pytest
import torch

import train
from engine import optim
from engine.precision import Precision, apex_part, write_momentum
from tests.helpers import small

OLD = """
calls = []
def initialize(network, optimiser, opt_level):
    calls.append(opt_level)
    return network, optimiser
class scale_loss:
    def __init__(self, loss, optimiser): self.loss = loss
    def __enter__(self): return self.loss
    def __exit__(self, *_): pass
def state_dict(): return {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 0}}
def load_state_dict(state): calls.append(state)
"""
NEW = """
import torch
class FusedSGD(torch.optim.SGD): pass
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    def package(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / "site" / "apex" / (name.replace("__", "/") if name != "init" else "")
            path.mkdir(parents=True, exist_ok=True)
            (path / "__init__.py").write_text(text)
        (tmp_path / "site" / "apex" / "__init__.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "apex"]:
        del sys.modules[name]


def test_without_apex_the_error_says_that_native_does_the_same():
    with pytest.raises(ModuleNotFoundError, match="NVIDIA apex is not installed; amp native-fp16 needs no"):
        Precision("apex", torch.device("cpu"))


def test_the_web_toolkit_of_that_name_is_recognised_without_importing_it(install):
    install(init="raise RuntimeError('imported')", web="")
    with pytest.raises(ModuleNotFoundError, match=r"is not NVIDIA's: PyPI's package of that name is a web toolkit"):
        apex_part()
    assert "apex" not in sys.modules


def test_an_old_build_trains_with_its_amp(install, polyp_folder):
    install(amp=OLD)
    train.train(small(polyp_folder, amp="apex"))
    import apex.amp

    assert apex.amp.calls == ["O1"]
    train.train(small(polyp_folder, amp="apex", epoch=2, resume=True, resume_changed=("epoch",)))
    assert apex.amp.calls[1:] == ["O1", {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 0}}]


def test_a_newer_build_gives_its_optimiser_and_autocast_is_native(install):
    install(optimizers=NEW)
    with pytest.raises(ValueError, match="float16 trains on CUDA only"):
        Precision("apex", torch.device("cpu"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's, where there is no CUDA
        precision = Precision("apex", torch.device("cuda"))
    assert precision.dtype == torch.float16
    weight = torch.nn.Parameter(torch.ones(2))
    optimiser = optim.apex_sgd([{"params": [weight]}], lr=0.1)
    assert type(optimiser).__name__ == "FusedSGD"


def test_the_fused_step_is_the_plain_step():
    ends = []
    for fused in (True, False):
        torch.manual_seed(0)
        layer = torch.nn.Linear(50, 7).double()
        groups = [{"params": list(layer.parameters())}]
        plain = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
        optimiser = optim.sgd(groups, 0.1, decay=0.01) if fused else plain
        for i in range(5):
            torch.manual_seed(i)
            optimiser.zero_grad()
            layer(torch.rand(4, 50, dtype=torch.float64)).square().sum().backward()
            optimiser.step()
        ends.append(layer.weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-12)


def test_averaged_weights_are_the_moving_average_of_the_steps(polyp_folder):
    train.train(small(polyp_folder, epoch=1, batch=6, ema=0.5, lr=0.01))
    saved = polyp_folder / "saved"
    ours = torch.load(saved / "model-1", weights_only=True)
    averaged = torch.load(saved / "model-1-ema", weights_only=True)
    assert ours.keys() == averaged.keys()
    # one step: the average starts at the first weights it sees
    assert torch.equal(ours["output1.0.weight"], averaged["output1.0.weight"])
    train.train(small(polyp_folder, epoch=2, batch=6, ema=0.5, lr=0.01, save_from=0.0))
    second = [torch.load(saved / name, weights_only=True)["output1.0.weight"] for name in ("model-2", "model-2-ema")]
    assert not torch.equal(*second)


MAKERS = {
    "fused": functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, fused=True),
    "plain": functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, foreach=False),
    "foreach": functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
    "ours": functools.partial(optim.sgd, lr=0.1),
    "adamw": functools.partial(optim.adamw, lr=0.1),
    "adagrad": functools.partial(torch.optim.Adagrad, lr=0.1, fused=True),
    "rmsprop": functools.partial(torch.optim.RMSprop, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize("resumed", [False, True], ids=["in_one_go", "resumed"])
def test_a_step_left_out_leaves_no_momentum_that_was_not_written(make, resumed, monkeypatch):
    """The second step, after a first whose gradients overflowed, is the first step of a run without one."""
    dirty = torch.empty_like

    def as_found(*arguments, **keywords) -> torch.Tensor:  # memory that held other numbers
        return dirty(*arguments, **keywords).fill_(1e18)

    monkeypatch.setattr(torch, "empty_like", as_found)
    ends = []
    for overflows in (True, False):
        torch.manual_seed(0)
        layer, precision = torch.nn.Linear(5, 3), Precision("off", torch.device("cpu"))
        optimiser = make([{"params": list(layer.parameters())}])
        precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
        if overflows:
            before = layer.weight.detach().clone()
            precision.backward(layer(torch.full((1, 5), 1e38)).sum(), optimiser)
            precision.step(optimiser, layer)
            assert torch.equal(layer.weight, before) and precision.scale == 2.0**15, "the step was left out"
        if resumed:
            state = optimiser.state_dict()
            optimiser = make([{"params": list(layer.parameters())}])
            optimiser.load_state_dict(state)
        for _ in range(3):
            precision.backward(layer(torch.ones(1, 5)).square().sum(), optimiser)
            precision.step(optimiser, layer)
        ends.append(layer.weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


def test_momentum_of_zeros_makes_the_first_step_that_none_makes():
    ends = []
    for fill in (True, False):
        torch.manual_seed(0)
        layer = torch.nn.Linear(50, 7)
        optimiser = optim.sgd([{"params": list(layer.parameters())}], lr=0.1, decay=0.01)
        if fill:
            write_momentum(optimiser)
        layer(torch.rand(4, 50)).square().sum().backward()
        optimiser.step()
        ends.append(layer.weight.detach())
    assert torch.equal(*ends)


def test_gradients_are_clipped_when_asked(polyp_folder):
    layer = torch.nn.Linear(2, 1)
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = [p.clone() for p in layer.parameters()]
    precision = Precision("off", torch.device("cpu"), grad_clip=0.1)
    precision.backward(1000 * layer(torch.ones(1, 2)).sum(), optimiser)
    precision.step(optimiser, layer)
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, layer.parameters(), strict=True)])
    assert moved.norm().item() == pytest.approx(0.1, rel=1e-4)


def test_float16_needs_cuda():
    with pytest.raises(ValueError, match="float16 trains on CUDA only"):
        Precision("native-fp16", torch.device("cpu"))
