"""Score tables: terminal, Markdown, LaTeX (booktabs), CSV per image, JSON; best bold, second underlined."""

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metrics import Scores, lower_is_better
from tools import statistics

FILES = ("scores.csv", "summary.json", "tables.md", "tables.tex")


class Row(NamedTuple):
    """The scores of one run of a method on one data set."""

    dataset: str
    method: str
    run: int  # 1, or the number of a fold or seed
    names: list[str]  # of the images, in the order of scores.per_image
    scores: Scores


def terminal(rows: Sequence[Row]) -> str:
    """Aligned columns; * the best and + the second of a data set."""
    return "\n\n".join(_aligned(title, header, body) for title, header, body in _tables(rows, "{}*", "{}+"))


def markdown(rows: Sequence[Row]) -> str:
    """A Markdown table per data set; best bold, second underlined."""
    parts = []
    for title, header, body in _tables(rows, "**{}**", "<u>{}</u>"):
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
        parts.append(f"### {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def latex(rows: Sequence[Row]) -> str:
    """A booktabs tabular per data set; best bold, second underlined, an arrow says which way is better."""
    parts = []
    for title, header, body in _tables(rows, r"\textbf{{{}}}", r"\underline{{{}}}", escape=True):
        header = [name.replace("↑", r"$\uparrow$").replace("↓", r"$\downarrow$") for name in header]
        lines = [" & ".join(line).replace("±", r"$\pm$") + r" \\" for line in [header, *body]]
        lines = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        columns = "l" + "c" * (len(header) - 1)
        parts.append(f"% {title}\n\\begin{{tabular}}{{{columns}}}\n" + "\n".join(lines) + "\n\\end{tabular}\n")
    return "% needs \\usepackage{booktabs}\n" + "\n".join(parts)


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


def write(rows: Sequence[Row], folder: Path) -> None:
    """scores.csv (a row per image), summary.json, tables.md and tables.tex in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = rows[0].scores.names
    with open(folder / "scores.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("protocol", "dataset", "method", "run", "image", *names))
        for row in rows:
            table = np.stack([row.scores.per_image[name] for name in names], 1)
            for image, values in zip(row.names, table.tolist(), strict=True):
                writer.writerow((row.scores.protocol, row.dataset, row.method, row.run, image, *values))
    summary = [
        {
            "protocol": row.scores.protocol,
            "dataset": row.dataset,
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
    (folder / "tables.md").write_text(markdown(rows))
    (folder / "tables.tex").write_text(latex(rows))


def _tables(rows: Sequence[Row], best: str, second: str, escape: bool = False):
    """(title, header, body) per data set, with the best and the second score of each column marked."""
    for dataset, group in _by_dataset(rows).items():
        names = group[0].scores.names
        methods: dict[str, list[dict[str, float]]] = {}
        for row in group:
            methods.setdefault(row.method, []).append(row.scores.result())
        arrows = [f"{_escaped(name, escape)} {'↓' if lower_is_better(name) else '↑'}" for name in names]
        body = [[_escaped(method, escape)] for method in methods]
        for name in names:
            runs = [[result[name] for result in results] for results in methods.values()]
            marks = _marks([float(np.mean(values)) for values in runs], lower_is_better(name))
            for line, values, mark in zip(body, runs, marks, strict=True):
                line.append({1: best, 2: second}.get(mark, "{}").format(_cell(values)))
        images = " + ".join(dict.fromkeys(str(len(row.scores)) for row in group))
        yield f"{dataset}, {images} images, protocol {group[0].scores.protocol}", ["method", *arrows], body


def _cell(values: Sequence[float]) -> str:
    """A score, or the mean ± standard deviation (N - 1) of several runs."""
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"


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
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.dataset, []).append(row)
    return groups


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
