"""Files: a data set's, found, read, checked, dealt into parts and kept decoded; and the maps that are predicted."""

from files.cache import DiskCache, MemoryCache, file_key
from files.folders import files_under, find_places, left_aside, list_images, mask_folder
from files.maps import native_labels, native_map, write_maps
from files.names import Masks, by_image
from files.pairs import Pair, find_images, find_masks, find_pairs
from files.reading import (
    areas_of_grey,
    decoding,
    opened,
    read_grey,
    read_image,
    read_labels,
    read_mask,
    read_planes,
    read_whole_image,
    require_two_kinds,
    union,
)
from files.splits import (
    Parts,
    deal_folds,
    group_of,
    held_out_of,
    hold_out,
    maps_of_fold,
    read_split,
    require_unseen,
    seen_by,
    split_pairs,
    write_split,
)
from files.survey import Check, check_pairs, survey

__all__ = [
    "Check",
    "DiskCache",
    "Masks",
    "MemoryCache",
    "Pair",
    "Parts",
    "areas_of_grey",
    "by_image",
    "check_pairs",
    "deal_folds",
    "decoding",
    "file_key",
    "files_under",
    "find_images",
    "find_masks",
    "find_pairs",
    "find_places",
    "group_of",
    "held_out_of",
    "hold_out",
    "left_aside",
    "list_images",
    "maps_of_fold",
    "mask_folder",
    "native_labels",
    "native_map",
    "opened",
    "read_grey",
    "read_image",
    "read_labels",
    "read_mask",
    "read_planes",
    "read_split",
    "read_whole_image",
    "require_two_kinds",
    "require_unseen",
    "seen_by",
    "split_pairs",
    "survey",
    "union",
    "write_maps",
    "write_split",
]
