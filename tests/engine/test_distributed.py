"""Two processes are one: gradients, statistics, validation, resume; and what happens when one of them dies."""

import os
import signal
import time

import pytest
import torch
from torch import nn

import train
from dataset import Batches, Data
from engine import checkpoint, distributed, optim
from engine.loading import Loader
from files import find_pairs
from lossnet import Criterion, msnet_terms
from net.blocks import BoxView
from net.compare import compare
from tests.helpers import Tiny, losses, small, validated
from tests.lives import server, start, wait_for
from tools.demo_data import write_demo_data


def steps(fields: dict, rank: int, size: int, port: int, out: str) -> None:
    """Twelve float64 steps through train.py's own parts, BatchNorm in evaluation mode."""
    torch.set_num_threads(1)
    if size > 1:
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
        os.environ.update(where | {"RANK": str(rank), "WORLD_SIZE": str(size)})
    cfg = train.Config(**fields)
    with distributed.team(torch.device("cpu")) as team:
        torch.manual_seed(0)
        precision = train.Precision("off", team.device)
        network = train.build_network(cfg, team, train.silent).double()
        optimiser = optim.sgd(optim.groups_of(network, 1.0), cfg.lr, cfg.momen, cfg.decay, cfg.nesterov)
        optim.set_learning_rate(optimiser, cfg.lr)
        model, criterion = distributed.wrap(network, team), Criterion(msnet_terms())
        data = Data(cfg, find_pairs(cfg.datapath))
        batches = Batches(len(data), cfg, team.rank, team.size)
        loader = Loader(data, data.collate, 0, 0, team.device, batch_sampler=batches)
        for epoch in range(4):
            batches.start(epoch)
            network.eval()
            for step, (image, mask, _, _) in enumerate(loader):
                loss = criterion(model(image.double()), mask.double())["total"]
                precision.backward(loss * (team.size * batches.share(step)), optimiser)
                precision.step(optimiser, network)
        if team.writes:
            checkpoint.save(network.state_dict(), out)


def together(target, size: int, *arguments) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [
        server.Process(target=target, args=(*arguments[:1], r, size, port, *arguments[1:])) for r in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * size


@pytest.mark.slow
def test_two_processes_of_four_images_equal_one_of_eight(tmp_path):
    """Seventeen images: the third batch of an epoch has one, which one process trains on and the other stands by."""
    import dataclasses

    write_demo_data(tmp_path, train=17, test=1)
    fields = dataclasses.asdict(small(tmp_path, batch=8, lr=1e-3, scales=(64, 80)))
    found = []
    for size in (1, 2):
        together(steps, size, fields, str(tmp_path / f"model-{size}"))
        found.append(torch.load(tmp_path / f"model-{size}", weights_only=True))
    torch.manual_seed(0)
    untrained = train.build_network(train.Config(**fields), distributed.Team(0, 1, torch.device("cpu")), train.silent)
    key = "output1.0.weight"
    assert not torch.allclose(found[0][key].float(), untrained.state_dict()[key], rtol=1e-2), "it did train"
    for key, one in found[0].items():
        torch.testing.assert_close(found[1][key], one, rtol=1e-6, atol=1e-9, msg=key)


def seen(x, both):
    """A map through a view, and compared with another through two."""
    return both[0](x) + compare(x, x.flip(1), both)


def views(_: dict, rank: int, size: int, port: int, out: str) -> None:
    """Output, gradients and statistics of box views whose batch is spread over two processes."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size))
    torch.manual_seed(0)
    x = torch.rand(4, 8, 9, 7, dtype=torch.float64)
    goal = torch.rand(4, 8, 9, 7, dtype=torch.float64)
    with distributed.team(torch.device("cpu")) as team:
        both = nn.SyncBatchNorm.convert_sync_batchnorm(nn.ModuleList((BoxView(3, 8), BoxView(5, 8))).double())
        mine = x[rank::size].clone().requires_grad_()
        y = seen(mine, both)
        ((y - goal[rank::size]) ** 2).sum().backward()
        found = distributed.gathered((y.detach(), mine.grad, both[0].norm.weight.grad))
        if team.writes:
            checkpoint.save([list(part) for part in found] + [both[0].norm.running_var], out)


def test_box_views_with_synchronised_statistics_equal_the_whole_batch(tmp_path):
    together(views, 2, {}, str(tmp_path / "views"))
    *parts, running_var = torch.load(tmp_path / "views", weights_only=True)
    torch.manual_seed(0)
    x, goal = (torch.rand(4, 8, 9, 7, dtype=torch.float64) for _ in range(2))
    both = nn.ModuleList((BoxView(3, 8), BoxView(5, 8))).double()
    x.requires_grad_()
    y = seen(x, both)
    ((y - goal) ** 2).sum().backward()
    for rank, (output, gradient, _) in enumerate(parts):
        torch.testing.assert_close(output, y.detach()[rank::2])
        torch.testing.assert_close(gradient, x.grad[rank::2])
    torch.testing.assert_close(parts[0][2] + parts[1][2], both[0].norm.weight.grad)
    torch.testing.assert_close(running_var, both[0].norm.running_var)


@pytest.mark.slow
def test_a_run_of_two_processes_goes_on_with_one_and_validates_every_image_once(polyp_folder, monkeypatch):
    fields = {"val_fraction": 0.5, "batch": 3, "save_every": 0}
    run = start(polyp_folder, 2, epoch=2, **fields)
    assert run.wait() == [0, 0], run.said()
    assert (polyp_folder / "out-1.txt").read_text() == "", "one process speaks"
    first = losses(polyp_folder)
    assert len(first) == 2
    state = checkpoint.load(polyp_folder / "saved" / "last.pt")
    best = state["best"]
    network = train.net.load(train.net.build(backbone="tiny"), polyp_folder / "saved" / "model-best")
    cfg = small(polyp_folder, **fields)
    _, held_out, _ = train.parts_of_run(cfg)
    log = train.Log(polyp_folder / "log.csv")
    assert validated(network, held_out, cfg, log) == pytest.approx(best, abs=1e-6)
    log.close()
    train.train(small(polyp_folder, epoch=4, resume=True, resume_changed=("epoch",), **fields))
    assert losses(polyp_folder)[:2] == first
    assert len(losses(polyp_folder)) == 4


@pytest.mark.slow
def test_when_one_process_dies_the_others_stop_and_the_run_resumes(polyp_folder):
    run = start(polyp_folder, 2, epoch=300)
    last = polyp_folder / "saved" / "last.pt"
    wait_for(last, run)
    run.processes[1].kill()
    run.processes[0].join(60)
    assert run.processes[0].exitcode == 1, run.said()
    step = checkpoint.load(last)["step"]
    run = start(polyp_folder, 2, epoch=300, resume=True)
    while checkpoint.load(last)["step"] <= step:
        assert run.alive, run.said()
        time.sleep(0.05)
    for process in run.processes:
        os.kill(process.pid, signal.SIGTERM)
    assert run.wait() == [143, 143], run.said()
    assert "stopped by SIGTERM" in run.said()


def main_of(_: dict, rank: int, size: int, port: int, words: list[str]) -> None:
    torch.set_num_threads(1)
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
    os.environ.update(where | {"RANK": str(rank), "WORLD_SIZE": str(size)})
    train.net.build = lambda network, backbone, classes, pretrained=False: Tiny(classes)
    train.main(words)


@pytest.mark.slow
def test_commands_around_a_run_of_two_processes_run_once_and_alone(polyp_folder):
    """The first makes the data that both train on, and takes its time."""
    (polyp_folder / "TrainDataset").rename(polyp_folder / "elsewhere")
    (polyp_folder / "move.py").write_text(
        "import os, sys, time\ntime.sleep(1)\nassert 'WORLD_SIZE' not in os.environ\nos.rename(*sys.argv[1:])"
    )
    moved = f"{polyp_folder}/move.py {polyp_folder}/elsewhere {{datapath}}"
    back = f"{polyp_folder}/move.py {{datapath}} {polyp_folder}/after"
    words = ["--datapath", str(polyp_folder / "TrainDataset"), "--savepath", str(polyp_folder / "saved")]
    words += ["--backbone_weights", "random", "--lossnet_factor", "0", "--epoch", "1", "--size", "64", "--batch", "4"]
    words += ["--workers", "0", "--device", "cpu", "--before", moved, "--after", back]
    together(main_of, 2, {}, words)
    assert (polyp_folder / "after").is_dir() and (polyp_folder / "saved" / "model-1").exists()
