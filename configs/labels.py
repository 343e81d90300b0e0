"""`Labels`: which grey value of a label image is which class, what the classes are called, and which of them count."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FOLDER = re.compile(r"[^\s./\\]([^/\\]*[^\s./\\])?")


@dataclass(frozen=True)
class Labels:
    """The classes of a data set, in the order of the network's channels; without values its masks are binary.

    values: the grey value of each class. names: of each, for folders and tables; (): its grey value. background: the
    value that surrounds the others, or -1 for none. Raises ValueError, in the words of Config's fields.
    """

    values: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    background: int = -1

    def __post_init__(self) -> None:
        values, names = self.values, self.names
        _require("label_values", values, len(set(values)) == len(values), "each value once")
        _require("label_values", values, all(0 <= value <= 255 for value in values), "grey values 0..255")
        if names:
            expected = f"one name per label value, of {len(values)}"
            _require("class_names", names, len(names) == len(values), expected)
            fit = all(FOLDER.fullmatch(name) for name in names)
            # label/ is where label images are; a disk may not tell A from a
            fit &= len({name.lower() for name in (*names, "label")}) == len(names) + 1
            _require("class_names", names, fit, "names of folders, each once, none of them 'label'")
        object.__setattr__(self, "names", tuple(names) or tuple(map(str, values)))
        if self.several:
            among = self.background in (-1, *values)
            _require("background", self.background, among, "one of label_values, or -1 for none")

    @property
    def count(self) -> int:
        """Planes of a mask and channels of the network."""
        return max(1, len(self.values))

    @property
    def several(self) -> bool:
        """Whether there is more than one class: a softmax, folders by class, a mean score."""
        return self.count > 1

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each plane: that of a binary mask is ""."""
        return self.names or ("",)

    @property
    def scored(self) -> tuple[str, ...]:
        """The classes that a mean score is of: all but the background, unless it is the only one."""
        return tuple(name for i, name in enumerate(self.classes) if i != self.outside)

    @property
    def outside(self) -> int | None:
        """The plane of what surrounds a turned image; None where that is no class."""
        return self.values.index(self.background) if self.several and self.background >= 0 else None

    def require_known(self, image: np.ndarray, what: object = "a label image") -> None:
        """ValueError naming `what`, and the first values, if several classes leave a pixel of it without one."""
        strange = np.setdiff1d(image, self.values) if self.several else np.empty(0)
        if len(strange):
            shown = ", ".join(map(str, strange[:6])) + (", ..." if len(strange) > 6 else "")
            unit, why = "pixels", "JPEG and resizing blur them: use PNG"
            if image.ndim > 2:
                unit, why = "voxels", "resampling blurs them: take the nearest neighbour"
            raise ValueError(
                f"{what} holds {shown} ({np.isin(image, strange).sum()} {unit}), not among label_values "
                f"{', '.join(map(str, self.values))}; expected these alone ({why})"
            )

    def planes(self, image: np.ndarray, what: object = "a label image") -> np.ndarray:
        """(C, ...) uint8 of a label image (...) uint8: a plane per class, 255 where it is. Without values the image."""
        self.require_known(image, what)
        if not self.values:
            return image[None]
        return np.stack([np.where(image == value, np.uint8(255), np.uint8(0)) for value in self.values])

    def image(self, indices: np.ndarray) -> np.ndarray:
        """(...) uint8 of the classes' indices (...): each pixel the grey value of its class."""
        found, values = np.empty_like(indices, np.uint8), np.asarray(self.values, np.uint8)
        for to, of in zip(found, indices, strict=True):  # row by row, or plane: numpy takes eight bytes for an index
            to[...] = values[of]
        return found


def _require(field: str, found: int | Sequence[object], holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"{field} is {found!r}; expected {expected}")


BINARY = Labels()
