"""Scoring in processes: no more waits than they need, and one that dies or hangs is one line."""

import os
import time
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event

import pytest

from report import cases, scoring
from report.reading import How
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
    real = scoring._pool
    monkeypatch.setattr(scoring, "PATIENCE", 60 if deed is os._exit else 0)

    @contextmanager
    def pool(_):
        with real(2) as submit:
            yield lambda *_: submit(deed, 600)

    monkeypatch.setattr(scoring, "_threads", pool)  # what so few are scored in
    job = cases.Job("set", "method", files=[cases.Case("a", ("b",))])
    with pytest.raises(ChildProcessError, match=f"a process that scores {words}"):
        scoring.score([job], "official", "exclude", 2)


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

    @contextmanager
    def pool(_):
        yield submit

    monkeypatch.setattr(scoring, "_threads", pool)  # what so few are scored in
    (job,) = cases.jobs_of({"one": sets / "gt" / "one"}, {"A": [sets / "good" / "one"]}, False)
    scoring.score([job], "binary", "exclude", 2)
    assert steps == [0, 1, 2, 3, 4, 5]  # of the sixth nobody has been told what to do at its end
    assert (len(job.scores), bar.done) == (6, 6)
