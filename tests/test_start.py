"""Fine-tuning: a run that starts from a checkpoint, of another number of classes too."""

import json
import shutil

import pytest
import torch

import net
import train
from engine import checkpoint
from files import seen_by
from tests.helpers import losses, small

HEAD = ("output1.0.weight", "output1.0.bias")


def saved(path, *kind, **sizes) -> str:
    checkpoint.save(net.build(*kind, **sizes).state_dict(), path)
    return str(path)


def test_a_head_for_other_classes_begins_anew_and_all_else_is_the_files(tmp_path):
    file = saved(tmp_path / "model", "msnet", "tiny", 3)
    state = torch.load(file, weights_only=True)
    network = net.build("msnet", "tiny", 1)
    own = {key: network.state_dict()[key].clone() for key in HEAD}
    assert net.start(network, file) == f"starts from {file}, its head (output1) anew: 1 classes, 3 in the file"
    for key, value in network.state_dict().items():
        assert torch.equal(value, own[key] if key in HEAD else state[key]), key
    same = net.build("msnet", "tiny", 3)
    assert net.start(same, file) == f"starts from {file}"
    assert all(torch.equal(value, state[key]) for key, value in same.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (("m2snet", "tiny", 3), "it is a checkpoint of M2SNet; build that network"),
        (("msnet", "volume", 3), r"its backbone is volume; build that one \(--backbone volume\)"),
    ],
)
def test_a_start_of_another_network_or_backbone_is_refused_before_anything_is_written(polyp_folder, kind, message):
    file = saved(polyp_folder / "model", *kind)
    with pytest.raises(ValueError, match=message):
        train.train(small(polyp_folder, start=file, check_data=False))
    assert not (polyp_folder / "saved").exists()


def test_a_run_starts_where_a_checkpoint_is_and_goes_on_from_its_own_last(polyp_folder, capsys):
    """ImageNet's weights, which the defaults ask for, are not there and not needed."""
    first = small(polyp_folder, epoch=2)
    train.train(first)
    begin = losses(polyp_folder)[0]
    old = shutil.move(polyp_folder / "saved", polyp_folder / "old")
    capsys.readouterr()
    fields = {"backbone_weights": "imagenet", "start": f"{old}/model-2", "lr": 1e-6, "save_from": 0.0}
    train.train(small(polyp_folder, **fields))
    said = capsys.readouterr().out
    assert f"starts from {old}/model-2\n" in said and "RANDOM weights (backbone" not in said
    assert losses(polyp_folder)[0] < begin, "it knows already what it was taught"
    record = json.loads((polyp_folder / "saved" / "config.json").read_text())
    assert record["config"]["start"] == f"{old}/model-2"
    (old / "model-2").unlink()
    train.train(small(polyp_folder, **fields, epoch=2, resume=True, resume_changed=("epoch",)))
    assert "starts from" not in capsys.readouterr().out and len(losses(polyp_folder)) == 4
    with pytest.raises(ValueError, match=r"start was '.*old/model-2', is 'other'"):
        train.train(small(polyp_folder, **fields | {"start": "other"}, epoch=2, resume=True))


def test_what_a_start_has_seen_is_seen_by_the_run_and_warned_about_where_it_is_held_out(polyp_folder):
    train.train(small(polyp_folder, include="00[0-2]"))
    old = shutil.move(polyp_folder / "saved", polyp_folder / "old")
    fields = {"start": f"{old}/model-1", "valpath": str(polyp_folder / "val"), "include": ""}
    for part in ("image", "mask"):
        shutil.copytree(polyp_folder / "TrainDataset" / part, polyp_folder / "val" / part)
        for number in "012345":
            path = polyp_folder / ("TrainDataset" if number < "3" else "val") / part / f"00{number}.png"
            path.unlink()
    with pytest.warns(UserWarning, match=r"old/model-1 was trained on or chosen by 3 of the 3 images held out here"):
        train.train(small(polyp_folder, **fields | {"epoch": 1, "batch": 3}))
    shutil.rmtree(polyp_folder / "val")
    files = {path.stem: path for path in (polyp_folder / "TrainDataset" / "image").iterdir()}
    assert seen_by(polyp_folder / "saved" / "model-1", files) == list(files)


def test_a_snapshot_given_to_training_is_refused_with_the_field_that_was_meant(polyp_folder):
    words = ["--snapshot", "saved_model/a/model-50", "--savepath", str(polyp_folder / "saved")]
    with pytest.raises(ValueError, match="which prediction reads; --start saved_model/a/model-50 trains on from its"):
        train.main(words)
    assert not (polyp_folder / "saved").exists()


def test_a_start_in_the_runs_own_folder_is_refused_and_stays(polyp_folder):
    """It would be moved into before-1, and what it has seen with it."""
    (polyp_folder / "saved").mkdir()
    file = saved(polyp_folder / "saved" / "model-50", "msnet", "tiny")
    with pytest.raises(ValueError, match=r"start is '.*model-50', in .*saved, from where a new run moves"):
        train.train(small(polyp_folder, start=file))
    assert [path.name for path in (polyp_folder / "saved").iterdir()] == ["model-50"]


def test_the_originals_checkpoints_are_a_start(tmp_path):
    """Theirs has one class, and all keys that ours has, with `module.` before them."""
    state = net.build().state_dict()
    checkpoint.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "theirs.pth")
    network = net.build(classes=2)
    assert "anew: 2 classes, 1 in the file" in net.start(network, tmp_path / "theirs.pth")
    assert torch.equal(network.state_dict()["resnet.conv1.0.weight"], state["resnet.conv1.0.weight"])
