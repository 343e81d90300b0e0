"""One line of the report, and how much of everything is checked."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """What was compared or measured. limit: the largest `found` that is right; None where nothing says what is."""

    what: str
    found: float | str
    limit: float | None = None
    failed: bool = False  # nothing could be measured: found says why

    @property
    def verdict(self) -> str:
        """ok, DIFFERS or FAILED; measured where there is no limit. NaN is within none."""
        if self.failed:
            return "FAILED"
        if self.limit is None:
            return "measured"
        return "ok" if isinstance(self.found, (int, float)) and self.found <= self.limit else "DIFFERS"

    @property
    def wrong(self) -> bool:
        return self.verdict in ("DIFFERS", "FAILED")

    def __str__(self) -> str:
        found = f"{self.found:.4g}" if isinstance(self.found, float) else str(self.found)
        limit = "" if self.limit is None else f" (limit {self.limit:.3g})"
        return f"{self.what:<66} {found:>10}  {self.verdict}{limit}"

    def record(self) -> dict:
        """For JSON, which has no NaN: a number that is none is written as a word."""
        number = isinstance(self.found, (int, float)) and math.isfinite(self.found)
        found = self.found if number else str(self.found)
        return {"what": self.what, "found": found, "limit": self.limit, "verdict": self.verdict}


@dataclass(frozen=True)
class Sizes:
    """How much is checked."""

    maps: int  # scored, in each of the ways
    map_side: int
    seeds: int
    steps: int  # of each training
    train_batch: int
    train_side: int
    images: int  # predicted
    batch: int  # of the speeds
    size: int  # of the network's input, where maps are compared and speeds measured


FULL = Sizes(24, 352, seeds=3, steps=144, train_batch=16, train_side=96, images=8, batch=16, size=352)
QUICK = Sizes(8, 352, seeds=2, steps=72, train_batch=16, train_side=96, images=4, batch=16, size=352)
TOY = Sizes(4, 48, seeds=2, steps=2, train_batch=2, train_side=64, images=2, batch=2, size=64)  # tries the program
