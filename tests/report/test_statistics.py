"""Statistics: intervals that agree with SciPy's, and tests of one method against another."""

import inspect

import numpy as np
import pytest

from report import cases, statistics, tables
from tests.helpers import noisy


def test_intervals_hold_the_score_and_narrow_with_more_images(rng):
    wide, narrow = noisy(rng, 12, 60), noisy(rng, 400, 60)
    for scores in (wide, narrow):
        for name, (low, high) in statistics.intervals(scores).items():
            assert low <= scores.result()[name] <= high, name
    a, b = statistics.intervals(wide)["MAE"], statistics.intervals(narrow)["MAE"]
    assert (a[1] - a[0]) > 2 * (b[1] - b[0])


def test_intervals_agree_with_scipys_bootstrap(rng):
    from scipy import stats

    scores = noisy(rng, 60, 60)
    seeded = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"  # before SciPy 1.15
    theirs = stats.bootstrap(
        *((scores.per_image["M_dice"],), np.mean),
        **{"method": "percentile", "n_resamples": 4000, seeded: np.random.default_rng(1)},
    ).confidence_interval
    low, high = statistics.intervals(scores, resamples=4000)["M_dice"]
    width = high - low
    assert low == pytest.approx(theirs.low, abs=0.1 * width)
    assert high == pytest.approx(theirs.high, abs=0.1 * width)


def test_paired_tests_find_a_difference_and_none_where_there_is_none(rng):
    a, b = noisy(rng, 30, 20), noisy(rng, 30, 80)
    names = [str(i) for i in range(30)]
    found = statistics.paired_tests([("a", names, a), ("b", names[::-1], b), ("c", names, a)])
    assert found["a", "b"]["MAE"] < 1e-3
    assert np.isnan(found["a", "c"]["MAE"])


def test_of_many_methods_each_is_tested_against_the_first_and_that_is_said(rng, monkeypatch):
    names, scores = list("abcde"), noisy(rng, 5, 50)
    methods = [(f"m{i}", names, scores) for i in range(8)]
    assert [*statistics.paired_tests(methods)] == [("m0", f"m{i}") for i in range(1, 8)]
    assert len(statistics.paired_tests(methods[:6])) == 15
    monkeypatch.setattr(statistics, "intervals", lambda scores: dict.fromkeys(scores.names, (0, 1)))
    jobs = [cases.Job("set", method, names=names, scores=scores) for method, *_ in methods]
    assert "(uncorrected), each against m0" in tables.confidence(jobs)
