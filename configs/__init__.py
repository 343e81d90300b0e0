"""Settings: `Config`, its command line, and one short file per experiment."""

from configs.command_line import load, parse, print_anywhere
from configs.config import MAY_CHANGE, ORIGINAL, POLYP_TESTSETS, Config, one_side

__all__ = ["MAY_CHANGE", "ORIGINAL", "POLYP_TESTSETS", "Config", "load", "one_side", "parse", "print_anywhere"]
