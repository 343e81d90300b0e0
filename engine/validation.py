"""Validation during training: held-out images predicted and scored exactly as the scripts would."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from engine import distributed
from engine.inference import Predictor
from engine.loading import Loader
from engine.log import Log
from engine.windows import WindowPredictor
from metrics import PROTOCOLS, Scores, lower_is_better


class Choice(NamedTuple):
    """What a checkpoint is chosen by: one score of a protocol, on average over some of the classes."""

    protocol: str
    score: str
    classes: Sequence[str] = ("",)  # of each plane; "" of a binary mask
    scored: Sequence[str] = ("",)  # those that count
    tolerance: float = 1.0  # of protocol volume


def chosen_by(cfg: Any) -> Choice:
    """What a Config chooses by, the first of its protocol unless it says; ValueError for a score of none, or others."""
    known = PROTOCOLS[cfg.val_protocol].names
    if (score := cfg.val_score or known[0]) not in known:
        others = [name for name, protocol in PROTOCOLS.items() if cfg.val_score in protocol.names]
        hint = f"; it is a score of val_protocol {', '.join(others)}" if others else ""
        raise ValueError(f"val_score is {cfg.val_score!r}; expected one of {', '.join(known)}{hint}")
    return Choice(cfg.val_protocol, score, cfg.labels.classes, cfg.labels.scored, cfg.tolerance)


def validate(
    predictor: Predictor | WindowPredictor, held_out: Loader, choice: Choice, team: distributed.Team, log: Log
) -> float:
    """The score of the maps that prediction would write for the images held out, each scored by one process.

    held_out: batches of this process's share, as `dataset.to_validate` reads them. Of several classes it is the mean of
    those where it is defined, without the background, and the log gets each one's. A class that no mask shows is none
    of them: a network that finds nothing would have a perfect score for it. NaN where it is defined nowhere.
    """
    network = predictor.network
    distributed.follow_first(network)
    was_training = network.training
    network.eval()
    mine = _scores(predictor, held_out, choice, team, log)
    network.train(was_training)
    whole = {name: merged(scores) for name, scores in mine.items()}
    values = {name: s.result()[choice.score] if s.with_foreground else math.nan for name, s in whole.items()}
    if len(values) > 1:
        for name, value in values.items():
            log.scalar(f"validation/{name} {choice.score}", value)
    defined = [values[name] for name in choice.scored if not math.isnan(values[name])]
    if team.writes:
        _warn(choice, whole, bool(defined))
    return float(np.mean(defined)) if defined else math.nan


def _scores(
    predictor: Predictor | WindowPredictor, held_out: Loader, choice: Choice, team: distributed.Team, log: Log
) -> dict[str, Scores]:
    """Class -> the scores of this process's share; the first batch is drawn into the log."""
    scores = {name: Scores(choice.protocol, tolerance=choice.tolerance) for name in choice.classes}
    rules, quiet = PROTOCOLS[choice.protocol], None if team.writes else True
    with held_out, tqdm(total=held_out.count, desc="validate", unit="image", leave=False, disable=quiet) as bar:
        for number, batch in enumerate(held_out):
            image, cases = batch.image, batch.cases
            found = [case.maps(pred) for case, pred in zip(cases, predictor(image), strict=True)]
            for case, maps in zip(cases, found, strict=True):
                for of_class, plane, truth in zip(scores.values(), maps, case.planes, strict=True):
                    of_class.update(rules.of_grey(plane), truth, case.within, **case.units)
            if number == 0:
                truths = [case.pictures(case.planes) for case in cases]
                maps = [case.pictures(maps) for case, maps in zip(cases, found, strict=True)]
                log.panel("validation/image | mask | map", image, _small(truths, image), _small(maps, image))
            bar.update(len(cases))
    return scores


def _small(pictures: Sequence[Sequence[np.ndarray]], image: Tensor) -> Tensor:
    """(N, C, H, W) float in [0, 1]: a picture of each class of N images, at the first two sides of theirs."""
    height, width = image.shape[2:4]
    resized = [[cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in of] for of in pictures]
    return torch.from_numpy(np.array(resized)) / 255


def _warn(choice: Choice, whole: dict[str, Scores], any_defined: bool) -> None:
    if absent := [name for name in choice.scored if not whole[name].with_foreground]:
        images, many = len(next(iter(whole.values()))), len(choice.scored)
        warnings.warn(
            f"no mask of the {images} held out shows {', '.join(filter(None, absent)) or 'anything'}: {choice.score} "
            f"is the mean of {many - len(absent)} of {many} classes",
            stacklevel=3,
        )
    if not any_defined:
        warnings.warn(f"{choice.score} is undefined for every image held out; no checkpoint is chosen", stacklevel=3)


def merged(scores: Scores) -> Scores:
    """The scores of all processes."""
    whole = scores.blank()
    for state in distributed.gathered(scores.state_dict()):
        share = scores.blank()
        share.load_state_dict(state)
        whole.merge(share)
    return whole


def better(name: str, score: float, best: float) -> bool:
    """Whether `score` beats `best` (-inf before the first); NaN never does."""
    return score > best if not lower_is_better(name) or best == float("-inf") else score < best
