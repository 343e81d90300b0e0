"""`Config`: every number of a run, with the original's value as the default."""

import difflib
import math
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

POLYP_TESTSETS = ("CVC-300", "CVC-ClinicDB", "Kvasir", "CVC-ColonDB", "ETIS-LaribPolypDB")
# mean and std that the original trains with, on 0..255, and predicts with, on 0..1
ORIGINAL: tuple[tuple[float, ...], tuple[float, ...]] = ((124.55, 118.90, 102.94), (56.77, 55.97, 57.50))
IMAGENET: tuple[tuple[float, ...], tuple[float, ...]] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# fields that a resumed run may change freely: they do not touch what is learned
MAY_CHANGE = {
    *("savepath", "mapspath", "testpath", "testsets", "snapshot", "mode", "before", "after"),
    *("resume", "resume_changed", "save_every", "walltime", "device", "workers", "check_data", "save_from"),
    *("cache", "test_batch", "test_amp", "test_scales", "test_flip"),
    *("class_names", "protocol", "columns", "percent", "by_group"),
}


@dataclass(frozen=True)
class Config:
    """Settings of one run; checked when made, never changed after. The original's `Config(datapath=...)` call works.

    Raises ValueError for an unknown field (naming the nearest), a wrong type and a value out of range.
    """

    # what and where
    datapath: str = "data/TrainDataset"  # training pairs: image/ + mask/ (or images/ + masks/)
    include: str = ""  # regular expression that the names of training pairs must contain; "": all
    testpath: str = "data/TestDataset"  # holds one folder per test set
    testsets: tuple[str, ...] = POLYP_TESTSETS
    savepath: str = "saved_model/msnet"  # checkpoints and the record of the run
    mapspath: str = "maps/msnet"  # predicted maps: one folder per test set
    mode: Literal["train", "test"] = "train"  # the original's switch; only `Data` reads it
    snapshot: str = ""  # checkpoint to predict with
    # network
    network: Literal["msnet", "m2snet"] = "msnet"
    backbone: str = "res2net50"  # or a network of timm's with maps of several sizes: pvt_v2_b2, convnext_tiny, ...
    backbone_weights: str = "imagenet"  # imagenet: those in weights/ | random | a file
    # several classes, from label images
    classes: int = 1  # 1: binary masks and a sigmoid; more: a softmax
    label_values: tuple[int, ...] = ()  # grey value of each class in the label images; (): binary masks
    class_names: tuple[str, ...] = ()  # of each class, for folders of maps and for tables; (): its grey value
    background: int = 0  # the value that surrounds a turned image and stays out of mean scores; -1: none
    # what counts
    field_of_view: str = ""  # folder (name or path) with masks of what counts in loss and scores; "": everything
    observer: str = ""  # of masks by several people, whose: the word behind its name, 1stHO, or its folder, 2nd_manual
    # loss
    lossnet_weights: str = "imagenet"  # imagenet | random | a file
    lossnet_factor: float = 0.1  # 0 leaves LossNet out
    weighted_bce: bool = False  # Official: pixel weights cancel. Paper: True
    # optimisation
    batch: int = 16  # images per step, over all processes
    lr: float = 0.05  # peak, reached mid-run
    momen: float = 0.9
    decay: float = 5e-4
    nesterov: bool = True
    backbone_lr_ratio: float = 1.0  # Official: all weights train at lr. Paper: 0.1 (backbone 0.005)
    epoch: int = 50
    save_from: float = 2 / 3  # checkpoints after every epoch past this part of the run
    amp: Literal["auto", "native-fp16", "native-bf16", "apex", "off"] = "auto"  # auto: native-fp16 on CUDA, else off
    grad_clip: float = 0.0  # largest norm of the gradient; 0 leaves it as it is, as the original
    cudnn: bool = True  # Official: off, for an old PyTorch's sake; it costs most of the speed
    channels_last: bool = True  # memory order of images and weights: same numbers to rounding, faster
    compile: bool = False  # torch.compile: a slow start, then faster steps
    sync_batchnorm: bool = False  # statistics over all processes; CUDA only
    ema: float = 0.0  # decay of averaged weights: model-<epoch>-ema, model-best; 0: none, as the original
    # nights: last.pt is written after every epoch, every save_every steps, and when the run is told to stop
    resume: bool = False  # go on from <savepath>/last.pt
    resume_changed: tuple[str, ...] = ()  # fields that may differ from the run that is resumed
    save_every: int = 0  # steps; 0: after epochs only
    walltime: float = 0.0  # hours after which the run saves itself and stops; 0: never
    # validation. Official: none. Never a test set
    valpath: str = ""  # pairs, laid out like datapath
    val_fraction: float = 0.0  # or this part of datapath, drawn by `seed`
    group: str = ""  # regular expression for the clip, volume or patient in a name; "": its sub-folder, if any
    # folds. The part held out is what prediction_rgb.py and test_score.py take in place of test sets
    folds: int = 0  # parts that datapath is dealt into by `seed`, groups whole; 0: none
    fold: int = 1  # the part that is held out, from 1
    stratify: str = ""  # regular expression for the class in a name; every fold gets its share of each
    split: str = ""  # or a list: .json, .csv or .txt
    val_every: int = 1  # epochs
    val_score: str = "M_dice"  # the score that chooses model-best
    # images
    size: int | tuple[int, int] = 352  # side, or height and width, that every image is resized to
    scales: tuple[int, ...] = ()  # the longer side of a batch, drawn for each; (): follow size, 224 .. 352 of 352
    flip: float = 0.5  # probability of a horizontal flip
    rotate: float = 10.0  # degrees, uniform in +-
    train_mean: tuple[float, ...] = ORIGINAL[0]  # RGB, on 0..255
    train_std: tuple[float, ...] = ORIGINAL[1]
    test_mean: tuple[float, ...] = ()  # RGB, on 0..1; (): as in training. Official: ImageNet's, with its train_mean
    test_std: tuple[float, ...] = ()  # likewise
    cache: str = ""  # decoded and resized training images: "" | ram | a folder
    # prediction. Official: one image at a time, float32, one view
    test_batch: int = 4  # images at once; same maps to rounding
    test_amp: Literal["native-fp16", "native-bf16", "off"] = "off"
    test_scales: tuple[float, ...] = (1.0,)  # maps are averaged over these sizes of the input
    test_flip: bool = False  # and over the mirrored input
    # scoring
    protocol: Literal["official", "pranet", "infnet", "binary", "layers"] = "official"  # see metrics/README.md
    columns: tuple[str, ...] = ()  # scores that tables show, in this order; (): all of the protocol
    percent: bool = False  # tables in per cent, but for distances
    by_group: bool = False  # scores of each clip, volume or patient too (see `group`)
    # machine
    device: str = "auto"  # auto | cpu | cuda | cuda:1
    workers: int = 8  # processes that read images, at most one per core; 0 reads in the main one
    seed: int = 0  # Official: none. Equal seeds give equal runs, whatever `workers`
    check_data: bool = True  # decode every training pair once before the first epoch
    # commands around the training, run with this Python; {savepath} and other fields are filled in
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def __new__(cls, *_, **given):
        # a dataclass would say "unexpected keyword argument"; users deserve the name they meant
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise ValueError(unknown_field(name))
        return super().__new__(cls)

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name), hints[field.name]))
        object.__setattr__(self, "size", one_side(self.size))
        for name, value in self.followed().items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)
        for name in ("batch", "epoch", "classes", "val_every", "test_batch"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        self._require("size", min(self.sides) >= 1, "at least 1")
        self._check_labels()
        for name in ("include", "group", "stratify"):
            try:
                re.compile(getattr(self, name))
            except re.error as error:
                self._require(name, False, f"a regular expression ({error})")
        for name in ("workers", "seed", "lossnet_factor", "decay", "rotate", "grad_clip", "save_every", "walltime"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        self._require("backbone_lr_ratio", self.backbone_lr_ratio >= 0, "at least 0")
        self._require("ema", 0 <= self.ema < 1, "at least 0 and below 1, such as 0.999")
        self._require("test_scales", bool(self.test_scales) and min(self.test_scales) > 0, "factors above 0")
        for name in ("momen", "flip", "save_from"):
            self._require(name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        self._check_statistics()
        self._require("val_fraction", 0 <= self.val_fraction < 1, "at least 0 and below 1")
        self._require("val_fraction", not (self.val_fraction and self.valpath), "0 where valpath is given")
        for name in self.resume_changed:
            self._require("resume_changed", name in self.__dataclass_fields__, "names of fields")
        self._require("folds", self.folds != 1 and self.folds >= 0, "0, or at least 2")
        self._require("fold", 1 <= self.fold <= max(1, self.folds), f"from 1 to folds, {self.folds}")
        self._require("lr", self.lr > 0, "above 0")
        self._require("scales", bool(self.scales) and min(self.scales) >= 64, "one or more sides of at least 64")
        self._require(
            "scales", min(self.sides_at(min(self.scales))) >= 64, "sides of at least 64, the shorter included"
        )

    def _check_statistics(self) -> None:
        for part, top, likely in (("train", 255, ORIGINAL), ("test", 1, IMAGENET)):
            for name, example in zip((f"{part}_mean", f"{part}_std"), likely, strict=True):
                values, unit = getattr(self, name), f"on 0..{top}, such as {','.join(map(str, example))}"
                self._require(name, len(values) == 3, f"three numbers, R G B, {unit}")
                self._require(name, min(values) >= 0 and max(values) <= top, f"numbers {unit}")
                self._require(name, min(values) > 0 or name.endswith("mean"), f"numbers above 0, {unit}")
                # those of the other unit: pictures of a mean below one grey level of 255 would be black
                wrong = max(values) < 1 if name == "train_std" else name == "train_mean" and 0 < max(values) <= 1
                self._require(name, not wrong, f"numbers {unit}")

    def _check_labels(self) -> None:
        values, names = self.label_values, self.class_names
        if self.classes > 1 or values:
            expected = f"one grey value per class, and classes is {self.classes}"
            self._require("label_values", len(values) == self.classes, expected)
        self._require("label_values", len(set(values)) == len(values), "each value once")
        self._require("label_values", all(0 <= value <= 255 for value in values), "grey values 0..255")
        if names:
            self._require("class_names", len(names) == len(values), f"one name per label value, of {len(values)}")
            fit = all(re.fullmatch(r"[^\s./\\]([^/\\]*[^\s./\\])?", name) for name in names)
            fit &= len({name.lower() for name in (*names, "label")}) == len(names) + 1
            self._require("class_names", fit, "names of folders, each once, none of them 'label'")
        if self.classes > 1:
            self._require("background", self.background in (-1, *values), "one of label_values, or -1 for none")

    def followed(self) -> dict[str, Any]:
        """What fields are that follow others unless given: `scales` follow `size`, test_* follow train_*.

        Official: to the original's training statistics belong ImageNet's; to any others belong these same ones.
        """
        mean, std = IMAGENET
        if (self.train_mean, self.train_std) != ORIGINAL:
            mean, std = (tuple(value / 255 for value in values) for values in (self.train_mean, self.train_std))
        longer = max(self.sides)
        parts = {max(64, 32 * round(longer * side / 352 / 32)) for side in (224, 256, 288, 320)}
        smaller = sorted(side for side in parts if side < longer)
        return {"scales": (*smaller, max(64, longer)), "test_mean": mean, "test_std": std}

    @property
    def labels(self) -> dict[str, int]:
        """Name -> grey value of each class, in the order of the network's channels; empty for binary masks."""
        names = self.class_names or tuple(map(str, self.label_values))
        return dict(zip(names, self.label_values, strict=True))

    @property
    def scored(self) -> tuple[str, ...]:
        """The classes that a mean score is of: all but the background."""
        return tuple(name for name, value in self.labels.items() if value != self.background or self.classes == 1)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of `size`."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def sides_at(self, scale: int) -> tuple[int, int]:
        """Height and width of a batch whose longer side is `scale`, in the ratio of `size`."""
        height, width = (round(side * scale / max(self.sides)) for side in self.sides)
        return height, width

    @property
    def run_folder(self) -> str:
        """Where a run writes: savepath, or its folder of this fold."""
        return f"{self.savepath}/fold-{self.fold}" if self.folds else self.savepath

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; expected {expected}")


def one_side(size: int | Sequence[int]) -> int | tuple[int, ...]:
    """The side of a square given as a pair; other pairs and sides as they are, for records of either form."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    return pair[0] if len(set(pair)) == 1 else pair


def unknown_field(name: str) -> str:
    """The message for a field that Config does not have."""
    near = difflib.get_close_matches(name, Config.__dataclass_fields__, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(Config.__dataclass_fields__)}"
    return f"Config has no field {name!r}; {hint}"


def _checked(name: str, value, hint):
    """`value` as the field's type (an int passes for a float, a list for a tuple), or ValueError."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in args:
            return value
        near = difflib.get_close_matches(str(value), args, n=1)
        raise ValueError(
            f"{name} is {value!r}; expected one of {', '.join(args)}" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    if origin is types.UnionType:  # int | tuple
        return _checked(name, value, args[isinstance(value, (tuple, list))])
    if origin is tuple and isinstance(value, (tuple, list)) and (args[-1] is Ellipsis or len(value) == len(args)):
        return tuple(_checked(f"{name}[{i}]", item, args[0]) for i, item in enumerate(value))
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; expected a finite number")
        return float(value)
    if origin is None and isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    many = "" if args[1:] == (...,) else f"{len(args)} "
    kind = f"a tuple of {many}{args[0].__name__}" if origin is tuple else hint.__name__
    raise ValueError(f"{name} is {value!r} ({type(value).__name__}); expected {kind}")
