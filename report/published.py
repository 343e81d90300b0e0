"""Scores that papers print, docs/published.csv: each with its protocol and its source, to stand beside one's own."""

import csv
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from metrics import PROTOCOLS

PRINTED = ("pranet", "infnet", "binary")  # of which the file has rows
FILE = Path(__file__).parent.parent / "docs" / "published.csv"


class Row(NamedTuple):
    """What a source prints of one method on one data set."""

    method: str
    dataset: str
    images: int  # 0: it does not say
    scores: dict[str, float]
    source: str
    note: str

    @property
    def line(self) -> str:
        """What its line of a table is called."""
        return f"{self.method} (published)"


def read(protocol: str, datasets: Collection[str]) -> list[Row]:
    """The rows of a protocol on some data sets, in the order of the file; ValueError if there is none.

    Of several sources of one score the file's first is meant; the others are there to be named.
    """
    with open(FILE, newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["protocol"] == protocol]
    rows = [
        Row(
            line["method"],
            line["dataset"],
            int(line["images"] or 0),
            {name: float(line[name]) for name in PROTOCOLS[protocol].names if line.get(name)},
            line["source"],
            line["note"],
        )
        for line in lines
    ]
    chosen = [row for row in rows if row.dataset in datasets]
    if not chosen:
        known = ", ".join(dict.fromkeys(row.dataset for row in rows)) or "none"
        raise ValueError(
            f"no published score of protocol {protocol} is of {', '.join(datasets)}; {FILE.name} has those of {known}"
        )
    return chosen
