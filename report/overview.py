"""The table that papers print: methods x data sets, two or three scores each, and their mean over the sets."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from report.cases import Job
from report.layout import (
    LATEX,
    MARKDOWN,
    Show,
    aligned,
    arrow,
    average,
    column,
    escaped,
    latex_line,
    latex_table,
    on_one_line,
)
from report.published import Row

# of each protocol, unless columns says otherwise
PRINTED = {
    "official": ("M_dice", "M_iou", "MAE"),
    "pranet": ("meanDic", "meanIoU", "MAE"),
    "infnet": ("meanDic", "Sm", "MAE"),
    "binary": ("Jaccard", "Dice"),
    "volume": ("Dice", "HD95", "NSD"),
}
MEAN = "mean of the sets"
PLACES = 3  # digits of a fraction in papers, and so in the rows beside one's own

Scores = dict[str, float]


class Overview(NamedTuple):
    """Of each method (line) the results of its runs, by data set."""

    title: str
    names: tuple[str, ...]
    factors: tuple[int, ...]
    sets: tuple[str, ...]
    lines: dict[str, dict[str, list[Scores]]]
    notes: tuple[str, ...]

    def columns(self, best: str, second: str) -> Iterator[tuple[str, str, list[str]]]:
        """(data set, score, its cell of each line)."""
        for dataset in self.sets:
            for name, factor in zip(self.names, self.factors, strict=True):
                runs = [[r.get(name, math.nan) for r in line.get(dataset, [{}])] for line in self.lines.values()]
                cells = column(runs, name, factor, best, second, PLACES)
                yield dataset, name, ["-" if cell == "nan" else cell for cell in cells]


def of(jobs: Sequence[Job], show: Show, rows: Sequence[Row] = ()) -> Overview | None:
    """The overview of jobs that are scored; None of one set without published rows, and of several classes."""
    sets = tuple(dict.fromkeys(job.dataset for job in jobs))
    if len({job.class_name for job in jobs}) > 1 or (len(sets) < 2 and not rows):
        return None
    protocol = jobs[0].scores.protocol
    names = tuple(show.columns or PRINTED.get(protocol, show.names(protocol)[:3]))
    lines, notes = _published(rows)
    notes += tuple(dict.fromkeys(_other_images(jobs, rows)))
    for job in jobs:
        lines.setdefault(job.method, {}).setdefault(job.dataset, []).append(job.scores.result())
    if len(sets) > 1:
        for line in lines.values():
            line[MEAN] = [_mean([line.get(dataset, []) for dataset in sets], names)]
        sets = (*sets, MEAN)
    title = f"methods on data sets, protocol {protocol}" + (", per cent" if show.percent else "")
    return Overview(title, names, tuple(show.factor(name, protocol) for name in names), sets, lines, notes)


def _published(rows: Sequence[Row]) -> tuple[dict[str, dict[str, list[Scores]]], tuple[str, ...]]:
    """Lines of what is printed elsewhere, a method's first source, and whatever a reader must know of them."""
    lines: dict[str, dict[str, list[Scores]]] = {}
    sources: dict[str, dict[str, list[str]]] = {}  # method -> source -> data sets
    notes = []
    for row in rows:
        line = lines.setdefault(row.line, {})
        there = ", ".join(f"{name} {value:.3f}" for name, value in row.scores.items())
        if row.dataset in line:
            notes.append(f"{row.method} on {row.dataset} is otherwise {there} ({row.source})")
            continue
        line[row.dataset] = [row.scores]
        sources.setdefault(row.method, {}).setdefault(row.source, []).append(row.dataset)
        if row.note:
            notes.append(f"{row.method} on {row.dataset}: {row.note}")
    of_methods = "; ".join(f"{method}: {_named(theirs)}" for method, theirs in sources.items())
    return lines, ((f"published, not measured here: {of_methods}", *notes) if rows else ())


def _named(sources: dict[str, list[str]]) -> str:
    """Of several sources also what each is of."""
    if len(sources) == 1:
        return "".join(sources)
    return " and ".join(f"{source} ({', '.join(datasets)})" for source, datasets in sources.items())


def _other_images(jobs: Sequence[Job], rows: Sequence[Row]) -> Iterator[str]:
    """Where one's own set cannot be the one that is printed."""
    for job, row in ((job, row) for job in jobs for row in rows if row.dataset == job.dataset):
        if row.images and job.runs == 1 and row.images != len(job.names):
            yield f"{job.dataset} has {len(job.names)} images here and {row.images} in print: these do not compare"


def _mean(results: Sequence[Sequence[Scores]], names: Sequence[str]) -> Scores:
    """Each set counts alike, whatever its size; without a set there is no mean."""
    of_sets = {name: [average([r.get(name, math.nan) for r in runs]) for runs in results] for name in names}
    return {name: average(values, propagate=True) for name, values in of_sets.items()}


def terminal(overview: Overview) -> str:
    """Two lines of head, the sets and their scores; * the best and + the second of a column."""
    sets, names, cells = zip(*overview.columns("{}*", "{}+"), strict=True)
    heads = ["" if i and sets[i - 1] == dataset else dataset for i, dataset in enumerate(sets)]
    body = [[line, *row] for line, row in zip(overview.lines, zip(*cells, strict=True), strict=True)]
    table = aligned(overview.title, ["", *heads], [["method", *map(arrow, names)], *body])
    return "\n".join([table, *(f"note: {on_one_line(note)}" for note in overview.notes)])


def markdown(overview: Overview) -> str:
    """A Markdown table; best bold, second underlined."""
    sets, names, cells = zip(*overview.columns("**{}**", "<u>{}</u>"), strict=True)
    head = [f"{escaped(s, MARKDOWN)} {arrow(n, MARKDOWN)}" for s, n in zip(sets, names, strict=True)]
    body = [[escaped(m, MARKDOWN), *row] for m, row in zip(overview.lines, zip(*cells, strict=True), strict=True)]
    lines = [["method", *head], ["---", *["---:"] * len(head)], *body]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    notes = ["", *(f"- {note}" for note in overview.notes)] if overview.notes else []
    return "\n".join([f"### {overview.title}", "", *table, *notes]) + "\n"


def latex(overview: Overview) -> str:
    """A booktabs table with a data set over its scores; best bold, second underlined."""
    _, names, cells = zip(*overview.columns(r"\textbf{{{}}}", r"\underline{{{}}}"), strict=True)
    wide, own = len(overview.names), overview.sets
    over = [f"\\multicolumn{{{wide}}}{{c}}{{{escaped(dataset, LATEX)}}}" for dataset in own]
    rules = " ".join(f"\\cmidrule(lr){{{2 + i * wide}-{1 + (i + 1) * wide}}}" for i in range(len(own)))
    head = [latex_line(["", *over]), rules, latex_line(["method", *(arrow(name, LATEX) for name in names)])]
    rows = zip(overview.lines, zip(*cells, strict=True), strict=True)
    body = [latex_line([escaped(method, LATEX), *row]) for method, row in rows]
    lines = [r"\toprule", *head, r"\midrule", *body, r"\bottomrule"]
    return latex_table(". ".join((overview.title, *overview.notes)), lines, len(names))
