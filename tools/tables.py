"""Score tables: terminal, Markdown, LaTeX (booktabs), CSV per image, JSON; best bold, second underlined."""

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metrics import PROTOCOLS, Scores, lower_is_better
from tools import statistics

FILES = ("scores.csv", "summary.json", "tables.md", "tables.tex")


class Row(NamedTuple):
    """The scores of one run of a method on one data set."""

    dataset: str
    method: str
    run: int  # 1, or the number of a fold or seed
    names: list[str]  # of the images, in the order of scores.per_image
    scores: Scores
    part: str = ""  # the class, of several
    counts: bool = True  # whether the class is one of the mean's

    @property
    def shown(self) -> str:
        return f"{self.dataset} {self.part}".strip()


class Show(NamedTuple):
    """Which scores tables show, and how."""

    columns: tuple[str, ...] = ()  # (): all of the protocol
    percent: bool = False  # but for distances in pixels


ALL = Show()


class Block(NamedTuple):
    """One table: the scores of every run of each line."""

    title: str
    protocol: str
    lines: dict[str, list[dict[str, float]]]
    head: str = "method"


def terminal(rows: Sequence[Row], show: Show = ALL) -> str:
    """Aligned columns; * the best and + the second of a data set."""
    return _terminal(blocks(rows), show)


def markdown(rows: Sequence[Row], show: Show = ALL) -> str:
    """A Markdown table per data set; best bold, second underlined."""
    parts = []
    for title, header, body in _tables(blocks(rows), show, "**{}**", "<u>{}</u>"):
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
        parts.append(f"### {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def latex(rows: Sequence[Row], show: Show = ALL) -> str:
    """A booktabs tabular per data set; best bold, second underlined, an arrow says which way is better."""
    parts = []
    for title, header, body in _tables(blocks(rows), show, r"\textbf{{{}}}", r"\underline{{{}}}", escape=True):
        header = [name.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$") for name in header]
        lines = [" & ".join(line).replace("±", r"$\pm$") + r" \\" for line in [header, *body]]
        lines = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        columns = "l" + "c" * (len(header) - 1)
        parts.append(f"% {title}\n\\begin{{tabular}}{{{columns}}}\n" + "\n".join(lines) + "\n\\end{tabular}\n")
    return "% needs \\usepackage{booktabs}\n" + "\n".join(parts)


def groups(rows: Sequence[Row], group_of: Callable[[str], str], show: Show = ALL) -> str:
    """For each row a table of its clips, volumes or patients, and the mean over them; its scores must keep curves."""
    found = []
    for row in rows:
        places: dict[str, list[int]] = {}
        for i, name in enumerate(row.names):
            places.setdefault(group_of(name), []).append(i)
        lines = {group: [row.scores.subset(members).result()] for group, members in places.items()}
        mean = _mean([results[0] for results in lines.values()])
        title = f"{_label(row)} on {row.shown}, its {len(lines)} groups"
        found.append(Block(title, row.scores.protocol, lines | {"mean of groups": [mean]}, "group"))
    return _terminal(found, show)


def blocks(rows: Sequence[Row]) -> list[Block]:
    """A table per data set or, of several classes, per class, and then one of their mean."""
    found = []
    for dataset in dict.fromkeys(row.dataset for row in rows):
        mine = [row for row in rows if row.dataset == dataset]
        parts = list(dict.fromkeys(row.part for row in mine))
        for part in parts:
            chosen = [row for row in mine if row.part == part]
            images = " + ".join(dict.fromkeys(str(len(row.scores)) for row in chosen))
            lines: dict[str, list[dict[str, float]]] = {}
            for row in chosen:
                lines.setdefault(row.method, []).append(row.scores.result())
            protocol = chosen[0].scores.protocol
            found.append(Block(f"{chosen[0].shown}, {images} images, protocol {protocol}", protocol, lines))
        if len(parts) > 1:
            found.append(_mean_of_classes(mine))
    return found


def _mean_of_classes(rows: Sequence[Row]) -> Block:
    counting = [row for row in rows if row.counts]
    lines: dict[str, list[dict[str, float]]] = {}
    for method, run in dict.fromkeys((row.method, row.run) for row in counting):
        results = [row.scores.result() for row in counting if (row.method, row.run) == (method, run)]
        lines.setdefault(method, []).append(_mean(results))
    classes = ", ".join(dict.fromkeys(row.part for row in counting))
    protocol = rows[0].scores.protocol
    return Block(f"{rows[0].dataset}, mean of {classes}, protocol {protocol}", protocol, lines)


def _mean(results: Sequence[dict[str, float]]) -> dict[str, float]:
    """Score by score, without those that are undefined."""
    columns = {name: [r[name] for r in results if not math.isnan(r[name])] for name in results[0]}
    return {name: float(np.mean(values)) if values else math.nan for name, values in columns.items()}


def confidence(rows: Sequence[Row]) -> str:
    """95 % intervals of every score, and for each pair of methods a paired test per score."""
    parts = []
    for dataset, group in _by_dataset(rows).items():
        header = ["method", *group[0].scores.names]
        body = [
            [_label(row)] + [f"{low:.4f}..{high:.4f}" for low, high in statistics.intervals(row.scores).values()]
            for row in group
        ]
        parts.append(_aligned(f"{dataset}: 95 % bootstrap intervals, images resampled", header, body))
        tests = statistics.paired_tests([(_label(row), row.names, row.scores) for row in group])
        if tests:
            body = [[f"{a} - {b}", *(_p(p) for p in found.values())] for (a, b), found in tests.items()]
            parts.append(_aligned(f"{dataset}: paired Wilcoxon p, per image (uncorrected)", header, body))
    return "\n\n".join(parts)


def write(rows: Sequence[Row], folder: Path, show: Show = ALL) -> None:
    """scores.csv (a row per image), summary.json, tables.md and tables.tex in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = rows[0].scores.names
    with open(folder / "scores.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("protocol", "dataset", "method", "run", "image", *names))
        for row in rows:
            table = np.stack([row.scores.per_image[name] for name in names], 1)
            for image, values in zip(row.names, table.tolist(), strict=True):
                writer.writerow((row.scores.protocol, row.shown, row.method, row.run, image, *values))
    summary = [
        {
            "protocol": row.scores.protocol,
            "dataset": row.shown,
            "method": row.method,
            "run": row.run,
            "images": len(row.scores),
            "scores": {name: None if math.isnan(value) else value for name, value in row.scores.result().items()},
            "undefined": {name: count for name, count in row.scores.undefined.items() if count},
            "undefined_rule": row.scores.undefined_rule,
        }
        for row in rows
    ]
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    (folder / "tables.md").write_text(markdown(rows, show))
    (folder / "tables.tex").write_text(latex(rows, show))


def _terminal(found: Sequence[Block], show: Show) -> str:
    return "\n\n".join(_aligned(*table) for table in _tables(found, show, "{}*", "{}+"))


def _tables(found: Sequence[Block], show: Show, best: str, second: str, escape: bool = False):
    """(title, header, body) of each block, with the best and the second score of each column of methods marked."""
    for block in found:
        rules = PROTOCOLS[block.protocol]
        names = require_columns(show.columns, block.protocol) or rules.NAMES
        arrows = [f"{_escaped(name, escape)} {'↓' if lower_is_better(name) else '↑'}" for name in names]
        body = [[_escaped(line, escape)] for line in block.lines]
        for name in names:
            runs = [[result[name] for result in results] for results in block.lines.values()]
            factor = 100 if show.percent and name not in getattr(rules, "PIXELS", ()) else 1
            marks = _marks([float(np.mean(values)) for values in runs], lower_is_better(name))
            for line, values, mark in zip(body, runs, marks, strict=True):
                pattern = {1: best, 2: second}.get(mark, "{}") if block.head == "method" else "{}"
                line.append(pattern.format(_cell(values, factor)))
        yield block.title + (", per cent" if show.percent else ""), [block.head, *arrows], body


def require_columns(columns: Sequence[str], protocol: str) -> Sequence[str]:
    """`columns`; ValueError if one is no score of the protocol."""
    for name in columns:
        if name not in PROTOCOLS[protocol].NAMES:
            known = ", ".join(PROTOCOLS[protocol].NAMES)
            raise ValueError(f"columns holds {name!r}; protocol {protocol} has {known}")
    return columns


def _cell(values: Sequence[float], factor: int = 1) -> str:
    """A score, or the mean ± standard deviation (N - 1) of several runs."""
    digits = 4 if factor == 1 else 2
    if len(values) == 1:
        return f"{values[0] * factor:.{digits}f}"
    return f"{np.mean(values) * factor:.{digits}f} ± {np.std(values, ddof=1) * factor:.{digits}f}"


def _label(row: Row) -> str:
    return row.method if row.run == 1 else f"{row.method} run {row.run}"


def _marks(values: Sequence[float], lower: bool) -> list[int]:
    """1 for the best, 2 for the second, 0 else, as printed; ties share. Where all are equal nothing is marked."""
    rounded = [round(value, 4) for value in values]
    order = sorted({value for value in rounded if not math.isnan(value)}, reverse=not lower)
    if len(order) < 2:
        return [0] * len(values)
    return [order.index(value) + 1 if value in order[:2] else 0 for value in rounded]


def _by_dataset(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.shown, []).append(row)
    return found


def _aligned(title: str, header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)])
        for line in (header, *body)
    ]
    return "\n".join([title, *lines])


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _escaped(text: str, escape: bool) -> str:
    return "".join("\\" + c if c in "_%&#${}" else c for c in text) if escape else text
