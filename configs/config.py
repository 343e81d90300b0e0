"""`Config`: every number of a run, with the original's value as the default."""

import difflib
import re
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from configs.fields import Group, above, at_least, at_most, below, between, checked, pattern, rule, statistics
from configs.labels import Labels

# names that dictionaries elsewhere have too: a Config knows no other room, and a test holds both together
Network = Literal["msnet", "m2snet", "unet"]
Optimiser = Literal["sgd", "adamw"]
Schedule = Literal["triangle", "poly", "cosine", "constant"]
Protocol = Literal["official", "pranet", "infnet", "binary", "layers", "volume"]
POLYP_TESTSETS = ("CVC-300", "CVC-ClinicDB", "Kvasir", "CVC-ColonDB", "ETIS-LaribPolypDB")
Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std, R G B
# mean and std that the original trains with, on 0..255, and predicts with, on 0..1
ORIGINAL: Statistics = ((124.55, 118.90, 102.94), (56.77, 55.97, 57.50))
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# by backbone, on 0..255; those of timm's are added as they are asked for. A volume is normalised otherwise
STATISTICS = {"res2net50": ORIGINAL, "volume": ORIGINAL}
# what is 0 or () until it is planned, from the volumes to train on
PLANNED = ("size", "spacing", "inputs", "strides", "intensity")

# how --help groups the fields; `free`: a resumed run may change them, for they do not touch what is learned
places = Group("what and where")
model = Group("network")
several = Group("several classes, from label images")
counted = Group("what counts")
loss = Group("loss", scripts="train")
training = Group("optimisation", scripts="train")
nights = Group("stop and resume", "last.pt is written after every epoch and when told to stop", "train", free=True)
validating = Group("validation", "Official: none. Never a test set", scripts="train")
folding = Group("folds", "the part held out is what prediction_rgb.py and test_score.py take in place of test sets")
images = Group("images", scripts="train predict")
solid = Group("volumes", "NIfTI, where size is three sides. 0 and (): planned from the data", scripts="train predict")
augmenting = Group("augmentation", "Official: flip and rotate alone. The others are off at 0", scripts="train")
predicting = Group("prediction", "Official: one image at a time, float32, one view", scripts="train predict", free=True)
scoring = Group("scoring", scripts="train score", free=True)
machine = Group("machine", free=True)
around = Group("commands", "run by this Python; {savepath} and other fields are filled in", "train", free=True)

# rules of one field each
two_or_none = rule(lambda folds: folds >= 0 and folds != 1, "0, or at least 2")
large = rule(lambda scales: not scales or min(scales) >= 64, "one or more sides of at least 64")
factors = rule(lambda scales: bool(scales) and min(scales) > 0, "factors above 0")
WIDEST = at_most(8192)  # a side beyond it is a slip: its first layer alone takes gigabytes
a_name = rule(bool, "a name, such as res2net50 or pvt_v2_b2")
three_or_none = rule(lambda mm: not mm or (len(mm) == 3 and min(mm) > 0), "three numbers above 0")
five_widths = rule(lambda widths: len(widths) == 5 and min(widths) > 0, "five numbers above 0")
five_strides = rule(
    lambda steps: not steps or (len(steps) == 5 and all(re.fullmatch(r"[12](x[12]x[12])?", s) for s in steps)),
    "five, each 1 or 2 or such as 1x2x2",
)
four = rule(lambda ct: not ct or (len(ct) == 4 and ct[0] < ct[1] and ct[3] > 0), "lowest, highest, mean and std")
axes = rule(lambda which: {*which} <= {0, 1, 2} and len({*which}) == len(which), "among 0, 1, 2, each once")


def one_to_three(size: int | tuple[int, ...]) -> str | None:
    """One, two or three; of a volume 0 is yet to be planned."""
    many = size if isinstance(size, tuple) else (size,)
    if len(many) == 3:
        return None if min(many) > 0 or not any(many) else "a patch's three sides, or 0,0,0: planned"
    return None if len(many) in (1, 2) and min(many) >= 1 else "a side, height and width, or a patch's three sides"


@dataclass(frozen=True)
class Config:
    """Settings of one run; checked when made, never changed after. The original's `Config(datapath=...)` call works.

    A field is its group called with the default, the comment and the rules. Raises ValueError for an unknown field
    (naming the nearest), a wrong type and a value out of range.
    """

    datapath: str = places("data/TrainDataset", "training pairs: image/ + mask/ (or images/ + masks/)")
    include: str = places("", 'regular expression that the names of training pairs must contain; "": all', pattern)
    testpath: str = places("data/TestDataset", "holds one folder per test set", free=True)
    testsets: tuple[str, ...] = places(POLYP_TESTSETS, "folders of testpath", free=True)
    savepath: str = places("saved_model/msnet", "checkpoints and the record of the run", free=True)
    mapspath: str = places("maps/msnet", "predicted maps: one folder per test set", free=True)
    mode: Literal["train", "test"] = places("train", "the original's switch; only `Data` reads it", free=True)
    snapshot: str = places("", "checkpoint, or several by commas, to predict with", free=True)

    network: Network = model("msnet", "of MICCAI 2021, or of arXiv 2303.10894; unet: a plain one, of images untuned")
    backbone: str = model(
        "res2net50", "both papers' encoder; or timm's pvt_v2_b2, resnet50, ...; volume: of 3D", a_name
    )
    backbone_weights: str = model("imagenet", "imagenet: those in weights/ | random | a file")
    start: str = model("", "checkpoint that training begins with, in place of backbone_weights; its classes may differ")

    classes: int = several(1, "1: binary masks and a sigmoid; more: a softmax", at_least(1))
    label_values: tuple[int, ...] = several((), "grey value of each class in the label images; (): binary masks")
    class_names: tuple[str, ...] = several((), "for folders of maps and for tables; (): the grey values", free=True)
    background: int = several(0, "the value that surrounds a turned image and stays out of mean scores; -1: none")

    field_of_view: str = counted("", 'folder (name or path) with masks of what counts in loss and scores; "": all')
    observer: str = counted("", "of masks by several people, whose: behind its name, 1stHO, or its folder, 2nd_manual")

    lossnet_weights: str = loss("imagenet", "imagenet | random | a file")
    lossnet_factor: float = loss(0.1, "0 leaves LossNet out", at_least(0))
    weighted_bce: bool = loss(False, "Official: pixel weights cancel. Paper: True")
    structure_factor: float = loss(1.0, "of the structure loss; 0 leaves it out", at_least(0))
    dice_factor: float = loss(0.0, "of a soft Dice loss beside the structure loss; 0 leaves it out", at_least(0))
    cross_entropy_factor: float = loss(0.0, "of each class against the rest, likewise", at_least(0))

    optimiser: Optimiser = training("sgd", "transformers train with adamw")
    batch: int = training(16, "images per step, over all processes", at_least(1))
    lr: float = training(0.05, "peak of the learning rate", above(0))
    schedule: Schedule = training("triangle", "triangle peaks at mid-run")
    schedule_by: Literal["epoch", "step"] = training("epoch", "when the learning rate changes")
    warmup: float = training(0.0, "epochs in which the rate grows to where the schedule begins", at_least(0))
    momen: float = training(0.9, "momentum of SGD; of adamw the first beta", between(0, 1))
    decay: float = training(5e-4, "weight decay", at_least(0), at_most(1))
    nesterov: bool = training(True, "Nesterov's momentum")
    backbone_lr_ratio: float = training(1.0, "Official: all weights at lr. Paper: 0.1 (backbone 0.005)", at_least(0))
    epoch: int = training(50, "passes over the training pairs", at_least(1))
    save_from: float = training(2 / 3, "checkpoints of all epochs past this part of the run", between(0, 1), free=True)
    amp: Literal["auto", "native-fp16", "native-bf16", "apex", "off"] = training("auto", "auto: fp16 on CUDA, else off")
    grad_clip: float = training(0.0, "largest norm of the gradient; 0 leaves it as it is, as the original", at_least(0))
    cudnn: bool = training(True, "Official: off, for an old PyTorch's sake; it costs most of the speed")
    channels_last: bool = training(True, "memory order of images and weights: same numbers to rounding, faster")
    graphs: bool = training(True, "CUDA graphs: a step of a size seen before is one launch; one process, no compile")
    compile: bool = training(False, "torch.compile: a slow start, then faster steps")
    sync_batchnorm: bool = training(False, "statistics over all processes; CUDA only")
    ema: float = training(0.0, "decay of averaged weights: model-<epoch>-ema, model-best; 0: none", below(1, "0.999"))

    resume: bool = nights(False, "go on from <savepath>/last.pt")
    resume_changed: tuple[str, ...] = nights((), "fields that may differ from the run that is resumed")
    save_every: int = nights(0, "steps; 0: after epochs only", at_least(0))
    walltime: float = nights(0.0, "hours after which the run saves itself and stops; 0: never", at_least(0))

    valpath: str = validating("", "pairs, laid out like datapath")
    val_fraction: float = validating(0.0, "or this part of datapath, drawn by `seed`", below(1))
    val_every: int = validating(1, "epochs from one to the next", at_least(1))
    val_protocol: Protocol = validating("official", "of the score that chooses model-best")
    val_score: str = validating("", 'the score of it that chooses model-best; "": M_dice of official, else its first')

    group: str = folding("", 'regular expression for the clip or patient in a name; "": its sub-folder', pattern)
    folds: int = folding(0, "parts that datapath is dealt into by `seed`, groups whole; 0: none", two_or_none)
    fold: int = folding(1, "the part that is held out, from 1")
    stratify: str = folding("", "regular expression for the class in a name; each fold gets its share", pattern)
    split: str = folding("", "or a list: .json, .csv or .txt")

    size: int | tuple[int, ...] = images(
        352,
        "side, or height and width, that every image is resized to; of a volume the patch, 0,0,0: planned",
        one_to_three,
        WIDEST,
    )
    scales: tuple[int, ...] = images(
        (), "longer sides, one drawn per batch; (): follow size, 224 .. 352 of 352", large, WIDEST
    )
    train_mean: tuple[float, ...] = images(
        (), "on 0..255; (): as the original, or the backbone", statistics(255, ORIGINAL[0])
    )
    train_std: tuple[float, ...] = images((), "likewise", statistics(255, ORIGINAL[1], spread=True))
    # Official: ImageNet's, beside training statistics of its own; to any others belong these same ones
    test_mean: tuple[float, ...] = images((), "on 0..1; (): ImageNet's, or as train_mean", statistics(1, IMAGENET[0]))
    test_std: tuple[float, ...] = images((), "likewise", statistics(1, IMAGENET[1], spread=True))
    cache: str = images("", 'decoded and resized training images: "" | ram | a folder', free=True)

    spacing: tuple[float, ...] = solid((), "mm that a voxel becomes, towards right, front and head", three_or_none)
    inputs: int = solid(0, "channels of a volume, such as MR sequences", between(0, 4))
    widths: tuple[int, ...] = solid((32, 32, 64, 128, 256), "channels of the five levels", five_widths)
    strides: tuple[str, ...] = solid((), "of each level over the one before, such as 1,1,2,2,1x2x2", five_strides)
    width: int = solid(32, "channels of the pyramid, which unet has not; of images 64", at_least(1))
    deep_supervision: bool = solid(False, "losses of the decoder's lower levels too, halved from level to level")
    intensity: tuple[float, ...] = solid((), "of CT: lowest, highest, mean, std; of MR none: each by itself", four)
    patches: int = solid(1, "drawn from each volume in an epoch", at_least(1))
    foreground: float = solid(1 / 3, "part of the patches that are about a voxel of some class", between(0, 1))
    mirror: tuple[int, ...] = solid(
        (0, 1, 2), "axes that `flip` and `test_flip` mirror; () where sides have names", axes
    )
    overlap: float = solid(0.5, "of neighbouring windows in prediction", below(1), free=True)

    flip: float = augmenting(
        0.5, "probability of a horizontal flip; of a volume along each axis of `mirror`", between(0, 1)
    )
    rotate: float = augmenting(
        10.0, "degrees, uniform in +-; of a volume about each axis, one time in five", between(0, 180)
    )
    vertical_flip: float = augmenting(0.0, "probability of a flip of top and bottom", between(0, 1))
    quarter_turns: float = augmenting(0.0, "probability of a turn by 90, 180 or 270 degrees", between(0, 1))
    # up to 2 the picture is never moved out of itself
    zoom: float = augmenting(0.0, "0.25: by 0.8 to 1.25 about the centre, and a shift of up to 6 %", between(0, 2))
    colour: float = augmenting(
        0.0, "0.2: brightness, contrast, saturation by +-20 %, hue by +-9 degrees", between(0, 1)
    )
    blur: float = augmenting(0.0, "probability of a Gaussian blur of 0.5 to 2 pixels", between(0, 1))
    noise: float = augmenting(0.0, "largest std of Gaussian noise, in grey levels of 255", between(0, 255))
    cutout: float = augmenting(0.0, "probability that a box of the image, not of the mask, is hidden", between(0, 1))
    gamma: float = augmenting(
        0.0, "of a volume: 0.5: intensities to the power of 0.67 to 1.5, three times in ten", at_least(0)
    )
    low_resolution: float = augmenting(0.0, "of a volume: probability of being half to once as fine", between(0, 1))

    test_batch: int = predicting(4, "images at once; same maps to rounding", at_least(1))
    test_amp: Literal["native-fp16", "native-bf16", "off"] = predicting("off", "precision of the network")
    test_scales: tuple[float, ...] = predicting(
        (1.0,), "maps are averaged over these sizes of the input", factors, at_most(8)
    )
    test_flip: bool = predicting(False, "and over the mirrored input")
    probabilities: bool = predicting(False, "maps of 16 bits, 65535 for p = 1; Official: of 8 bits, truncated")

    protocol: Protocol = scoring("official", "see metrics/README.md")
    tolerance: float = scoring(1.0, "of volume's NSD: surfaces this near agree; mm, pixels of an image", at_least(0))
    columns: tuple[str, ...] = scoring((), "scores that tables show, in this order; (): all of the protocol")
    percent: bool = scoring(False, "tables in per cent, but for distances and counts")
    by_group: bool = scoring(False, "scores of each clip, volume or patient too (see `group`)")

    device: str = machine("auto", "auto | cpu | cuda | cuda:1")
    tf32: bool = machine(False, "GPUs may round float32 to 10 bits where they multiply: faster, some grey levels off")
    threads: int = machine(0, "of PyTorch on a CPU; 0: one per core, -1: as many as are idle", at_least(-1))
    workers: int = machine(8, "processes that read images, at most one per core; 0: the main one does", at_least(0))
    seed: int = machine(
        0,
        "Official: none. Equal seeds give equal runs, whatever `workers`",
        at_least(0),
        at_most(2**63 - 1),
        free=False,
    )
    check_data: bool = machine(True, "decode every training pair once before the first epoch")

    before: tuple[str, ...] = around((), "before the run, such as '-m tools.demo_data data/demo'")
    after: tuple[str, ...] = around((), "such as 'prediction_rgb.py configs/my.py --snapshot {savepath}/model-{epoch}'")

    def __new__(cls, *_: Any, **given: Any) -> "Config":
        # a dataclass would say "unexpected keyword argument"; users deserve the name they meant
        for name in given:
            if name not in cls.__dataclass_fields__:
                raise ValueError(unknown_field(name))
        return super().__new__(cls)

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name), hints[field.name]))
        object.__setattr__(self, "size", one_side(self.size))
        for name, value in self.followed().items():
            if not getattr(self, name) and value:
                object.__setattr__(self, name, value)
        for field in fields(self):
            for expected in field.metadata["rules"]:
                self._require(field.name, (words := expected(getattr(self, field.name))) is None, str(words))
        self._check_labels()
        self._check_together()

    def _check_together(self) -> None:
        """The rules that more than one field makes."""
        self._require("val_fraction", not (self.val_fraction and self.valpath), "0 where valpath is given")
        factors = self.structure_factor, self.lossnet_factor, self.dice_factor, self.cross_entropy_factor
        self._require("structure_factor", any(factors), "above 0, or another loss")
        for name in self.resume_changed:
            self._require("resume_changed", name in self.__dataclass_fields__, "names of fields")
        self._require("fold", 1 <= self.fold <= max(1, self.folds), f"from 1 to folds, {self.folds}")
        self._require("warmup", self.warmup < self.epoch, f"at least 0 and below epoch, {self.epoch}; 0 for none")
        self._require("momen", self.optimiser != "adamw" or self.momen < 1, "below 1 where optimiser is adamw")
        still = self.optimiser == "sgd" and self.nesterov and not self.momen
        self._require("momen", not still, "above 0 where nesterov is True; --nesterov False goes without")
        if self.dims == 3:
            self._check_solid()
            return
        self._require("deep_supervision", not self.deep_supervision, "False, but of volumes")
        self._require("backbone", self.backbone != "volume", "volume only where size is three sides, such as 0,0,0")
        shorter = min(self.sides_at(min(self.scales)))
        self._require("scales", shorter >= 64, "sides of at least 64, the shorter included")

    def _check_solid(self) -> None:
        """What is of images has no meaning for volumes, and is refused in place of being left aside."""
        self._require("backbone", self.backbone == "volume", "volume, where size is three sides")
        self._require("cache", self.cache != "ram", "a folder, where size is three sides")
        self._require("label_values", self.label_values != (0,), "a value above 0 for one class")
        self._require("intensity", not self.intensity or self.inputs < 2, "() where there are several channels")
        for name in ("val_protocol", "protocol"):
            self._require(name, getattr(self, name) == "volume", "volume, where size is three sides")
        for name, none in OF_IMAGES.items():
            self._require(name, getattr(self, name) == none, f"{none!r} where size is three sides: it is of images")

    def _check_labels(self) -> None:
        if self.classes > 1 or self.label_values:
            expected = f"one grey value per class, and classes is {self.classes}"
            self._require("label_values", len(self.label_values) == self.classes, expected)
        _ = self.labels  # refuses what cannot be

    def followed(self) -> dict[str, Any]:
        """What fields are that follow others unless given: `scales` size, train_* the backbone, test_* train_*.

        `val_score` follows its protocol; of others than the original's this is left to who knows them.
        Official: to the original's training statistics belong ImageNet's; to any others belong these same ones.
        """
        theirs = statistics_of(self.backbone)
        own = (self.train_mean or theirs[0], self.train_std or theirs[1])
        mean, std = (tuple(value / 255 for value in values) for values in own) if own != ORIGINAL else IMAGENET
        if self.dims == 3:
            return {"train_mean": theirs[0], "train_std": theirs[1], "test_mean": mean, "test_std": std}
        longer = max(self.sides)
        parts = {max(64, 32 * round(longer * side / 352 / 32)) for side in (224, 256, 288, 320)}
        smaller = sorted(side for side in parts if side < longer and min(self.sides_at(side)) >= 64)
        followed = {"train_mean": theirs[0], "train_std": theirs[1], "test_mean": mean, "test_std": std}
        chosen_by = {"val_score": "M_dice"} if self.val_protocol == "official" else {}
        return followed | {"scales": (*smaller, max(64, longer))} | chosen_by

    def filled(self, then: Mapping[str, Any]) -> "Config":
        """This Config, where it leaves something to be planned with what a run, its fields, had planned."""
        if self.dims == 2:
            return self
        unset = [name for name in PLANNED if getattr(self, name) in (0, (), (0, 0, 0)) and name in then]
        return replace(self, **{name: then[name] for name in unset})

    def changed(self, **fields: Any) -> "Config":
        """This Config with other values of some fields; what follows others unless given follows these too."""
        following = {name: type(value)() for name, value in self.followed().items() if getattr(self, name) == value}
        return replace(self, **(following | fields))

    @property
    def labels(self) -> Labels:
        """The classes, in the order of the network's channels."""
        return Labels(self.label_values, self.class_names, self.background)

    @property
    def sides(self) -> tuple[int, ...]:
        """Height and width of `size`, or the three sides of a patch."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def dims(self) -> int:
        """2: images; 3: volumes."""
        return len(self.sides)

    @property
    def shape(self) -> dict[str, Any]:
        """What `net.build` has to know of a network of volumes beside its name; nothing of images."""
        if self.dims == 2:
            return {}
        steps = [tuple(map(int, step.split("x"))) if "x" in step else int(step) for step in self.strides]
        own = {name: getattr(self, name) for name in ("inputs", "widths", "width", "deep_supervision")}
        return own | {"dims": 3, "strides": steps}

    @property
    def plane(self) -> tuple[int, int]:
        """Height and width of `size`, of images; ValueError for volumes."""
        self._require("size", self.dims == 2, "a side, or height and width: this is of pictures, and not of volumes")
        height, width = self.sides
        return height, width

    def sides_at(self, scale: int) -> tuple[int, int]:
        """Height and width of a batch whose longer side is `scale`, in the ratio of `size`."""
        height, width = (round(side * scale / max(self.sides)) for side in self.plane)
        return height, width

    @property
    def run_folder(self) -> str:
        """Where a run writes: savepath, or its folder of this fold."""
        return f"{self.savepath}/fold-{self.fold}" if self.folds else self.savepath

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            raise ValueError(f"{name} is {getattr(self, name)!r}; expected {expected}")


# fields of images alone, and what they are where there are volumes
OF_IMAGES: dict[str, Any] = {
    **{"scales": (), "lossnet_factor": 0.0, "field_of_view": "", "test_scales": (1.0,)},
    **{"vertical_flip": 0.0, "quarter_turns": 0.0, "cutout": 0.0},
}
# fields that a resumed run may change freely
MAY_CHANGE = {field.name for field in fields(Config) if field.metadata["free"]}


def statistics_of(backbone: str) -> Statistics:
    """Mean and std, on 0..255, to train a backbone with: the original's, or what the weights in timm were made with."""
    if backbone not in STATISTICS:
        import timm  # takes seconds, which a Res2Net-50 need not wait for

        theirs: Any = None
        if timm.is_model(backbone):
            with suppress(RuntimeError):  # at a tag behind the point that timm does not know
                theirs = timm.get_pretrained_cfg(backbone, allow_unregistered=True)
        if theirs is None:  # an unknown name; net.build has the words for it
            return ORIGINAL
        mean, std = (tuple(round(255 * value, 4) for value in values) for values in (theirs.mean, theirs.std))
        STATISTICS[backbone] = mean, std
    return STATISTICS[backbone]


def one_side(size: int | Sequence[int]) -> int | tuple[int, ...]:
    """The side of a square given as a pair; other sizes as they are, for records of either form."""
    sides = (size,) if isinstance(size, int) else tuple(size)
    return sides[0] if len(sides) < 3 and len({*sides}) == 1 else sides


def unknown_field(name: str) -> str:
    """The message for a field that Config does not have."""
    near = difflib.get_close_matches(name, Config.__dataclass_fields__, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(Config.__dataclass_fields__)}"
    return f"Config has no field {name!r}; {hint}"
