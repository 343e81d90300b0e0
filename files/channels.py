"""The files of one volume: its channels, numbered as nnU-Net has them, or a patient's folder as BraTS has it."""

import re
from collections.abc import Collection
from pathlib import Path

NUMBERED = re.compile(r"_\d{4}$")
# what, the patient's name apart, the file of labels in a patient's folder is called
LABELS = re.compile(
    r"((lesion|tumou?r|label|manual|whole)s?[_-])?"
    r"(\w?seg(mentation)?s?|labels?|masks?|gt|(ground[_ -]?)?truth|ot(multiclass)?|lesions?|\w*-manual)",
    re.IGNORECASE,
)

Files = tuple[Path, ...]
Channels = dict[str, Path]  # what each is called in the names of files -> file


def by_channel(files: dict[str, Path], labels: Collection[str] = ()) -> dict[str, Channels]:
    """name -> its channels: a_0000 and a_0001 are those of a, unless a label is named a_0001 as well."""
    found: dict[str, Channels] = {}
    for name, path in files.items():
        base = NUMBERED.sub("", name)
        alone = base == name or name in labels or f"{base}_0000" not in files
        found.setdefault(name if alone else base, {})["" if alone else name[-4:]] = path
    return found


def by_patient(files: dict[str, Path], root: Path) -> tuple[dict[str, Channels], dict[str, Files]]:
    """(patient -> channels, patient -> files of labels) where every folder is a patient's; nothing where one is not.

    What a file is called, the patient's name apart, tells channels (t1, flair) from labels (seg, mask, OT, ...).
    Folders without labels are patients' if all hold files of the same names, or a single one files named like it.
    A folder of labels in a patient's, segmentations/ with a file per organ, is all that patient's [TotalSegmentator].
    """
    folders: dict[str, Channels] = {}
    organs: dict[str, Files] = {}
    holding = {name.rpartition("/")[0] for name in files}
    for name, path in files.items():
        folder, _, base = name.rpartition("/")
        above, _, patient = folder.rpartition("/")
        if above in holding and LABELS.fullmatch(patient):
            organs[above] = (*organs.get(above, ()), path)
            continue
        patient = patient or root.name
        if not folder and not base.startswith(patient):  # loose files are of many
            return {}, {}
        folders.setdefault(folder or patient, {})[base.removeprefix(patient).strip("_-. ") or base] = path
    labels = {
        patient: organs.get(patient) or tuple(path for word, path in words.items() if LABELS.fullmatch(word))
        for patient, words in folders.items()
    }
    channels = {
        patient: {word: path for word, path in words.items() if not LABELS.fullmatch(word)}
        for patient, words in folders.items()
    }
    if not any(labels.values()) and not _alike(channels):
        return {}, {}
    return {p: found for p, found in channels.items() if found}, {p: found for p, found in labels.items() if found}


def single(files: dict[str, Path]) -> dict[str, Channels]:
    """name -> the one file that it is."""
    return {name: {"": path} for name, path in files.items()}


def firsts(images: dict[str, Channels]) -> dict[str, Path]:
    """name -> the first file of each image."""
    return {name: channels[min(channels)] for name, channels in images.items()}


def in_order(images: dict[str, Channels]) -> dict[str, Files]:
    """The files of each image in the order of their channels' names; ValueError where one has other channels."""
    (first, expected), *_ = images.items()
    for name, channels in images.items():
        if channels.keys() != expected.keys():
            raise ValueError(
                f"{name} has {_listed(channels)} but {first} has {_listed(expected)}; every image needs the same "
                "channels: add what is missing, or leave it out by `include`"
            )
    return {name: tuple(channels[word] for word in sorted(channels)) for name, channels in images.items()}


def _listed(channels: Channels) -> str:
    return f"{len(channels)} channels ({', '.join(channels)})" if len(channels) > 1 else "one channel"


def _alike(patients: dict[str, Channels]) -> bool:
    """Whether folders without labels are patients' by what is in them: the same words, no bare numbers."""
    (patient, first), *others = patients.items()
    own = len(first) > 1 and all(path.name.startswith(patient.rpartition("/")[2]) for path in first.values())
    same = all(channels.keys() == first.keys() for _, channels in others)
    return same and (own or bool(others)) and not any(word.isdigit() for word in first)
