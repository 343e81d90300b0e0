"""Short trainings in float16 beside float32, from the same weights and on the same batches."""

import copy
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import net
from engine.inference import Predictor
from lossnet import LossNet
from metrics import Scores
from tools.benchmark.training import trainer
from tools.demo_data import lesion_on_mucosa
from tools.gpu_check.line import Line, Sizes

LR = 0.05
POOL, TEST = 8, 2  # batches to train and to score on
# a difference of both means that is never held against float16, whatever the spread of the few seeds
SMALLEST_SPREAD = 0.1


class End(NamedTuple):
    """Where a training ended: loss of its last tenth, M_dice of held-out images, steps without a finite loss."""

    loss: float
    dice: float
    broken: int


def half(name: str, sizes: Sizes, device: torch.device, lossnet: LossNet) -> Iterator[Line]:
    """Each seed's ends, and whether float16 ends where float32 does. On the CPU, which has none, float32 stands in."""
    way, amp = ("float16", "native-fp16") if device.type == "cuda" else ("float32 again", "off")
    title = f"training {name}"
    ends: dict[str, list[End]] = {"float32": [], way: []}
    with tqdm(total=sizes.seeds * 2 * sizes.steps, desc=title, unit="step", leave=False) as bar:
        for seed in range(sizes.seeds):
            torch.manual_seed(seed)
            initial = net.build(name)
            for precision, precision_amp in (("float32", "off"), (way, amp)):
                end = train(copy.deepcopy(initial), sizes, device, precision_amp, lossnet, seed, bar)
                ends[precision].append(end)
                yield Line(f"{title}, seed {seed}, {precision}: final loss", end.loss)
                yield Line(f"{title}, seed {seed}, {precision}: M_dice, held out", end.dice)
    broken = sum(end.broken for end in ends[way] + ends["float32"])
    yield Line(f"{title}: steps with a loss that is not finite", broken, 0)
    for what, i in (("final loss", 0), ("M_dice", 1)):
        full, short = (np.array([end[i] for end in ends[precision]]) for precision in ("float32", way))
        limit = max(float(np.ptp(full)), SMALLEST_SPREAD)
        yield Line(f"{title}: mean {what}, {way} from float32", float(abs(short.mean() - full.mean())), limit)


def train(
    network: net.Network, sizes: Sizes, device: torch.device, amp: str, lossnet: LossNet, seed: int, bar: tqdm
) -> End:
    """Train `network` on made-up lesions, learning rate up and down again as a run's, and score it in float32."""
    step = trainer(network, lossnet, amp, device)
    batches = [lesions(sizes.train_batch, sizes.train_side, i) for i in range(POOL)]
    order = np.random.default_rng(seed)
    losses = []
    for i in range(sizes.steps):
        rise = 1 - abs(2 * (i + 1) / (sizes.steps + 1) - 1)
        losses.append(step(*batches[order.integers(POOL)], LR * rise))
        bar.update()
    values = torch.stack(losses).float().cpu()
    return End(values[-max(1, sizes.steps // 10) :].mean().item(), dice(network, sizes, device), count_broken(values))


def count_broken(losses: Tensor) -> int:
    return int((~losses.isfinite()).sum())


def dice(network: net.Network, sizes: Sizes, device: torch.device) -> float:
    """M_dice of images that no training has seen; NaN where the network gives no map."""
    predictor, scores = Predictor(network.eval(), device), Scores()
    for i in range(POOL, POOL + TEST):
        images, masks = lesions(sizes.train_batch, sizes.train_side, i)
        pred = predictor(images)[:, 0]
        if not pred.isfinite().all():
            return float("nan")
        scores.update(pred, masks[:, 0])
    return scores.result()["M_dice"]


def lesions(batch: int, side: int, number: int) -> tuple[Tensor, Tensor]:
    """Batch `number`: images (N, 3, side, side) of about unit variance and masks (N, 1, side, side), 0 or 1."""
    rng = np.random.default_rng(number)
    images, masks = zip(*(lesion_on_mucosa(rng, side, side) for _ in range(batch)), strict=True)
    image = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float()
    return (image - 120) / 57, torch.from_numpy(np.stack(masks))[:, None].float() / 255
