"""A run at one moment: all that last.pt holds, so that a run which goes on is the run that never stopped."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from engine import checkpoint
from engine.behind import Writer
from engine.card import write_card
from engine.distributed import Team
from engine.log import Log

CHOOSES = ("val_protocol", "val_score", "valpath", "val_fraction")  # fields that say what the best score is one of


class State:
    """What is trained, how far it has come, its best validation score; `save` writes last.pt and `resume` reads it.

    cfg: the run's Config; images: names of what it trains on; trained: name -> what has a state_dict: network,
    optimiser, scaler and, with averaged weights, ema (else None). Files are written by `writer`.
    """

    def __init__(self, folder: Path, team: Team, cfg: Any, images: list[str], trained: dict[str, Any]):
        self.folder, self.team, self.cfg, self.images = folder, team, cfg, images
        self.writer = Writer(behind=team.device.type == "cuda")
        self.trained = {name: what for name, what in trained.items() if what is not None}
        self.epoch = 0  # whole epochs behind the run
        self.done = 0  # batches of the next one behind it
        self.step = 0  # over all epochs
        self.best = float("-inf")  # validation score so far
        self.resumed: int | None = None  # the step that it goes on after; None: from the start
        self.losses: dict[int, tuple[float, int]] = {}  # of the epoch that a resume goes on in, as `Log.sum_of`

    def stepped(self) -> None:
        """One batch more is behind the run."""
        self.done += 1
        self.step += 1

    def epoch_over(self) -> None:
        """The next step is the first of another epoch."""
        self.epoch, self.done = self.epoch + 1, 0

    def resume(self, found: dict[str, Any], then: dict[str, Any], say: Callable) -> None:
        """Go on from what a last.pt holds; ValueError for one of other pairs, of more epochs, or that fits no part.

        then: the fields of the run that goes on, which may differ from this one's in batch, seed, epoch and validation.
        """
        path, images, cfg = self.folder / "last.pt", set(self.images), self.cfg
        if found["epoch"] > cfg.epoch:
            raise ValueError(
                f"{path} has {found['epoch']} epochs behind it and epoch is {cfg.epoch}; give at least as many"
            )
        if changed := images ^ set(before := found.get("pairs", images)):
            raise ValueError(
                f"{path} was trained on {len(before)} images, now there are {len(images)}; {len(changed)} "
                f"are in one of both alone, first {min(changed)}. Put the data back, or start anew"
            )
        checkpoint.fill(self.trained, found, path, say)
        self.epoch, self.done, self.step, self.best = (found[name] for name in ("epoch", "done", "step", "best"))
        self.resumed = self.step
        other = [name for name in CHOOSES if then[name] != getattr(cfg, name)]
        if other and self.best > float("-inf"):
            self.best = float("-inf")
            say(f"NOTE: {', '.join(other)} changed; the best score so far was another's, and model-best begins anew")
        if "losses" in found:
            self.losses[self.epoch + 1] = found["losses"]
        say(f"resuming {path}: epoch {self.epoch + 1}, step {self.step}")
        if self.done and (then["batch"], then["seed"]) != (cfg.batch, cfg.seed):
            whole = self.done * then["batch"] >= len(images)
            self.done = -(-len(images) // cfg.batch) if whole else 0
            if not whole:
                epoch = self.epoch + 1
                say(f"NOTE: batch or seed has changed within epoch {epoch}, which begins anew; its steps so far stay")
        found.clear()  # it holds the network a second time

    def save(self, log: Log) -> None:
        """Write last.pt; FloatingPointError, and last.pt as it was, if a loss or a weight is not finite."""
        self.writer.wait()
        log.flush()
        content: dict[str, Any] = {name: what.state_dict() for name, what in self.trained.items()}
        checkpoint.require_finite(content, self.step)
        if self.team.writes:
            content |= {name: getattr(self, name) for name in ("epoch", "done", "step", "best")}
            content |= {"losses": log.sum_of(self.epoch + 1), "random": checkpoint.random_states()}
            # the defaults too, for code in which a field has gone
            content |= {"config": asdict(self.cfg), "defaults": asdict(type(self.cfg)()), "pairs": self.images}
            self.writer.save(content, self.folder / "last.pt")

    def finished(self, score: str) -> Path:
        """The run's last checkpoint, with its card beside it; `score` is the name of what chose model-best."""
        validated, last = self.best > float("-inf"), self.folder / f"model-{self.cfg.epoch}"
        if self.team.writes:
            chosen = "model-best" if (self.folder / "model-best").exists() else last.name
            write_card(self.folder, chosen, f"{score} {self.best:.4f}" if validated else "")
        return last

    def save_model(self, name: str, network: nn.Module) -> None:
        """Write the weights of `network` alone, as the original's checkpoints have them."""
        weights = network.state_dict()
        checkpoint.require_finite({name: weights}, self.step)
        if self.team.writes:
            self.writer.save(weights, self.folder / name)


def keeps(cfg: Any, epoch: int) -> bool:
    """Whether epoch (from 0) leaves a checkpoint: index above two thirds of the run, as the original, and the last."""
    return epoch > cfg.epoch * cfg.save_from or epoch + 1 == cfg.epoch
