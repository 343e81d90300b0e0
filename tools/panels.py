"""Pictures to look at before the scores: rows of image | mask | map; of volumes three slices, with outlines.

python -m tools.panels --images DIR [--masks DIR] --maps [NAME=]DIR [--maps ...] --out FILE.png [--most N] [--only A,B]
python -m tools.panels saved_model/mine --out FILE.png    the test sets, or folds, of a run, and their maps
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from configs import BINARY, Config, Labels, errors_in_one_line, parse
from files import (
    are_volumes,
    by_image,
    find_images,
    find_masks,
    folders_of,
    list_images,
    maps_of_fold,
    mask_value,
    read_gt,
    read_image,
    read_labels,
    read_map,
    require_apart,
    require_picture,
)
from report.arguments import methods_of
from report.drawing import COLOURS, chosen_of, colours_of, evenly, in_colours
from report.sheet import sheet, write_sheet
from report.slices import outlined, views_of_volume

WIDTH = 480  # of every picture, in pixels: 4 cm in print
SLICE = 240  # the longer side of a volume's slice

Maps = dict[str, list[Path]]  # method -> folders of its maps, of folds several


def main() -> None:
    cfg, given = parse(
        "Draw rows of image | mask | map, of folders or of a run's test sets or folds.",
        None,
        "score",
        images={"metavar": "DIR", "type": Path, "help": "images, or a test set"},
        masks={"metavar": "DIR", "type": Path, "help": "of these images, if they lie elsewhere"},
        maps={"metavar": "[NAME=]DIR", "action": "append", "default": [], "help": "of a method; may be repeated"},
        out={"metavar": "FILE", "type": Path, "required": True, "help": "ends in .png, .jpg or .pdf"},
        most={"type": int, "default": 8, "help": "number of images, evenly spaced over the folder [8]"},
        only={"metavar": "A,B", "default": "", "help": "these images, by their names, in this order"},
    )
    only = tuple(filter(None, given.only.split(",")))
    try:
        for out, images, masks, maps in wanted(cfg, given):
            write_panel(images, masks, maps, out, given.most, cfg.labels, cfg.observer, only)
            first = () if are_volumes(images) else ("image",)
            print(f"{out}: {' | '.join((*first, 'mask', *maps))}")
    except (ValueError, OSError) as error:
        raise SystemExit(f"panels: error: {error}") from error


def wanted(cfg: Config, given: Namespace) -> list[tuple[Path, Path, Path, Maps]]:
    """(file, images, masks, maps) of each panel: folders that are given, or folds or test sets of the Config."""
    methods = methods_of(given.maps)
    if given.images:
        if not methods:
            raise ValueError("--images needs at least one --maps [NAME=]DIR")
        return [(given.out, given.images, given.masks or given.images, methods)]
    methods = methods or {cfg.network: [Path(cfg.mapspath)]}
    if cfg.folds or cfg.split:
        folds = range(1, max(1, cfg.folds) + 1)
        maps = {name: [maps_of_fold(cfg, n, root) for root in roots for n in folds] for name, roots in methods.items()}
        there = {name: [_labels_in(one, cfg) for one in folders if one.is_dir()] for name, folders in maps.items()}
        if lacking := [maps[name][0] for name, folders in there.items() if not folders]:
            raise FileNotFoundError(f"no folder {lacking[0]}; predict first, or give --maps")
        return [(given.out, Path(cfg.datapath), Path(cfg.datapath), there)]
    panels = []
    for name in cfg.testsets:
        out = given.out.with_stem(f"{given.out.stem}-{name}") if len(cfg.testsets) > 1 else given.out
        root = Path(cfg.testpath, name)
        panels.append(
            (out, root, root, {m: [_labels_in(r / name, cfg) for r in roots] for m, roots in methods.items()})
        )
    return panels


def _labels_in(maps: Path, cfg: Config) -> Path:
    return maps / "label" if cfg.labels.several and (maps / "label").is_dir() else maps


def write_panel(
    images: Path,
    masks: Path,
    maps: Maps,
    out: Path,
    most: int = 8,
    labels: Labels = BINARY,
    observer: str = "",
    only: Sequence[str] = (),
) -> None:
    """One row per image that has a mask and every map, at most `most` or `only` some; ValueError if there is none.

    Folders as for scoring: masks and maps named like the images, or with a suffix. Label images are drawn in colours.
    """
    titles, rows = drawn(images, masks, maps, out, most, labels, observer, only)
    write_sheet(out, sheet(titles, rows))


def drawn(
    images: Path,
    masks: Path,
    maps: Maps,
    out: Path,
    most: int = 8,
    labels: Labels = BINARY,
    observer: str = "",
    only: Sequence[str] = (),
) -> tuple[list[str], list[tuple[str, list[np.ndarray]]]]:
    """(titles, rows of a name and its pictures, (H, W, 3) uint8 RGB) of what `write_panel` writes."""
    volumes = are_volumes(images)
    files = find_images(images, True) if volumes else {n: (path,) for n, path in find_images(images).items()}
    pictures = {name: channels[0] for name, channels in files.items()}
    listed = {
        title: {name: path for folder in folders for name, path in list_images(folder, volumes=volumes).items()}
        for title, folders in maps.items()
    }
    names = {"mask": by_image(pictures, find_masks(masks, observer=observer, volumes=volumes), observer)}
    names |= {title: by_image(pictures, {n: (p,) for n, p in found.items()}) for title, found in listed.items()}
    require_apart(out.parent, folders_of(pictures))
    require_apart(out.parent, {path.parent for found in names.values() for paths in found.values() for path in paths})
    require_picture(out, (".png", ".jpg", ".pdf"))
    shared = [name for name in pictures if all(name in found for found in names.values())]
    if not shared:
        where = ", ".join(str(folder) for folders in maps.values() for folder in folders)
        raise ValueError(f"no image of {images} has a mask in {masks} and a map in {where}")
    chosen = chosen_of(shared, only) or evenly(shared, most)
    if volumes:
        marked = {name: [found[name][0] for found in names.values()] for name in chosen}
        return [*names], [(name, _volume_row(files[name], marked[name], labels)) for name in chosen]
    values = {title: 0 if labels.values else mask_value(found.values()) for title, found in listed.items()}
    return ["image", *names], [
        (
            name,
            [
                _cell(read_image(pictures[name])),
                *(_drawn(found[name], labels, values.get(title)) for title, found in names.items()),
            ],
        )
        for name in chosen
    ]


def _volume_row(channels: Sequence[Path], marked: Sequence[Path], labels: Labels) -> list[np.ndarray]:
    """Of the mask and of each map, three slices through the middle of the mask, with the outlines of the classes."""
    colours = colours_of(labels)
    of_planes = [colours.get(value) for value in labels.values] or [COLOURS["green"]]
    cells = []
    for views in views_of_volume(channels, marked, labels):
        slices = [outlined(view, of_planes, SLICE)[..., ::-1] for view in views]
        height = max(one.shape[0] for one in slices)
        cells.append(np.concatenate([_padded(one, height) for one in slices], 1))
    return cells


def _padded(picture: np.ndarray, height: int) -> np.ndarray:
    """In the middle of black of that height."""
    above = (height - picture.shape[0]) // 2
    return cv2.copyMakeBorder(picture, above, height - picture.shape[0] - above, 0, 0, cv2.BORDER_CONSTANT)


def _drawn(paths: Sequence[Path], labels: Labels, value: int | None) -> np.ndarray:
    """A mask or, with the `mask_value` of its folder, a map; of a label image each value in its colour."""
    if labels.values:
        return _cell(in_colours(read_labels(paths, labels), colours_of(labels)), cv2.INTER_NEAREST)
    grey = read_gt(paths)[0] if value is None else read_map(paths[0], value)[0]
    return _cell(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))


def _cell(picture: np.ndarray, way: int = cv2.INTER_AREA) -> np.ndarray:
    height = max(1, round(picture.shape[0] * WIDTH / picture.shape[1]))
    return cv2.resize(picture, (WIDTH, height), interpolation=way)


if __name__ == "__main__":
    with errors_in_one_line("panels"):
        main()
