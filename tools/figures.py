"""Figures of a score table: curves, coloured panels, scatter.

python -m tools.figures --gt DIR --pred [NAME=]DIR [--pred ...] --out DIR [--images DIR] [--worst N | --only A,B]
python -m tools.figures saved_model/mine --out DIR    the test sets, or folds, of a run, and their maps

Writes, per data set (and class) and as PDF and PNG of 300 dpi: PR, F and E curves of all methods; with two methods or
more a scatter of the first two, image by image; with images the N worst of the first method (by SCORE), or those that
are named, as panels image | gt | method ..., coloured by what was hit, a false alarm, or missed.
"""

import re
import sys
import textwrap
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs import Config, errors_in_one_line, parse
from files import find_images, folders_of, read_image, require_apart, require_writable, whole_file
from metrics import PROTOCOLS, lower_is_better
from report import reading, scoring
from report.arguments import FLAGS, find_jobs
from report.cases import Job
from report.drawing import chosen_of, colour_errors
from report.tables import pooled

try:
    import matplotlib
except ModuleNotFoundError as error:
    raise SystemExit(
        f"figures: error: matplotlib draws them and is not there ({error}); pip install matplotlib"
    ) from error

matplotlib.use("Agg")
from matplotlib import pyplot as plt

WIDTH = 3.4  # inches: a column of a two-column paper
STYLES = ("-", "--", "-.", ":")
# of methods, in their order, in every figure: Okabe and Ito's, told apart by colour-blind readers
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
plt.rcParams.update({"font.size": 8, "legend.fontsize": 7, "lines.linewidth": 1.2, "pdf.fonttype": 42})


def main() -> None:
    cfg, given = parse(
        "Draw curves, a scatter and the worst images of maps that are scored.",
        None,
        "score",
        **FLAGS,
        out={"metavar": "DIR", "type": Path, "required": True, "help": "where the figures go"},
        images={"metavar": "DIR", "type": Path, "help": "images/, a test set, or a folder of them, laid out like --gt"},
        worst={"type": int, "default": 4, "help": "images in the panels [4]"},
        only={"metavar": "A,B", "default": "", "help": "these images in the panels, by their names, in this order"},
        by={"metavar": "SCORE", "help": "of scatter and worst; default the protocol's Dice, or its first"},
        processes={"type": int, "default": 1, "help": "that score, at most [1]"},
    )
    # ---- what there is; whatever can be refused is refused here
    try:
        by = score_of(cfg.protocol, given.by)
        jobs = find_jobs(cfg, given)
        images = {job.dataset: find_images(folder) for job in jobs if (folder := folder_of(cfg, given, job))}
        for found in images.values():
            require_apart(given.out, folders_of(found))
        read = {Path(path).parent for job in jobs for case in job.files for path in (case.map, *case.masks)}
        require_apart(given.out, read)
        require_writable(given.out)
    except (ValueError, OSError) as error:
        raise SystemExit(f"figures: error: {error}") from error
    # ---- scored and drawn, then what was noticed
    scoring.score(jobs, cfg.protocol, "exclude", given.processes, tolerance=cfg.tolerance)
    only = tuple(filter(None, given.only.split(",")))
    runs = pooled([job for job in jobs if len(job.scores)])
    for shown in dict.fromkeys(job.shown for job in runs):
        mine = [job for job in runs if job.shown == shown]
        out = given.out / _file_name(shown)
        written = [curves(mine, out)] if mine[0].scores.curves else []  # masks have no thresholds
        others = [job for job in mine if {*job.names} & {*mine[0].names}]
        if len(others) > 1:
            written.append(scatter(mine[0], others[1], by, out))
        if mine[0].dataset in images:
            written.append(panels(mine, images[mine[0].dataset], by, given.worst, out, only))
        print(f"{shown}: {', '.join(path.name for path in written)} in {given.out}, .pdf and .png each")
    for job in jobs:
        for text in job.notes:
            print(f"note: {job.title}: {text}")
        if job.error:
            print(f"error: {job.title}: {job.error}")
    if any(job.error for job in jobs):
        sys.exit(1)


def score_of(protocol: str, by: str | None) -> str:
    """The score that scatter and panels go by; ValueError for one that the protocol lacks."""
    known = PROTOCOLS[protocol].names
    if by and by not in known:
        raise ValueError(f"--by {by}: protocol {protocol} has {', '.join(known)}")
    return by or next((name for name in known if "dic" in name.lower()), known[0])


def folder_of(cfg: Config, given: Namespace, job: Job) -> Path | None:
    """Where the images of a job are: below --images, or of a Config; None where masks alone are given."""
    if given.images:
        return given.images / job.dataset if (given.images / job.dataset).is_dir() else given.images
    return None if given.gt or cfg.dims == 3 else job.gt


def curves(jobs: Sequence[Job], out: Path) -> Path:
    """Precision against recall, then F and E against the threshold; what no mask with a lesion defines is said."""
    figure, axes = plt.subplots(1, 3, figsize=(2.1 * WIDTH, 0.7 * WIDTH), layout="constrained")
    empty = all(job.empty == len(job.names) for job in jobs)
    for i, job in enumerate(jobs):
        found = job.scores.curves
        look = {"linestyle": STYLES[i % len(STYLES)], "color": COLOURS[i % len(COLOURS)], "label": _lines(job.line, 48)}
        threshold = np.linspace(255, 0, len(found["F"]))
        if not empty:
            axes[0].plot(found["recall"], found["precision"], **look)
            axes[1].plot(threshold, found["F"], **look)
        axes[2].plot(threshold, found["E"], **look)
    for axis, x, y in zip(axes, ("recall", "threshold", "threshold"), ("precision", "F", "E"), strict=True):
        axis.set(xlabel=x, ylabel=y, ylim=(0, 1.02), xlim=(0, 1.02 if x == "recall" else 255))
        axis.set_xticks((0, 0.5, 1) if x == "recall" else (0, 85, 170, 255))
        axis.grid(alpha=0.3, linewidth=0.5)
    for axis in axes[:2] if empty else ():
        axis.text(0.5, 0.5, "every mask is empty:\nnot defined", ha="center", va="center", transform=axis.transAxes)
    figure.suptitle(_lines(f"{jobs[0].shown}, {len(jobs[0].names)} images", 100), fontsize=8)
    longest = max(len(line) for job in jobs for line in _lines(job.line, 48).split("\n"))
    handles, names = axes[2].get_legend_handles_labels()
    columns = max(1, min(len(jobs), 96 // (longest + 8)))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False)
    return _save(figure, out.with_name(out.name + "-curves"))


def scatter(a: Job, b: Job, by: str, out: Path) -> Path:
    """One dot per image that both scored: score of `a` across, of `b` up."""
    shared = sorted(set(a.names) & set(b.names))
    x, y = (job.scores.per_image[by][[job.names.index(name) for name in shared]] for job in (a, b))
    figure, axis = plt.subplots(figsize=(0.8 * WIDTH, 0.9 * WIDTH), layout="constrained")
    top = max(1.0, *np.nan_to_num(x), *np.nan_to_num(y))  # a distance may be larger than 1
    axis.plot([0, top], [0, top], color="0.6", linewidth=0.8)
    axis.scatter(x, y, s=9, alpha=0.7, linewidths=0, color=COLOURS[0])
    better = int((y < x).sum() if lower_is_better(by) else (y > x).sum())
    axis.set(
        xlabel=_lines(f"{by}, {a.line}", 36),
        ylabel=_lines(f"{by}, {b.line}", 36),
        xlim=(-0.02 * top, 1.02 * top),
        ylim=(-0.02 * top, 1.02 * top),
        aspect="equal",
    )
    equal = int((x == y).sum())
    words = f"{b.line} better on {better} of {len(shared)} images, equal on {equal}"
    figure.suptitle(f"{_lines(a.shown, 40)}\n{_lines(words, 40)}", fontsize=8)
    return _save(figure, out.with_name(out.name + "-scatter"))


def panels(
    jobs: Sequence[Job], images: dict[str, Path], by: str, count: int, out: Path, only: Sequence[str] = ()
) -> Path:
    """A row each of the `count` worst images of the first job, or of `only` some, with their names and scores.

    Columns are image, gt, and one per method.
    """
    first = jobs[0]
    values = first.scores.per_image[by]
    order = np.argsort(values if not lower_is_better(by) else -values)  # NaN sorts last
    there = [first.names[i] for i in order if first.names[i] in images]
    chosen = chosen_of(there, only) or there[:count]
    if not chosen:
        raise ValueError(f"no image is named like the maps of {first.method}; first map {first.names[0]}")
    gts = [reading.picture_of(first, name, gt=True) for name in chosen]
    width, columns = WIDTH / 2, 2 + len(jobs)
    heights = [width * gt.shape[0] / gt.shape[1] for gt in gts]
    figure, grid = plt.subplots(
        *(len(chosen), columns),
        figsize=(width * columns, sum(heights) + 0.2 * len(chosen) + 0.6),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for row, name, gt in zip(grid, chosen, gts, strict=True):
        row[0].imshow(read_image(images[name]))
        row[0].set_xlabel(_lines(name, 34), fontsize=6, labelpad=1)
        row[1].imshow(gt, cmap="gray", vmin=0, vmax=max(1, gt.max()))
        row[1].set_xlabel("" if gt.any() else "empty", fontsize=7, labelpad=1)
        for axis, job in zip(row[2:], jobs, strict=True):
            if name in job.names:
                axis.imshow(colour_errors(reading.picture_of(job, name), gt))
                score = job.scores.per_image[by][job.names.index(name)]
                axis.set_xlabel(f"{by} " + ("undefined" if np.isnan(score) else f"{score:.3f}"), fontsize=7, labelpad=1)
            else:
                axis.set_xlabel("no map", fontsize=7, labelpad=1)
    what = "" if any(gt.any() for gt in gts) else f"every mask here is empty, and {by} says nothing of these maps    "
    figure.supxlabel(f"{what}green: hit    orange: false alarm    blue: missed", fontsize=8)
    for axis, title in zip(grid[0], ("image", "gt", *(job.line for job in jobs)), strict=True):
        axis.set_title(_lines(title, 26), fontsize=8)
    for axis in grid.flat:
        axis.set(xticks=[], yticks=[])
        axis.set_anchor("N")
    return _save(figure, out.with_name(out.name + ("-chosen" if only else f"-worst-{_file_name(first.method)}")))


def _lines(text: str, most: int) -> str:
    """A text on as many lines of `most` letters as it needs; a name without a blank is broken where it must."""
    return "\n".join(textwrap.wrap(text, most, break_on_hyphens=False)) or text


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", text).strip("-")


def _save(figure: plt.Figure, path: Path) -> Path:
    for suffix in (".pdf", ".png"):
        with whole_file(path.with_name(path.name + suffix)) as file:
            figure.savefig(file, format=suffix[1:], dpi=300)
    plt.close(figure)
    return path


if __name__ == "__main__":
    with errors_in_one_line("figures"):
        main()
