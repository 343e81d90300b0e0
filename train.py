"""Train MSNet or M2SNet: python train.py configs/polyp_msnet.py [--field value ...]"""

import gc

if __name__ == "__main__":
    gc.disable()  # `errors_in_one_line` enables it

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

import net
from configs import Config, agreement, errors_in_one_line, outlived_output, parse
from dataset import Batches, to_train, to_validate
from engine import checkpoint, distributed, earlier, lock, machine, optim, record
from engine.gradients import Gradients, Graphs
from engine.inference import predictor_of
from engine.loading import Loader, silent
from engine.log import Log
from engine.precision import Precision
from engine.state import State, keeps
from engine.stop import Stop
from engine.validation import better, chosen_by, validate
from files import Pair, check_pairs, parts_of_run, write_split
from lossnet import TERMS, Criterion, LossNet, msnet_terms
from volumes import planned

WEIGHTS: dict[str, bool] = {"imagenet": True, "random": False}  # what else a Config says is a file


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, _ = parse("Train MSNet or M2SNet.", arguments)
    with outlived_output():
        train(cfg)


def train(cfg: Config) -> Path:
    """One run and the commands around it, from the start or <savepath>/last.pt; returns its last checkpoint."""
    agreement.require_trainable(cfg)
    chosen_by(cfg)  # refuses, before a folder is made, a score that its protocol lacks
    before, after = record.filled(cfg.before, cfg), record.filled(cfg.after, cfg)
    with distributed.team(machine.device(cfg.device)) as team, lock.alone(cfg.run_folder, team):
        record.run_commands(before if team.writes else [])
        distributed.wait()
        last = run(cfg, team)
    record.run_commands(after if team.writes else [])
    return last


def run(cfg: Config, team: distributed.Team) -> Path:
    """The run as one process of `team` sees it; process 0 prints and writes."""
    # ---- what there is; whatever can be refused is refused here
    device, folder, say = team.device, Path(cfg.run_folder), print if team.writes else silent
    if cfg.resume and team.writes:
        earlier.go_on(folder)
    distributed.wait()
    found = checkpoint.load_run(folder / "last.pt") if cfg.resume else {}
    cfg = agreement.as_begun(cfg, found["config"], say) if found else cfg
    torch.backends.cudnn.enabled = cfg.cudnn
    machine.seed_everything(cfg.seed)
    machine.settle(cfg, device, say)
    pairs = parts_of_run(cfg)
    cfg, plan = distributed.of_first(team, lambda: planned(cfg, pairs.train, machine.memory(device), pairs.validation))
    say(record.in_words(cfg))
    for note in (*agreement.notes(cfg, len(pairs.train)), *plan):
        say(note)
    if cfg.check_data and team.writes:
        say(f"{cfg.datapath}: {check_pairs(pairs.train + pairs.validation, cfg.labels)}")
    distributed.wait()
    if pairs.validation or pairs.test:
        say(f"{len(pairs.train)} to train on, {len(pairs.validation)} to validate on, {len(pairs.test)} to test on")
    choice = chosen_by(cfg)

    # ---- what is trained, in the order in which it draws random numbers
    precision = Precision(cfg.amp, device, cfg.grad_clip)
    layout = machine.layout(cfg.dims, cfg.channels_last)
    network = build_network(cfg, team, say).to(device, memory_format=layout)  # type: ignore[call-overload]
    criterion = build_criterion(cfg, device, layout)
    optimiser = optim.made(cfg, network, precision.apex_sgd)
    network, optimiser = precision.prepare(network, optimiser)
    averaged = optim.averaged(network, cfg.ema)
    trained = {"network": network, "optimiser": optimiser, "scaler": precision.scaler, "ema": averaged}
    state = State(folder, team, cfg, [pair.name for pair in pairs.train], trained)
    if found:
        state.resume(found, agreement.require_same(cfg, found["config"], found.get("defaults", {}), say), say)
    model = distributed.wrap(network, team)
    model = torch.compile(model, dynamic=True) if cfg.compile else model  # type: ignore[assignment]
    replays = cfg.graphs and device.type == "cuda" and model is network and not precision.apex
    gradients = (Graphs if replays else Gradients)(model, criterion, precision, optimiser)

    # ---- from here on files are written
    if team.writes:
        if not cfg.resume:
            earlier.set_aside(folder)
        record.write_record(folder / "config.json", cfg, device, () if cfg.resume else plan)
        write_split(folder / "split.json", pairs, cfg.start)
    data = to_train(cfg, pairs.train)
    batches = Batches(len(data), cfg, team.rank, team.size)
    size = data.batch_bytes(-(-cfg.batch // team.size))
    loader = Loader(data, data.collate, cfg.workers, size, device, say, batch_sampler=batches)
    log = Log(folder / "log.csv", state.resumed, team.writes, precision.skips, state.losses, criterion.names)

    with Stop(cfg.walltime) as stop, closing(log), state.writer, loader:
        while state.epoch < cfg.epoch:
            epoch, shown = state.epoch, None
            lr = optim.learning_rate(cfg, epoch, state.done, batches.steps)
            network.train()
            title, seen, quiet = f"epoch {epoch + 1}/{cfg.epoch}", state.done * cfg.batch, None if team.writes else True
            with tqdm(total=len(data), initial=seen, desc=title, unit="image", disable=quiet) as bar:
                for batch in loader.epoch(epoch, state.done):
                    image, mask, names, within = batch.to(device, layout)
                    lr = optim.set_learning_rate(optimiser, optim.learning_rate(cfg, epoch, state.done, batches.steps))
                    share, count = batches.share(state.done), batches.count(state.done)
                    # gradients are averaged over processes: so weighed, they are the gradient of the whole batch
                    logits, loss = gradients(image, mask, within, team.size * share)
                    norm = precision.step(optimiser, network)
                    if averaged:
                        averaged.update_parameters(network)
                    state.stepped()
                    log.add(epoch + 1, lr, loss, norm, names, share)
                    shown = (image, mask, logits)
                    bar.update(count)
                    if not bar.disable and state.done % 10 == 1:  # reading a loss waits for the device
                        bar.set_postfix_str(f"lr={lr:.6f} | loss={loss['total'].item():.6f}")
                    if reason := distributed.any_of(stop.reason):
                        state.save(log)
                        state.writer.wait()
                        say(f"stopped by {stop.name(reason)} at step {state.step}; go on with --resume", flush=True)
                        sys.exit(reason)
                    if cfg.save_every and state.step % cfg.save_every == 0:
                        state.save(log)

            # ---- saved first: what is said, drawn and validated may fail and costs no epoch
            log.flush()
            log.scalar("train/loss_scale", precision.scale)
            if keeps(cfg, epoch):
                state.save_model(f"model-{epoch + 1}", network)
                if averaged:
                    state.save_model(f"model-{epoch + 1}-ema", averaged.module)
            validates = pairs.validation and ((epoch + 1) % cfg.val_every == 0 or epoch + 1 == cfg.epoch)
            if not validates:  # else a resume finds the epoch's steps done, and validates
                state.epoch_over()
            state.save(log)
            line = f"step:{state.step}/{epoch + 1}/{cfg.epoch} | lr={lr:.6f} | loss={log.mean(epoch + 1):.6f}"
            if shown:  # not when a resume finds the epoch's last step done
                image, mask, logits = shown
                log.panel("train/image | mask | map", image, mask, net.probabilities(logits))
            if validates:
                predictor = predictor_of(cfg, averaged.module if averaged else network, device)
                score = validate(predictor, held_out(pairs.validation, cfg, team), choice, team, log)
                log.scalar(f"validation/{choice.score}", score)
                line += f" | {choice.score}={score:.4f}"
                if better(choice.score, score, state.best):
                    state.best, line = score, line + (" best, of averaged weights" if averaged else " best")
                    state.save_model("model-best", predictor.network)
                del predictor  # and on a GPU the memory of its graphs, which training may need
                state.epoch_over()
                state.save(log)
            say(f"{datetime.now():%Y-%m-%d %H:%M:%S} | {line}", flush=True)
    return state.finished(choice.score)


def held_out(pairs: list[Pair], cfg: Config, team: distributed.Team) -> Loader:
    """What this process validates on: its share of the pairs. Training has said where shared memory is short."""
    data = to_validate(cfg, pairs[team.rank :: team.size])
    return Loader(data, data.collate, cfg.workers, data.batch_bytes, team.device, silent, batch_size=data.at_once)


def build_network(cfg: Config, team: distributed.Team, say: Callable) -> nn.Module:
    pretrained = False if cfg.start else WEIGHTS.get(cfg.backbone_weights, cfg.backbone_weights)
    network = net.build(cfg.network, cfg.backbone, cfg.classes, pretrained, **cfg.shape)
    if cfg.start and not cfg.resume:  # what is resumed comes whole out of last.pt
        say(net.start(network, cfg.start))
    for note in optim.notes(network, cfg):
        say(note)
    for sides in (*map(cfg.sides_at, cfg.scales), cfg.sides):
        network.require_shape((cfg.batch, cfg.inputs or 3, *sides))
    return distributed.synchronised(network, team, net.sync_batchnorm) if cfg.sync_batchnorm else network


def build_criterion(cfg: Config, device: torch.device, layout: torch.memory_format) -> Criterion:
    """MSNet's loss, and each term of `TERMS` whose factor is not 0."""
    lossnet = LossNet(WEIGHTS.get(cfg.lossnet_weights, cfg.lossnet_weights)) if cfg.lossnet_factor else None
    if lossnet:
        lossnet = lossnet.to(device, memory_format=layout)  # type: ignore[call-overload]
    terms = msnet_terms(lossnet, cfg.lossnet_factor, cfg.weighted_bce, cfg.structure_factor)
    factors = {name: getattr(cfg, f"{name}_factor") for name in TERMS}
    return Criterion(terms | {name: (factor, TERMS[name]) for name, factor in factors.items() if factor})


if __name__ == "__main__":
    with errors_in_one_line("train.py"):
        main()
