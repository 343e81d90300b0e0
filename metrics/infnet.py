"""The scores of the COVID-19 papers, by Inf-Net's MATLAB toolbox [Fan et al., TMI 2020], from a Summary.

PraNet's toolbox but for one sign: the E-measure's map is p > t there, p >= t in PraNet's.
"""

import torch
from torch import Tensor

from metrics import pranet
from metrics.official import e_measure
from metrics.protocol import Protocol
from metrics.summary import Summary


def scores(s: Summary) -> dict[str, Tensor]:
    """Dice, sensitivity, specificity and E are means over 256 thresholds."""
    found = pranet.means(s, curves(s))
    return {name: found[name] for name in PROTOCOL.names}


def curves(s: Summary) -> dict[str, Tensor]:
    """(N, 256) each at 1, 254/255, .. 0: as PraNet's, but E, at p > t."""
    assert s.beyond is not None
    reached = s.beyond.flip(2).cumsum(2)
    exceeded = torch.cat([torch.zeros_like(reached[..., :1]), reached[..., :-1]], 2)  # nothing exceeds 1
    return pranet.curves(s) | {"E": e_measure(exceeded.mT, s.cells[:, 0].sum(1)[:, None], pranet.EPSILON)}


PROTOCOL = Protocol(
    names=("meanDic", "meanSen", "meanSpe", "Sm", "meanEm", "MAE"),
    scores=scores,
    curves=curves,
    curve_f=pranet.curve_f,
    stretch="one",
    gt_cut=pranet.GT_CUT,
    half_up=True,
    strict=True,
    lower_is_better=frozenset({"MAE"}),
)
