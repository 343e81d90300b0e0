"""Score tables: terminal, Markdown, LaTeX (booktabs), CSV per image, JSON; best bold, second underlined."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from files import csv_text, write_file
from metrics import PROTOCOLS, Scores, lower_is_better
from report import statistics

FORMULA = ("=", "+", "-", "@")  # what begins so is run by a spreadsheet
LATEX = {c: "\\" + c for c in "_%&#${}"} | {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\textasciitilde{}"}
MARKDOWN = {"|": r"\|"}
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
    runs: int = 1  # of the method on this data set, those included that could not be scored

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
    found = blocks(rows)
    legend = "\n\n* best, + second" if any(len(block.lines) > 1 for block in found) else ""
    return _terminal(found, show) + legend


def markdown(rows: Sequence[Row], show: Show = ALL) -> str:
    """A Markdown table per data set; best bold, second underlined."""
    parts = []
    for title, header, body in _tables(blocks(rows), show, "**{}**", "<u>{}</u>", MARKDOWN):
        lines = [header, ["---"] + ["---:"] * (len(header) - 1), *body]
        parts.append(f"### {title}\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(parts) + "\n"


def latex(rows: Sequence[Row], show: Show = ALL) -> str:
    """A booktabs tabular per data set; best bold, second underlined, an arrow says which way is better."""
    parts = []
    for title, header, body in _tables(blocks(rows), show, r"\textbf{{{}}}", r"\underline{{{}}}", LATEX):
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
        mean = _mean([results[0] for results in lines.values()], row.scores.undefined_rule)
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
            lines: dict[str, list[dict[str, float]]] = {}
            images: dict[str, set[str]] = {}
            for row in chosen:
                lines.setdefault(row.method, []).append(row.scores.result())
                images.setdefault(row.method, set()).update(row.names)
            counts = " + ".join(dict.fromkeys(str(len(names)) for names in images.values()))
            protocol, title = chosen[0].scores.protocol, f"{chosen[0].shown}, {counts} images"
            found.append(Block(f"{title}{_runs(chosen)}, protocol {protocol}", protocol, lines))
        if len(parts) > 1:
            found.append(_mean_of_classes(mine))
    return found


def _runs(rows: Sequence[Row]) -> str:
    """How many runs there are, where a method has several; those that could not be scored are missing by name."""
    there = {row.method: sum(other.method == row.method for other in rows) for row in rows}
    texts = [
        f"{there[row.method]} runs" if there[row.method] == row.runs else f"ONLY {there[row.method]} of {row.runs} runs"
        for row in rows
        if row.runs > 1
    ]
    return "".join(f", {text}" for text in dict.fromkeys(texts))


def _mean_of_classes(rows: Sequence[Row]) -> Block:
    counting = [row for row in rows if row.counts]
    parts = list(dict.fromkeys(row.part for row in counting))
    scores = rows[0].scores
    lines: dict[str, list[dict[str, float]]] = {}
    for method, run in dict.fromkeys((row.method, row.run) for row in counting):
        mine = [row for row in counting if (row.method, row.run) == (method, run)]
        # one that no mask shows would be perfect for a network that finds nothing
        shown = [row.scores.result() for row in mine if row.scores.with_foreground]
        # a class that could not be scored leaves no mean: one of the others would be of something else
        lacking = dict.fromkeys(scores.names, math.nan)
        mean = _mean(shown, scores.undefined_rule) if shown and len(mine) == len(parts) else lacking
        lines.setdefault(method, []).append(mean)
    title = f"{rows[0].dataset}, mean of {', '.join(parts)}{_runs([row for row in counting if row.part == parts[0]])}"
    absent = dict.fromkeys(row.part for row in counting if not row.scores.with_foreground)
    title += f", {' and '.join(absent)} left out where no mask shows it" if absent else ""
    return Block(f"{title}, protocol {scores.protocol}", scores.protocol, lines)


def _mean(results: Sequence[dict[str, float]], undefined_rule: str) -> dict[str, float]:
    """Score by score; without those that are undefined, unless the rule is to propagate them."""
    return {name: _average([r[name] for r in results], undefined_rule == "propagate") for name in results[0]}


def _average(values: Sequence[float], propagate: bool = False) -> float:
    kept = [value for value in values if propagate or not math.isnan(value)]
    return float(np.mean(kept)) if kept else math.nan


def confidence(rows: Sequence[Row], show: Show = ALL) -> str:
    """95 % intervals of every score, and for each pair of methods (of many: with the first) a paired test per score.

    Folds are pooled.
    """
    parts = []
    for shown, group in _by_dataset(_pooled(rows)).items():
        names = _columns(show, group[0].scores.protocol)
        factors = [_factor(name, show, group[0].scores.protocol) for name in names]
        body = []
        for row in group:
            found = statistics.intervals(row.scores)
            cells = [f"{found[n][0] * f:.4f}..{found[n][1] * f:.4f}" for n, f in zip(names, factors, strict=True)]
            body.append([_label(row), *cells])
        title = f"{shown}: 95 % bootstrap intervals, images resampled" + (", per cent" if show.percent else "")
        parts.append(_aligned(title, ["method", *names], body))
        tests = statistics.paired_tests([(_label(row), row.names, row.scores) for row in group])
        if tests:
            body = [[f"{a} - {b}", *(_p(found[name]) for name in names)] for (a, b), found in tests.items()]
            first = f", each against {_label(group[0])}" if len(group) > statistics.MOST_METHODS else ""
            title = f"{shown}: paired Wilcoxon p, per image (uncorrected){first}"
            parts.append(_aligned(title, ["method", *names], body))
    return "\n\n".join(parts)


def _pooled(rows: Sequence[Row]) -> list[Row]:
    """Folds of a method as one run over all of their images; runs over the same images stay apart."""
    found: list[Row] = []
    for row in rows:
        known = next((i for i, r in enumerate(found) if (r.shown, r.method) == (row.shown, row.method)), None)
        if known is None or set(found[known].names) & set(row.names):
            found.append(row)
            continue
        whole = Scores(row.scores.protocol, row.scores.undefined_rule, keep_curves=True)
        whole.merge(found[known].scores).merge(row.scores)
        found[known] = found[known]._replace(names=found[known].names + row.names, scores=whole)
    return found


def write(rows: Sequence[Row], folder: Path, show: Show = ALL, also: Sequence[str] = ()) -> None:
    """scores.csv (a row per image), summary.json, tables.md and tables.tex in `folder`; tables.md ends with `also`.

    In the CSV a name that begins with = + - or @ has an apostrophe before it, so that no spreadsheet runs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = rows[0].scores.names
    lines: list[Sequence[object]] = [("protocol", "dataset", "class", "method", "run", "image", *names)]
    for row in rows:
        table = np.stack([row.scores.per_image[name] for name in names], 1)
        texts = [no_formula(text) for text in (row.dataset, row.part, row.method)]
        for image, values in zip(row.names, table.tolist(), strict=True):
            lines.append((row.scores.protocol, *texts, row.run, no_formula(image), *values))
    write_file(folder / "scores.csv", csv_text(lines))
    summary = [
        {
            "protocol": row.scores.protocol,
            "dataset": row.dataset,
            "class": row.part,
            "method": row.method,
            "run": row.run,
            "images": len(row.scores),
            "scores": {name: None if math.isnan(value) else value for name, value in row.scores.result().items()},
            "undefined": {name: count for name, count in row.scores.undefined.items() if count},
            "undefined_rule": row.scores.undefined_rule,
        }
        for row in rows
    ]
    write_file(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
    write_file(folder / "tables.md", markdown(rows, show) + "".join(f"\n```\n{text}\n```\n" for text in also))
    write_file(folder / "tables.tex", latex(rows, show))


def no_formula(text: str) -> str:
    """A text for a CSV that a spreadsheet may open."""
    return "'" + text if text.startswith(FORMULA) else text


def on_one_line(text: str) -> str:
    """A name as tables show it: line breaks and other control characters are spaces."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def _terminal(found: Sequence[Block], show: Show) -> str:
    return "\n\n".join(_aligned(*table) for table in _tables(found, show, "{}*", "{}+"))


def _tables(
    found: Sequence[Block], show: Show, best: str, second: str, escape: dict[str, str] | None = None
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """(title, header, body) of each block, with the best and the second score of each column of methods marked."""
    for block in found:
        names = _columns(show, block.protocol)
        arrows = [f"{_escaped(name, escape)} {'↓' if lower_is_better(name) else '↑'}" for name in names]
        body = [[_escaped(line, escape)] for line in block.lines]
        for name in names:
            runs = [[result[name] for result in results] for results in block.lines.values()]
            factor = _factor(name, show, block.protocol)
            marks = _marks([_average(values) for values in runs], lower_is_better(name))
            for line, values, mark in zip(body, runs, marks, strict=True):
                pattern = {1: best, 2: second}.get(mark, "{}") if block.head == "method" else "{}"
                line.append(pattern.format(_cell(values, factor)))
        yield on_one_line(block.title) + (", per cent" if show.percent else ""), [block.head, *arrows], body


def _columns(show: Show, protocol: str) -> Sequence[str]:
    return require_columns(show.columns, protocol) or PROTOCOLS[protocol].names


def _factor(name: str, show: Show, protocol: str) -> int:
    return 100 if show.percent and name not in PROTOCOLS[protocol].in_pixels else 1


def require_columns(columns: Sequence[str], protocol: str) -> Sequence[str]:
    """`columns`; ValueError if one is no score of the protocol."""
    for name in columns:
        if name not in PROTOCOLS[protocol].names:
            known = ", ".join(PROTOCOLS[protocol].names)
            raise ValueError(f"columns holds {name!r}; protocol {protocol} has {known}")
    return columns


def _cell(values: Sequence[float], factor: int = 1) -> str:
    """A score, or the mean ± standard deviation (N - 1) of several runs, of those where it is defined."""
    digits, kept = 4 if factor == 1 else 2, [value * factor for value in values if not math.isnan(value)]
    if len(values) == 1 or not kept:
        return f"{_average(values) * factor:.{digits}f}"
    some = f" ({len(kept)} of {len(values)})" if len(kept) < len(values) else ""
    spread = f" ± {np.std(kept, ddof=1):.{digits}f}" if len(kept) > 1 else ""
    return f"{np.mean(kept):.{digits}f}{spread}{some}"


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
    title, body = on_one_line(title), [[*map(on_one_line, line)] for line in body]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    lines = [
        "  ".join([line[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)])
        for line in (header, *body)
    ]
    return "\n".join([title, *lines])


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def _escaped(text: str, escape: dict[str, str] | None) -> str:
    return "".join((escape or {}).get(letter, letter) for letter in on_one_line(text))
