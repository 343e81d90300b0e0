"""Which pairs a run trains on, which it validates on, and which it leaves for the test."""

import warnings
from pathlib import Path

from configs import Config
from files.lists import Parts, seen_by
from files.pairs import find_pairs
from files.splits import hold_out, split_pairs


def parts_of_run(cfg: Config) -> Parts:
    """Pairs to train on, to validate on, and those a fold holds out.

    Warned about: a test set as valpath, and held-out images that the checkpoint `start` has been trained on.
    """
    parts = _parts(cfg)
    held_out = {pair.name: pair.image for pair in parts.validation + parts.test}
    if cfg.start and (seen := seen_by(cfg.start, held_out)):
        warnings.warn(
            f"{cfg.start} was trained on or chosen by {len(seen)} of the {len(held_out)} images held out here, first "
            f"{seen[0]}; their scores will say nothing about new images",
            stacklevel=2,
        )
    return parts


def _parts(cfg: Config) -> Parts:
    parts = hold_out(find_pairs(cfg.datapath, cfg.include, cfg.field_of_view, cfg.observer), cfg)
    if parts.validation and (cfg.valpath or cfg.val_fraction):
        raise ValueError(f"{cfg.split} says what to validate on; leave out valpath and val_fraction")
    if not cfg.valpath:
        train, validation = split_pairs(parts.train, cfg.val_fraction, cfg.seed, cfg.group, cfg.stratify)
        return Parts(train, parts.validation or validation, parts.test)
    if Path(cfg.valpath).resolve() in {Path(cfg.testpath, name).resolve() for name in cfg.testsets}:
        warnings.warn(
            f"valpath {cfg.valpath} is a test set: choosing a checkpoint by it spoils its scores; "
            "use val_fraction instead",
            stacklevel=3,
        )
    validation = find_pairs(cfg.valpath, cfg.include, cfg.field_of_view, cfg.observer)
    used = {pair.image.resolve() for pair in parts.train + parts.test}
    if both := [pair for pair in validation if pair.image.resolve() in used]:
        raise ValueError(
            f"valpath {cfg.valpath} holds {len(both)} images that are trained or tested on too, first {both[0].image}"
        )
    return parts._replace(validation=validation)
