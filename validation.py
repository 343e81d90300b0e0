"""Validation during training: held-out images predicted and scored exactly as the scripts would."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from configs import Config
from dataset import TestImages, native_map, resize, test_batch
from engine import distributed, run
from engine.inference import Predictor
from engine.log import Log
from files import Pair, read_mask
from metrics import Scores, lower_is_better


def validate(network: nn.Module, pairs: list[Pair], cfg: Config, team: distributed.Team, log: Log) -> float:
    """The score `val_score` of the maps that prediction would write for these pairs, each scored by one process."""
    scores, mine = Scores("official"), pairs[team.rank :: team.size]
    distributed.follow_first(network)
    was_training, _ = network.training, network.eval()
    predictor = Predictor(network, team.device)
    images = TestImages({pair.name: pair.image for pair in mine}, cfg)
    workers = run.workers(cfg.workers)
    loader = DataLoader(
        images, cfg.test_batch, collate_fn=test_batch, num_workers=workers, worker_init_fn=run.start_worker
    )
    masks, read = iter(mine), iter(loader)
    with (
        run.ended(lambda: read),
        tqdm(total=len(mine), desc="validate", unit="image", leave=False, disable=None if team.writes else True) as bar,
    ):
        for number, (image, sizes, names) in enumerate(read):
            preds = predictor(image)
            gts = [read_mask(*next(masks).masks) for _ in names]
            for pred, size, gt in zip(preds.numpy(), sizes, gts, strict=True):
                scores.update(np.array(native_map(pred[0], *size)), gt)
            if number == 0:
                small = np.stack([resize(gt, cfg.size) for gt in gts])[:, None] / 255
                log.panel("validation/image | mask | map", image, torch.from_numpy(small), preds)
            bar.update(len(names))
    network.train(was_training)
    merged = Scores("official")
    for state in distributed.gathered(scores.state_dict()):
        part = Scores("official")
        part.load_state_dict(state)
        merged.merge(part)
    return merged.result()[cfg.val_score]


def better(name: str, score: float, best: float) -> bool:
    """Whether `score` beats `best` (-inf before the first); NaN never does."""
    return score > best if not lower_is_better(name) or best == float("-inf") else score < best
