"""Settings: `Config`, its command line, and one short file per experiment."""

from configs.agreement import as_begun, mixes, notes, require_same
from configs.command_line import load, parse, print_anywhere
from configs.config import MAY_CHANGE, ORIGINAL, POLYP_TESTSETS, Config, one_side
from configs.labels import BINARY, Labels
from configs.terminal import errors_in_one_line, outlived_output

__all__ = [
    "BINARY",
    "MAY_CHANGE",
    "ORIGINAL",
    "POLYP_TESTSETS",
    "Config",
    "Labels",
    "as_begun",
    "errors_in_one_line",
    "load",
    "mixes",
    "notes",
    "one_side",
    "outlived_output",
    "parse",
    "print_anywhere",
    "require_same",
]
