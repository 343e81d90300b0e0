"""Validation during training: held-out images predicted and scored exactly as the scripts would."""

import math
import warnings

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import net
from configs import Config
from dataset import TestImages, resize, test_batch
from engine import distributed
from engine.inference import Predictor
from engine.loading import Loader, silent
from engine.log import Log
from files import Pair, native_map, read_mask, read_planes
from metrics import Scores, lower_is_better


def validate(network: nn.Module, pairs: list[Pair], cfg: Config, team: distributed.Team, log: Log) -> float:
    """The score `val_score` of the maps that prediction would write for these pairs, each scored by one process.

    Of several classes it is the mean of those where it is defined, without the background, and the log gets each one's.
    A class that no mask shows is none of them: a network that finds nothing would have a perfect score for it.
    """
    names = cfg.labels.classes
    scores, mine = [Scores("official") for _ in names], pairs[team.rank :: team.size]
    distributed.follow_first(network)
    was_training, _ = network.training, network.eval()
    predictor = Predictor(network, team.device, probabilities=net.probabilities)
    images = TestImages({pair.name: pair.image for pair in mine}, cfg)
    coming, largest = iter(mine), cfg.test_batch * 3 * math.prod(cfg.sides) * 4
    with (
        # training has said where shared memory is short
        Loader(images, test_batch, cfg.workers, largest, team.device, silent, batch_size=cfg.test_batch) as loader,
        tqdm(total=len(mine), desc="validate", unit="image", leave=False, disable=None if team.writes else True) as bar,
    ):
        for number, (image, sizes, batch) in enumerate(loader):
            preds, small = predictor(image), []
            for pred, size in zip(preds.numpy(), sizes, strict=True):
                pair = next(coming)
                gts = read_planes(pair.masks, cfg.labels)
                within = read_mask(pair.within) > 127 if pair.within else None
                for score, plane, gt in zip(scores, pred, gts, strict=True):
                    score.update(np.array(native_map(plane, *size)), gt, within)
                small.append(np.stack([resize(gt, cfg.sides) for gt in gts]))
            if number == 0:
                log.panel("validation/image | mask | map", image, torch.from_numpy(np.stack(small)) / 255, preds)
            bar.update(len(batch))
    network.train(was_training)
    whole = {name: merged(score) for name, score in zip(names, scores, strict=True)}
    found = {name: s.result()[cfg.val_score] if s.with_foreground else math.nan for name, s in whole.items()}
    if len(found) > 1:
        for name, value in found.items():
            log.scalar(f"validation/{name} {cfg.val_score}", value)
    counted = cfg.labels.scored
    if team.writes and (absent := [name for name in counted if not whole[name].with_foreground]):
        what = ", ".join(filter(None, absent)) or "anything"
        warnings.warn(
            f"no mask of the {len(pairs)} held out shows {what}: {cfg.val_score} is the mean of "
            f"{len(counted) - len(absent)} of {len(counted)} classes",
            stacklevel=2,
        )
    defined = [found[name] for name in counted if not math.isnan(found[name])]
    if team.writes and not defined:
        warnings.warn(f"{cfg.val_score} is undefined for every image held out; no checkpoint is chosen", stacklevel=2)
    return float(np.mean(defined)) if defined else math.nan


def merged(scores: Scores) -> Scores:
    """The scores of all processes."""
    whole = Scores(scores.protocol)
    for state in distributed.gathered(scores.state_dict()):
        part = Scores(scores.protocol)
        part.load_state_dict(state)
        whole.merge(part)
    return whole


def better(name: str, score: float, best: float) -> bool:
    """Whether `score` beats `best` (-inf before the first); NaN never does."""
    return score > best if not lower_is_better(name) or best == float("-inf") else score < best
