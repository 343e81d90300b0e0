"""Scoring in processes: no more waits than they need, and one that dies or hangs is one line."""

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event
from unittest.mock import Mock

import pytest

from report import cases, scoring, workers
from report.reading import How
from tests.conftest import ROOT
from tests.helpers import Bar


def test_no_more_chunks_wait_than_the_processes_need():
    asked = []
    coming = (asked.append(i) or i for i in range(100))
    ahead = scoring._ahead(coming, 8)
    assert [next(ahead), next(ahead)] == [0, 1]
    assert len(asked) == 9
    assert [*ahead] == [*range(2, 100)]


def test_a_thread_that_never_ends_is_one_line_and_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(scoring, "PATIENCE", 0)
    released, job = Event(), cases.Job("set", "method", files=[cases.Case("a", ("b",))] * 40)
    monkeypatch.setattr(scoring, "score_files", lambda *_: released.wait(60))
    try:
        with pytest.raises(ChildProcessError, match="a process that scores has given nothing for 0 s: is the disk"):
            scoring.score([job], "official", "exclude", 2)
    finally:
        released.set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deed", "words"),
    [(os._exit, "was killed, .* try --processes 1"), (time.sleep, "has given nothing for 0 s: is the disk reachable")],
    ids=["killed", "stuck"],
)
def test_a_process_that_scores_and_dies_or_hangs_is_one_line(monkeypatch, deed, words):
    monkeypatch.setattr(scoring, "PATIENCE", 60 if deed is os._exit else 0)

    @contextmanager
    def pool():
        with workers.in_processes(2) as submit:
            yield lambda *_: submit(deed, 600)

    monkeypatch.setattr(scoring, "workers_for", lambda *_: (2, pool()))
    job = cases.Job("set", "method", files=[cases.Case("a", ("b",))])
    with pytest.raises(ChildProcessError, match=f"a process that scores {words}"):
        scoring.score([job], "official", "exclude", 2)


@pytest.mark.parametrize(
    ("method", "images", "volumes", "expected"),
    [
        ("spawn", 20, False, "1 threads"),
        ("spawn", 1000, False, "3 threads"),
        ("spawn", 2000, False, "4 processes"),
        ("spawn", 16 * 31, True, "1 threads"),
        ("spawn", 16 * 100, True, "3 processes"),
        ("fork", 16 * 31, True, "1 threads"),
        ("fork", 16 * 100, True, "3 processes"),
        ("fork", 63, False, "3 threads"),
        ("fork", 64, False, "2 processes"),
        ("fork", 2000, False, "8 processes"),
    ],
)
def test_processes_score_what_is_worth_their_start(monkeypatch, method, images, volumes, expected):
    monkeypatch.setattr(workers, "_method", method)
    for kind in ("processes", "threads"):
        monkeypatch.setattr(workers, f"in_{kind}", lambda count, *_, kind=kind: f"{count} {kind}")
    assert workers.workers_for(images, 8, volumes) == (int(expected[0]), expected)


@pytest.mark.parametrize("fails", ["the pool", "a process"])
def test_where_the_system_has_no_room_for_processes_threads_score(monkeypatch, fails):
    if fails == "the pool":
        monkeypatch.setattr("_multiprocessing.SemLock", Mock(side_effect=OSError(30, "Read-only file system")))
    else:  # the second
        real, forked = os.fork, []

        def fork() -> int:
            if forked:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            forked.append(True)
            return real()

        monkeypatch.setattr(os, "fork", fork)
    with workers.in_processes(2, "fork") as submit:
        assert submit(os.getpid).result() == os.getpid()
    deadline = time.monotonic() + 30
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_that_score_end_when_their_script_is_killed(method):
    program = f"""
import multiprocessing, time
from report import workers
with workers.in_processes(3, {method!r}) as submit:
    submit(int).result()
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    submit(time.sleep, 600).result()
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=ROOT) as script:
        children = [Path(f"/proc/{number}") for number in script.stdout.readline().decode().split()]
        were = [child.exists() for child in children]
        script.kill()
        deadline = time.monotonic() + 60
        while (left := [child for child in children if child.exists()]) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert any(were) and all(were) and not left


def test_a_case_is_measured_in_its_own_spacing_and_all_within_one_tolerance(sets):
    (job,) = cases.jobs_of({"one": sets / "gt" / "one"}, {"A": [sets / "good" / "one"]}, False)
    pixels = scoring.score_files(job.files, How("volume", tolerance=2))[0].result()
    in_mm = [case._replace(spacing=(0.5, 0.5)) for case in job.files]
    mm = scoring.score_files(in_mm, How("volume", tolerance=1))[0].result()
    assert mm == pytest.approx(pixels | {"HD95": pixels["HD95"] / 2, "ASSD": pixels["ASSD"] / 2})


def test_the_bar_moves_with_every_chunk_of_many_processes_whichever_is_done_first(sets, monkeypatch):
    bar, waiting, steps = Bar(), [], []
    monkeypatch.setattr(scoring, "tqdm", lambda **_: bar)
    monkeypatch.setattr(scoring, "CHUNK", 1)

    def submit(function, *arguments):
        waiting.append((Future(), function(*arguments)))
        if len(waiting) == 6:  # all that there is: now they end, the first last
            for future, found in waiting[::-1]:
                future.set_result(found)
                steps.append(bar.done)
        return waiting[-1][0]

    monkeypatch.setattr(scoring, "workers_for", lambda *_: (2, nullcontext(submit)))
    (job,) = cases.jobs_of({"one": sets / "gt" / "one"}, {"A": [sets / "good" / "one"]}, False)
    scoring.score([job], "binary", "exclude", 2)
    assert steps == [0, 1, 2, 3, 4, 5]  # of the sixth nobody has been told what to do at its end
    assert (len(job.scores), bar.done) == (6, 6)
