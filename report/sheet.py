"""Pictures on a grid, a title over each column and a name under each row, whole and for print."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from files import write_file

DPI = 300
GAP = 8  # white pixels between cells
LETTERS = 26  # pixels that a letter is high: 6 points in print


def sheet(titles: Sequence[str], rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> np.ndarray:
    """(H, W, 3) uint8 RGB of rows (name, a picture per title), which are (h, w, 3) uint8 RGB.

    All columns are as wide as the widest picture, and a row as high as its highest; words are broken, never cut.
    """
    width = max(cell.shape[1] for _, cells in rows for cell in cells)
    strips = [_row([_words(title, width) for title in titles], width)]
    for name, cells in rows:
        strips.append(_row(cells, width))
        if name:
            whole = strips[0].shape[1] - GAP
            strips.append(_row([_words(name, whole)], whole))
            strips.append(np.full((2 * GAP, whole + GAP, 3), 255, np.uint8))  # a name is nearest to its own row
    return np.concatenate(strips)[:, :-GAP]


def write_sheet(path: str | Path, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB as the name ends, .png, .jpg or .pdf, whole or not at all, to be printed at 300 dpi."""
    kind = {".jpg": "JPEG", ".pdf": "PDF"}.get(Path(path).suffix.lower(), "PNG")
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, dpi=(DPI, DPI), resolution=DPI, quality=95)
    write_file(path, file.getvalue())


def _row(cells: Sequence[np.ndarray], width: int) -> np.ndarray:
    height = max(cell.shape[0] for cell in cells) + GAP
    row = np.full((height, len(cells) * (width + GAP), 3), 255, np.uint8)
    for i, cell in enumerate(cells):
        row[: cell.shape[0], i * (width + GAP) : i * (width + GAP) + cell.shape[1]] = cell
    return row


def _words(text: str, width: int) -> np.ndarray:
    """A white strip with a text, on as many lines as it needs."""
    font = ImageFont.load_default(LETTERS)
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append("")
            longer = word
        while font.getlength(longer) > width and len(longer) > 1:  # a file's name may have no blank
            cut = next(i for i in range(len(longer) - 1, 0, -1) if i == 1 or font.getlength(longer[:i]) <= width)
            lines[-1:] = [longer[:cut], ""]
            longer = longer[cut:]
        lines[-1] = longer
    step = round(1.3 * LETTERS)
    strip = Image.new("RGB", (width, step * len(lines)), "white")
    draw = ImageDraw.Draw(strip)
    for i, line in enumerate(lines):
        draw.text((0, i * step), line, "black", font)
    return np.asarray(strip)
