"""Scores of segmentation maps, on CPU and CUDA, under named protocols; usable alone."""

from metrics.scores import OF_LEVELS, PROTOCOLS, Scores


def score_names(protocol: str = "official") -> tuple[str, ...]:
    """The scores of a protocol in print order."""
    return PROTOCOLS[protocol].names


def lower_is_better(name: str) -> bool:
    """True for errors, distances and false alarms (MAE, Ber, MED, HD95 ...), False for every other score."""
    return any(name in rules.lower_is_better for rules in PROTOCOLS.values())


__all__ = ["OF_LEVELS", "PROTOCOLS", "Scores", "lower_is_better", "score_names"]
