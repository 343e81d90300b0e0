"""Checkpoints written behind a run: what was then, in order, and no failure unheard."""

import threading

import pytest
import torch
from torch import nn

from engine import behind, checkpoint
from engine.behind import Writer


@pytest.fixture
def held(monkeypatch):
    """A disk that takes nothing until it is told to."""
    go = threading.Event()

    def save(content, path, whole=checkpoint.save):
        assert go.wait(10)
        whole(content, path)

    monkeypatch.setattr(behind.checkpoint, "save", save)
    return go


def test_what_is_written_behind_is_what_was_there_when_it_was_saved(held, tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.ones(2, 3, 4, 4)).sum().backward()
    optimiser.step()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    momentum = optimiser.state[network[0].weight]["momentum_buffer"].clone()
    with Writer(behind=True) as writer:
        content = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "epoch": 1}
        writer.save(content, tmp_path / "last.pt")
        with torch.no_grad():
            for value in (*network.state_dict().values(), optimiser.state[network[0].weight]["momentum_buffer"]):
                value.fill_(7)
        assert not (tmp_path / "last.pt").exists()
        held.set()
    found = checkpoint.load(tmp_path / "last.pt")
    torch.testing.assert_close(dict(found["network"]), before, rtol=0, atol=0)
    torch.testing.assert_close(found["optimiser"]["state"][0]["momentum_buffer"], momentum, rtol=0, atol=0)
    assert found["epoch"] == 1 and found["network"]._metadata == network.state_dict()._metadata
    assert found["network"]["0.weight"].stride() == network[0].weight.stride()


def test_files_written_behind_are_written_in_order_and_waited_for(held, tmp_path):
    with Writer(behind=True) as writer:
        for i in range(5):
            writer.save({"i": i}, tmp_path / "last.pt")
        held.set()
        writer.wait()
        assert checkpoint.load(tmp_path / "last.pt") == {"i": 4}


def test_a_file_that_cannot_be_written_behind_is_heard_of_by_waiting_or_by_leaving(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with Writer(behind=True) as writer:
        writer.save({}, tmp_path / "file" / "last.pt")
        with pytest.raises(OSError, match="last.pt"):
            writer.wait()
    writer = Writer(behind=True)
    writer.save({}, tmp_path / "file" / "last.pt")
    with pytest.raises(OSError, match="last.pt"):
        writer.__exit__(None, None, None)


def test_what_a_run_ended_by_is_what_it_says(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    writer = Writer(behind=True)
    writer.save({}, tmp_path / "file" / "last.pt")
    writer.__exit__(FloatingPointError, FloatingPointError("loss is nan"), None)
    said = capsys.readouterr().out
    assert said.startswith(f"NOTE: could not write {tmp_path / 'file' / 'last.pt'} after 0 MiB (Not a directory); ")


def test_where_nothing_waits_for_a_disk_it_is_written_at_once(tmp_path):
    with Writer(behind=False) as writer:
        writer.save({"a": torch.ones(2)}, tmp_path / "last.pt")
        assert checkpoint.load(tmp_path / "last.pt")["a"].sum() == 2


@pytest.mark.gpu
def test_a_copy_of_what_lies_on_a_gpu_is_whole_when_it_is_made():
    scale = torch.tensor(3.0, device="cuda")
    weight = torch.randn(8, 3, 3, 3, device="cuda").to(memory_format=torch.channels_last)
    for _ in range(3):  # the later ones into memory that the earlier ones have left
        expected = weight.cpu()
        found = behind.copied({"weight": weight, "inside": (scale, [weight[:2]])})
        weight.fill_(7)
        torch.testing.assert_close(found["weight"], expected, rtol=0, atol=0)
        torch.testing.assert_close(found["inside"], (torch.tensor(3.0), [expected[:2]]), rtol=0, atol=0)
        assert found["weight"].stride() == weight.stride() and found["weight"].is_pinned()
        weight.normal_()
