"""The machine: which device a run gets."""

import pytest
import torch

from engine import machine


def test_a_device_past_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(machine.device("cuda:1")) == "cuda:1"
    with pytest.raises(ValueError, match="device is 'cuda:99' but the last is cuda:1"):
        machine.device("cuda:99")
