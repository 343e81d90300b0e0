"""Scores of segmentation maps, on CPU and CUDA, under two named protocols; usable alone."""

from metrics.scores import PROTOCOLS, Scores


def score_names(protocol: str = "official") -> tuple[str, ...]:
    """The scores of a protocol in print order."""
    return PROTOCOLS[protocol].NAMES


def lower_is_better(name: str) -> bool:
    """True for errors (MAE, Ber), False for every other score."""
    return any(name in rules.LOWER_IS_BETTER for rules in PROTOCOLS.values())


__all__ = ["PROTOCOLS", "Scores", "lower_is_better", "score_names"]
