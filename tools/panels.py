"""Pictures to look at before the scores: rows of image | mask | map.

python -m tools.panels --images DIR --masks DIR --maps [NAME=]DIR [--maps ...] --out FILE.png [--most N]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

HEIGHT = 160  # of every cell, in pixels
GAP = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--masks", required=True, type=Path)
    parser.add_argument("--maps", required=True, action="append", help="[NAME=]DIR, once per method")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--most", type=int, default=8, help="number of images, evenly spaced over the folder")
    given = parser.parse_args()
    named = [text.rpartition("=") for text in given.maps]
    columns = {"image": given.images, "mask": given.masks}
    columns |= {name or Path(folder).name: Path(folder) for name, _, folder in named}
    write_panel(columns, given.out, given.most)
    print(f"{given.out}: {' | '.join(columns)}")


def write_panel(columns: dict[str, Path], out: Path, most: int = 8) -> None:
    """One row per stem that every folder of `columns` holds, at most `most`; ValueError if they share none."""
    files = {title: {p.stem: p for p in sorted(folder.iterdir()) if p.is_file()} for title, folder in columns.items()}
    shared = sorted(set.intersection(*(set(found) for found in files.values())))
    if not shared:
        raise ValueError(f"no file name is shared by {', '.join(map(str, columns.values()))}")
    chosen = [shared[i] for i in np.unique(np.linspace(0, len(shared) - 1, min(most, len(shared))).round().astype(int))]
    rows = [[_cell(found[stem]) for found in files.values()] for stem in chosen]
    width = max(cell.shape[1] for row in rows for cell in row)
    sheet = [_row([_title(title, width) for title in columns], width)] + [_row(row, width) for row in rows]
    out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), np.concatenate(sheet)):
        raise OSError(f"could not write {out}; expected a name ending in .png or .jpg, and room on the disk")


def _cell(path: Path) -> np.ndarray:
    cell = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if cell is None:
        raise ValueError(f"{path} cannot be decoded as an image")
    return cv2.resize(
        cell, (max(1, round(cell.shape[1] * HEIGHT / cell.shape[0])), HEIGHT), interpolation=cv2.INTER_AREA
    )


def _title(text: str, width: int) -> np.ndarray:
    cell = np.full((20, width, 3), 255, np.uint8)
    return cv2.putText(cell, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


def _row(cells: list[np.ndarray], width: int) -> np.ndarray:
    padded = [
        cv2.copyMakeBorder(c, 0, GAP, 0, width - c.shape[1] + GAP, cv2.BORDER_CONSTANT, value=(255,) * 3) for c in cells
    ]
    return np.concatenate(padded, axis=1)


if __name__ == "__main__":
    main()
