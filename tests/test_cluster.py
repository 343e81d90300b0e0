"""The batch script of docs/cluster.md, with stand-ins for what a cluster has."""

import os
import re
import signal
import subprocess
import time

import pytest

from tests.conftest import ROOT

TOOLS = {
    "scontrol": '#!/bin/bash\nif [ "$1" = show ]; then echo node1; echo node2; else echo "$@" >> requeued; fi',
    "srun": '#!/bin/bash\nexec "$@"',
    # a run that saves when it is told to stop, after a moment
    "torchrun": """#!/bin/bash
echo "$@" >> started
trap 'sleep 0.3; mkdir -p run; echo saved > run/last.pt; exit 143' TERM
touch ready
for i in $(seq 200); do sleep 0.05; if [ -e finish ]; then exit 0; fi; done""",
}


def submit(folder, told=None) -> int:
    """The exit status of the script, told to stop or let finish."""
    text = re.search(r"```bash\n(#!/bin/bash.*?)```", (ROOT / "docs" / "cluster.md").read_text(), re.S)[1]
    (folder / "script").write_text(text)
    for name, content in TOOLS.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    (folder / "ready").unlink(missing_ok=True)
    slurm = {
        "SLURM_JOB_ID": "7",
        "SLURM_NNODES": "2",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "RUN": "run",
        "CONFIG": "c.py",
    }
    environment = os.environ | slurm | {"RUN": "run", "CONFIG": "c.py", "PATH": f"{folder}:{os.environ['PATH']}"}
    job = subprocess.Popen(["bash", "script", "--epoch", "5"], cwd=folder, env=environment)
    while not (folder / "ready").exists():
        assert job.poll() is None
        time.sleep(0.02)
    if told is None:
        (folder / "finish").touch()
    else:
        job.send_signal(told)
    return job.wait(20)


@pytest.mark.slow
def test_one_script_starts_goes_on_and_queues_again_only_ahead_of_the_time_limit(tmp_path):
    assert submit(tmp_path, signal.SIGTERM) == 143
    assert not (tmp_path / "requeued").exists(), "somebody ended it on purpose"
    (tmp_path / "run" / "last.pt").unlink()
    assert submit(tmp_path, signal.SIGUSR1) == 143
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
    assert submit(tmp_path) == 0
    started = (tmp_path / "started").read_text().splitlines()
    assert [re.search("--resume (\\w+)", line)[1] for line in started] == ["False", "False", "True"]
    assert "--nnodes 2" in started[0] and "--rdzv_endpoint node1:29500" in started[0]
    assert started[0].endswith("train.py c.py --savepath run --resume False --epoch 5")
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
