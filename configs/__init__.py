"""Settings: `Config`, its command line, and one short file per experiment."""

from configs.agreement import as_begun, mixes, notes, require_same, require_startable, require_trainable
from configs.command_line import fold_or_all, load, parse, print_anywhere
from configs.config import MAY_CHANGE, ORIGINAL, POLYP_TESTSETS, Config, one_side
from configs.labels import BINARY, Labels
from configs.recorded import OF_VOLUMES, SETTINGS, differences, folder_of_run, is_run, of_run, record_beside, recorded
from configs.terminal import errors_in_one_line, outlived_output

__all__ = [
    "BINARY",
    "MAY_CHANGE",
    "OF_VOLUMES",
    "ORIGINAL",
    "POLYP_TESTSETS",
    "SETTINGS",
    "Config",
    "Labels",
    "as_begun",
    "differences",
    "errors_in_one_line",
    "fold_or_all",
    "folder_of_run",
    "is_run",
    "load",
    "mixes",
    "notes",
    "of_run",
    "one_side",
    "outlived_output",
    "parse",
    "print_anywhere",
    "record_beside",
    "recorded",
    "require_same",
    "require_startable",
    "require_trainable",
]
