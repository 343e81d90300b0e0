"""Tables: who is marked the best and the second."""

from report import layout


def test_ties_share_a_mark_and_a_lonely_method_has_none():
    assert layout._marks([0.5, 0.50001, 0.4], lower=False) == [1, 1, 2]
    assert layout._marks([0.5, 0.4, float("nan")], lower=True) == [2, 1, 0]
    assert layout._marks([0.5], lower=False) == [0]
    assert layout._marks([0.0, 0.0], lower=False) == [0, 0]
