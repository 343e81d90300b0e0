"""What a checkpoint must hold: finite numbers, and all that a run needs to go on; what an earlier run left is kept."""

import math
import os

import pytest
import torch

import net
import train
import weights
from engine import checkpoint
from engine.log import Log
from engine.precision import Precision
from files import read_split
from tests.test_train import Tiny, losses, small


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
        checkpoint.set_aside(tmp_path)
        assert contents(tmp_path) == {"mine"}
    checkpoint.set_aside(tmp_path)
    for number in (1, 2, 3):
        files = [path for path in (tmp_path / f"before-{number}").rglob("*") if path.is_file()]
        assert {path.read_text() for path in files} == {f"run {number}"}
        assert len(files) == (2 if number == 3 else 6)
    first, _, third = capsys.readouterr().out.splitlines()
    assert first.endswith(
        "is now in before-1/ (last.pt, log.csv, config.json, split.json, tensorboard, model-1); "
        "--resume True would have gone on with it"
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
        checkpoint.set_aside(tmp_path)
    monkeypatch.setattr(os, "replace", real)
    (checkpoint.set_aside if then == "anew" else checkpoint.put_back)(tmp_path)
    home = tmp_path / "before-1" if then == "anew" else tmp_path
    assert len([path for path in home.rglob("*") if path.is_file()]) == 6
    assert not (tmp_path / checkpoint.HALF).exists()


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


# ------------------------------------------------------------------------------------------------------------ log


def row(step: int, total: str = "0.5") -> bytes:
    return f"{step},1,0.05,{total},0.5,0.0,1.0\r\n".encode()


HEAD = b"step,epoch,lr,total,structure,lossnet,grad_norm\r\n"


@pytest.mark.parametrize(
    ("content", "steps", "said"),
    [
        (HEAD + row(1) + row(2) + row(3) + row(4), [1, 2, 3], ""),
        (None, [], "has 0 of the 3 steps so far. The run itself"),
        (HEAD + row(1) + row(2, "0.4.4") + row(3), [1, 3], "has 2 of the 3 steps so far; dropped 1 lines"),
        (HEAD + row(1) + row(2) + row(3)[:-4], [1, 2], "has 2 of the 3 steps so far; dropped 1 lines"),
        (HEAD + row(1) + b"\xff\xfe\x00,1\r\n\xc3" + row(2) + row(3), [1, 3], "dropped 2 lines"),
        (row(0) + row(1) + b"\x00" * 9 + b"\r\n" + row(2) + row(2, "9") + row(3), [1, 2, 3], "dropped 3 lines"),
        ("²".encode() + row(1)[1:] + row(2) + b'"3,' * 100_000, [2], "has 1 of the 3"),
    ],
    ids=["whole", "missing", "torn number", "torn end", "no text", "wrong rows", "quotes"],
)
def test_a_damaged_log_is_mended_said_and_in_nobodys_way(tmp_path, capsys, content, steps, said):
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_bytes(content)
    log = Log(path, resume_after=3, sums={1: (1.5, 3)})
    out = capsys.readouterr().out
    assert said in out and bool(out) is bool(said)
    log.add(1, 0.05, [torch.tensor(2.5)] * 3, torch.tensor(1.0), ["a"])
    log.flush()
    log.close()
    assert [int(line.split(",")[0]) for line in path.read_text().splitlines()[1:]] == [*steps, 4]
    assert log.mean(1) == 1.0, "of all steps, whatever became of their rows"


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
