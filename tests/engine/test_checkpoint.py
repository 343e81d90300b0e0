"""What a checkpoint must hold: finite numbers, and all that a run needs to go on; what an earlier run left is kept."""

import math
import os
import random

import pytest
import torch

import net
import train
import weights
from engine import checkpoint, earlier
from engine.log import Log
from engine.precision import Precision
from files import read_split
from tests.helpers import Tiny, all_losses, losses, small


@pytest.fixture
def saved(polyp_folder):
    return polyp_folder / "saved"


# ------------------------------------------------------------------------------------------------- finite numbers


@pytest.mark.parametrize(("spoilt", "value"), [("head.0.weight", math.nan), ("resnet.1.running_var", math.inf)])
def test_numbers_that_are_not_finite_end_a_run(polyp_folder, saved, tiny, monkeypatch, spoilt, value):
    train.train(small(polyp_folder, epoch=2))
    before = {name: (saved / name).read_bytes() for name in ("last.pt", "model-2")}

    class Spoiling(Precision):
        def step(self, optimiser, network):
            norm = super().step(optimiser, network)
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
        log.add(1, 0.1, all_losses(0.5), torch.tensor(norm), [name])
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


# ------------------------------------------------------------------------------------------------- earlier runs


def write_run(folder, content: str, names=("last.pt", "log.csv", "config.json", "split.json", "model-1")) -> None:
    (folder / "tensorboard").mkdir(parents=True)
    for name in (*names, "tensorboard/events"):
        (folder / name).write_text(content)


def contents(folder) -> set[str]:
    return {path.read_text() for path in folder.rglob("*") if path.is_file() and "before-" not in str(path)}


def test_every_earlier_run_stays_whole_in_a_folder_of_its_own(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    for number in (1, 2, 3):
        write_run(tmp_path, f"run {number}", *([("config.json",)] if number == 3 else []))
        earlier.set_aside(tmp_path)
        assert contents(tmp_path) == {"mine"}
    earlier.set_aside(tmp_path)
    for number in (1, 2, 3):
        files = [path for path in (tmp_path / f"before-{number}").rglob("*") if path.is_file()]
        assert {path.read_text() for path in files} == {f"run {number}"}
        assert len(files) == (2 if number == 3 else 6)
    first, _, third = capsys.readouterr().out.splitlines()
    assert first.endswith(
        "is now in before-1/ (last.pt, log.csv, config.json, split.json, tensorboard, model-1); "
        "--resume would have gone on with it"
    )
    assert third.endswith("(config.json, tensorboard); it had saved nothing to resume from; before-2 has")


@pytest.mark.parametrize("moved", range(6))
@pytest.mark.parametrize("then", ["anew", "resumed"])
def test_a_kill_while_a_run_is_set_aside_neither_loses_nor_parts_it(tmp_path, monkeypatch, moved, then):
    write_run(tmp_path, "run 1")
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(source)
        if len(calls) > moved:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        earlier.set_aside(tmp_path)
    monkeypatch.setattr(os, "replace", real)
    (earlier.set_aside if then == "anew" else earlier.put_back)(tmp_path)
    home = tmp_path / "before-1" if then == "anew" else tmp_path
    assert len([path for path in home.rglob("*") if path.is_file()]) == 6
    assert not (tmp_path / earlier.HALF).exists()


def test_a_new_run_in_an_old_folder_leaves_the_old_one_ready_to_go_on(polyp_folder, saved, tiny, capsys):
    train.train(small(polyp_folder, epoch=2, seed=1, val_fraction=0.5))
    train.train(small(polyp_folder, seed=2))
    assert "is now in before-1/ (last.pt, log.csv" in capsys.readouterr().out
    assert sorted(path.name for path in saved.glob("model-*")) == ["model-1"]
    parts = [read_split(folder / "split.json") for folder in (saved, saved / "before-1")]
    assert [len(part["train"]) for part in parts] == [6, 3]
    again = {"savepath": str(saved / "before-1"), "resume": True, "resume_changed": ("epoch",)}
    train.train(small(polyp_folder, epoch=3, seed=1, val_fraction=0.5, **again))
    assert (saved / "before-1" / "model-3").exists()


def test_last_alone_is_enough_to_go_on(polyp_folder, saved, tiny, capsys):
    cfg = {"batch": 2, "epoch": 1, "save_every": 1}
    train.train(small(polyp_folder, **cfg))
    whole = capsys.readouterr().out.split("loss=")[1].split()[0]
    with pytest.raises(SystemExit):
        train.train(small(polyp_folder, walltime=1e-9, **cfg))
    (saved / "log.csv").unlink()
    train.train(small(polyp_folder, resume=True, **cfg))
    assert f"loss={whole}" in capsys.readouterr().out
    assert len(losses(polyp_folder)) == 2


# --------------------------------------------------------------------------------------------------------- resume


@pytest.fixture
def stopped(polyp_folder, saved, tiny):
    """Makes a run of two epochs of three steps that stopped after its first step; what it left of a network."""

    def stop(**fields) -> dict:
        with pytest.raises(SystemExit):
            train.train(small(polyp_folder, **{"epoch": 2, "batch": 2, "walltime": 1e-9} | fields))
        return checkpoint.load(saved / "last.pt")

    return stop


def resumed(folder, *changed: str, **fields):
    return train.train(small(folder, **{"epoch": 2, "batch": 2, "resume": True, "resume_changed": changed} | fields))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda run: run["network"], "holds weights alone, as model-<epoch> does"),
        (lambda run: [1, 2], "holds a list, not what a run left"),
        (lambda run: {}, "network, optimiser, .* best missing or of another type"),
        (lambda run: {key: run[key] for key in run if key != "optimiser"}, "go on from: optimiser missing"),
        (lambda run: run | {"config": ["lr"]}, "go on from: config missing or of another type"),
        (lambda run: run | {"random": {}}, "holds random states that cannot be set"),
        (lambda run: run | {"network": {"head.0.bias": torch.zeros(1)}}, r"not fit the network .*Missing key.*resnet"),
        (lambda run: run | {"optimiser": {}}, "does not fit the optimiser of this run"),
        (lambda run: run | {"network": {"head.0.bias": torch.tensor([math.nan])}}, "network.head.0.bias is not finite"),
    ],
)
def test_what_is_no_last_pt_is_refused_in_words(polyp_folder, saved, stopped, content, said):
    checkpoint.save(content(stopped()), saved / "last.pt")
    before = sorted((path.name, path.read_bytes()) for path in saved.glob("*.*"))
    with pytest.raises(ValueError, match=rf"last\.pt.*{said}"):
        resumed(polyp_folder)
    assert before == sorted((path.name, path.read_bytes()) for path in saved.glob("*.*"))


def test_a_last_pt_made_to_fill_the_memory_is_not_opened(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "last.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 24))
    with pytest.raises(ValueError, match=r"last\.pt cannot be read.*: its \d+ bytes declare 16 MiB of content"):
        checkpoint.load(tmp_path / "last.pt")


def test_a_field_that_the_run_lacks_held_its_default(polyp_folder, saved, stopped):
    old = stopped()
    for name in ("observer", "scales", "test_mean", "grad_clip", "ema"):
        del old["config"][name]
    del old["defaults"], old["losses"]
    checkpoint.save(old, saved / "last.pt")
    with pytest.raises(ValueError, match=r"grad_clip was 0\.0, is 1\.0\. Set them back, or name"):
        resumed(polyp_folder, grad_clip=1.0)
    resumed(polyp_folder, "scales")
    assert len(losses(polyp_folder)) == 6


def test_a_field_that_has_gone_is_no_matter_if_it_held_its_default(polyp_folder, saved, stopped, capsys):
    old = stopped()
    old["config"] |= {"swirl": 0.5}
    for defaults in ({}, {"swirl": 0.1}):
        checkpoint.save(old | {"defaults": old["defaults"] | defaults}, saved / "last.pt")
        with pytest.raises(ValueError, match=r"swirl was 0\.5 .* no such field; go on with the code that began it"):
            resumed(polyp_folder)
    checkpoint.save(old | {"defaults": old["defaults"] | {"swirl": 0.5}}, saved / "last.pt")
    resumed(polyp_folder)
    assert "NOTE: the run has the field swirl, which this code no longer has" in capsys.readouterr().out


@pytest.mark.parametrize("changed", [{"network": "m2snet"}, {"classes": 2, "label_values": (0, 255)}])
def test_another_network_is_refused_even_where_it_is_named(polyp_folder, stopped, changed):
    stopped()
    name = next(iter(changed))
    with pytest.raises(ValueError, match=rf"{name} was .*start anew: the weights of a run fit no other {name}"):
        resumed(polyp_folder, *changed, **changed)


def test_averages_may_begin_and_end_on_a_resume(polyp_folder, saved, stopped, capsys):
    stopped()
    resumed(polyp_folder, "ema", ema=0.9, walltime=0.0)
    assert "NOTE: averages of the weights begin here" in capsys.readouterr().out
    assert (saved / "model-2-ema").exists()
    resumed(polyp_folder, "ema", "epoch", epoch=3)
    assert "NOTE: ema is 0 now; the averages of the weights so far are dropped" in capsys.readouterr().out
    assert "ema" not in checkpoint.load(saved / "last.pt")
    with pytest.raises(ValueError, match="has 3 epochs behind it and epoch is 2; give at least as many"):
        resumed(polyp_folder, "epoch")


def test_a_changed_batch_begins_its_epoch_anew(polyp_folder, stopped, capsys):
    stopped()
    resumed(polyp_folder, "batch", batch=3)
    assert "NOTE: batch or seed has changed within epoch 1, which begins anew" in capsys.readouterr().out
    assert len(losses(polyp_folder)) == 1 + 2 + 2


def test_a_changed_optimiser_setting_is_the_one_that_trains(polyp_folder, saved, stopped):
    stopped()
    resumed(polyp_folder, "momen", "decay", "backbone_lr_ratio", momen=0.5, decay=0.0, backbone_lr_ratio=0.1)
    backbone, rest = checkpoint.load(saved / "last.pt")["optimiser"]["param_groups"]
    assert (backbone["ratio"], rest["ratio"], rest["momentum"], rest["weight_decay"]) == (0.1, 1.0, 0.5, 0.0)


@pytest.mark.parametrize("workers", [0, 1])
def test_random_numbers_of_the_network_go_on_where_they_were(polyp_folder, saved, stopped, monkeypatch, workers):
    """Dropout draws from torch's generator, as does whatever else starts with a run."""

    class Dropping(Tiny):
        def __init__(self):
            super().__init__()
            self.head.insert(0, torch.nn.Dropout(0.5))

    monkeypatch.setattr(net, "build", lambda *_, **__: Dropping())
    fields = {"val_fraction": 0.34, "epoch": 2, "batch": 2, "workers": workers}
    train.train(small(polyp_folder, **fields))
    curve, end = losses(polyp_folder), checkpoint.load(saved / "last.pt")["random"]
    stopped(**fields)
    resumed(polyp_folder, **fields)
    assert losses(polyp_folder) == curve
    ours = checkpoint.load(saved / "last.pt")["random"]
    assert torch.equal(ours["torch"], end["torch"]) and ours["python"] == end["python"]


def test_random_states_survive_a_file(tmp_path):
    checkpoint.save(checkpoint.random_states(), tmp_path / "states")
    first = (random.random(), torch.rand(3))
    checkpoint.restore_random_states(checkpoint.load(tmp_path / "states"))
    assert random.random() == first[0]
    assert torch.equal(torch.rand(3), first[1])
