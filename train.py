"""Train MSNet or M2SNet: python train.py configs/polyp_msnet.py [--field value ...]"""

import dataclasses
import sys
import textwrap
import warnings
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import net
from configs import MAY_CHANGE, Config, parse
from dataset import (
    Data,
    EpochSampler,
    Pair,
    TestImages,
    check_pairs,
    find_pairs,
    native_map,
    read_mask,
    split_pairs,
)
from engine import checkpoint, run
from engine.log import Log
from engine.precision import Precision
from engine.stop import Stop, ignore_signals
from lossnet import LossNet, total_loss
from metrics import Scores, lower_is_better, score_names


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, _ = parse("Train MSNet or M2SNet.", arguments)
    run.run_commands(cfg.before, cfg)
    train(cfg)
    run.run_commands(cfg.after, cfg)


def train(cfg: Config) -> Path:
    """One run, from the start or from <savepath>/last.pt; returns the last checkpoint, `<savepath>/model-<epoch>`."""
    check(cfg)
    device = run.device(cfg.device)
    precision = Precision(cfg.amp, device, cfg.grad_clip)
    torch.backends.cudnn.enabled = cfg.cudnn
    run.seed_everything(cfg.seed)

    training, held_out = training_and_validation_pairs(cfg)
    if cfg.check_data:
        print(f"{cfg.datapath}: {check_pairs(training + held_out)}")
    network, lossnet = build_network(cfg).to(device), build_lossnet(cfg, device)
    optimiser = build_optimiser(network, cfg)
    parts: dict[str, Any] = {"network": network, "optimiser": optimiser, "scaler": precision.scaler}
    first, done, step, best = resume(cfg, parts) if cfg.resume else (0, 0, None, float("-inf"))

    # all that can be refused has been: from here on files are written
    folder = checkpoint.require_writable(cfg.savepath)
    if not cfg.resume:
        checkpoint.set_aside(folder / "last.pt")
    run.write_record(folder / "config.json", cfg, device)
    print(textwrap.fill(", ".join(f"{k}={v!r}" for k, v in dataclasses.asdict(cfg).items()), 120))
    loader, sampler = build_loader(cfg, training, device)
    log = Log(folder / "log.csv", step)

    def save_last(epoch: int, done: int) -> None:
        log.flush()  # raises if a loss was not finite: last.pt stays as it was
        state = {name: part.state_dict() for name, part in parts.items()}
        place = {"epoch": epoch, "done": done, "step": log.step, "best": best}
        record = {"config": dataclasses.asdict(cfg), "random": checkpoint.random_states()}
        checkpoint.save(state | place | record, folder / "last.pt")

    with Stop(cfg.walltime) as stop, closing(log):
        for epoch in range(first, cfg.epoch):
            sampler.start(epoch, skip=done * cfg.batch)
            lr = learning_rate(cfg, epoch)
            set_learning_rate(optimiser, lr)
            network.train()
            title = f"epoch {epoch + 1}/{cfg.epoch}"
            with tqdm(total=len(training), initial=sampler.skip, desc=title, unit="image", disable=None) as bar:
                for image, mask, names in loader:
                    image, mask = image.to(device, non_blocking=True), mask.to(device, non_blocking=True)
                    with precision.autocast():
                        logits = network(image).float()
                        loss = total_loss(logits, mask, lossnet, cfg.lossnet_factor, cfg.weighted_bce)
                    precision.step(loss.total, optimiser, network)
                    log.add(epoch + 1, lr, loss, names)
                    done += 1
                    bar.update(len(names))
                    if not bar.disable and done % 10 == 1:  # reading a loss waits for the device
                        bar.set_postfix_str(f"lr={lr:.6f} | loss={loss.total.item():.6f}")
                    if stop.reason or (cfg.save_every and log.step % cfg.save_every == 0):
                        save_last(epoch, done)
                    if stop.reason:
                        print(f"stopped by {stop.reason} at step {log.step}; go on with --resume True", flush=True)
                        sys.exit(stop.code)
            done = 0
            log.flush()
            line = f"step:{log.step}/{epoch + 1}/{cfg.epoch} | lr={lr:.6f} | loss={log.mean(epoch + 1):.6f}"
            if held_out and ((epoch + 1) % cfg.val_every == 0 or epoch + 1 == cfg.epoch):
                score = validate(network, held_out, cfg, device)
                log.score(cfg.val_score, score)
                line += f" | {cfg.val_score}={score:.4f}"
                if better(cfg.val_score, score, best):
                    best, line = score, line + " best"
                    checkpoint.save(network.state_dict(), folder / "model-best")
            print(f"{datetime.now():%Y-%m-%d %H:%M:%S} | {line}", flush=True)
            if keeps(cfg, epoch):
                checkpoint.save(network.state_dict(), folder / f"model-{epoch + 1}")
            save_last(epoch + 1, 0)
    return folder / f"model-{cfg.epoch}"


def check(cfg: Config) -> None:
    """ValueError for settings that no run can have yet, or that only the scores can judge."""
    if cfg.classes != 1:
        raise ValueError(f"classes is {cfg.classes}; expected 1: masks of several classes cannot be read yet")
    if cfg.val_score not in score_names("official"):
        raise ValueError(f"val_score is {cfg.val_score!r}; expected one of {', '.join(score_names('official'))}")


def build_loader(cfg: Config, pairs: list[Pair], device: torch.device) -> tuple[DataLoader, EpochSampler]:
    """Batches of `pairs`; the sampler says of which epoch."""
    data = Data(cfg, pairs)
    sampler = EpochSampler(len(data), cfg.seed)
    loader = DataLoader(
        data,
        cfg.batch,
        sampler=sampler,
        collate_fn=data.collate,
        num_workers=run.workers(cfg.workers),
        worker_init_fn=ignore_signals,
        pin_memory=device.type == "cuda",
    )
    return loader, sampler


def training_and_validation_pairs(cfg: Config) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and to validate on; a test set of the Config as valpath is warned about."""
    if not cfg.valpath:
        return split_pairs(find_pairs(cfg.datapath), cfg.val_fraction, cfg.seed)
    if Path(cfg.valpath).resolve() in {Path(cfg.testpath, name).resolve() for name in cfg.testsets}:
        warnings.warn(
            f"valpath {cfg.valpath} is a test set: choosing a checkpoint by it spoils its scores; "
            "use val_fraction instead",
            stacklevel=2,
        )
    return find_pairs(cfg.datapath), find_pairs(cfg.valpath)


@torch.inference_mode()
def validate(network: nn.Module, pairs: Sequence[Pair], cfg: Config, device: torch.device) -> float:
    """The score `val_score` of the maps that prediction would write for these pairs."""
    scores = Scores("official")
    network.eval()
    images = TestImages({pair.name: pair.image for pair in pairs}, cfg)
    loader = DataLoader(images, batch_size=None, num_workers=run.workers(cfg.workers), worker_init_fn=ignore_signals)
    bar = tqdm(zip(pairs, loader, strict=True), "validate", len(pairs), unit="image", leave=False, disable=None)
    for pair, (image, height, width, _) in bar:
        pred = torch.sigmoid(network(image[None].to(device)))[0, 0].float().cpu().numpy()
        scores.update(np.array(native_map(pred, height, width)), read_mask(pair.mask))
    network.train()
    return scores.result()[cfg.val_score]


def better(name: str, score: float, best: float) -> bool:
    """Whether `score` beats `best` (-inf before the first); NaN never does."""
    return score > best if not lower_is_better(name) or best == float("-inf") else score < best


def resume(cfg: Config, parts: dict[str, Any]) -> tuple[int, int, int, float]:
    """Fill `parts` from last.pt; (epoch, its batches already done, steps so far, best validation score)."""
    path = Path(cfg.savepath, "last.pt")
    state = checkpoint.load(path)
    checkpoint.require_same(dataclasses.asdict(cfg), state["config"], MAY_CHANGE | set(cfg.resume_changed))
    for name, part in parts.items():
        part.load_state_dict(state[name])
    checkpoint.restore_random_states(state["random"])
    print(f"resuming {path}: epoch {state['epoch'] + 1}, step {state['step']}")
    return state["epoch"], state["done"], state["step"], state["best"]


def keeps(cfg: Config, epoch: int) -> bool:
    """Whether epoch (from 0) leaves a checkpoint: index above two thirds of the run, as the original, and the last."""
    return epoch > cfg.epoch * cfg.save_from or epoch + 1 == cfg.epoch


def build_network(cfg: Config) -> net.MSNet:
    pretrained = {"imagenet": True, "random": False}.get(cfg.backbone_weights, cfg.backbone_weights)
    if pretrained is False:
        print("WARNING: the backbone starts from RANDOM weights (backbone_weights='random'); scores will not compare")
    return net.build(cfg.network, cfg.backbone, cfg.classes, pretrained)


def build_lossnet(cfg: Config, device: torch.device) -> LossNet | None:
    if cfg.lossnet_factor == 0:
        return None
    if cfg.lossnet_weights == "random":
        print("WARNING: LossNet is a RANDOM VGG-16 (lossnet_weights='random'); scores will not compare")
        return LossNet().to(device)
    return LossNet(cfg.lossnet_weights == "imagenet" or cfg.lossnet_weights).to(device)


def build_optimiser(network: nn.Module, cfg: Config) -> torch.optim.SGD:
    """SGD with Nesterov momentum over two parameter groups, backbone and rest.

    Official: the groups look for a name that nothing has, so all weights train at lr. Paper: the backbone at a tenth.
    """
    backbone = [p for name, p in network.named_parameters() if name.startswith("resnet.")]
    rest = [p for name, p in network.named_parameters() if not name.startswith("resnet.")]
    groups = [{"params": backbone, "ratio": cfg.backbone_lr_ratio}, {"params": rest, "ratio": 1.0}]
    return torch.optim.SGD(groups, cfg.lr, cfg.momen, weight_decay=cfg.decay, nesterov=cfg.nesterov)


def learning_rate(cfg: Config, epoch: int) -> float:
    """Triangle over the run: from near 0 up to cfg.lr at mid-run and down again; epoch counts from 0."""
    return cfg.lr * (1 - abs(2 * (epoch + 1) / (cfg.epoch + 1) - 1))


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = lr * group["ratio"]


if __name__ == "__main__":
    main()
