"""The machine: which device a run gets."""

import pytest
import torch

import net
from configs import Config
from engine import machine
from engine.inference import load


def test_a_device_past_the_last_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert str(machine.device("cuda:1")) == "cuda:1"
    with pytest.raises(ValueError, match="device is 'cuda:99' but the last is cuda:1"):
        machine.device("cuda:99")


@pytest.mark.parametrize(
    ("load", "threads", "used", "said"),
    [
        (10.0, -1, 1, "1 of 4 cores: others keep 10.0 busy; OMP_NUM_THREADS=4 takes all"),
        (0.2, -1, 4, None),
        (10.0, 0, 4, "NOTE: others keep 10.0 of 4 cores busy; OMP_NUM_THREADS=1 may be many times faster"),
        (0.2, 0, 4, None),
        (0.2, 2, 2, None),
    ],
)
def test_threads_are_those_that_others_leave_or_a_note_says_so(monkeypatch, load, threads, used, said):
    now, words = [4], []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "load_and_cores", lambda: (load, 4))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: now.append(count))
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[-1])
    machine.settle(Config(threads=threads), torch.device("cpu"), words.append)
    assert (now[-1], words) == (used, [said] if said else [])
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    machine.settle(Config(threads=-1), torch.device("cpu"), words.append)
    assert now[-1] == used, "who sets OMP_NUM_THREADS has the word"


@pytest.fixture
def as_before():
    cudnn, matmul = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = cudnn, matmul


@pytest.mark.parametrize("tf32", [False, True])
def test_float32_has_all_its_bits_on_a_gpu_unless_a_config_allows_less(as_before, tmp_path, tf32):
    fields = {"backbone": "mobilenetv3_small_050", "tf32": tf32}
    torch.save(net.build("msnet", fields["backbone"]).state_dict(), tmp_path / "model")
    cpu = torch.device("cpu")
    for use in (lambda: machine.settle(Config(**fields), cpu), lambda: load(tmp_path / "model", "cpu", **fields)):
        machine.allow_tf32(not tf32)
        use()
        assert torch.backends.cudnn.allow_tf32 is torch.backends.cuda.matmul.allow_tf32 is tf32
