"""Training runs: schedule, groups, checkpoints, repeatability, and refusals that leave nothing behind."""

import csv
import dataclasses
import functools
import json
import os
import re
import sys
import weakref

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import net
import train
from configs import ORIGINAL, Config, mixes, notes
from engine import checkpoint, distributed, optim
from files import find_pairs, splits
from net.backbones.res2net import Bottle2neck
from tests.helpers import losses, small


def test_lr_peaks_mid_run_at_the_configs_lr():
    cfg = Config(epoch=49, lr=0.05)
    rates = [optim.learning_rate(cfg, epoch) for epoch in range(49)]
    assert max(rates) == rates[24] == pytest.approx(0.05)
    assert rates[0] == rates[-1] == pytest.approx(0.05 / 25)


def test_the_backbone_is_a_group_of_its_own_at_its_own_ratio():
    network = net.build()
    optimiser = optim.sgd(optim.groups_of(network, 0.1), 0.05, 0.9, 5e-4, True)
    optim.set_learning_rate(optimiser, 0.05)
    backbone, rest = optimiser.param_groups
    assert (backbone["lr"], rest["lr"]) == (pytest.approx(0.005), 0.05)
    assert len(backbone["params"]) + len(rest["params"]) == 353
    assert {id(p) for p in backbone["params"]} == {id(p) for p in network.resnet.parameters()}
    assert (rest["momentum"], rest["weight_decay"], rest["nesterov"]) == (0.9, 5e-4, True)


@pytest.mark.usefixtures("short_sighted")
def test_a_run_keeps_the_epochs_past_two_thirds_and_the_last(polyp_folder, capsys):
    train.train(small(polyp_folder, epoch=4, lossnet_factor=0.1))
    saved = polyp_folder / "saved"
    assert sorted(path.name for path in saved.iterdir()) == [
        "config.json",
        "last.pt",
        "log.csv",
        "model-4",
        "model_card.md",
        "packages.txt",
        "split.json",
        "tensorboard",
    ]
    net.load(net.build(backbone="tiny"), saved / "model-4")
    record = json.loads((saved / "config.json").read_text())
    assert record["config"]["epoch"] == 4
    assert record["packages"]["torch"] == torch.__version__.split("+")[0]
    out = capsys.readouterr().out
    assert "RANDOM" in out, "random weights are said loudly"
    assert "step:2/1/4 | lr=0.020000 | loss=" in out
    with open(saved / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    board = EventAccumulator(str(saved / "tensorboard")).Reload()
    for name in ("lr", "total", "structure", "lossnet"):
        curve = [event.value for event in board.Scalars(f"train/{name}")]
        assert curve == pytest.approx([float(row[name]) for row in rows], rel=1e-6)
    assert all(float(row["grad_norm"]) > 0 for row in rows)
    (picture, *_) = board.Images("train/image | mask | map")
    assert (picture.width, picture.height) == (3 * 64, 3 * 64), "image, mask and map of three images"
    assert f"torch=={torch.__version__.split('+')[0]}" in (saved / "packages.txt").read_text()
    for row in rows:
        assert float(row["total"]) == pytest.approx(float(row["structure"]) + 0.1 * float(row["lossnet"]), rel=1e-5)


@pytest.mark.parametrize(("epochs", "kept"), [(50, range(35, 51)), (1, [1]), (3, [3])])
def test_kept_epochs_are_the_originals(epochs, kept):
    assert [e + 1 for e in range(epochs) if train.keeps(Config(epoch=epochs), e)] == list(kept)


def test_equal_seeds_give_equal_losses_and_others_do_not(polyp_folder):
    runs = []
    for seed in (1, 1, 2):
        train.train(small(polyp_folder, epoch=2, seed=seed))
        runs.append(losses(polyp_folder))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_small_batch_can_be_overfitted(polyp_folder):
    train.train(small(polyp_folder, epoch=16, batch=6, rotate=0.0, flip=0.0))
    values = losses(polyp_folder)
    assert min(values[-3:]) < 0.6 * values[0]


def test_bfloat16_starts_close_to_float32(polyp_folder):
    first = {}
    for amp in ("off", "native-bf16"):
        train.train(small(polyp_folder, network="m2snet", amp=amp, batch=6))
        first[amp] = losses(polyp_folder)[0]
    assert first["off"] != first["native-bf16"]
    assert first["off"] == pytest.approx(first["native-bf16"], rel=0.02)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_files(polyp_folder):
    with pytest.raises(FloatingPointError, match=r"loss is nan at step \d.* on 00"):
        train.train(small(polyp_folder, epoch=30, lr=1e30))
    assert not (polyp_folder / "saved" / "model-30").exists()


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"datapath": "absent"}, FileNotFoundError, "no folder absent"),
        ({"device": "cuda:7"}, ValueError, "sees no CUDA device"),
        ({"device": "junk"}, ValueError, "device is 'junk'; expected auto, cpu"),
        ({"amp": "native-fp16"}, ValueError, "use native-bf16 or off"),
        ({"backbone": "res2net5"}, ValueError, "did you mean 'res2net50'"),
        ({"backbone_weights": "absent.pth"}, FileNotFoundError, r"absent\.pth"),
        ({"lossnet_weights": "absent.pth", "lossnet_factor": 0.1}, FileNotFoundError, r"absent\.pth"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(polyp_folder, fields, error, message):
    if torch.cuda.is_available() and "cuda" in str(fields):
        pytest.skip("this machine has CUDA")
    with pytest.raises(error, match=message):
        train.train(small(polyp_folder, **fields))
    assert not (polyp_folder / "saved").exists()


def test_missing_imagenet_weights_say_file_address_and_fix(polyp_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("MSNET_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"(?s)res2net50_v1b_26w_4s-3cf99910\.pth.*python -m weights res2net50"):
        train.train(small(polyp_folder, backbone="res2net50", backbone_weights="imagenet"))
    assert not (polyp_folder / "saved").exists()


def test_a_corrupt_training_image_is_found_before_the_first_step(polyp_folder):
    path = polyp_folder / "TrainDataset" / "image" / "003.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"003\.png cannot be decoded"):
        train.train(small(polyp_folder))
    assert not (polyp_folder / "saved").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_training(polyp_folder):
    (polyp_folder / "saved").write_text("a file in the way")
    with pytest.raises(PermissionError, match="cannot write into .*saved"):
        train.train(small(polyp_folder))


def test_no_predictor_outlives_its_validation(polyp_folder, monkeypatch):
    made, alive = [], []
    predictor_of, learning_rate = train.predictor_of, optim.learning_rate

    def kept(*given):
        predictor = predictor_of(*given)
        made.append(weakref.ref(predictor))
        return predictor

    def asked(*given):
        alive.extend(ref for ref in made if ref())
        return learning_rate(*given)

    monkeypatch.setattr(train, "predictor_of", kept)
    monkeypatch.setattr(optim, "learning_rate", asked)
    monkeypatch.setattr(train, "validate", lambda *_: 0.5)
    train.train(small(polyp_folder, epoch=2, val_fraction=0.4))
    assert len(made) == 2 and not alive


def test_a_machine_without_tensorboard_is_found_before_an_earlier_run_is_moved(polyp_folder, monkeypatch):
    saved = polyp_folder / "saved"
    saved.mkdir()
    (saved / "last.pt").write_bytes(b"an earlier run")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError):
        train.train(small(polyp_folder))
    assert [path.name for path in saved.iterdir()] == ["last.pt"]


def test_an_unknown_field_in_a_command_after_the_run_is_found_before_it(polyp_folder):
    words = ["--after", "print.py {nothing}", "--datapath", str(polyp_folder / "TrainDataset")]
    with pytest.raises(ValueError, match=r"'nothing' is no field of Config; write \{savepath\}"):
        train.main([*words, "--savepath", str(polyp_folder / "saved")])
    assert not (polyp_folder / "saved").exists()


def test_a_worker_that_dies_and_a_file_that_vanishes_are_named(polyp_folder, monkeypatch):
    import dataset

    victim = polyp_folder / "TrainDataset" / "image" / "004.png"
    real = dataset.read_image
    monkeypatch.setattr(dataset, "read_image", lambda path: os._exit(9) if path == victim else real(path))
    with pytest.raises(ChildProcessError, match=r"worker.*exited unexpectedly\. A killed one lacked memory"):
        train.train(small(polyp_folder, workers=1))
    monkeypatch.setattr(dataset, "read_image", real)
    cfg = small(polyp_folder, workers=1, check_data=False)
    pairs = find_pairs(cfg.datapath)
    monkeypatch.setattr(splits, "pairs_of", lambda *_: pairs)
    victim.unlink()
    with pytest.raises(FileNotFoundError, match=r"004\.png has vanished"):
        train.train(cfg)


class Shallow(net.Backbone):
    """A block of each kind of Res2Net, and maps of two sizes: a resize of unknown sides takes long to trace."""

    channels, smallest = dict.fromkeys(range(1, 6), 64), (64, 64)
    strides = dict.fromkeys(range(1, 5), (8, 8)) | {5: (16, 16)}

    def __init__(self) -> None:
        super().__init__()
        first = Bottle2neck(8, 16, stride=2, first=True)
        self.blocks = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), first, Bottle2neck(64, 16))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)

    def features(self, image: torch.Tensor) -> dict[int, torch.Tensor]:
        level = self.blocks(image)
        return dict.fromkeys(range(1, 5), level) | {5: self.pool(level)}


@pytest.mark.slow
def test_a_compiled_network_trains_at_several_sides_to_the_same_losses(polyp_folder, monkeypatch):
    """The graph is traced and differentiated as for the compiler; turning it into machine code would take minutes.

    So would tracing every layer of the backbone: here is every kind of operation that MSNet has.
    """
    monkeypatch.setattr(net, "build", lambda *_, **__: net.MSNet(Shallow(), width=8))
    whole = functools.partial(torch.compile, backend="aot_eager", fullgraph=True)  # raises where a graph would break
    monkeypatch.setattr(torch, "compile", whole)
    # a number such as BatchNorm's momentum is taken for a variable first, and for that all is traced a second time
    found = []
    with torch._dynamo.config.patch(specialize_float=True):
        for compiled in (False, True):
            train.train(small(polyp_folder, compile=compiled, scales=(64, 96), batch=2, lr=1e-4, seed=1))
            found.append(losses(polyp_folder))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    assert found[1] == pytest.approx(found[0], rel=0.03), "rounding grows from step to step"


# ------------------------------------------------------------------------------------- what a run says and leaves


def test_a_mix_of_sizes_or_of_statistics_is_said_and_the_originals_is_none():
    assert not list(mixes(Config()))
    assert not list(mixes(Config(size=192, train_mean=(51, 102, 153))))
    lite = Config(backbone="tf_efficientnet_lite0")
    assert (lite.train_mean, lite.train_std, lite.test_mean) == ((127.5,) * 3, (127.5,) * 3, (0.5,) * 3)
    assert not list(mixes(lite))
    (note,) = mixes(dataclasses.replace(lite, train_mean=ORIGINAL[0], test_mean=()))
    assert re.match("train_mean is .* where the weights of tf_efficientnet_lite0 expect 127.5,127.5,127.5; leave", note)
    (note,) = mixes(Config(size=192, scales=(64, 96)))
    assert re.match(r"trains at 64, 96 \(scales\) but validates and predicts at 192 \(size\); leave out scales", note)
    (note,) = mixes(Config(train_mean=(51, 102, 153), test_mean=(0.5, 0.5, 0.5)))
    assert note.startswith("test_mean is (0.5, 0.5, 0.5), where training has 0.2,0.4,0.6 on 0..1")


def test_a_warm_up_that_no_epoch_is_part_of_is_said():
    settings = ((1, "epoch"), (2, "epoch"), (1, "step"))
    said = [list(notes(Config(warmup=warmup, schedule_by=by), 100)) for warmup, by in settings]
    assert [len(found) for found in said] == [1, 0, 0]
    assert said[0][0].startswith("NOTE: warmup is 1 epochs, in which a rate that changes by epoch does not grow; --sch")


def test_a_rate_of_sgd_given_to_adamw_is_said():
    said = [
        [*notes(Config(optimiser=name, lr=lr), 100)] for name, lr in (("adamw", 0.05), ("adamw", 5e-4), ("sgd", 0.05))
    ]
    assert [len(found) for found in said] == [1, 0, 0]
    assert said[0][0].startswith("NOTE: lr is 0.05 and optimiser is adamw, which usually takes 1e-4 to 5e-4")


def test_averages_that_a_run_is_too_short_for_are_said():
    said = [[*notes(Config(ema=ema, epoch=20, batch=8), images)] for ema, images in ((0.99, 30), (0.99, 200), (0, 30))]
    assert [len(found) for found in said] == [1, 0, 0]
    assert said[0][0].startswith("NOTE: ema is 0.99 and the run has 80 steps, so 45% of the averaged weights are those")
    assert said[0][0].endswith("--ema 0, or at most 0.96") and 0.96**80 < 0.05


def test_a_transformer_that_sgd_is_to_train_is_told_by_its_layers(tmp_path):
    said: list[str] = []
    alone = distributed.Team(0, 1, torch.device("cpu"))
    for backbone, optimiser in (("test_convnext", "sgd"), ("test_convnext", "adamw"), ("test_resnet", "sgd")):
        train.build_network(small(tmp_path, backbone=backbone, optimiser=optimiser), alone, said.append)
    (note,) = said
    assert note.startswith("NOTE: backbone test_convnext is normalised by LayerNorm") and "--optimiser adamw" in note


def test_a_run_begun_under_older_rules_goes_on_as_it_began(polyp_folder, tiny, capsys):
    """A last.pt of before scales followed the size, and before test statistics followed those of training."""
    old = {"size": 96, "train_mean": (51.0, 102.0, 153.0), "epoch": 2, "ema": 0.5}
    kept = {"scales": (224, 256, 288, 320, 352), "test_mean": Config().test_mean, "test_std": Config().test_std}
    train.train(small(polyp_folder, **old | kept))
    last, saved = polyp_folder / "saved" / "last.pt", polyp_folder / "saved"
    state = checkpoint.load(last)
    state["config"]["size"] = (96, 96)  # one size in two forms
    checkpoint.save(state, last)
    (saved / "model-best-ema").write_text("what older code scored")
    capsys.readouterr()
    now = old | {"scales": (), "epoch": 3, "resume": True}
    train.train(small(polyp_folder, **now, resume_changed=("epoch",)))
    said = capsys.readouterr().out
    assert "NOTE: scales stays (224, 256, 288, 320, 352), as the run began" in said
    assert "NOTE: trains at 224, 256" in said and len(losses(polyp_folder)) == 6
    assert checkpoint.load(last)["config"]["test_mean"] == kept["test_mean"]
    assert (saved / "model-best").read_text() == "what older code scored"
    with pytest.raises(ValueError, match=r"scales was \(224, .*352\), is \(64,\)"):
        train.train(small(polyp_folder, **now | {"scales": (64,)}))
