"""Files: a data set's, found, read, checked, dealt into parts and kept decoded; and the maps that are predicted."""

from files.cache import DiskCache, MemoryCache, file_key
from files.channels import Files
from files.decathlon import Task, decathlon
from files.decoding import decoding, opened
from files.folders import is_bids, mask_folder, masks_beside
from files.grey import mask_value, read_gt, read_map
from files.grids import Grid, require_same_grid
from files.listing import are_volumes, left_aside, list_images
from files.lists import Parts, fingerprint, read_split, require_unseen, seen_by, write_split
from files.maps import (
    PROBABILITIES,
    files_of,
    fingerprints,
    is_whole,
    map_files,
    native_labels,
    native_map,
    native_probabilities,
    require_own,
    require_same_source,
    trained_on,
    volume_files,
    write_maps,
    write_maps_record,
)
from files.names import by_image
from files.nifti import read_grid
from files.pairs import Pair, find_pairs, pairs_of
from files.reading import read_image, read_labels, read_mask, read_planes, read_whole_image, union
from files.splits import deal_folds, group_of, held_out_of, hold_out, maps_of_fold, parts_of_run, split_pairs
from files.survey import check_pairs, survey
from files.survey_pictures import Check
from files.survey_volumes import VolumeCheck
from files.unpaired import are_of_patients, find_images, find_masks
from files.volume_masks import read_classes, read_volume_class, read_volume_map
from files.volumes import read_label_volume, read_volume, write_volume
from files.writing import (
    folders_of,
    require_apart,
    require_picture,
    require_writable,
    whole_file,
    write_csv,
    write_file,
    write_picture,
)

__all__ = [
    "PROBABILITIES",
    "Check",
    "DiskCache",
    "Files",
    "Grid",
    "MemoryCache",
    "Pair",
    "Parts",
    "Task",
    "VolumeCheck",
    "are_of_patients",
    "are_volumes",
    "by_image",
    "check_pairs",
    "deal_folds",
    "decathlon",
    "decoding",
    "file_key",
    "files_of",
    "find_images",
    "find_masks",
    "find_pairs",
    "fingerprint",
    "fingerprints",
    "folders_of",
    "group_of",
    "held_out_of",
    "hold_out",
    "is_bids",
    "is_whole",
    "left_aside",
    "list_images",
    "map_files",
    "maps_of_fold",
    "mask_folder",
    "mask_value",
    "masks_beside",
    "native_labels",
    "native_map",
    "native_probabilities",
    "opened",
    "pairs_of",
    "parts_of_run",
    "read_classes",
    "read_grid",
    "read_gt",
    "read_image",
    "read_label_volume",
    "read_labels",
    "read_map",
    "read_mask",
    "read_planes",
    "read_split",
    "read_volume",
    "read_volume_class",
    "read_volume_map",
    "read_whole_image",
    "require_apart",
    "require_own",
    "require_picture",
    "require_same_grid",
    "require_same_source",
    "require_unseen",
    "require_writable",
    "seen_by",
    "split_pairs",
    "survey",
    "trained_on",
    "union",
    "volume_files",
    "whole_file",
    "write_csv",
    "write_file",
    "write_maps",
    "write_maps_record",
    "write_picture",
    "write_split",
    "write_volume",
]
