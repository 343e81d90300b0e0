"""The known weights: one table of files, addresses, hashes and licences. README.md says where each fact is from."""

import difflib
from typing import NamedTuple


class Source(NamedTuple):
    """One file at one address. sha256 is the hash or its first digits, "" where nobody published one."""

    file: str
    url: str
    sha256: str
    size: int | None = None  # bytes, None where unknown


class Weight(NamedTuple):
    """A set of weights. Its sources hold the same network, maybe in other bytes, and are tried in this order."""

    name: str
    sources: tuple[Source, ...]
    licence: str
    what: str


# timm's file is pinned to the commit that has this hash: "main" could change under it.
_TIMM = "https://huggingface.co/timm/res2net50d.in1k/resolve/e940e287c899660a0c2a187122a0d6de2b0af6c3/pytorch_model.bin"
# confirm=t passes the page that Google Drive puts before files too large for its virus scan.
_DRIVE = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="

_TABLE = (
    Weight(
        "res2net50",
        (
            Source(
                "res2net50_v1b_26w_4s-3cf99910.pth",
                "https://shanghuagao.oss-cn-beijing.aliyuncs.com/res2net/res2net50_v1b_26w_4s-3cf99910.pth",
                "3cf99910",
            ),
            Source(
                "res2net50d.in1k-4a930512.pth",
                _TIMM,
                "4a930512d637f09f1cb6197411dd28f40b4ccc1ae6b4d6c742f2850e358ae1c3",
            ),
        ),
        "CC BY-NC-SA 4.0",
        "the backbone, trained on ImageNet",
    ),
    Weight(
        "vgg16",
        (
            Source(
                "vgg16-397923af.pth",
                "https://download.pytorch.org/models/vgg16-397923af.pth",
                "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
                553433881,
            ),
        ),
        "BSD-3-Clause",
        "LossNet's VGG-16, trained on ImageNet",
    ),
    Weight(
        "msnet",
        (Source("msnet-authors.pth", _DRIVE + "1A3lt0sE4lGxd-UJfpFVWt9k2mRTX1CZN", ""),),
        "none stated",
        "MSNet as its authors trained it on polyps",
    ),
    Weight(
        "m2snet",
        (Source("m2snet-authors.pth", _DRIVE + "16_O16md68HDNac2PJLzQKXLMXgAk12je", ""),),
        "none stated",
        "M2SNet as its authors trained it on polyps",
    ),
)
WEIGHTS = {weight.name: weight for weight in _TABLE}


def known(name: str) -> Weight:
    """The weights of this name; ValueError naming the nearest for any other."""
    if name in WEIGHTS:
        return WEIGHTS[name]
    near = difflib.get_close_matches(name, WEIGHTS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(WEIGHTS)}"
    raise ValueError(f"no weights are called {name!r}; {hint}")
