"""The pyramid as a picture, drawn from the network's own modules: python -m tools.diagram [DIR]

Writes DIR/pyramid-light.svg and DIR/pyramid-dark.svg (docs/pictures unless given). A row is a level; the modules stand
where the names of their checkpoints' keys say, and one that has no place here is an error.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

import net
from configs import errors_in_one_line
from files import write_file
from net import Network
from net.msnet import DEEPEST

WIDTH, HEIGHT = 112, 34  # of a box
COLUMN, ROW = 136, 88  # from one to the next
LEFT, TOP = 12, 44
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
REDUCED, LEVEL, OUTPUT = 1, 6, 7  # columns; the steps of the pyramid, 1 to 4, lie between
THEMES = {  # GitHub's own colours; of each kind of box the fill and the edge
    "light": {"text": "#1f2328", "line": "#6e7781", "sum": "#bf8700"}
    | {"plain": ("#f6f8fa", "#8c959f"), "unit": ("#ddf4ff", "#0969da"), "decoder": ("#dafbe1", "#1a7f37")},
    "dark": {"text": "#e6edf3", "line": "#8b949e", "sum": "#d29922"}
    | {"plain": ("#161b22", "#6e7681"), "unit": ("#0c2d6b", "#58a6ff"), "decoder": ("#033a16", "#3fb950")},
}


class Box(NamedTuple):
    """A module, or a feature of the backbone, and where it stands: a column, and the level that is its row."""

    name: str
    kind: str
    column: int
    level: int

    @property
    def x(self) -> int:
        return LEFT + self.column * COLUMN

    @property
    def y(self) -> int:
        return TOP + (self.level - 1) * ROW

    @property
    def middle(self) -> int:
        return self.y + HEIGHT // 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="docs/pictures", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):  # its names and shapes, no numbers
        network = net.build("msnet")
    for theme in THEMES:
        path = folder / f"pyramid-{theme}.svg"
        write_file(path, drawn(network, theme))
        print(path)


def drawn(network: Network, theme: str) -> str:
    """The SVG of a network over a backbone of pictures, in the colours of a theme. ValueError for an unknown module."""
    boxes = {box.name: box for box in _boxes(network)}
    colours = THEMES[theme]
    width, height = LEFT + OUTPUT * COLUMN + WIDTH + LEFT, TOP + (DEEPEST - 1) * ROW + HEIGHT + 16
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="{FONT}" font-size="12" fill="{colours["text"]}">'
    )
    arrow = '<marker id="{0}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    arrow += '<path d="M0 0 8 4 0 8z" fill="{1}"/></marker>'
    marks = "".join(arrow.format(kind, colours[kind]) for kind in ("line", "sum"))
    lines = [head, f"<title>{_title(network)}</title>", f"<defs>{marks}</defs>", *_headings(), *_arrows(boxes, colours)]
    return "\n".join([*lines, *(_drawn(box, network, colours) for box in boxes.values()), "</svg>"]) + "\n"


def _boxes(network: Network) -> Iterator[Box]:
    for level in range(1, DEEPEST + 1):
        yield Box(f"x{level}", "plain", 0, level)
    for name, _ in network.named_children():
        if name != "resnet" and not name.startswith("conv_"):  # the box views are inside of every unit
            yield _box(name)


def _box(name: str) -> Box:
    if re.fullmatch(r"x\d(_x\d)+", name):
        deep, *_, shallow = map(int, re.findall(r"\d", name))
        return Box(name, "unit", 1 + deep - shallow, shallow)
    if found := re.fullmatch(r"x(\d)_dem_1", name):
        return Box(name, "plain", REDUCED, int(found[1]))
    if name == "x5_dem_4":  # under the last unit, which it feeds
        return Box(name, "plain", DEEPEST, 2)
    if name == "x5_dem_5":
        return Box(name, "decoder", OUTPUT, DEEPEST)
    if found := re.fullmatch(r"(level|output)(\d)", name):
        return Box(name, "decoder", LEVEL if found[1] == "level" else OUTPUT, int(found[2]))
    raise ValueError(f"module {name} of the network has no place in the picture; give it one in tools/diagram.py")


def _title(network: Network) -> str:
    return f"{type(network).__name__}: five levels of a backbone, ten subtraction units, and the decoder"


def _headings() -> Iterator[str]:
    over = {0: "backbone", REDUCED: "to 64 channels", 2: "step 1", 3: "step 2", 4: "step 3", 5: "step 4"}
    for column, text in (over | {LEVEL: "sum of a level", OUTPUT: "decoder"}).items():
        yield f'<text x="{LEFT + column * COLUMN + WIDTH // 2}" y="18" text-anchor="middle" opacity=".75">{text}</text>'


def _arrows(boxes: dict[str, Box], colours: dict) -> Iterator[str]:
    """What flows where: into the units from the left and from below, along a row into its sum, and up the decoder."""
    line = f'stroke="{colours["line"]}" fill="none" stroke-width="1.3" marker-end="url(#line)"'
    total = f'stroke="{colours["sum"]}" fill="none" stroke-width="1.3"'
    start = {k: boxes.get(f"x{k}_dem_1", boxes[f"x{k}"]) for k in range(1, DEEPEST + 1)}
    for k in range(1, DEEPEST + 1):
        if start[k].column:
            yield _straight(boxes[f"x{k}"], start[k], line)
    units = start
    for step in range(1, DEEPEST):
        deep = dict(units)
        if step == DEEPEST - 1:
            deep[2] = boxes["x5_dem_4"]
            yield _straight(units[2], deep[2], line)
        after = {box.level: box for box in boxes.values() if box.kind == "unit" and box.column == step + 1}
        for k, unit in after.items():
            yield _straight(units[k], unit, line)
            yield _rising(deep[k + 1], unit, line) if deep[k + 1] is units[k + 1] else _up(deep[k + 1], unit, line)
        units = after
    for k in range(1, DEEPEST):
        row = [box for box in boxes.values() if box.kind == "unit" and box.level == k]
        end = boxes.get(f"level{k}", boxes[f"output{k}"])
        below = row[0].y + HEIGHT + 13
        drops = "".join(f"M{box.x + 18} {box.y + HEIGHT}V{below}" for box in row)
        into = f"M{row[0].x + 18} {below}H{end.x - 12}V{end.middle}H{end.x}"
        yield f'<path d="{drops}" {total}/><path d="{into}" {total} marker-end="url(#sum)"/>'
        if end.name.startswith("level"):
            yield _straight(end, boxes[f"output{k}"], line)
        lower = boxes[f"output{k + 1}"] if k < DEEPEST - 1 else boxes["x5_dem_5"]
        yield _up(lower, boxes[f"output{k}"], line)
    deepest, decoder = boxes[f"x{DEEPEST}"], boxes["x5_dem_5"]
    bottom = decoder.y + HEIGHT
    way = f"M{deepest.x + WIDTH // 2} {bottom}V{bottom + 10}H{decoder.x + WIDTH // 2}V{bottom}"
    yield f'<path d="{way}" {line}/>'


def _straight(a: Box, b: Box, style: str) -> str:
    return f'<path d="M{a.x + WIDTH} {a.middle}H{b.x}" {style}/>'


def _rising(a: Box, b: Box, style: str) -> str:
    """From the right of a box to the lower left of one further up."""
    return f'<path d="M{a.x + WIDTH} {a.middle - 8}L{b.x} {b.y + HEIGHT - 5}" {style}/>'


def _up(a: Box, b: Box, style: str) -> str:
    return f'<path d="M{a.x + WIDTH // 2} {a.y}V{b.y + HEIGHT}" {style}/>'


def _drawn(box: Box, network: Network, colours: dict) -> str:
    fill, edge = colours[box.kind]
    text = box.name
    if not box.column:
        text += f": {network.resnet.channels[box.level]}, 1/{network.resnet.strides[box.level][0]}"
    return (
        f'<rect x="{box.x}" y="{box.y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{fill}" stroke="{edge}"/>'
        f'<text x="{box.x + WIDTH // 2}" y="{box.middle + 4}" text-anchor="middle">{text}</text>'
    )


if __name__ == "__main__":
    with errors_in_one_line("diagram"):
        main()
