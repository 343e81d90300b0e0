"""Figures of a score table: curves, coloured panels, scatter.

python -m tools.figures --gt DIR --pred [NAME=]DIR [--pred ...] --out DIR [--images DIR] [--worst N] [--by SCORE]
                        [--label_values 0,80,160,255 --class_names A,B,C,D] [--field_of_view FOLDER] [--observer WORD]

Writes, per data set (and class) and as PDF and PNG: PR, F and E curves of all methods; with two methods or more a
scatter of the first two, image by image; with --images the N worst images of the first method (by SCORE) as panels
image | gt | method ..., coloured by what was hit, a false alarm, or missed.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np

from configs import Labels, errors_in_one_line, print_anywhere
from files import find_images, folders_of, read_image, require_apart, require_writable, whole_file
from metrics import PROTOCOLS, lower_is_better
from report import cases, reading, scoring
from report.arguments import methods_of, numbers, sets_of
from report.cases import Job
from report.drawing import colour_errors

matplotlib.use("Agg")
from matplotlib import pyplot as plt

WIDTH = 3.4  # inches: a column of a two-column paper
STYLES = ("-", "--", "-.", ":")
plt.rcParams.update({"font.size": 8, "legend.fontsize": 7, "lines.linewidth": 1.2, "pdf.fonttype": 42})


def main() -> None:
    print_anywhere()
    parser = _parser()
    given = parser.parse_args()
    known = PROTOCOLS[given.protocol].names
    by = given.by or next((name for name in known if "dic" in name.lower()), known[0])
    if by not in known:
        parser.error(f"--by {by}: protocol {given.protocol} has {', '.join(known)}")

    # ---- what there is; whatever can be refused is refused here
    try:
        labels = Labels(given.label_values, tuple(filter(None, given.class_names.split(","))))
        which, prefer = cases.Which("", given.field_of_view, given.observer), cases.prefers_labels(given.protocol)
        sets, several = sets_of(given.gt)
        jobs = cases.jobs_of(sets, methods_of(given.pred), several, labels, which, prefer)
        for folder in {given.images / job.dataset if several else given.images for job in jobs} if given.images else ():
            require_apart(given.out, folders_of(find_images(folder)))
        require_apart(
            given.out, {Path(path).parent for job in jobs for case in job.files for path in (case.map, *case.masks)}
        )
        require_writable(given.out)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    # ---- scored and drawn, then what was noticed
    scoring.score(jobs, given.protocol, "exclude", given.processes, tolerance=given.tolerance)
    for shown in dict.fromkeys(job.shown for job in jobs):
        mine = [job for job in jobs if job.shown == shown and len(job.scores)]
        if not mine:
            continue
        out = given.out / _file_name(shown)
        written = [curves(mine, out)] if mine[0].scores.curves else []  # masks have no thresholds
        if len(mine) > 1:
            written.append(scatter(mine[0], mine[1], by, out))
        if given.images:
            folder = given.images / mine[0].dataset if several else given.images
            written.append(panels(mine, find_images(folder), by, given.worst, out))
        print(f"{shown}: {', '.join(path.stem for path in written)} in {given.out}")
    for job in jobs:
        for text in job.notes:
            print(f"note: {job.title}: {text}")
        if job.error:
            print(f"error: {job.title}: {job.error}")
    if any(job.error for job in jobs):
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gt", required=True)
    parser.add_argument("--pred", required=True, action="append")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--images", type=Path, help="images/, a test set, or a folder of test sets, laid out like --gt")
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), default="official")
    parser.add_argument("--tolerance", type=float, default=1.0, help="of volume's NSD, as in Config")
    parser.add_argument("--worst", type=int, default=4)
    parser.add_argument("--by", help="score for scatter and worst; default the protocol's Dice, or its first")
    parser.add_argument(
        "--label_values", type=numbers, default=(), help="of several classes, as in Config: 0,80,160,255"
    )
    parser.add_argument("--class_names", default="", help="as in Config, with commas; default the values")
    parser.add_argument("--field_of_view", default="", help="folder of masks of what counts, as in Config")
    parser.add_argument("--observer", default="", help="of masks by several people, whose, as in Config")
    parser.add_argument("--processes", type=int, default=1)
    return parser


def curves(jobs: Sequence[Job], out: Path) -> Path:
    """Precision against recall, then F and E against the threshold."""
    figure, axes = plt.subplots(1, 3, figsize=(2.1 * WIDTH, 0.62 * WIDTH), layout="constrained")
    for i, job in enumerate(jobs):
        found, style = job.scores.curves, STYLES[i % len(STYLES)]
        threshold = np.linspace(255, 0, len(found["F"]))
        axes[0].plot(found["recall"], found["precision"], style, label=job.method)
        axes[1].plot(threshold, found["F"], style)
        axes[2].plot(threshold, found["E"], style)
    for axis, x, y in zip(axes, ("recall", "threshold", "threshold"), ("precision", "F", "E"), strict=True):
        axis.set(xlabel=x, ylabel=y, ylim=(0, 1.02))
        axis.grid(alpha=0.3, linewidth=0.5)
    axes[0].set_xlim(0, 1.02)
    axes[0].legend(loc="lower left", frameon=False)
    axes[1].set_title(f"{jobs[0].shown}, {len(jobs[0].names)} images", fontsize=8)
    return _save(figure, out.with_name(out.name + "-curves"))


def scatter(a: Job, b: Job, by: str, out: Path) -> Path:
    """One dot per image that both scored: score of `a` across, of `b` up."""
    shared = sorted(set(a.names) & set(b.names))
    x, y = (job.scores.per_image[by][[job.names.index(name) for name in shared]] for job in (a, b))
    figure, axis = plt.subplots(figsize=(0.8 * WIDTH, 0.8 * WIDTH), layout="constrained")
    top = max(1.0, *np.nan_to_num(x), *np.nan_to_num(y))  # a distance may be larger than 1
    axis.plot([0, top], [0, top], color="0.6", linewidth=0.8)
    axis.scatter(x, y, s=9, alpha=0.7, linewidths=0)
    better = int((y < x).sum() if lower_is_better(by) else (y > x).sum())
    axis.set(
        xlabel=f"{by}, {a.method}",
        ylabel=f"{by}, {b.method}",
        xlim=(-0.02 * top, 1.02 * top),
        ylim=(-0.02 * top, 1.02 * top),
    )
    equal = int((x == y).sum())
    axis.set_title(f"{b.method} better on {better} of {len(shared)} images, equal on {equal}", fontsize=8)
    return _save(figure, out.with_name(out.name + "-scatter"))


def panels(jobs: Sequence[Job], images: dict[str, Path], by: str, count: int, out: Path) -> Path:
    """The `count` worst images of the first job, a row each: image | gt | a column per method, with its score."""
    first = jobs[0]
    values = first.scores.per_image[by]
    order = np.argsort(values if not lower_is_better(by) else -values)  # NaN sorts last
    chosen = [first.names[i] for i in order if first.names[i] in images][:count]
    if not chosen:
        raise ValueError(f"no image is named like the maps of {first.method}; first map {first.names[0]}")
    columns = 2 + len(jobs)
    height = sum(0.75 * WIDTH / 2 for _ in chosen) + 0.2
    figure, grid = plt.subplots(
        len(chosen), columns, figsize=(WIDTH / 2 * columns, height), layout="constrained", squeeze=False
    )
    for row, name in zip(grid, chosen, strict=True):
        gt = reading.picture_of(first, name, gt=True)
        row[0].imshow(read_image(images[name]))
        row[0].set_ylabel(name[-24:], fontsize=6)
        row[1].imshow(gt, cmap="gray", vmin=0, vmax=max(1, gt.max()))
        for axis, job in zip(row[2:], jobs, strict=True):
            if name in job.names:
                axis.imshow(colour_errors(reading.picture_of(job, name), gt))
                axis.set_xlabel(f"{by} {job.scores.per_image[by][job.names.index(name)]:.3f}", fontsize=7, labelpad=1)
    figure.supxlabel("green: hit    orange: false alarm    blue: missed", fontsize=8)
    for axis, title in zip(grid[0], ("image", "gt", *(job.method for job in jobs)), strict=True):
        axis.set_title(title, fontsize=8)
    for axis in grid.flat:
        axis.set(xticks=[], yticks=[])
    return _save(figure, out.with_name(out.name + f"-worst-{_file_name(first.method)}"))


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "-", text)


def _save(figure: plt.Figure, path: Path) -> Path:
    for suffix in (".pdf", ".png"):
        with whole_file(path.with_name(path.name + suffix)) as file:
            figure.savefig(file, format=suffix[1:], dpi=300)
    plt.close(figure)
    return path


if __name__ == "__main__":
    with errors_in_one_line("figures"):
        main()
