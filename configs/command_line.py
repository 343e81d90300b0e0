"""The command line of a Config: a Python file that defines `config`, and one flag per field."""

import argparse
import codecs
import dataclasses
import functools
import io
import runpy
import sys
import types
import typing
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from configs.config import Config, unknown_field
from configs.fields import Group
from configs.recorded import is_run, of_folder

PYTHONS = warnings.formatwarning
PLAIN = str.maketrans({"±": "+-", "↑": "(up)", "↓": "(down)", "…": "...", "–": "-", "’": "'"})


def print_anywhere() -> None:
    """Have stdout and stderr print what their encoding lacks in plain letters, or as \\xe9, in place of an error."""

    def plain(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        letters = error.object[error.start : error.end].translate(PLAIN)
        return letters.encode("ascii", "backslashreplace").decode(), error.end

    codecs.register_error("plain", plain)
    warnings.formatwarning = _as_note
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.closed:
            stream.reconfigure(errors="plain")


def _as_note(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """What is warned about here is for whoever runs it, who has no use for the line of code; others' as Python does."""
    ours = Path(filename).is_relative_to(Path(__file__).parent.parent) and "site-packages" not in filename
    if category is UserWarning and ours:
        return f"NOTE: {message}\n"
    return PYTHONS(message, category, filename, lineno, line)


def fold_or_all(text: str) -> int | str:
    """What --fold says where folds may be taken one by one, or all of them."""
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"fold is {text!r}; expected its number, or all")
    return text if text == "all" else int(text)


def load(path: str | Path) -> Config:
    """The `config` of an experiment file, or the settings of a run, by its folder or the config.json there.

    Raises FileNotFoundError, or ValueError for a file that defines none.
    """
    if is_run(path):
        return of_folder(path)
    if not Path(path).is_file():
        known = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if _is_experiment(p))
        near = get_close_matches(Path(path).stem, known, n=3, cutoff=0.5) or ["polyp_m2snet"]
        raise FileNotFoundError(
            f"no config file {path}, and no folder of a run; configs/ has {len(known)} experiments, such as "
            + ", ".join(f"{name}.py" for name in near)
        )
    found = runpy.run_path(str(path)).get("config")
    if not isinstance(found, Config):
        raise ValueError(f"{path} does not define `config = Config(...)`")
    return found


def parse(
    description: str,
    arguments: Sequence[str] | None = None,
    script: str = "train",
    without_file: Callable[[argparse.Namespace], Config] = lambda given: Config(),
    /,
    **extra: dict[str, Any],
) -> tuple[Config, argparse.Namespace]:
    """(Config, namespace of the extra flags) from `[FILE.py | RUN] [--field value ...]`; exits with 2 if wrong.

    RUN is the folder of a run, which has the settings of its record. `extra` maps a flag's name to the keywords of
    ArgumentParser.add_argument. Every field is a flag; --help shows the groups of fields that `script` (train, predict
    or score) reads. `without_file` says what the flags change where no FILE.py is given.
    """
    print_anywhere()
    parser = _parser(description, script, extra)
    given, unknown = parser.parse_known_args(arguments)
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        parser.error(unknown_field(name) if unknown[0].startswith("--") else f"unexpected argument {unknown[0]!r}")
    try:
        config = load(given.config) if given.config else without_file(given)
        changed = {
            name: _read(name, text, hint)
            for name, hint in typing.get_type_hints(Config).items()
            if name not in extra and (text := getattr(given, name)) is not None
        }
        if "label_values" in changed and "classes" not in changed:
            changed["classes"] = max(1, len(changed["label_values"]))
        return config.changed(**changed), given
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))


def _parser(description: str, script: str, extra: dict[str, dict[str, Any]]) -> argparse.ArgumentParser:
    """Its --help: the script's own flags first, then those of Config by group, as wide as the terminal."""
    parser = argparse.ArgumentParser(
        usage="%(prog)s [FILE.py | RUN] [--flag value ...]",
        description=description,
        epilog="In brackets: the default. A list is written 224,256,288. All three scripts take all fields of Config "
        "(configs/config.py) as flags, read by them or not.",
        formatter_class=functools.partial(argparse.HelpFormatter, max_help_position=30),
        allow_abbrev=False,
    )
    words = "experiment, such as configs/polyp_msnet.py; or a run's folder, such as saved_model/msnet, for its settings"
    parser.add_argument("config", nargs="?", metavar="FILE.py", help=words)
    for name, keywords in extra.items():
        parser.add_argument(f"--{name}", **keywords)
    hints, groups = typing.get_type_hints(Config), dict[Group, Any]()
    for field in dataclasses.fields(Config):
        if field.name in extra:
            continue
        group: Group = field.metadata["group"]
        shown = script in group.scripts.split()
        if group not in groups:
            # a group that shows nothing, no words about it either, is left out with its heading
            groups[group] = parser.add_argument_group(group.title, (shown and group.about) or None)
        words = _help(field) if shown else argparse.SUPPRESS
        alone: dict[str, Any] = {"nargs": "?", "const": "True"} if hints[field.name] is bool else {}
        groups[group].add_argument(f"--{field.name}", metavar=_metavar(hints[field.name]), help=words, **alone)
    return parser


def _help(field: dataclasses.Field) -> str:
    """Comment and default, as one would write it on a command line."""
    default = field.default
    if isinstance(default, tuple) and default:
        default = ",".join(map(str, default))
    elif isinstance(default, float):
        default = f"{default:g}"
    return f"{field.metadata['comment']} [{default if default != '' else chr(34) * 2}]".replace("%", "%%")


def _read(name: str, text: str, hint: Any) -> Any:
    """The value that a flag's text stands for; tuples are written 224,256,288."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # int | tuple
        return _read(name, text, args["," in text])
    if origin is tuple:
        text = "" if text == "()" else text  # as --help shows one that is empty
        return tuple(_read(name, part.strip(), args[0]) for part in text.split(",") if part.strip())
    if hint is str or origin is Literal:
        return text
    if hint is bool:
        known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() in known:
            return known[text.lower()]
        order = "; the config file stands before the flags" if text.endswith(".py") else ""
        raise ValueError(f"{name} is {text!r}; expected True or False{order}")
    try:
        return hint(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}; expected {_metavar(hint).lower()}") from None


def _metavar(hint: Any) -> str:
    if typing.get_origin(hint) is types.UnionType:
        return "|".join(_metavar(kind) for kind in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return "|".join(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return f"{typing.get_args(hint)[0].__name__},...".upper()
    return hint.__name__.upper()


def _is_experiment(path: Path) -> bool:
    return "\nconfig = Config(" in path.read_text(encoding="utf-8")
