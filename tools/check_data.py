"""What a folder of images and masks holds, or of volumes, before a night is spent on it: a report, a sheet to look at.

python -m tools.check_data DIR [--include REGEX] [--group REGEX] [--out check.png] [--most N]
                               [--label_values 0,80,160,255] [--field_of_view FOLDER] [--observer WORD]

Volumes (.nii, .nii.gz) are told by themselves, and their classes by dataset.json where there is one. Exits with 1 if
a file is faulty; the report names each, many that have the same fault in one line.
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from configs import BINARY, Labels, errors_in_one_line, print_anywhere
from files import (
    Check,
    Pair,
    Task,
    VolumeCheck,
    are_volumes,
    decathlon,
    find_pairs,
    folders_of,
    group_of,
    left_aside,
    require_apart,
    require_picture,
    survey,
    write_picture,
)
from files.survey_volumes import span
from report.arguments import numbers
from report.drawing import COLOURS, Colour, colours_of, evenly
from report.slices import outlined, views_of

CELL = 192  # side of a picture on the sheet, in pixels
COLUMNS = 6
FEW = 3  # files with the same fault have a line each


def main() -> None:
    print_anywhere()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what datapath would be")
    parser.add_argument("--include", default="", help="regular expression that names must contain, as in Config")
    parser.add_argument("--group", default="", help="regular expression for clip, volume or patient, as in Config")
    parser.add_argument("--out", type=Path, default=Path("check.png"))
    most = "pictures on the sheet, evenly spaced over the folder"
    parser.add_argument("--most", type=int, choices=range(1, 1000), metavar="N", default=24, help=most)
    parser.add_argument("--label_values", type=numbers, default=(), help="of label images, as in Config: 0,80,160,255")
    named = "of volumes with a file per organ: background,liver"
    parser.add_argument("--class_names", type=lambda text: tuple(text.split(",")), default=(), help=named)
    parser.add_argument("--field_of_view", default="", help="folder of masks of what counts, as in Config")
    parser.add_argument("--observer", default="", help="of masks by several people, whose, as in Config")
    given = parser.parse_args()
    try:
        volumes = are_volumes(given.folder)
        task = decathlon(given.folder) if volumes and not given.label_values else None
        labels = Labels(task.values, task.names) if task else Labels(given.label_values, given.class_names)
        pairs = find_pairs(given.folder, given.include, given.field_of_view, given.observer, volumes)
        groups = {group_of(pair.name, given.group) for pair in pairs}
        require_apart(given.out.parent, folders_of({pair.name: pair.image for pair in pairs}))
        require_apart(given.out.parent, {path.parent for pair in pairs for path in pair.files})
        require_picture(given.out)
    except (ValueError, OSError, re.error) as error:
        raise SystemExit(f"error: {error}") from error
    check, problems = survey(pairs, labels if labels.values or not volumes else None)
    used = {path for pair in pairs for path in pair.files}
    print("\n".join([*what_there_is(pairs, groups, left_aside(given.folder, used)), *report(check, labels, task)]))
    for line in alike(problems):
        print(f"faulty: {line}")
    if problems:
        print("             what converts masks and images, all at once: docs/own_data.md#files-that-are-refused")
    sound = [pair for pair in pairs if pair.name not in problems]
    if check:
        labels = as_drawn(labels, check)
        # the commonest class surrounds the others; its outline would be theirs again
        around = max(labels.values, key=lambda value: check.classes[value][1]) if labels.several else -1
        drawn = colours_of(replace(labels, background=around))
        write_sheet(sound, given.out, given.most, labels, drawn)
        called = {colour: name for name, colour in COLOURS.items()}
        colours = {value: called[colour] for value, colour in drawn.items()}
        outlines = (
            "the outlines of " + ", ".join(f"{v} {c}" for v, c in colours.items()) if colours else "outlined masks"
        )
        shown = f"{given.most} of {len(sound)} (--most)" if given.most < len(sound) else len(sound)
        print(f"{given.out}: {shown} images with {outlines}")
    sys.exit(1 if problems else 0)


def alike(problems: Mapping[str, Sequence[str]]) -> list[str]:
    """A line per fault, of name -> what is wrong with a pair; one for many that differ in names and numbers alone."""
    same: dict[str, list[tuple[str, str]]] = {}
    for name, of_pair in problems.items():
        for problem in of_pair:
            kind = re.sub(r"\d+", "", problem.replace(name.rpartition("/")[2], ""))
            same.setdefault(kind, []).append((name, problem))
    lines = []
    for found in same.values():
        (_, first), *others = found
        if len(others) < FEW:
            lines += [problem for _, problem in found]
        else:
            lines.append(f"{first}. So are {len(others)} others: {', '.join(name for name, _ in others)}")
    return lines


def as_drawn(labels: Labels, check: Check | VolumeCheck) -> Labels:
    """The classes whose outlines are drawn: those that are known or, of volumes, that were seen."""
    seen = check.values if isinstance(check, VolumeCheck) and len(check.values) > 2 else ()
    return labels if labels.values or max(seen, default=0) > 255 else Labels(seen)


def what_there_is(pairs: list[Pair], groups: set[str], unused: str) -> list[str]:
    """Lines for a terminal: which files were found."""
    lines = [f"images       {len(pairs)}, first {pairs[0].image}", f"masks        first {pairs[0].masks[0]}"]
    if pairs[0].more:
        lines.append(f"channels     {len(pairs[0].channels)} files, {', '.join(p.name for p in pairs[0].channels)}")
    if unused:
        lines.append(f"not used     {unused}")
    if len(groups) < len(pairs):
        lines.append(f"groups       {len(groups)} (clips, volumes, patients, sub-folders), first {min(groups)}")
    return lines


def report(check: Check | VolumeCheck | None, labels: Labels, task: Task | None = None) -> list[str]:
    """Lines for a terminal: what is in the files."""
    if check is None:
        return ["no pair is sound"]
    return report_volumes(check, labels, task) if isinstance(check, VolumeCheck) else report_pictures(check)


def report_volumes(check: VolumeCheck, labels: Labels, task: Task | None) -> list[str]:
    """`report` of volumes."""
    lines = [
        f"shapes       {span(check.shapes)} voxels",
        f"spacings     {span(check.spacings)} mm",
        f"orientations {', '.join(f'{name} {count}' for name, count in check.orientations.items())}",
    ]
    for number, quantiles in enumerate(check.intensities.transpose(1, 2, 0)):  # (3, N) of each channel
        ranges = [" to ".join(dict.fromkeys(f"{end:.4g}" for end in (row.min(), row.max()))) for row in quantiles]
        called = f": {task.modality[number]}" if task and number < len(task.modality) else ""
        lines.append(
            f"channel {number:<4} of each volume 0.5 % is below {ranges[0]}, half below {ranges[1]}, "
            f"99.5 % below {ranges[2]}{called}"
        )
    names = dict(zip(labels.values, labels.names, strict=True)) if task else {}
    for value, (volumes, share) in check.classes.items():
        called = f": {names[value]}" if value in names else ""
        lines.append(f"label {value:<6} {share:.3%} of all voxels, in {volumes} of {check.pairs} volumes{called}")
    if len(check.values) > 2:
        values = f"--classes {len(check.values)} --label_values {','.join(map(str, check.values))}"
        lines.append(f"             several classes: {values}")
    return lines + [f"note         {remark}" for remark in check.remarks()]


def report_pictures(check: Check) -> list[str]:
    """`report` of pictures."""
    (h, w), (hh, ww) = check.smallest, check.largest
    few = check.classes or len(check.values) <= 8
    values = ", ".join(map(str, check.values)) if few else f"{len(check.values)} values: soft edges"
    lines = [
        f"sizes        {w}x{h} to {ww}x{hh} (width x height)",
        f"mask values  {values}",
    ]
    for value, (images, share) in check.classes.items():
        lines.append(f"class {value:<6} {share:.2%} of all pixels, in {images} of {check.pairs} images")
    if check.classes:
        return lines
    first = f", first {check.empty[0]}" if check.empty else ""
    lines += [f"lesion       {check.covered:.2%} of all pixels", f"empty masks  {len(check.empty)}{first}"]
    if 2 < len(check.values) <= 8:
        lines.append(f"             several classes? Then give --label_values {','.join(map(str, check.values))}")
    return lines + [f"note         {remark}" for remark in check.remarks()]


def write_sheet(
    pairs: list[Pair],
    out: Path,
    most: int = 24,
    labels: Labels = BINARY,
    colours: dict[int, Colour] | None = None,
) -> None:
    """A grid of at most `most` images, or volumes as three slices, each with its name and the outline of its mask.

    Of label images the outlines of those values that have a colour (blue, green, red).
    """
    drawn = [(colours or {}).get(value) for value in labels.values] or [COLOURS["green"]]
    cells = [_cell(pair, labels, drawn) for pair in evenly(pairs, most)]
    blank = np.full_like(cells[0], 255)
    columns = min(COLUMNS // (2 if pairs[0].is_volume else 1), len(cells))
    cells += [blank] * (-len(cells) % columns)
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    write_picture(out, np.concatenate(rows))


def _cell(pair: Pair, labels: Labels, colours: list[Colour | None]) -> np.ndarray:
    views = views_of(pair, labels)
    cell = np.full((CELL + 20, len(views) * CELL + 4, 3), 255, np.uint8)
    for i, view in enumerate(views):
        picture = outlined(view, colours, CELL)
        cell[20 : 20 + picture.shape[0], i * CELL : i * CELL + picture.shape[1]] = picture
    ascii_name = pair.name.encode("ascii", "replace").decode()[-28 * len(views) :]  # OpenCV's font has no other letters
    return cv2.putText(cell, ascii_name, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)


if __name__ == "__main__":
    with errors_in_one_line("check_data"):
        main()
