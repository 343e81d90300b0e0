"""PySODMetrics, written independently, gives the same numbers where its definitions are the same."""

import numpy as np
import pytest

from metrics import Scores

from .conftest import read_pairs


@pytest.fixture(scope="module")
def peer() -> dict[str, float]:
    import py_sod_metrics

    handler = py_sod_metrics.FmeasureHandler(with_adaptive=True, with_dynamic=False, beta=0.3)
    steps = {
        "MAE": py_sod_metrics.MAE(),
        "Sm": py_sod_metrics.Smeasure(),
        "Em": py_sod_metrics.Emeasure(),
        "wfm": py_sod_metrics.WeightedFmeasure(),
        "F": py_sod_metrics.FmeasureV2(metric_handlers={"fm": handler}),
    }
    for pred, gt in read_pairs("regular").values():
        for step in steps.values():
            step.step(pred=pred, gt=gt)
    found = {name: step.get_results() for name, step in steps.items()}
    return {
        "MAE": found["MAE"]["mae"],
        "Sm": found["Sm"]["sm"],
        "Em": found["Em"]["em"]["adp"],
        "wfm": found["wfm"]["wfm"],
        "avgF": found["F"]["fm"]["adaptive"],
    }


@pytest.mark.parametrize(
    ("name", "protocol", "tolerance"),
    [
        ("MAE", "official", 1e-12),
        ("avgF", "official", 1e-12),
        ("Em", "official", 1e-6),  # they add 2e-16 to the denominators, the original 1e-8
        ("wfm", "official", 2e-6),  # 2e-16 and 1e-6
        ("Sm", "pranet", 1e-12),  # variances over N - 1
    ],
)
def test_pysodmetrics_agrees(peer, name, protocol, tolerance):
    scores = Scores(protocol)
    for pred, gt in read_pairs("regular").values():
        scores.update(pred, gt)
    assert np.isfinite(peer[name])
    assert scores.result()[name] == pytest.approx(peer[name], abs=tolerance)
