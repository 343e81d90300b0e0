"""What a checkpoint must hold: finite numbers, and all that a run needs to go on; what an earlier run left is kept."""

import math

import pytest
import torch

import net
import train
import weights
from engine import checkpoint
from engine.log import Log
from engine.precision import Precision
from tests.test_train import Tiny, small


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(net, "build", lambda network, backbone, classes, pretrained=False: Tiny(classes))


@pytest.fixture
def saved(polyp_folder):
    return polyp_folder / "saved"


# ------------------------------------------------------------------------------------------------- finite numbers


@pytest.mark.parametrize(("spoilt", "value"), [("head.0.weight", math.nan), ("resnet.1.running_var", math.inf)])
def test_numbers_that_are_not_finite_end_a_run(polyp_folder, saved, tiny, monkeypatch, spoilt, value):
    train.train(small(polyp_folder, epoch=2))
    before = {name: (saved / name).read_bytes() for name in ("last.pt", "model-2")}

    class Spoiling(Precision):
        def step(self, loss, optimiser, network):
            norm = super().step(loss, optimiser, network)
            network.state_dict()[spoilt][-1:] = value
            return norm

    monkeypatch.setattr(train, "Precision", Spoiling)
    for fields in ({"save_every": 1}, {"batch": 6, "resume_changed": ("epoch", "batch")}):
        fields = {"resume_changed": ("epoch",)} | fields
        with pytest.raises(FloatingPointError, match=rf"{spoilt} is not finite after step .*grad_clip.*intact"):
            train.train(small(polyp_folder, epoch=3, resume=True, **fields))
        assert before == {name: (saved / name).read_bytes() for name in before}
        assert not (saved / "model-3").exists()


def test_momentum_and_averages_count_and_large_but_finite_numbers_do_not():
    large = torch.full((1000,), 3e38)
    assert checkpoint.not_finite({"network": {"w": large, "count": torch.tensor(3)}, "none": torch.zeros(0)}) == ""
    state = {"network": {"w": large}, "optimiser": {"state": {0: {"momentum_buffer": large * 2}}}}
    assert checkpoint.not_finite(state) == "optimiser.state.0.momentum_buffer"


@pytest.mark.parametrize("skips", [False, True])
def test_a_gradient_that_is_not_finite_names_its_images_unless_its_step_was_left_out(tmp_path, skips):
    log = Log(tmp_path / "log.csv", skips=skips)
    for norm, name in ((1.0, "a"), (math.inf, "b")):
        log.add(1, 0.1, [torch.tensor(0.5)] * 3, torch.tensor(norm), [name])
    if skips:
        log.flush()
    else:
        with pytest.raises(FloatingPointError, match=r"the gradient's norm is inf at step 2, epoch 1 .* on b;"):
            log.flush()
    log.close()
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


def test_a_snapshot_that_is_not_finite_is_refused_by_name(tmp_path):
    state = Tiny().state_dict()
    state["resnet.1.running_var"][2:5] = math.inf
    checkpoint.save(state, tmp_path / "model-1")
    with pytest.raises(ValueError, match=r"model-1: resnet\.1\.running_var is not finite: 3 of 8 values are NaN"):
        weights.load(tmp_path / "model-1")
