"""The loss of a run, term by term: MSNet's is structure loss + 0.1 LossNet [MSNet, eq. 5]."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lossnet.structure import one_vs_rest, structure_loss
from lossnet.terms import Term
from lossnet.vgg import LossNet


class Criterion:
    """`criterion(logits, mask, within)` -> {"total": .., and each term by name}, scalars; `total` carries the gradient.

    terms: name -> (factor, term); the total is their weighted sum, in this order. logits and mask (N, C, *space); mask
    float in [0, 1], one channel per class. With C > 1 the logits are those of a softmax and each term is the mean over
    the classes of each one's binary loss against the rest; C = 1 is a sigmoid. within (N, 1, *space) in [0, 1]: the
    field of view; what is outside has no part in the loss. lower: logits of lower levels, of sizes of their own: the
    total is then the weighted mean of all totals, each level's half that of the one above it [nnU-Net]; the terms that
    are returned are those of the first.
    """

    def __init__(self, terms: Mapping[str, tuple[float, Term]]):
        self.terms = dict(terms)

    @property
    def names(self) -> tuple[str, ...]:
        """What a call returns, in order."""
        return ("total", *self.terms)

    def __call__(self, logits: Tensor, mask: Tensor, within: Tensor | None = None, *lower: Tensor) -> dict[str, Tensor]:
        found = self._of_level(logits, mask, within)
        if lower:
            totals = [found["total"]]
            for each in lower:
                at = partial(F.interpolate, size=each.shape[2:], mode="nearest-exact")
                totals.append(self._of_level(each, at(mask), within if within is None else at(within))["total"])
            weights = [0.5**i for i in range(len(totals))]
            found["total"] = sum(w / sum(weights) * total for w, total in zip(weights, totals))  # type: ignore[assignment]
        return found

    def _of_level(self, logits: Tensor, mask: Tensor, within: Tensor | None) -> dict[str, Tensor]:
        if logits.shape[1] > 1:
            logits = one_vs_rest(logits)
        # every term is a mean over images, so a class is one more image: (N, C, *space) -> (N C, 1, *space)
        if within is not None:
            within = within.expand_as(mask).reshape(-1, 1, *mask.shape[2:])
        logits, mask = (x.reshape(-1, 1, *x.shape[2:]) for x in (logits, mask))
        found = {name: term(logits, mask, within=within) for name, (_, term) in self.terms.items()}
        first, *others = (found[n] if factor == 1 else factor * found[n] for n, (factor, _) in self.terms.items())
        return {"total": sum(others, start=first)} | found


def msnet_terms(
    lossnet: LossNet | None = None, factor: float = 0.1, weighted_bce: bool = False, structure_factor: float = 1
) -> dict[str, tuple[float, Term]]:
    """The terms of MSNet's own loss: structure loss + factor * LossNet [eq. 5]; None, or a factor of 0, leaves out."""
    terms: dict[str, tuple[float, Term]] = {}
    if structure_factor:
        terms["structure"] = structure_factor, partial(structure_loss, weighted_bce=weighted_bce)
    return terms if lossnet is None else terms | {"lossnet": (factor, of_maps(lossnet))}


def of_maps(distance: Callable[[Tensor, Tensor], Tensor]) -> Term:
    """The term that a distance of two maps in [0, 1], such as LossNet, makes: both are black outside the field."""

    def term(logits: Tensor, mask: Tensor, within: Tensor | None = None) -> Tensor:
        pred = torch.sigmoid(logits)
        return distance(pred, mask) if within is None else distance(pred * within, mask * within)

    return term
