"""Padding of TensorFlow's networks (tf_efficientnet_lite0, ...) in a form that a graph of any size can hold."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def same_padding_for_any_size() -> Iterator[None]:
    """Have timm reckon the padding of TensorFlow's networks, ceil(side / stride) out, as `same_padding` does.

    Its own way names the side three times, each level that of the one before: a solver takes minutes and more.
    """
    module: Any = sys.modules.get("timm.layers.padding")
    theirs = module and module.get_same_padding
    try:
        if module:
            module.get_same_padding = same_padding
        yield
    finally:
        if module:
            module.get_same_padding = theirs


def same_padding(side: int, kernel: int, stride: int, dilation: int) -> int:
    """What a side gets in all, so that ceil(side / stride) come out."""
    if stride == 1:
        return (kernel - 1) * dilation
    # the rest of a division, written so that of side + total no more than stride * (...) is left to be divided again
    total = (kernel - 1) * dilation - (side - 1) + stride * ((side - 1) // stride)
    return total if kernel >= stride else max(total, 0)
