"""Train MSNet or M2SNet: python train.py configs/polyp_msnet.py [--field value ...]"""

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

import net
from configs import Config, parse
from dataset import Data, EpochSampler, check_pairs
from engine import checkpoint, run
from engine.log import Log
from engine.precision import Precision
from lossnet import LossNet, total_loss


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, _ = parse("Train MSNet or M2SNet.", arguments)
    run.run_commands(cfg.before, cfg)
    train(cfg)
    run.run_commands(cfg.after, cfg)


def train(cfg: Config) -> Path:
    """One run; returns the last checkpoint, `<savepath>/model-<epoch>`."""
    if cfg.classes != 1:
        raise ValueError(f"classes is {cfg.classes}; expected 1: masks of several classes cannot be read yet")
    device = run.device(cfg.device)
    precision = Precision(cfg.amp, device)
    torch.backends.cudnn.enabled = cfg.cudnn
    run.seed_everything(cfg.seed)

    data = Data(cfg)
    if cfg.check_data:
        print(f"{cfg.datapath}: {check_pairs(data.pairs)}")
    network = build_network(cfg).to(device)
    lossnet = build_lossnet(cfg)
    if lossnet is not None:
        lossnet.to(device)
    optimiser = build_optimiser(network, cfg)

    # all that can be refused has been: from here on files are written
    folder = checkpoint.require_writable(cfg.savepath)
    run.write_record(folder / "config.json", cfg, device)
    print(json.dumps(dataclasses.asdict(cfg)))
    sampler = EpochSampler(len(data), cfg.seed)
    loader = DataLoader(
        data,
        cfg.batch,
        sampler=sampler,
        collate_fn=data.collate,
        num_workers=run.workers(cfg.workers),
        persistent_workers=False,  # a worker must see the sampler's epoch
        pin_memory=device.type == "cuda",
    )
    log = Log(folder / "log.csv")
    for epoch in range(cfg.epoch):
        sampler.epoch = epoch
        set_learning_rate(optimiser, learning_rate(cfg, epoch))
        network.train()
        with tqdm(loader, f"epoch {epoch + 1}/{cfg.epoch}", unit_scale=cfg.batch, unit="image", disable=None) as bar:
            for image, mask, names in bar:
                image, mask = image.to(device, non_blocking=True), mask.to(device, non_blocking=True)
                with precision.autocast():
                    logits = network(image).float()
                    loss = total_loss(logits, mask, lossnet, cfg.lossnet_factor, cfg.weighted_bce)
                precision.step(loss.total, optimiser, network)
                log.add(loss, names)
        mean = log.write(epoch, optimiser.param_groups[-1]["lr"])
        print(
            f"{datetime.now():%Y-%m-%d %H:%M:%S} | step:{log.step}/{epoch + 1}/{cfg.epoch} | "
            f"lr={optimiser.param_groups[-1]['lr']:.6f} | loss={mean:.6f}",
            flush=True,
        )
        if keeps(cfg, epoch):
            checkpoint.save(network.state_dict(), folder / f"model-{epoch + 1}")
    return folder / f"model-{cfg.epoch}"


def keeps(cfg: Config, epoch: int) -> bool:
    """Whether epoch (from 0) leaves a checkpoint: index above two thirds of the run, as the original, and the last."""
    return epoch > cfg.epoch * cfg.save_from or epoch + 1 == cfg.epoch


def build_network(cfg: Config) -> net.MSNet:
    pretrained = {"imagenet": True, "random": False}.get(cfg.backbone_weights, cfg.backbone_weights)
    if pretrained is False:
        print("WARNING: the backbone starts from RANDOM weights (backbone_weights='random'); scores will not compare")
    return net.build(cfg.network, cfg.backbone, cfg.classes, pretrained)


def build_lossnet(cfg: Config) -> LossNet | None:
    if cfg.lossnet_factor == 0:
        return None
    if cfg.lossnet_weights == "random":
        print("WARNING: LossNet is a RANDOM VGG-16 (lossnet_weights='random'); scores will not compare")
        return LossNet()
    return LossNet(cfg.lossnet_weights == "imagenet" or cfg.lossnet_weights)


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
