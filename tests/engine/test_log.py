"""The log: what resuming, a kill and a damaged file leave of it."""

import sys

import pytest
import torch
from PIL import Image

from engine.log import Log
from tests.helpers import all_losses


def test_a_resumed_log_forgets_the_steps_after_its_checkpoint(tmp_path):
    log = Log(tmp_path / "log.csv")
    for value in (3.0, 2.0, 1.0):
        log.add(1, 0.1, all_losses(value), torch.tensor(1.0), ["a"])
    log.flush()
    log.close()
    resumed = Log(tmp_path / "log.csv", resume_after=2)
    resumed.add(1, 0.1, all_losses(7.0), torch.tensor(1.0), ["a"])
    resumed.flush()
    resumed.close()
    assert resumed.mean(1) == pytest.approx(4.0)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_a_row_that_a_kill_tore_is_not_resumed_from(tmp_path):
    whole = "1,1,0.1,3.0,1.0,1.0,1.0"
    (tmp_path / "log.csv").write_text("\n".join(["step,epoch,lr,total,structure,lossnet,grad_norm", whole, "1"]))
    log = Log(tmp_path / "log.csv", resume_after=2)
    log.close()
    assert log.mean(1) == 3


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
    log.add(1, 0.05, all_losses(2.5), torch.tensor(1.0), ["a"])
    log.flush()
    log.close()
    assert [int(line.split(",")[0]) for line in path.read_text().splitlines()[1:]] == [*steps, 4]
    assert log.mean(1) == 1.0, "of all steps, whatever became of their rows"


def test_nothing_is_imported_while_a_thread_draws(tmp_path, monkeypatch):
    """Processes are forked beside it; in one the lock of an import that was under way would be closed for ever."""
    for name in [name for name in sys.modules if name.startswith("PIL.") and name.endswith("ImagePlugin")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(Image, "_initialized", 0)
    log = Log(tmp_path / "log.csv")
    before = set(sys.modules)
    log.add(1, 0.05, all_losses(2.5), torch.tensor(1.0), ["a"])
    log.flush()
    log.scalar("b", 1.0)
    log.panel("a", torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8))
    log.close()
    assert set(sys.modules) == before
