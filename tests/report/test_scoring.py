"""Scoring in processes: no more waits than they need, and one that dies or hangs is one line."""

import os
import time
from contextlib import contextmanager

import pytest

from report import cases, scoring


def test_no_more_chunks_wait_than_the_processes_need():
    asked = []
    coming = (asked.append(i) or i for i in range(100))
    ahead = scoring._ahead(coming, 8)
    assert [next(ahead), next(ahead)] == [0, 1]
    assert len(asked) == 9
    assert [*ahead] == [*range(2, 100)]


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

    monkeypatch.setattr(scoring, "_pool", pool)
    job = cases.Job("set", "method", files=[cases.Case("a", ("b",))])
    with pytest.raises(ChildProcessError, match=f"a process that scores {words}"):
        scoring.score([job], "official", "exclude", 2)
