"""What a run leaves beside its checkpoints, and the commands around it."""

import pytest

from configs import Config
from engine.record import filled, run_commands


def test_commands_around_a_run_are_filled_in_and_stop_it_when_they_fail(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; open(sys.argv[1], 'w').write(sys.argv[2])")
    run_commands(filled((f"{script} {tmp_path}/out {{epoch}}",), Config(epoch=7)))
    assert (tmp_path / "out").read_text() == "7"
    with pytest.raises(ChildProcessError, match="absent.py` failed with exit status 2"):
        run_commands([[f"{tmp_path}/absent.py"]])
