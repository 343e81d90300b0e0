"""Whether a Config agrees with itself, and with that of the run which it resumes."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from configs.config import MAY_CHANGE, ORIGINAL, Config, one_side
from configs.recorded import recorded

# fields that cannot change in a run: what it has saved fits no other
NEVER = {"network", "backbone", "classes", "optimiser", "inputs", "widths", "width", "strides", "deep_supervision"}
EMA_LEAVES = 0.05  # of the first weights in the averaged ones that is too little to matter
ADAMW_TAKES = 2e-3  # its steps are about lr long, whatever the gradient: more undo what ImageNet's weights know


def require_trainable(cfg: Config) -> None:
    """ValueError for a checkpoint to predict with, and for one to start from that the run itself would move away."""
    if cfg.snapshot:
        raise ValueError(
            f"snapshot is {cfg.snapshot!r}, which prediction reads; --start {cfg.snapshot} trains on from its weights, "
            "--resume goes on with a run that stopped"
        )
    if cfg.start and not cfg.resume and Path(cfg.start).parent.resolve() == Path(cfg.run_folder).resolve():
        raise ValueError(
            f"start is {cfg.start!r}, in {cfg.run_folder}, from where a new run moves the earlier one away; give "
            "--savepath another folder"
        )


def require_startable(cfg: Config) -> None:
    """ValueError for a start of other strides than `cfg` has: its weights would fit, and mean something else."""
    then, now = recorded(cfg.start).get("strides") if cfg.start else None, list(cfg.strides)
    if cfg.dims == 3 and then and list(then) != now:
        raise ValueError(
            f"start is {cfg.start!r}, trained with strides {','.join(then)}, and this run has {','.join(now)}; "
            f"--strides {','.join(then)} keeps them"
        )


def notes(cfg: Config, images: int) -> Iterator[str]:
    """What a person who starts this run on so many images should know: random weights, rates that do not fit, averages
    that the run is too short for, and what `mixes` finds.
    """
    if cfg.backbone_weights == "random" and not cfg.start:
        yield "WARNING: the backbone starts from RANDOM weights (backbone_weights='random'); scores will not compare"
    if cfg.lossnet_factor and cfg.lossnet_weights == "random":
        yield "WARNING: LossNet is a RANDOM VGG-16 (lossnet_weights='random'); scores will not compare"
    if 0 < cfg.warmup <= 1 and cfg.schedule_by == "epoch":
        yield (
            f"NOTE: warmup is {cfg.warmup:g} epochs, in which a rate that changes by epoch does not grow; "
            "--schedule_by step grows it"
        )
    if cfg.optimiser == "adamw" and cfg.lr > ADAMW_TAKES:
        yield f"NOTE: lr is {cfg.lr:g} and optimiser is adamw, which usually takes 1e-4 to 5e-4: --lr 1e-4"
    steps = cfg.epoch * -(-images // cfg.batch)
    if cfg.ema and (left := cfg.ema**steps) > EMA_LEAVES:
        yield (
            f"NOTE: ema is {cfg.ema:g} and the run has {steps} steps, so {left:.0%} of the averaged weights are those "
            f"it starts from: --ema 0, or at most {EMA_LEAVES ** (1 / max(steps, 1)):.2g}"
        )
    for note in mixes(cfg):
        yield f"NOTE: {note}"


def mixes(cfg: Config) -> Iterator[str]:
    """What a Config gives to training and to prediction that is not the same, unless the original does it too."""
    if cfg.dims == 2 and max(cfg.scales) != max(cfg.sides):
        yield (
            f"trains at {', '.join(map(str, cfg.scales))} (scales) but validates and predicts at {max(cfg.sides)} "
            "(size); leave out scales, and they follow size"
        )
    for name, follows in cfg.followed().items():
        if not name.startswith(("train", "test")):
            continue
        given, words = getattr(cfg, name), ",".join(f"{value:.5g}" for value in follows)
        if name.startswith("test") and (cfg.train_mean, cfg.train_std) != ORIGINAL and given != follows:
            yield f"{name} is {given}, where training has {words} on 0..1; leave it out, and it follows"
        # Official: a Res2Net-50 of ImageNet trains with the statistics of polyps
        learnt = cfg.backbone != "res2net50" and cfg.backbone_weights == "imagenet" and not cfg.start
        if learnt and name.startswith("train") and any(abs(a - b) > 0.5 for a, b in zip(given, follows)):
            yield f"{name} is {given}, where the weights of {cfg.backbone} expect {words}; leave it out, and it follows"


def as_begun(cfg: Config, then: dict[str, Any], say: Callable) -> Config:
    """`cfg` of a run that goes on: what it leaves to follow other fields is as the run had it, perhaps by older rules.

    then: the fields in last.pt; a field that it lacks is one that is newer than the run.
    """
    cfg = cfg.filled(then)
    kept: dict[str, Any] = {
        name: tuple(then[name])
        for name, value in cfg.followed().items()
        if name != "val_score"
        and getattr(cfg, name) == value != then.get(name, value)
        and name not in cfg.resume_changed
    }
    for name, value in kept.items():
        say(f"NOTE: {name} stays {value}, as the run began; it would follow other fields as {getattr(cfg, name)} now")
    return dataclasses.replace(cfg, **kept)


def require_same(cfg: Config, then: dict[str, Any], defaults: dict[str, Any], say: Callable) -> dict[str, Any]:
    """The run's fields, whole; ValueError naming every one that differs in `cfg`, unless it may.

    then: the fields in last.pt. defaults: those of the code that wrote it; a field that has gone since is no matter if
    it held its own.
    """
    now, allowed = dataclasses.asdict(cfg), MAY_CHANGE | set(cfg.resume_changed)
    then = dataclasses.asdict(Config()) | cfg.followed() | then  # a field that it lacks held its default
    then["size"] = one_side(then["size"])
    for name in sorted(then.keys() - now.keys()):
        if name in defaults and then[name] == defaults[name]:
            say(f"NOTE: the run has the field {name}, which this code no longer has; it held its default")
        else:
            raise ValueError(
                f"{name} was {then[name]!r} in the run that is resumed, and this code has no such field; go on with "
                "the code that began it (config.json beside last.pt names its commit), or start anew"
            )
    changed = {
        name: f"{name} was {then[name]!r}, is {now[name]!r}"
        for name in sorted(now)
        if now[name] != then[name] and (name not in allowed or name in NEVER)
    }
    if changed:
        hint = "Set them back, or name them in `resume_changed`"
        if never := sorted(NEVER & changed.keys()):
            hint = f"Set them back, or start anew: the weights of a run fit no other {' or '.join(never)}"
        raise ValueError(f"this is not the run that is resumed: {'; '.join(changed.values())}. {hint}")
    return then
