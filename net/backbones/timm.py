"""Any network of timm that gives a pyramid of maps, as a backbone [github.com/huggingface/pytorch-image-models].

What a network is like is asked of itself: the strides of its maps, their memory order, whether it takes any size.
timm is imported when the first is built: it takes seconds that a Res2Net-50 need not wait for.
"""

import logging
from collections import Counter
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fused import captured
from net.backbones import Backbone
from net.blocks import conv_bn_relu

PYRAMID = [2, 4, 8, 16, 32]
STEM = 64  # channels of level 1 where the network's own maps begin at level 2


class Timm(Backbone):
    """`features(image)`: (N, 3, H, W) -> level -> map; level 1 has stride 4, 2..5 stride 4, 8, 16, 32.

    Level 1 is the network's map of stride 2, pooled, as in Res2Net-50; where its first map has stride 4, a small stem
    of its own. Any size, unless the network was built for one (`fixed`).
    state: weights as timm publishes them; without, they are random.
    Raises ValueError for a name that timm does not have, a network without a pyramid, and a state of another network.
    """

    strides = {1: (4, 4), 2: (4, 4), 3: (8, 8), 4: (16, 16), 5: (32, 32)}

    def __init__(self, name: str, state: dict[str, Tensor] | None = None):
        super().__init__()
        cfg = config(name)
        self.statistics = tuple(cfg.mean), tuple(cfg.std)
        network, any_size = _made(name) if state is None else _filled(name, state)
        info: Any = network.feature_info
        strides, channels = info.reduction(), info.channels()
        if strides[-5:] != PYRAMID and strides != PYRAMID[1:]:
            raise ValueError(
                f"backbone {name!r} gives maps of strides {', '.join(map(str, strides))}; expected {PYRAMID} or "
                f"{PYRAMID[1:]}, which plain transformers (ViT) lack; take a pyramid such as pvt_v2_b2 or convnext_tiny"
            )
        self.fixed = None if any_size else tuple(cfg.input_size[1:])
        self.smallest = self.fixed or (64, 64)
        self.channels = dict(enumerate([STEM, *channels][-5:] if len(strides) == 4 else channels[-5:], start=1))
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"
        # under its own name: so the keys of a checkpoint say which backbone it has
        self.name = name.split(".")[0]
        self.add_module(self.name, network)
        self.stem: nn.Module | None = None
        if len(strides) == 4:
            self.stem = conv_bn_relu(self.inputs, STEM)
            self.stem[0] = nn.Conv2d(self.inputs, STEM, 3, stride=2, padding=1, bias=False)
        self.multiple = 1 if self.fixed or self._keeps_odd_sizes() else PYRAMID[-1]

    def features(self, image: Tensor) -> dict[int, Tensor]:
        space = image.shape[2:]
        below, right = (count * self.multiple - side for count, side in zip(_sides(space, self.multiple), space))
        # a graph is of every size: it pads by 0 where a size needs none
        pads = self.multiple > 1 and (captured() or below or right)
        padded = F.pad(image, (0, right, 0, below)) if pads else image
        maps = self._maps(padded)
        first = maps[0] if self.stem is None else self.stem(padded)
        levels = [F.max_pool2d(first, 3, stride=2, padding=1), *maps[-4:]]
        sizes = {level: _sides(space, stride[0]) for level, stride in self.strides.items()}
        return {level: x[..., : sizes[level][0], : sizes[level][1]] for level, x in enumerate(levels, start=1)}

    def foldable(self) -> Iterator[tuple[str, str]]:
        some = next(self.parameters())
        yield from sole_readers(self, torch.zeros(1, self.inputs, *(self.fixed or self.smallest)).to(some))

    def _maps(self, image: Tensor) -> list[Tensor]:
        """The network's own maps of stride 2 (if there is one) to 32."""
        maps = self.get_submodule(self.name)(image)[-5:]
        return [x.permute(0, 3, 1, 2) for x in maps] if self.channels_last else maps

    def _keeps_odd_sizes(self) -> bool:
        """Whether each map has ceil(side / stride) as it is; others round down, or add maps that do not match."""
        space, training = (97, 106), self.training
        with torch.no_grad(), torch.random.fork_rng(devices=()):
            try:
                maps = self.eval()._maps(torch.zeros(1, self.inputs, *space))
            except (RuntimeError, AssertionError):
                return False
            finally:
                self.train(training)
        return all(x.shape[2:] == _sides(space, stride) for x, stride in zip(maps[::-1], PYRAMID[::-1]))


def config(name: str) -> Any:
    """timm's record of a name: mean, std, licence, input_size. Builds nothing. ValueError for an unknown name."""
    import timm

    if timm.is_model(name):
        try:
            return timm.get_pretrained_cfg(name)
        except RuntimeError as error:  # the tag behind the point
            near = timm.list_models(name.split(".")[0], pretrained=True)
            raise ValueError(f"timm has no weights {name!r}; it has {', '.join(near)}") from error
    near = get_close_matches(name, ["res2net50", *timm.list_models()], n=4)
    near = near or (timm.list_models(f"*{name}*")[:4] if len(name) > 3 else [])  # a letter or two are in all of them
    hint = f"; did you mean {', '.join(map(repr, near))}?" if near else ""
    raise ValueError(f"unknown backbone {name!r}; expected res2net50, volume or a network of timm's{hint}")


def _made(name: str, **options: Any) -> tuple[nn.Module, bool]:
    """The network, and whether it takes any size."""
    import timm

    make, fixed = timm.create_model, bool(config(name).fixed_input_size)
    if fixed:
        # Windows that shrink with the image make another network of the same weights: always partitioned alike,
        # one built for 224 and one built for 352 are equal. Only those of Swin's kind take the two settings.
        try:
            return make(name, features_only=True, strict_img_size=False, always_partition=True, **options), True
        except TypeError:
            pass
    network = make(name, features_only=True, **options)
    return network, not fixed or _is_same_at_another_size(name, network)


def _is_same_at_another_size(name: str, network: nn.Module) -> bool:
    """Whether a network that timm says is of one size is not: built for another, with equal weights, it is the same."""
    import timm

    space = (96, 160)
    with torch.no_grad(), torch.random.fork_rng(devices=()):
        try:
            other = timm.create_model(name, features_only=True, img_size=space).eval()
            other.load_state_dict(network.state_dict())
            image = torch.randn(1, 3, *space)
            return all(torch.equal(a, b) for a, b in zip(network.eval()(image), other(image), strict=True))
        except (RuntimeError, AssertionError, TypeError, ValueError):  # it has no img_size, other weights, other maps
            return False
        finally:
            network.train()


def _filled(name: str, state: dict[str, Tensor]) -> tuple[nn.Module, bool]:
    """The network with the weights of `state`; every one of them, for timm itself leaves out what is missing."""
    state = _renamed(name, state)
    # it warns of every name that it leaves out, and of the classifier among them; here what is missing is an error
    logging.getLogger("timm.models").setLevel(logging.ERROR)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        random = dict(_made(name)[0].named_parameters())
        torch.manual_seed(0)
        try:
            network, any_size = _made(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state})
        except (RuntimeError, KeyError, AssertionError) as error:
            raise ValueError(f"it has other weights ({str(error).splitlines()[-1].strip()})") from error
    left = [key for key, p in network.named_parameters() if p.ndim > 1 and torch.equal(p, random[key])]
    if left:
        raise ValueError(f"it lacks {left[0]} ({len(left)} such entries)")
    return network, any_size


def _renamed(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` under timm's names, where it is the same network of other names: equal shapes in equal order."""
    import timm

    own = timm.create_model(name).state_dict()
    ours, theirs = ([key for key in d if not key.endswith("num_batches_tracked")] for d in (own, state))
    same = len(ours) == len(theirs) and all(own[a].shape == state[b].shape for a, b in zip(ours, theirs))
    renamed = same and not {*ours} <= {*theirs}
    return own | {a: state[b] for a, b in zip(ours, theirs)} if renamed else state


def _sides(space: torch.Size | tuple[int, ...], stride: int) -> tuple[int, ...]:
    # as convolutions write it, and of nothing negative: ONNX divides towards zero
    return tuple((side - 1) // stride + 1 for side in space)


def sole_readers(backbone: Backbone, image: Tensor) -> list[tuple[str, str]]:
    """Names of each convolution and the BatchNorm that alone reads it, by following one pass through the network.

    Where a convolution's output goes is seen in the graph of its gradients: timm's blocks name their parts freely.
    """
    convs, reads, hooks = {}, {}, []
    for name, module in backbone.named_modules():
        # others may change their weights (standardise them) or hide more than an activation behind the statistics
        if type(module).__name__ in ("Conv2d", "Conv2dSame"):
            hooks.append(module.register_forward_hook(lambda m, x, y, name=name: convs.update({y.grad_fn: name})))
        elif type(module).__name__ in ("BatchNorm2d", "BatchNormAct2d"):
            hooks.append(module.register_forward_pre_hook(lambda m, x, name=name: reads.update({x[0].grad_fn: name})))
    try:
        with torch.inference_mode(False), torch.enable_grad():
            maps = backbone.eval().features(image.clone().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    waiting: list[Any] = [x.grad_fn for x in maps.values()]
    uses, seen = Counter(waiting), set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            uses.update(after := [other for other, _ in node.next_functions])
            waiting += after
    once = {name for name, count in Counter([*convs.values(), *reads.values()]).items() if count == 1}
    return [
        (convs[node], norm)
        for node, norm in reads.items()
        if node in convs and uses[node] == 1 and {convs[node], norm} <= once
    ]
