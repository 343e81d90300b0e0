"""Pairing by name: which mask belongs to which image, and which of several observers' is meant."""

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from files.nifti import SUFFIXES, stem_of

# what a mask's name may have that its image's has not, and the number of a further one; images may have a word too
MASK_WORD = (
    r"mask|segmentation|seg|manual\d?|gt|label|annotation|lesion|roi"
    r"|\d(?:st|nd|rd|th)ho|(?:observer|annotator|rater|expert)[_-]?\d+"  # of CHASE_DB1, of anybody
    r"|(?:label-[a-z0-9]+_)?(?:dseg|mask|seg)|(?:\w?\w?seg|lesion|labels?(?:-\w+)?)-manual"  # of BIDS and its users
)
MASK_SUFFIX = re.compile(rf"[_\-. ]({MASK_WORD})([_\-. ]\d+)?$", re.IGNORECASE)
MASK_PREFIX = re.compile(rf"(^|/)({MASK_WORD})[_\-. ]", re.IGNORECASE)
IMAGE_SUFFIX = re.compile(r"_(training|test|img|image|0000)$", re.IGNORECASE)  # of DRIVE, anybody, nnU-Net
IMAGE_PREFIX = re.compile(r"(^|/)(img_|image_|volume-)", re.IGNORECASE)
SHARED_WORD = re.compile(r"[_\-. ]+[^\W\d_]")  # the beginning of a suffix that nobody foresaw: never a digit

Masks = tuple[Path, ...]


def by_image(images: dict[str, Path], masks: dict[str, Masks], observer: str = "") -> dict[str, Masks]:
    """`masks` under the names of their images; one that pairs with none keeps its own.

    Where all masks end in one and the same word that no data set here has (_polyp), that is taken for the suffix, with
    a warning. ValueError for an image with masks of several observers, unless `observer` is the word of one of them.
    """
    known = {_bare_image(name): name for name in images}
    bares = {name: _bare_masks(name) for name in masks}
    if not {bare for several in bares.values() for bare in several} & (images.keys() | known.keys()):
        suffix = _shared_suffix(images, list(masks))
        bares = {name: [name.removesuffix(suffix)] for name in masks}
    paired: dict[str, Masks] = {}
    for name, paths in masks.items():
        exact = (bare for bare in bares[name] if bare in images)
        image = next(exact, None) or next((known[bare] for bare in bares[name] if bare in known), name)
        paired[image] = paired.get(image, ()) + paths
    return {
        image: of_observer(images[image], paths, observer) if image in images else paths
        for image, paths in paired.items()
    }


def in_one_folder(files: dict[str, Path], observer: str = "") -> tuple[dict[str, Path], dict[str, Masks]]:
    """(images, their masks) of files that lie together: a mask is named like an image, with a word more."""
    images = without_masks(files)
    return images, by_image(images, {name: (path,) for name, path in files.items() if name not in images}, observer)


def without_masks(files: dict[str, Path]) -> dict[str, Path]:
    """The images among files that lie together with masks."""
    known = {*files, *map(_bare_image, files)}
    images = {name: path for name, path in files.items() if not known.intersection(_bare_masks(name)[1:])}
    word = _word_of_half(files) if len(images) == len(files) else ""
    return {name: path for name, path in images.items() if not (word and name.endswith(word))}


def _word_of_half(files: dict[str, Path]) -> str:
    """The word (_polyp) that half of some pictures have behind the names of the other half; "" where it is not so.

    Two pairs or more, and none left over: then it is masks' word, though no data set here has it; `by_image` warns.
    """
    pairs = list(_longer_names(files))
    words = {longer.removeprefix(name) for name, longer in pairs}
    if len(words) != 1 or len(pairs) < 2 or 2 * len(pairs) != len(files):
        return ""
    return words.pop()


def _longer_names(files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """(name, the name of another picture that is this and a word more)."""
    if any(path.name.lower().endswith(SUFFIXES) for path in files.values()):
        return  # of volumes words tell contrasts
    for longer in files:
        for mark in SHARED_WORD.finditer(longer):
            if (name := longer[: mark.start()]) in files:
                yield name, longer


def hint_on_words(files: dict[str, Path]) -> str:
    """What to do where a file may be another one's mask, and is not taken for it; "" where none is."""
    name, longer = next(_longer_names(files), ("", ""))
    if not name:
        return ""
    return (
        f" Is {files[longer].name} the mask of {files[name].name}? Then name masks <image>_mask, or give every image "
        f"one that ends in {longer.removeprefix(name)!r}."
    )


def of_observer(image: Path, masks: Masks, observer: str) -> Masks:
    """The masks of one image that are one observer's; ValueError where that is not settled."""
    kinds = {path: _kind(path) for path in masks}
    names = ", ".join(path.name for path in masks)
    # in a folder of that name, or in one of clips or patients inside it
    if observer and not any(observer.lower() in map(str.lower, path.parent.parts) for path in masks):
        chosen = tuple(path for path in masks if kinds[path].lower() == observer.lower())
        if not chosen:
            raise ValueError(f"{image} has no mask of observer {observer!r}, only {names}; check observer")
        return chosen
    if len(set(kinds.values())) > 1:
        words = " or ".join(f"--observer {word}" for word in sorted(set(kinds.values())) if word)
        raise ValueError(f"{image} has masks of several kinds, {names}; keep one, or choose an observer: {words}")
    return masks


def _shared_suffix(images: dict[str, Path], masks: Sequence[str]) -> str:
    """The words that all masks end in, cut so that most of them then bear an image's name; "" for none."""
    end = masks[0] if masks else ""
    for mask in masks:
        while not mask.endswith(end):
            end = end[1:]

    def fitting(cut: str) -> int:
        return sum(mask.removesuffix(cut) in images for mask in masks)

    cuts = (end[i:] for i in range(len(end)) if SHARED_WORD.match(end[i:]))
    suffix = max(cuts, key=fitting, default="")
    if not suffix or not fitting(suffix):
        return ""
    warnings.warn(f"masks are named like {masks[0]}: {suffix!r} is taken for what all masks end in", stacklevel=3)
    return suffix


def _kind(mask: Path) -> str:
    """The word that tells a mask from its image, such as mask or 1stHO; "" where their names are equal."""
    stem = stem_of(mask)
    if found := MASK_SUFFIX.search(stem):
        return found[1]
    if found := MASK_PREFIX.search(stem):
        return found[2]
    return stem if re.fullmatch(MASK_WORD, stem, re.IGNORECASE) else ""


def _bare_masks(name: str) -> list[str]:
    """What the image of a mask may be called, the likeliest first: as the mask, without the word behind, before, both.

    lesion_1_mask is the mask of lesion_1 if there is one.
    """
    behind, before = MASK_SUFFIX.sub("", name), MASK_PREFIX.sub(r"\1", name)
    return list(dict.fromkeys((name, behind, before, MASK_PREFIX.sub(r"\1", behind))))


def _bare_image(name: str) -> str:
    return IMAGE_PREFIX.sub(r"\1", IMAGE_SUFFIX.sub("", name))
