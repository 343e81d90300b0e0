"""Optimisers and learning rates."""

import copy
import csv
import math

import pytest
import torch

import train
from configs import Config
from engine import optim
from engine.log import Log
from tests.helpers import losses, small


def rates(**fields) -> list[float]:
    """Of every step of a run with five steps an epoch."""
    cfg = Config(lr=0.1, **fields)
    return [optim.learning_rate(cfg, epoch, step, 5) for epoch in range(cfg.epoch) for step in range(5)]


@pytest.mark.parametrize("name", optim.SCHEDULES)
def test_a_schedule_is_a_part_of_lr_at_every_step_and_above_none(name):
    assert all(0 < rate <= 0.1 for rate in rates(schedule=name, schedule_by="step", epoch=4, warmup=1))
    assert all(0 < rate <= 0.1 for rate in rates(schedule=name, epoch=4))


@pytest.mark.parametrize("name", sorted(optim.OPTIMISERS.keys() - {"apex_sgd"}))
def test_an_optimiser_keeps_the_ratio_of_groups_and_goes_on_from_what_it_saved(name):
    def made(weights: list[torch.Tensor]) -> tuple[list[torch.nn.Parameter], torch.optim.Optimizer]:
        own = [torch.nn.Parameter(weight.clone()) for weight in weights]
        groups = [{"params": [weight], "ratio": ratio} for weight, ratio in zip(own, (0.1, 1.0), strict=True)]
        return own, optim.OPTIMISERS[name](groups, 0.1, 0.9, 1e-4, True)

    def stepped(weights: list[torch.nn.Parameter], optimiser: torch.optim.Optimizer, lr: float) -> None:
        optim.set_learning_rate(optimiser, lr)
        for weight in weights:
            weight.grad = torch.full_like(weight, 0.5)
        optimiser.step()

    weights, optimiser = made([torch.ones(3), torch.ones(3)])
    for lr in (0.1, 0.05):
        stepped(weights, optimiser, lr)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.005, 0.05])
    assert 1 - weights[0][0].item() == pytest.approx((1 - weights[1][0].item()) / 10, rel=0.01)
    again, other = made([weight.detach() for weight in weights])
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))  # else both would step in one memory
    for pair in ((weights, optimiser), (again, other)):
        stepped(*pair, 0.02)
    assert all(torch.equal(*both) for both in zip(weights, again, strict=True))


def test_poly_and_cosine_begin_at_lr_and_equal_pytorchs():
    weight = torch.nn.Parameter(torch.ones(1))
    for name, make in {
        "poly": lambda o: torch.optim.lr_scheduler.PolynomialLR(o, 20, 0.9),
        "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20),
    }.items():
        optimiser = torch.optim.SGD([weight], 0.1)
        theirs, expected = make(optimiser), []
        for _ in range(20):
            expected.append(theirs.get_last_lr()[0])
            optimiser.step()
            theirs.step()
        assert rates(schedule=name, schedule_by="step", epoch=4) == pytest.approx(expected)
        assert rates(schedule=name, epoch=20)[::5] == pytest.approx(expected)


def test_a_rate_by_epoch_changes_between_epochs_alone():
    found = rates(schedule="cosine", epoch=3)
    assert [len({*found[i : i + 5]}) for i in (0, 5, 10)] == [1, 1, 1] and len({*found}) == 3
    assert len({*rates(schedule="cosine", schedule_by="step", epoch=3)}) == 15


def test_a_rate_warms_up_in_a_line_to_where_its_schedule_begins():
    found = rates(schedule="cosine", schedule_by="step", epoch=4, warmup=2)
    assert found[:10] == pytest.approx([0.1 * (i + 1) / 10 for i in range(10)])
    assert found[10:] == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 10)) for i in range(10)])
    assert rates(schedule="constant", epoch=4, warmup=2.5)[::5] == pytest.approx([0.04, 0.08, 0.1, 0.1])
    with pytest.raises(ValueError, match=r"warmup is 4\.0; expected at least 0 and below epoch, 4"):
        Config(epoch=4, warmup=4)


def test_adamw_with_dice_trains_stops_and_goes_on_bit_for_bit(polyp_folder, tiny):
    recipe = {"optimiser": "adamw", "schedule": "cosine", "schedule_by": "step", "warmup": 0.5, "dice_factor": 1.0}
    fields = recipe | {"lr": 0.01, "batch": 2, "check_data": False, "lossnet_factor": 0.0}
    whole = torch.load(train.train(small(polyp_folder, epoch=3, **fields)), weights_only=True)
    curve = losses(polyp_folder)
    with open(polyp_folder / "saved" / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["step", "epoch", "lr", "total", "structure", "dice", "grad_norm"]
    for row in rows:
        assert float(row["total"]) == pytest.approx(float(row["structure"]) + float(row["dice"]), rel=1e-6)
    (polyp_folder / "saved").rename(polyp_folder / "first")
    with pytest.raises(SystemExit):
        train.train(small(polyp_folder, epoch=3, walltime=1e-9, **fields))
    with pytest.raises(ValueError, match="optimiser was 'adamw', is 'sgd'.*fit no other optimiser"):
        train.train(small(polyp_folder, epoch=3, resume=True, **fields | {"optimiser": "sgd"}))
    again = torch.load(train.train(small(polyp_folder, epoch=3, resume=True, **fields)), weights_only=True)
    assert losses(polyp_folder) == curve
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_a_log_keeps_the_losses_that_a_resumed_run_has_no_longer(tmp_path):
    before = Log(tmp_path / "log.csv")
    before.add(1, 0.1, dict.fromkeys(("total", "structure", "lossnet"), torch.tensor(2.0)), torch.tensor(1.0), ["a"])
    before.flush()
    before.close()
    for step in (1, 2):  # resumed twice
        log = Log(tmp_path / "log.csv", resume_after=step, losses=("total", "structure", "dice"))
        log.add(1, 0.1, dict.fromkeys(("total", "structure", "dice"), torch.tensor(3.0)), torch.tensor(1.0), ["a"])
        log.flush()
        log.close()
    assert (tmp_path / "log.csv").read_text().split() == [
        "step,epoch,lr,total,structure,dice,lossnet,grad_norm",
        "1,1,0.1,2.0,2.0,nan,2.0,1.0",
        "2,1,0.1,3.0,3.0,3.0,nan,1.0",
        "3,1,0.1,3.0,3.0,3.0,nan,1.0",
    ]
