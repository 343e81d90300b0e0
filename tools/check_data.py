"""What a folder of images and masks holds, before a night is spent on it: a report, and a sheet to look at.

python -m tools.check_data DIR [--include REGEX] [--group REGEX] [--out check.png] [--most N]
                               [--label_values 0,80,160,255] [--field_of_view FOLDER] [--observer WORD]

Exits with 1 if a file is faulty; the report names each.
"""

import argparse
import itertools
import re
import sys
from pathlib import Path

import cv2
import numpy as np

from configs import BINARY, Labels, errors_in_one_line, print_anywhere
from files import (
    Check,
    Pair,
    find_pairs,
    folders_of,
    group_of,
    left_aside,
    read_image,
    read_planes,
    require_apart,
    require_picture,
    survey,
    write_picture,
)
from report.arguments import numbers
from report.drawing import COLOURS, Colour, evenly

CELL = 192  # side of a picture on the sheet, in pixels
COLUMNS = 6


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
    parser.add_argument("--field_of_view", default="", help="folder of masks of what counts, as in Config")
    parser.add_argument("--observer", default="", help="of masks by several people, whose, as in Config")
    given = parser.parse_args()
    try:
        labels = Labels(given.label_values)
        pairs = find_pairs(given.folder, given.include, given.field_of_view, given.observer)
        groups = {group_of(pair.name, given.group) for pair in pairs}
        require_apart(given.out.parent, folders_of({pair.name: pair.image for pair in pairs}))
        require_apart(given.out.parent, {path.parent for pair in pairs for path in pair.files})
        require_picture(given.out)
    except (ValueError, OSError, re.error) as error:
        raise SystemExit(f"error: {error}") from error
    check, problems = survey(pairs, labels)
    used = {path for pair in pairs for path in pair.files}
    print(report(pairs, groups, check, left_aside(given.folder, used)))
    for problem in (problem for of_pair in problems.values() for problem in of_pair):
        print(f"faulty: {problem}")
    sound = [pair for pair in pairs if pair.name not in problems]
    if sound:
        # the commonest class surrounds the others; its outline would be theirs again
        values = sorted(labels.values, key=lambda value: -check.classes[value][1] if check else 0)[1:]
        colours = dict(zip(values, itertools.cycle(COLOURS)))
        write_sheet(sound, given.out, given.most, labels, {v: COLOURS[c] for v, c in colours.items()})
        outlines = (
            "the outlines of " + ", ".join(f"{v} {c}" for v, c in colours.items()) if colours else "outlined masks"
        )
        print(f"{given.out}: {min(given.most, len(sound))} images with {outlines}")
    sys.exit(1 if problems else 0)


def report(pairs: list[Pair], groups: set[str], check: Check | None, unused: str) -> str:
    """Lines for a terminal."""
    lines = [f"images       {len(pairs)}, first {pairs[0].image}", f"masks        first {pairs[0].masks[0]}"]
    if unused:
        lines.append(f"not used     {unused}")
    if len(groups) < len(pairs):
        lines.append(f"groups       {len(groups)} (clips, volumes, patients, sub-folders), first {min(groups)}")
    if check is None:
        return "\n".join([*lines, "no pair is sound"])
    (h, w), (hh, ww) = check.smallest, check.largest
    few = check.classes or len(check.values) <= 8
    values = ", ".join(map(str, check.values)) if few else f"{len(check.values)} values: soft edges"
    lines += [
        f"sizes        {w}x{h} to {ww}x{hh} (width x height)",
        f"mask values  {values}",
    ]
    for value, (images, share) in check.classes.items():
        lines.append(f"class {value:<6} {share:.2%} of all pixels, in {images} of {check.pairs} images")
    if check.classes:
        return "\n".join(lines)
    first = f", first {check.empty[0]}" if check.empty else ""
    lines += [f"lesion       {check.covered:.2%} of all pixels", f"empty masks  {len(check.empty)}{first}"]
    if 2 < len(check.values) <= 8:
        lines.append(f"             several classes? Then give --label_values {','.join(map(str, check.values))}")
    lines += [f"note         {remark}" for remark in check.remarks()]
    return "\n".join(lines)


def write_sheet(
    pairs: list[Pair],
    out: Path,
    most: int = 24,
    labels: Labels = BINARY,
    colours: dict[int, Colour] | None = None,
) -> None:
    """A grid of at most `most` images, each with its name and the outline of its mask.

    Of label images the outlines of those values that have a colour (blue, green, red).
    """
    cells = [_cell(pair, labels, colours or {}) for pair in evenly(pairs, most)]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % min(COLUMNS, len(cells)))
    columns = min(COLUMNS, len(cells))
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    write_picture(out, np.concatenate(rows))


def _cell(pair: Pair, labels: Labels, colours: dict[int, Colour]) -> np.ndarray:
    image, planes = read_image(pair.image), read_planes(pair.masks, labels)
    scale = CELL / max(image.shape[:2])
    side = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    picture = np.ascontiguousarray(cv2.resize(image, side, interpolation=cv2.INTER_AREA)[..., ::-1])
    drawn = [colours.get(value) for value in labels.values] or [COLOURS["green"]]
    for plane, colour in zip(planes, drawn, strict=True):
        if colour is None:
            continue
        mask = cv2.resize(plane, side, interpolation=cv2.INTER_AREA) > 127
        outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outline, -1, colour, 1)
    cell = np.full((CELL + 20, CELL + 4, 3), 255, np.uint8)
    cell[20 : 20 + side[1], : side[0]] = picture
    ascii_name = pair.name.encode("ascii", "replace").decode()[-28:]  # OpenCV's font knows no other letters
    return cv2.putText(cell, ascii_name, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)


if __name__ == "__main__":
    with errors_in_one_line("check_data"):
        main()
