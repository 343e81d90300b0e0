"""Train MSNet or M2SNet: python train.py configs/polyp_msnet.py [--field value ...]"""

import dataclasses
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

import net
from configs import MAY_CHANGE, ORIGINAL, Config, errors_in_one_line, one_side, outlived_output, parse
from dataset import Batches, Data
from engine import checkpoint, distributed, earlier, lock, machine, record
from engine.loading import Loader, silent
from engine.log import Log
from engine.precision import Precision
from engine.stop import Stop
from files import Pair, Parts, check_pairs, find_pairs, hold_out, split_pairs, write_split
from lossnet import LossNet, total_loss
from metrics import score_names
from validation import better, validate


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, _ = parse("Train MSNet or M2SNet.", arguments)
    with outlived_output():
        check(cfg)
        before, after = record.filled(cfg.before, cfg), record.filled(cfg.after, cfg)
        with distributed.team(machine.device(cfg.device)) as team, lock.alone(cfg.run_folder, team):
            if team.writes:
                record.run_commands(before)
            distributed.wait()
            train_with(team, cfg)
        if team.writes:
            record.run_commands(after)


def train(cfg: Config) -> Path:
    """One run, from the start or from <savepath>/last.pt; returns the last checkpoint, `<run folder>/model-<epoch>`."""
    check(cfg)
    with distributed.team(machine.device(cfg.device)) as team, lock.alone(cfg.run_folder, team):
        return train_with(team, cfg)


def train_with(team: distributed.Team, cfg: Config) -> Path:
    """The run as one process of `team` sees it; process 0 prints and writes."""
    device, say = team.device, print if team.writes else silent
    if cfg.resume and team.writes:
        earlier.put_back(cfg.run_folder)
    distributed.any_of(0)  # the others wait for it
    begun = checkpoint.load_run(Path(cfg.run_folder, "last.pt")) if cfg.resume else {}
    cfg = as_begun(cfg, begun["config"], say) if begun else cfg
    precision = Precision(cfg.amp, device, cfg.grad_clip)
    torch.backends.cudnn.enabled = cfg.cudnn
    machine.seed_everything(cfg.seed)
    machine.keep_memory()

    say(textwrap.fill(", ".join(f"{k}={v!r}" for k, v in dataclasses.asdict(cfg).items()), 120))
    for note in mixes(cfg):
        say(f"NOTE: {note}")
    pairs = pairs_of_run(cfg)
    if cfg.check_data and team.writes:
        say(f"{cfg.datapath}: {check_pairs(pairs.train + pairs.validation, cfg.label_values)}")
    distributed.wait()
    if pairs.validation or pairs.test:
        say(f"{len(pairs.train)} to train on, {len(pairs.validation)} to validate on, {len(pairs.test)} to test on")
    network, lossnet = build_network(cfg, team, say), build_lossnet(cfg, device, say)
    optimiser = build_optimiser(network, cfg, precision.sgd)
    network, optimiser = precision.prepare(network, optimiser)
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(cfg.ema), use_buffers=True) if cfg.ema else None
    parts: dict[str, Any] = {"network": network, "optimiser": optimiser, "scaler": precision.scaler}
    parts |= {"ema": averaged} if averaged else {}
    first, done, step, best = resume(cfg, begun, parts, pairs, say) if begun else (0, 0, None, float("-inf"))
    sums = {first + 1: tuple(begun["losses"])} if "losses" in begun else {}
    begun.clear()  # it holds the network a second time
    model = distributed.wrap(network, team)
    model = torch.compile(model, dynamic=True) if cfg.compile else model  # type: ignore[assignment]

    # all that can be refused has been: from here on files are written
    folder = Path(cfg.run_folder)
    if team.writes:
        if not cfg.resume:
            earlier.set_aside(folder)
        elif averaged and (older := folder / "model-best-ema").exists():
            older.replace(folder / "model-best")  # of older code, whose model-best was not what it had scored
        record.write_record(folder / "config.json", cfg, device)
        write_split(folder / "split.json", pairs)
    loader, batches = build_loader(cfg, pairs.train, team, say)
    log = Log(folder / "log.csv", step, team.writes, precision.skips, sums)

    def save_last(epoch: int, done: int) -> None:
        log.flush()  # raises if a loss was not finite: last.pt stays as it was
        log.scalar("train/loss_scale", precision.scale)
        state: dict[str, Any] = {name: part.state_dict() for name, part in parts.items()}
        checkpoint.require_finite(state, log.step)
        if team.writes:
            place = {"epoch": epoch, "done": done, "step": log.step, "best": best}
            began = {"config": dataclasses.asdict(cfg), "random": checkpoint.random_states()}
            state["defaults"] = dataclasses.asdict(Config())  # for code in which a field has gone
            state["losses"] = log.sum_of(epoch + 1)
            state["pairs"] = [pair.name for pair in pairs.train]
            checkpoint.save(state | place | began, folder / "last.pt")

    def save_model(name: str, network: nn.Module) -> None:
        state = network.state_dict()
        checkpoint.require_finite({name: state}, log.step)
        if team.writes:
            checkpoint.save(state, folder / name)

    with Stop(cfg.walltime) as stop, closing(log), loader:
        for epoch in range(first, cfg.epoch):
            batches.start(epoch, done)
            lr = learning_rate(cfg, epoch)
            set_learning_rate(optimiser, lr)
            network.train()
            title, seen, shown = f"epoch {epoch + 1}/{cfg.epoch}", done * cfg.batch, None
            quiet = None if team.writes else True
            with tqdm(total=len(pairs.train), initial=seen, desc=title, unit="image", disable=quiet) as bar:
                for image, mask, names, within in loader:
                    image, mask = to_device(image, cfg, device), mask.to(device, non_blocking=True)
                    within = within.to(device, non_blocking=True) if cfg.field_of_view else None
                    share = batches.share(done)
                    with precision.autocast():
                        logits = model(image).float()
                        loss = total_loss(logits, mask, lossnet, cfg.lossnet_factor, cfg.weighted_bce, within)
                    # gradients are averaged over processes: so weighed, they are the gradient of the whole batch
                    norm = precision.step(loss.total * (team.size * share), optimiser, network)
                    if averaged:
                        averaged.update_parameters(network)
                    log.add(epoch + 1, lr, loss, norm, names, share)
                    shown = (image, mask, logits.detach())
                    bar.update(batches.count(done))
                    done += 1
                    if not bar.disable and done % 10 == 1:  # reading a loss waits for the device
                        bar.set_postfix_str(f"lr={lr:.6f} | loss={loss.total.item():.6f}")
                    if reason := distributed.any_of(stop.reason):
                        save_last(epoch, done)
                        say(f"stopped by {stop.name(reason)} at step {log.step}; go on with --resume True", flush=True)
                        sys.exit(reason)
                    if cfg.save_every and log.step % cfg.save_every == 0:
                        save_last(epoch, done)
            # ---- saved first: what is said, drawn and validated may fail and costs no epoch
            validates = pairs.validation and ((epoch + 1) % cfg.val_every == 0 or epoch + 1 == cfg.epoch)
            log.flush()
            if keeps(cfg, epoch):
                save_model(f"model-{epoch + 1}", network)
                if averaged:
                    save_model(f"model-{epoch + 1}-ema", averaged.module)
            # a resume finds this epoch's steps done, and validates
            save_last(*(epoch, done) if validates else (epoch + 1, 0))
            done = 0
            line = f"step:{log.step}/{epoch + 1}/{cfg.epoch} | lr={lr:.6f} | loss={log.mean(epoch + 1):.6f}"
            if shown:  # not when a resume finds the epoch's last step done
                image, mask, logits = shown
                log.panel("train/image | mask | map", image, mask, net.probabilities(logits))
            if validates:
                candidate = averaged.module if averaged else network
                score = validate(candidate, pairs.validation, cfg, team, log)
                log.scalar(f"validation/{cfg.val_score}", score)
                line += f" | {cfg.val_score}={score:.4f}"
                if better(cfg.val_score, score, best):
                    best, line = score, line + (" best, of averaged weights" if averaged else " best")
                    save_model("model-best", candidate)
                save_last(epoch + 1, 0)
            say(f"{datetime.now():%Y-%m-%d %H:%M:%S} | {line}", flush=True)
    return folder / f"model-{cfg.epoch}"


def check(cfg: Config) -> None:
    """ValueError for settings that only the scores can judge."""
    if cfg.val_score not in score_names("official"):
        raise ValueError(f"val_score is {cfg.val_score!r}; expected one of {', '.join(score_names('official'))}")


def mixes(cfg: Config) -> Iterator[str]:
    """What a Config gives to training and to prediction that is not the same, unless the original does it too."""
    if max(cfg.scales) != max(cfg.sides):
        yield (
            f"trains at {', '.join(map(str, cfg.scales))} (scales) but validates and predicts at {max(cfg.sides)} "
            "(size); leave out scales, and they follow size"
        )
    mean, std = (tuple(255 * value for value in values) for values in net.statistics(cfg.backbone))
    theirs, ours = (*mean, *std), (*cfg.train_mean, *cfg.train_std)
    # Official: a Res2Net-50 of ImageNet trains with the statistics of polyps
    learnt = cfg.backbone != "res2net50" and cfg.backbone_weights == "imagenet"
    if learnt and any(abs(a - b) > 0.5 for a, b in zip(theirs, ours)):  # half a grey level
        expected = (",".join(f"{value:.5g}" for value in values) for values in (mean, std))
        yield "the weights of {} expect --train_mean {} --train_std {}".format(cfg.backbone, *expected)
    for name, follows in cfg.followed().items():
        given = getattr(cfg, name)
        if name.startswith("test") and (cfg.train_mean, cfg.train_std) != ORIGINAL and given != follows:
            as_training = ", ".join(f"{value:.4g}" for value in follows)
            yield f"{name} is {given}, where training has {as_training} on 0..1; leave it out, and it follows"


def build_loader(cfg: Config, pairs: list[Pair], team: distributed.Team, say: Callable) -> tuple[Loader, Batches]:
    """Batches of `pairs`, in processes that live as long as the run; the sampler says of which epoch."""
    data = Data(cfg, pairs)
    batches = Batches(len(data), cfg, team.rank, team.size)
    planes = 3 + cfg.classes + bool(cfg.field_of_view)
    largest = -(-cfg.batch // team.size) * planes * max(cfg.scales) ** 2 * 4
    return Loader(data, data.collate, cfg.workers, largest, team.device, say, batch_sampler=batches), batches


def to_device(image: Tensor, cfg: Config, device: torch.device) -> Tensor:
    order = torch.channels_last if cfg.channels_last else torch.contiguous_format
    return image.to(device, non_blocking=True).contiguous(memory_format=order)


def pairs_of_run(cfg: Config) -> Parts:
    """Pairs to train on, to validate on, and those a fold holds out; a test set as valpath is warned about."""
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
            stacklevel=2,
        )
    validation = find_pairs(cfg.valpath, cfg.include, cfg.field_of_view, cfg.observer)
    used = {pair.image.resolve() for pair in parts.train + parts.test}
    if both := [pair for pair in validation if pair.image.resolve() in used]:
        raise ValueError(
            f"valpath {cfg.valpath} holds {len(both)} images that are trained or tested on too, first {both[0].image}"
        )
    return parts._replace(validation=validation)


def as_begun(cfg: Config, then: dict[str, Any], say: Callable) -> Config:
    """`cfg` of a run that goes on: what it leaves to follow other fields is as the run had it, perhaps by older rules.

    then: the fields in last.pt; a field that it lacks is one that is newer than the run.
    """
    kept: dict[str, Any] = {
        name: tuple(then[name])
        for name, value in cfg.followed().items()
        if getattr(cfg, name) == value != then.get(name, value) and name not in cfg.resume_changed
    }
    for name, value in kept.items():
        say(f"NOTE: {name} stays {value}, as the run began; it would follow other fields as {getattr(cfg, name)} now")
    return dataclasses.replace(cfg, **kept)


def resume(
    cfg: Config, state: dict[str, Any], parts: dict[str, Any], pairs: Parts, say: Callable
) -> tuple[int, int, int, float]:
    """Fill `parts` from last.pt's `state`; (epoch, its batches already done, steps so far, best validation score)."""
    path = Path(cfg.run_folder, "last.pt")
    then = dataclasses.asdict(Config()) | cfg.followed() | state["config"]  # a field that it lacks held its default
    then["size"] = one_side(then["size"])
    allowed = MAY_CHANGE | set(cfg.resume_changed)
    checkpoint.require_same(dataclasses.asdict(cfg), then, allowed, state.get("defaults", {}), say)
    epoch, done = state["epoch"], state["done"]
    if epoch > cfg.epoch:
        raise ValueError(f"{path} has {epoch} epochs behind it and epoch is {cfg.epoch}; give at least as many")
    names = {pair.name for pair in pairs.train}
    if changed := names ^ set(before := state.get("pairs", names)):
        raise ValueError(
            f"{path} was trained on {len(before)} images, now there are {len(pairs.train)}; {len(changed)} "
            f"are in one of both alone, first {min(changed)}. Put the data back, or start anew"
        )
    checkpoint.fill(parts, state, path, say)
    say(f"resuming {path}: epoch {epoch + 1}, step {state['step']}")
    if done and (then["batch"], then["seed"]) != (cfg.batch, cfg.seed):
        whole = done * then["batch"] >= len(pairs.train)
        done = -(-len(pairs.train) // cfg.batch) if whole else 0
        if not whole:
            say(f"NOTE: batch or seed has changed within epoch {epoch + 1}, which begins anew; its steps so far stay")
    return epoch, done, state["step"], state["best"]


def keeps(cfg: Config, epoch: int) -> bool:
    """Whether epoch (from 0) leaves a checkpoint: index above two thirds of the run, as the original, and the last."""
    return epoch > cfg.epoch * cfg.save_from or epoch + 1 == cfg.epoch


def build_network(cfg: Config, team: distributed.Team, say: Callable) -> nn.Module:
    pretrained = {"imagenet": True, "random": False}.get(cfg.backbone_weights, cfg.backbone_weights)
    if pretrained is False:
        say("WARNING: the backbone starts from RANDOM weights (backbone_weights='random'); scores will not compare")
    network = net.build(cfg.network, cfg.backbone, cfg.classes, pretrained)
    for scale in (*cfg.scales, max(cfg.sides)):
        network.require_shape((cfg.batch, 3, *cfg.sides_at(scale)))
    if cfg.sync_batchnorm and team.size > 1:
        if team.device.type != "cuda":
            raise ValueError("sync_batchnorm is True on the CPU; PyTorch's SyncBatchNorm needs CUDA")
        network = net.sync_batchnorm(network)
    if cfg.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network.to(team.device)


def build_lossnet(cfg: Config, device: torch.device, say: Callable) -> LossNet | None:
    if cfg.lossnet_factor == 0:
        return None
    if cfg.lossnet_weights == "random":
        say("WARNING: LossNet is a RANDOM VGG-16 (lossnet_weights='random'); scores will not compare")
    lossnet = LossNet({"imagenet": True, "random": None}.get(cfg.lossnet_weights, cfg.lossnet_weights)).to(device)
    if cfg.channels_last:
        lossnet = lossnet.to(memory_format=torch.channels_last)
    return lossnet


def build_optimiser(network: nn.Module, cfg: Config, sgd: Callable = torch.optim.SGD) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum over two parameter groups, backbone and rest.

    Official: the groups look for a name that nothing has, so all weights train at lr. Paper: the backbone at a tenth.
    """
    backbone = [p for name, p in network.named_parameters() if name.startswith("resnet.")]
    rest = [p for name, p in network.named_parameters() if not name.startswith("resnet.")]
    groups = [{"params": backbone, "ratio": cfg.backbone_lr_ratio}, {"params": rest, "ratio": 1.0}]
    return sgd(groups, lr=cfg.lr, momentum=cfg.momen, weight_decay=cfg.decay, nesterov=cfg.nesterov)


def learning_rate(cfg: Config, epoch: int) -> float:
    """Triangle over the run: from near 0 up to cfg.lr at mid-run and down again; epoch counts from 0."""
    return cfg.lr * (1 - abs(2 * (epoch + 1) / (cfg.epoch + 1) - 1))


def set_learning_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = lr * group["ratio"]


if __name__ == "__main__":
    with errors_in_one_line("train.py"):
        main()
