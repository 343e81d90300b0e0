"""`dataset.json`, with which the Medical Segmentation Decathlon and nnU-Net say what their labels and channels are."""

import json
from pathlib import Path
from typing import Any, NamedTuple

RECORD = "dataset.json"


class Task(NamedTuple):
    """The classes of a task, as `Labels` takes them, and what its channels are, such as FLAIR or CT."""

    values: tuple[int, ...]
    names: tuple[str, ...]
    modality: tuple[str, ...]


def decathlon(root: str | Path) -> Task | None:
    """What dataset.json in a folder, or the only one a folder further down, says; None where there is none.

    ValueError naming the file for one that cannot be read, or where a class is several labels.
    """
    found = [path for path in (Path(root) / RECORD, *sorted(Path(root).glob(f"*/{RECORD}"))) if path.is_file()]
    if not found or (len(found) > 1 and found[0].parent != Path(root)):
        return None
    try:
        said: dict[str, Any] = json.loads(found[0].read_text(encoding="utf-8-sig"))
        # the Decathlon has value: name, nnU-Net since its second version name: value
        labels = dict(sorted(map(_value_and_name, said["labels"].items())))
        channels = said.get("modality") or said["channel_names"]
        modality = tuple(channels[number] for number in sorted(channels, key=int))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{found[0]} cannot be read ({error!r}); expected labels (value: name) and modality; or give label_values"
        ) from error
    return Task(tuple(labels), tuple(labels.values()), modality)


def _value_and_name(item: tuple[str, Any]) -> tuple[int, str]:
    key, other = item
    return (int(key), str(other)) if key.isdecimal() else (int(other), key)
