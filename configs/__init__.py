"""Settings: `Config`, its command line, and one short file per experiment."""

from configs.command_line import load, parse, print_anywhere
from configs.config import MAY_CHANGE, POLYP_TESTSETS, Config

__all__ = ["MAY_CHANGE", "POLYP_TESTSETS", "Config", "load", "parse", "print_anywhere"]
