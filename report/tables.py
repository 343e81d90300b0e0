"""Score tables from jobs that are scored: data sets, classes and their mean, groups, intervals; CSV and JSON."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from files import write_csv, write_file
from report import empty, layout, overview, statistics
from report.cases import Job
from report.layout import ALL, Block, Show, aligned, average, no_formula

FILES = ("scores.csv", "summary.json", "tables.md", "tables.tex")


def terminal(jobs: Sequence[Job], show: Show = ALL, whole: overview.Overview | None = None) -> str:
    """All tables, the overview last, and what their marks mean."""
    found = blocks(jobs)
    text = layout.terminal(found, show) + (f"\n\n{overview.terminal(whole)}" if whole else "")
    most = max(len(lines) for lines in [block.lines for block in found] + ([whole.lines] if whole else []))
    text += "\n\n* best, + second" if most > 2 else "\n\n* best" if most > 1 else ""
    return "\n\n".join([text, *empty.notes(jobs)])


def groups(jobs: Sequence[Job], group_of: Callable[[str], str], show: Show = ALL) -> str:
    """For each job a table of its clips, volumes or patients, and the mean over them; its scores must keep curves."""
    found = []
    for job in jobs:
        places: dict[str, list[int]] = {}
        for i, name in enumerate(job.names):
            places.setdefault(group_of(name), []).append(i)
        lines = {group: [job.scores.subset(members).result()] for group, members in places.items()}
        mean = _mean([results[0] for results in lines.values()], job.scores.undefined_rule)
        title = f"{job.line} on {job.shown}, its {len(lines)} groups"
        found.append(Block(title, job.scores.protocol, lines | {"mean of groups": [mean]}, "group"))
    return layout.terminal(found, show)


def blocks(jobs: Sequence[Job]) -> list[Block]:
    """A table per data set or, of several classes, per class, and then one of their mean."""
    found = []
    for dataset in dict.fromkeys(job.dataset for job in jobs):
        mine = [job for job in jobs if job.dataset == dataset]
        classes = list(dict.fromkeys(job.class_name for job in mine))
        found += [_of_class([job for job in mine if job.class_name == name]) for name in classes]
        if len(classes) > 1:
            found.append(_mean_of_classes(mine))
    return found


def _of_class(jobs: Sequence[Job]) -> Block:
    lines: dict[str, list[dict[str, float]]] = {}
    images: dict[str, set[str]] = {}
    for job in jobs:
        lines.setdefault(job.method, []).append(job.scores.result())
        images.setdefault(job.method, set()).update(job.names)
    counts = " + ".join(dict.fromkeys(str(len(names)) for names in images.values()))
    protocol = jobs[0].scores.protocol
    return Block(f"{jobs[0].shown}, {counts} images{_runs(jobs)}, protocol {protocol}", protocol, lines)


def _runs(jobs: Sequence[Job]) -> str:
    """How many runs there are, where a method has several; those that could not be scored are missing by name."""
    there = {job.method: sum(other.method == job.method for other in jobs) for job in jobs}
    texts = [
        f"{there[job.method]} runs" if there[job.method] == job.runs else f"ONLY {there[job.method]} of {job.runs} runs"
        for job in jobs
        if job.runs > 1
    ]
    return "".join(f", {text}" for text in dict.fromkeys(texts))


def _mean_of_classes(jobs: Sequence[Job]) -> Block:
    counting = [job for job in jobs if job.counts]
    classes = list(dict.fromkeys(job.class_name for job in counting))
    scores = jobs[0].scores
    lines: dict[str, list[dict[str, float]]] = {}
    for method, run in dict.fromkeys((job.method, job.run) for job in counting):
        mine = [job for job in counting if (job.method, job.run) == (method, run)]
        # one that no mask shows would be perfect for a network that finds nothing
        shown = [job.scores.result() for job in mine if job.scores.with_foreground]
        # a class that could not be scored leaves no mean: one of the others would be of something else
        lacking = dict.fromkeys(scores.names, math.nan)
        mean = _mean(shown, scores.undefined_rule) if shown and len(mine) == len(classes) else lacking
        lines.setdefault(method, []).append(mean)
    runs = _runs([job for job in counting if job.class_name == classes[0]])
    absent = dict.fromkeys(job.class_name for job in counting if not job.scores.with_foreground)
    without = f", {' and '.join(absent)} left out where no mask shows it" if absent else ""
    title = f"{jobs[0].dataset}, mean of {', '.join(classes)}{runs}{without}"
    return Block(f"{title}, protocol {scores.protocol}", scores.protocol, lines)


def _mean(results: Sequence[dict[str, float]], undefined_rule: str) -> dict[str, float]:
    """Score by score; without those that are undefined, unless the rule is to propagate them."""
    return {name: average([r[name] for r in results], undefined_rule == "propagate") for name in results[0]}


def confidence(jobs: Sequence[Job], show: Show = ALL) -> str:
    """95 % intervals of every score, and for each pair of methods (of many: with the first) a paired test per score.

    Folds are pooled.
    """
    runs, texts = pooled(jobs), []
    for shown in dict.fromkeys(job.shown for job in runs):
        mine = [job for job in runs if job.shown == shown]
        protocol = mine[0].scores.protocol
        names = show.names(protocol)
        body = []
        for job in mine:
            found = statistics.intervals(job.scores)
            factors = [show.factor(name, protocol) for name in names]
            cells = [f"{found[n][0] * f:.4f}..{found[n][1] * f:.4f}" for n, f in zip(names, factors, strict=True)]
            body.append([job.line, *cells])
        title = f"{shown}: 95 % bootstrap intervals, images resampled" + (", per cent" if show.percent else "")
        texts.append(aligned(title, ["method", *names], body))
        tests = statistics.paired_tests([(job.line, job.names, job.scores) for job in mine])
        if tests:
            body = [[f"{a} - {b}", *(_p(values[name]) for name in names)] for (a, b), values in tests.items()]
            first = f", each against {mine[0].line}" if len(mine) > statistics.MOST_METHODS else ""
            title = f"{shown}: paired Wilcoxon p, per image (uncorrected){first}"
            texts.append(aligned(title, ["method", *names], body))
    return "\n\n".join(texts)


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "<0.0001" if value < 1e-4 else f"{value:.4f}"


def pooled(jobs: Sequence[Job]) -> list[Job]:
    """Folds of a method as one run over all of their images; runs over the same images stay apart."""
    found: list[Job] = []
    for job in jobs:
        known = next((i for i, j in enumerate(found) if (j.shown, j.method) == (job.shown, job.method)), None)
        if known is None or set(found[known].names) & set(job.names):
            found.append(job)
            continue
        whole = job.scores.blank()
        whole.merge(found[known].scores).merge(job.scores)
        names, files = found[known].names + job.names, found[known].files + job.files
        empty = found[known].empty + job.empty
        found[known] = replace(found[known], names=names, files=files, empty=empty, scores=whole)
    return found


def write(
    jobs: Sequence[Job],
    folder: Path,
    show: Show = ALL,
    also: Sequence[str] = (),
    whole: overview.Overview | None = None,
) -> None:
    """scores.csv (a row per image), summary.json, tables.md and tables.tex in `folder`; tables.md ends with `also`.

    In the CSV a name that begins with = + - or @ has an apostrophe before it, so that no spreadsheet runs it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "scores.csv", _by_image(jobs))
    write_file(folder / "summary.json", json.dumps([_summary(job) for job in jobs], indent=2) + "\n")
    found = blocks(jobs)
    of_all = f"\n{overview.markdown(whole)}" if whole else ""
    texts = "".join(f"\n{text}\n" for text in empty.notes(jobs))
    texts += "".join(f"\n```\n{text}\n```\n" for text in also)
    write_file(folder / "tables.md", layout.markdown(found, show) + of_all + texts)
    write_file(folder / "tables.tex", layout.latex(found, show) + (f"\n{overview.latex(whole)}" if whole else ""))


def _by_image(jobs: Sequence[Job]) -> Iterator[Sequence[object]]:
    names = jobs[0].scores.names
    yield ("protocol", "dataset", "class", "method", "run", "image", *names)
    for job in jobs:
        table = np.stack([job.scores.per_image[name] for name in names], 1)
        texts = [no_formula(text) for text in (job.dataset, job.class_name, job.method)]
        for image, values in zip(job.names, table, strict=True):  # numbers of Python's own take half a KB an image
            yield (job.scores.protocol, *texts, job.run, no_formula(image), *values.tolist())


def _summary(job: Job) -> dict[str, object]:
    return {
        "protocol": job.scores.protocol,
        "dataset": job.dataset,
        "class": job.class_name,
        "method": job.method,
        "run": job.run,
        "images": len(job.scores),
        "empty_masks": job.empty,
        "false_alarms": job.alarms,
        "scores": {name: None if math.isnan(value) else value for name, value in job.scores.result().items()},
        "undefined": {name: count for name, count in job.scores.undefined.items() if count},
        "undefined_rule": job.scores.undefined_rule,
        "penalised": {name: count for name, count in job.scores.penalised.items() if count},
    }
