"""`python -m weights` lists the known weights; `python -m weights res2net50 vgg16`, or `all`, downloads them.

So does `python -m weights pvt_v2_b2` those of a backbone of timm's, by its name.
"""

import io
import signal
import sys

from weights.backbones import rows as backbones
from weights.backbones import wanted
from weights.fetch import download
from weights.files import check, expected_sha256, home_of
from weights.table import WEIGHTS


def table() -> str:
    """One line per file: its state in the folder of MSNET_WEIGHTS or weights/, and what it is for."""
    rows = [("name", "state", "file", "licence", "what")]
    for weight in WEIGHTS.values():
        for source in weight.sources:
            path = home_of(None) / source.file
            state = "missing"
            if path.is_file():
                # checked first: a record that is no hash makes the file count as damaged
                state = "DAMAGED" if check(path, source) else ""
                state = state or ("verified" if expected_sha256(path, source) else "unchecked")
            rows.append((weight.name, state, source.file, weight.licence, weight.what))
    rows += backbones()
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows)


def main(names: list[str]) -> int:
    """Exit status: 0, or 1 if a name is unknown or any of the weights could not be had."""
    if {"-h", "--help"} & {*names}:
        print(f"{__doc__}\nKnown names: {', '.join(WEIGHTS)}, and timm's. The folder: {home_of(None)}.")
        return 0
    if not names:
        print(f"in {home_of(None)}; one file per name is enough; to download: python -m weights NAME ... | all")
        print(table())
        return 0
    failed = 0
    try:
        names = list(WEIGHTS) if names == ["all"] else [wanted(name).name for name in names]
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    for name in names:
        try:
            print(f"{name}: {download(name)}")
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    # A cluster ends jobs with SIGTERM; as an exception it removes the half-written file on its way out.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a folder's name that the terminal cannot print
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
