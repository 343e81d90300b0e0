"""Score maps: python test_score.py --gt DIR --pred [NAME=]DIR [--pred ...] [--protocol NAME] [--out DIR]

or a config file in place of --gt and --pred: its test sets, and the maps of its network; or a run's folder, such as
saved_model/mine, for classes, protocol, test sets or folds, and maps as its record has them. Any method's maps will
do: grey images, or NIfTI volumes, named like the masks. With --gt of a folder of test sets (TestDataset), each --pred
holds a folder per set.
A NAME given more than once is a method's folds or seeds: tables then show mean ± std, as for a Config with folds.
With label_values every class is scored against the rest, from its grey maps or from label images, and then the mean.
"""

import gc

if __name__ == "__main__":
    gc.disable()  # `errors_in_one_line` enables it

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from configs import Config, errors_in_one_line, fold_or_all, parse
from files import group_of, require_writable
from files.processes import usable_cores
from report import cases, layout, overview, published, scoring, tables, workers
from report.arguments import FLAGS, find_jobs


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, given = parse(
        "Score folders of maps.",
        arguments,
        "score",
        **FLAGS,
        undefined={"choices": ("exclude", "propagate"), "default": "exclude", "help": "propagate: NaN as the original"},
        published={
            "choices": published.PRINTED,
            "help": "rows of docs/published.csv beside one's own: those of this protocol, which must be --protocol's",
        },
        fold={"metavar": "N|all", "type": fold_or_all, "help": "of a Config with folds, the one that is scored [all]"},
        out={"metavar": "DIR", "help": "write scores.csv, summary.json, tables.md and tables.tex there"},
        processes={"type": int, "default": usable_cores(), "help": "at most; default one per core"},
        strict={"action": "store_true", "help": "whatever is noticed about the files is an error"},
        confidence={
            "action": "store_true",
            "help": "95 %% bootstrap intervals, paired tests between methods",
        },
    )
    # ---- what there is; whatever can be refused is refused here
    try:
        show = layout.Show(cfg.columns, cfg.percent)
        show.names(cfg.protocol)  # a column that is no score is refused here
        jobs = find_jobs(cfg, given, None if given.fold == "all" else given.fold)
        rows = published.read(cfg.protocol, {job.dataset: job for job in jobs}) if beside(cfg, given.published) else []
        if taken := {row.line for row in rows} & {job.method for job in jobs}:
            raise ValueError(f"--pred {min(taken)!r} is the name of a published row; give yours another: NAME=DIR")
        if cfg.by_group:  # a pattern that finds nothing in a name is refused here
            deque((group_of(name, cfg.group) for job in jobs for name in job.names), maxlen=0)
        if given.out:
            require_writable(given.out, tables.FILES)
    except (ValueError, OSError) as error:
        raise SystemExit(f"test_score.py: error: {error}") from error

    # ---- scored; written before it is printed, which may fail
    keep_curves = given.confidence or cfg.by_group
    scoring.score(jobs, cfg.protocol, given.undefined, given.processes, keep_curves, cfg.tolerance)
    scored, also = [job for job in jobs if len(job.scores)], []
    if scored and cfg.by_group:
        also.append(tables.groups(scored, lambda name: group_of(name, cfg.group), show))
    if scored and given.confidence:
        also.append(tables.confidence(scored, show))
    whole = overview.of(scored, show, rows) if scored else None
    if scored and given.out:
        tables.write(scored, Path(given.out), show, also, whole)
    report(jobs, given.strict)
    if scored and cfg.folds and not given.fold and any(job.error for job in jobs):
        print("note: each run is a fold; --fold 1 scores the first by itself")
    for text in [tables.terminal(scored, show, whole), *also] if scored else ():
        print("\n" + text)
    if scored and given.out:
        print(f"\nwritten: {', '.join(str(Path(given.out, name)) for name in tables.FILES)}")
    if any(job.error or (given.strict and job.notes) for job in jobs):
        sys.exit(1)


def beside(cfg: Config, protocol: str | None) -> bool:
    """Whether published rows are wanted; ValueError where they would be no match for one's own."""
    if protocol not in (None, cfg.protocol):
        raise ValueError(
            f"--published {protocol} beside --protocol {cfg.protocol}: scores of two protocols are never put into one "
            f"table; give --protocol {protocol} too"
        )
    if protocol and cfg.labels.several:
        raise ValueError(f"--published {protocol} has rows of one class, but these masks have {cfg.labels.count}")
    return protocol is not None


def report(jobs: Sequence[cases.Job], strict: bool) -> None:
    """The original's line per job, then what was noticed, then errors."""
    alone = len({(job.method, job.run) for job in jobs}) == 1
    for job in jobs:
        if len(job.scores) and job.scores.protocol == "official":
            print(official_line(layout.on_one_line(job.shown if alone else job.title), job.scores.result()))
    for job in jobs:
        for note in job.notes:
            print(layout.on_one_line(f"{'error' if strict else 'note'}: {job.title}: {note}"))
        for text in not_in_the_mean(job) if len(job.scores) else ():
            print(f"note: {job.title}: {text}")
    for job in jobs:
        if job.error:
            print(layout.on_one_line(f"error: {job.title}: {job.error}"))


def not_in_the_mean(job: cases.Job) -> Iterator[str]:
    """What a mean does not tell of its images: those that have no such score, and those that have a penalty for one."""
    images = f"of {len(job.scores)} images"
    verb = "left out of its mean" if job.scores.undefined_rule == "exclude" else "make it NaN"
    for name, count in job.scores.undefined.items():
        if count:
            yield f"{name} is undefined for {count} {images}, {verb}"
    for name, count in job.scores.penalised.items():
        if count:
            yield f"{name} is the diagonal for {count} {images}, whose map or mask alone is empty"


def official_line(dataset: str, s: dict[str, float]) -> str:
    """The line that the original prints."""
    return (
        f"dataset: {dataset} MAE: {s['MAE']:.4f} maxF: {s['maxF']:.4f} avgF: {s['avgF']:.4f} wfm: {s['wfm']:.4f} "
        f"Sm: {s['Sm']:.4f} Em: {s['Em']:.4f} M_dice: {s['M_dice']:.4f} M_iou: {s['M_iou']:.4f} "
        f"Ber: {s['Ber']:.4f}  Acc: {s['Acc']:.4f}"
    )


if __name__ == "__main__":
    workers.may_fork()
    with errors_in_one_line("test_score.py"):
        main()
