"""Pictures to look at before the scores: rows of image | mask | map; of volumes three slices, with outlines.

python -m tools.panels --images DIR --masks DIR --maps [NAME=]DIR [--maps ...] --out FILE.png [--most N]
                       [--label_values 0,80,160,255] [--observer WORD]
"""

import argparse
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import cv2
import numpy as np

from configs import BINARY, Labels, errors_in_one_line, print_anywhere
from files import (
    are_volumes,
    by_image,
    find_images,
    find_masks,
    folders_of,
    list_images,
    mask_value,
    read_gt,
    read_image,
    read_labels,
    read_map,
    require_apart,
    require_picture,
    write_picture,
)
from report.arguments import methods_of, numbers
from report.drawing import COLOURS, Colour, evenly, in_colours
from report.slices import outlined, views_of_volume

HEIGHT = 160  # of every cell, in pixels
GAP = 4


def main() -> None:
    print_anywhere()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--masks", required=True, type=Path)
    parser.add_argument("--maps", required=True, action="append", help="[NAME=]DIR, once per method")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--most", type=int, default=8, help="number of images, evenly spaced over the folder")
    parser.add_argument("--label_values", type=numbers, default=(), help="masks and maps are label images of these")
    parser.add_argument("--observer", default="", help="of masks by several people, whose, as in Config")
    given = parser.parse_args()
    try:
        maps = {name: folder for name, (folder, *_) in methods_of(given.maps).items()}
        write_panel(given.images, given.masks, maps, given.out, given.most, Labels(given.label_values), given.observer)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    first = () if are_volumes(given.images) else ("image",)
    print(f"{given.out}: {' | '.join((*first, 'mask', *maps))}")


def write_panel(
    images: Path,
    masks: Path,
    maps: dict[str, Path],
    out: Path,
    most: int = 8,
    labels: Labels = BINARY,
    observer: str = "",
) -> None:
    """One row per image that has a mask and every map, at most `most`; ValueError if there is none.

    Folders as for scoring: masks and maps named like the images, or with a suffix. Label images are drawn in colours.
    """
    volumes = are_volumes(images)
    files = find_images(images, True) if volumes else {n: (path,) for n, path in find_images(images).items()}
    pictures = {name: channels[0] for name, channels in files.items()}
    names = {"mask": by_image(pictures, find_masks(masks, observer=observer, volumes=volumes), observer)}
    names |= {
        title: by_image(pictures, {name: (path,) for name, path in list_images(folder, volumes=volumes).items()})
        for title, folder in maps.items()
    }
    require_apart(out.parent, folders_of(pictures))
    require_apart(out.parent, {path.parent for found in names.values() for paths in found.values() for path in paths})
    require_picture(out)
    shared = [name for name in pictures if all(name in found for found in names.values())]
    if not shared:
        raise ValueError(
            f"no image of {images} has a mask in {masks} and a map in {', '.join(map(str, maps.values()))}"
        )
    chosen = evenly(shared, most)
    if volumes:
        rows = [_volume_row(files[name], [found[name][0] for found in names.values()], labels) for name in chosen]
        _write(out, [*names], rows)
        return
    values = {title: 0 if labels.values else mask_value(list_images(folder).values()) for title, folder in maps.items()}
    colours = _colours(names["mask"][chosen[0]], labels)
    rows = [
        [
            _cell(read_image(pictures[name])),
            *(_drawn(found[name], labels, colours, values.get(title)) for title, found in names.items()),
        ]
        for name in chosen
    ]
    _write(out, ["image", *names], rows)


def _write(out: Path, titles: Sequence[str], rows: Sequence[list[np.ndarray]]) -> None:
    width = max(cell.shape[1] for row in rows for cell in row)
    sheet = [_row([_title(title, width) for title in titles], width), *(_row(row, width) for row in rows)]
    write_picture(out, np.concatenate(sheet)[..., ::-1])


def _volume_row(channels: Sequence[Path], marked: Sequence[Path], labels: Labels) -> list[np.ndarray]:
    """Of the mask and of each map, three slices through the middle of the mask, with the outlines of the classes."""
    drawn = dict(zip(labels.values[1:], cycle(COLOURS.values())))  # the first is what surrounds the others
    of_planes = [drawn.get(value) for value in labels.values] or [next(iter(COLOURS.values()))]
    cells = []
    for views in views_of_volume(channels, marked, labels):
        slices = [_cell(outlined(view, of_planes, HEIGHT)[..., ::-1]) for view in views]
        cells.append(np.concatenate(slices, 1))
    return cells


def _colours(mask: Sequence[Path], labels: Labels) -> dict[int, Colour]:
    """Value -> colour (blue, green, red); what there is most of in one label image stays black."""
    if not labels.values:
        return {}
    around = int(np.bincount(read_labels(mask, labels).ravel()).argmax())
    others = [value for value in labels.values if value != around]
    return {around: (0, 0, 0)} | dict(zip(others, cycle(COLOURS.values())))


def _drawn(paths: Sequence[Path], labels: Labels, colours: dict[int, Colour], value: int | None) -> np.ndarray:
    """A mask or, with the `mask_value` of its folder, a map; of a label image each value in its colour."""
    if not colours:
        grey = read_gt(paths)[0] if value is None else read_map(paths[0], value)[0]
        return _cell(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))
    return _cell(in_colours(read_labels(paths, labels), colours))


def _cell(picture: np.ndarray) -> np.ndarray:
    width = max(1, round(picture.shape[1] * HEIGHT / picture.shape[0]))
    return cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA)


def _title(text: str, width: int) -> np.ndarray:
    cell = np.full((20, width, 3), 255, np.uint8)
    return cv2.putText(cell, text, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)


def _row(cells: list[np.ndarray], width: int) -> np.ndarray:
    padded = [
        cv2.copyMakeBorder(c, 0, GAP, 0, width - c.shape[1] + GAP, cv2.BORDER_CONSTANT, value=(255,) * 3) for c in cells
    ]
    return np.concatenate(padded, axis=1)


if __name__ == "__main__":
    with errors_in_one_line("panels"):
        main()
