"""config.json beside a checkpoint, the record of the run that wrote it: what its maps are to be predicted with."""

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from configs.config import IMAGENET, ORIGINAL, Config, one_side

HERE = ("device", "threads", "workers")  # of the machine that trained: another may predict
# what a map depends on besides the checkpoint and the image
SETTINGS = (
    *("network", "backbone", "classes", "label_values", "class_names", "size"),
    *("test_mean", "test_std", "test_amp", "tf32", "test_scales", "test_flip", "probabilities"),
)


# and of volumes
OF_VOLUMES = ("spacing", "inputs", "intensity", "widths", "strides", "width", "mirror", "overlap")


def record_beside(snapshot: str | Path) -> Path:
    """Where the record of the run that wrote a checkpoint is, if it has one."""
    return Path(snapshot).with_name("config.json")


def is_run(path: str | Path) -> bool:
    """Whether a command line's first word names a run, by its folder or its record, and not a config file."""
    return Path(path).is_dir() or Path(path).suffix == ".json"


def folder_of_run(path: str | Path) -> Path:
    """The folder of a run that is named by it, or by the record in it."""
    return Path(path) if Path(path).is_dir() else Path(path).parent


def of_folder(path: str | Path, say: Callable = print) -> Config:
    """The Config of a run, by its folder or the config.json there; of a folder of folds the first one's.

    `resume` and `snapshot` are of one command, not of the run. FileNotFoundError where there is no record.
    """
    folder = folder_of_run(path)
    records = [folder / "config.json", *sorted(folder.glob("fold-*/config.json"))]
    record = next((found for found in records if found.is_file()), None)
    if record is None or (cfg := of_run(record, say)) is None:
        raise FileNotFoundError(
            f"{folder} holds no config.json; expected the folder of a run, such as saved_model/msnet"
        )
    say(f"settings of the run: {record}")
    return cfg.changed(resume=False, snapshot="")


def recorded(snapshot: str | Path) -> dict[str, Any]:
    """The fields that the run of a checkpoint had; none without a record. ValueError for one that is of no run."""
    record = record_beside(snapshot)
    if not record.is_file():
        return {}
    try:
        return dict(json.loads(record.read_text(encoding="utf-8"))["config"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{record} is no record of a run ({error!r}); move it away from the checkpoint") from error


def of_run(snapshot: str | Path, say: Callable = print) -> Config | None:
    """The Config of the run that wrote a checkpoint, but for what is of its machine; None without a record.

    A field that the record lacks is newer than the run and has its default, or follows others; said are those that maps
    depend on, and fields that this code lacks.
    """
    then = recorded(snapshot)
    if not then:
        return None
    if gone := sorted(then.keys() - Config.__dataclass_fields__.keys()):
        say(f"NOTE: {record_beside(snapshot)} has fields that this code no longer has: {', '.join(gone)}")
    fields = {name: value for name, value in then.items() if name not in (*HERE, *gone)}
    if _of(then, "train") != ORIGINAL and _of(then, "test") == IMAGENET:
        # older code kept ImageNet's statistics beside any to train with; they follow these
        fields |= {"test_mean": (), "test_std": ()}
    try:
        cfg = Config(**fields)
    except ValueError as error:
        raise ValueError(f"{record_beside(snapshot)}: {error}. Give a config file in place of the record") from error
    if assumed := [f"{name} {getattr(cfg, name)!r}" for name in SETTINGS if name not in fields]:
        say(f"NOTE: {record_beside(snapshot)} does not say all that maps depend on; assumed are {', '.join(assumed)}")
    return cfg


def differences(cfg: Config, snapshot: str | Path) -> Iterator[str]:
    """What maps depend on and the run of a checkpoint had otherwise than `cfg`, each with the flag that changes it."""
    record = record_beside(snapshot)
    if not (fields := recorded(snapshot)):
        return
    then, now = dataclasses.asdict(Config()) | fields, dataclasses.asdict(cfg)
    before, after = (_what_maps_depend_on(fields) for fields in (then, now))
    for name, was in before.items():
        if was != after[name]:
            yield f"trained with {name} {was}, predicting with {after[name]} ({record}); --{name} changes it"
    original = _of(then, "train") == ORIGINAL
    for name in ("mean", "std"):
        # what a run has for prediction counts beside the original's training statistics only: older code kept
        # ImageNet's beside any
        was = then[f"test_{name}"] if original else [value / 255 for value in then[f"train_{name}"]]
        if any(abs(a - b) > 0.5 / 255 for a, b in zip(was, now[f"test_{name}"], strict=True)):  # half a grey level
            yield (
                f"trained for {name} {was} on 0..1, predicting with {list(now[f'test_{name}'])} ({record}); "
                f"--test_{name} {','.join(f'{value:.4g}' for value in was)} changes it"
            )


def _of(fields: dict[str, Any], what: str) -> tuple[tuple[float, ...], ...]:
    """The statistics that a record has to `train` or to `test` with."""
    return tuple(tuple(fields.get(f"{what}_{name}", ())) for name in ("mean", "std"))


def _what_maps_depend_on(fields: dict[str, Any]) -> dict[str, Any]:
    """Of a Config's or a record's fields, in one form: a square's side, lists, the names of classes without any."""
    values = list(fields["label_values"])
    names = list(fields["class_names"]) or list(map(str, values))
    found = {"size": one_side(fields["size"]), "label_values": values, "class_names": names}
    if found["size"] == 0 or (isinstance(found["size"], tuple) and len(found["size"]) == 3):
        found |= {name: list(fields[name]) for name in ("spacing", "intensity", "strides", "widths") if name in fields}
    return found
