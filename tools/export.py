"""A trained network in one file, for programs without this code or without PyTorch; checked before it is there.

python -m tools.export [CONFIG] --snapshot FILE --out model.onnx | model.pt2 [--images DIR] [--fixed]

Without CONFIG network, size and statistics are those of the run that wrote FILE, by the config.json beside it.
It takes pictures as they are decoded, (N, 3, H, W) uint8 RGB of any size from 64 up, and gives maps (N, classes, H, W)
float32 in [0, 1] of that size: mean, std and sigmoid (softmax of several classes) are inside, BatchNorm is folded.
"""

import copy
import dataclasses
import inspect
import io
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import net
from configs import Config, differences, errors_in_one_line, parse
from dataset import normalise
from engine import checkpoint
from engine.inference import Predictor, config_of_flags
from files import find_images, read_whole_image, require_writable, write_file
from net.backbones.padding import same_padding_for_any_size
from report.drawing import evenly
from tools.demo_data import lesion_on_mucosa

LIMIT = 1e-3  # of a map in [0, 1]: a quarter of a grey level
MOST = 20  # pictures to compare on
OTHER_SIDES = ((97, 203), (128, 64))  # compared besides the Config's: odd ones, and multiples of 32
EXAMPLE = (2, 3, 107, 174)  # no two sides, halves or quarters of it are alike, so none are taken for one another
FLAGS: dict[str, dict[str, Any]] = {
    "out": {"metavar": "FILE", "type": Path, "required": True, "help": "what to write, .onnx or .pt2"},
    "images": {"metavar": "DIR", "help": "pictures to compare on; without, made-up ones"},
    "fixed": {"action": "store_true", "help": "a model of the Config's size alone"},
}
ONNX = ("onnx", "onnxruntime", "onnxscript")
DEFERRED = "prefer_deferred_runtime_asserts_over_guards"  # an argument of torch.export.export that old ones lack

Sides = tuple[int, int]
Run = Callable[[Tensor], Tensor]  # (N, 3, H, W) uint8 -> maps


class Model(nn.Module):
    """What the file holds: (N, 3, H, W) uint8 RGB -> (N, classes, H, W) float32 in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: net.Network, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.network = net.fold_batchnorm(network)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return net.probabilities(self.network((image.float() / 255 - self.mean) / self.std))


def main(arguments: Sequence[str] | None = None) -> None:
    cfg, extra = parse(
        "Write a trained network as a model.onnx or model.pt2 that holds its normalisation too.",
        arguments,
        "predict",
        config_of_flags,
        **FLAGS,
    )
    if not cfg.snapshot:
        raise ValueError("--snapshot FILE says which checkpoint to export")
    if len(files := checkpoint.named(cfg.snapshot)) > 1:
        raise ValueError(f"snapshot is {cfg.snapshot!r}, {len(files)} checkpoints; a model holds one")
    if cfg.dims == 3:
        raise ValueError(f"{files[0]} is of volumes, and a model is of pictures; prediction_rgb.py predicts volumes")
    cfg = dataclasses.replace(cfg, snapshot=str(files[0]))
    for note in differences(cfg, cfg.snapshot):
        print(f"NOTE: {note}")
    export(cfg, extra)


def export(cfg: Config, extra: Namespace) -> None:
    """Write the model and say how far it is from PyTorch; ValueError, and no file, where that is too far."""
    out: Path = extra.out
    require_able(out.suffix, cfg.plane if extra.fixed else None)
    pictures = pictures_of(extra.images)
    require_writable(out.parent, [out.name])
    network = net.load(net.build(cfg.network, cfg.backbone, cfg.classes), cfg.snapshot).eval()
    network.require_shape((1, 3, *cfg.plane))
    if network.resnet.fixed and not extra.fixed:
        raise ValueError(f"backbone {cfg.backbone} takes {' x '.join(map(str, cfg.plane))} alone; --fixed exports that")
    if cfg.test_scales != (1.0,) or cfg.test_flip:
        print("NOTE: the model predicts one view; test_scales and test_flip are not in it")
    program = captured(Model(copy.deepcopy(network), cfg.test_mean, cfg.test_std), cfg.plane if extra.fixed else None)
    content, run = onnx_of(program) if out.suffix == ".onnx" else pt2_of(program)
    sides = (cfg.plane,) if extra.fixed else (cfg.plane, *OTHER_SIDES)
    apart = {size: largest_difference(reference(network, cfg), run, pictures, size) for size in sides}
    for (height, width), value in apart.items():
        print(f"{height} x {width}: at most {value:.1e} from PyTorch on {len(pictures)} pictures")
    if not all(value <= LIMIT for value in apart.values()):
        raise ValueError(f"the model differs from PyTorch by more than {LIMIT}; {out} is not written")
    write_file(out, content)
    print(f"{out}: {len(content) >> 20} MiB, (N, 3, H, W) uint8 RGB -> (N, {cfg.classes}, H, W) in [0, 1]")


def require_able(suffix: str, fixed: Sides | None) -> None:
    """Errors in one line for a file of another kind, and for packages that are missing or too old."""
    if suffix not in (".onnx", ".pt2"):
        raise ValueError(f"--out ends in {suffix!r}; expected .onnx or .pt2")
    if suffix == ".onnx" and (missing := [name for name in ONNX if not find_spec(name)]):
        raise ModuleNotFoundError(f"a .onnx needs {', '.join(missing)}: pip install {' '.join(ONNX)}")
    if not fixed and DEFERRED not in inspect.signature(torch.export.export).parameters:
        raise ValueError(f"torch {torch.__version__} cannot export any size; expected 2.9 or newer, or --fixed")


def captured(model: Model, fixed: Sides | None) -> torch.export.ExportedProgram:
    """The graph of `model`, of any number of pictures, and any size unless one is `fixed`."""
    axes: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    options: dict[str, Any] = {}
    smallest = model.network.resnet.smallest
    if not fixed:
        axes |= {2: torch.export.Dim("height", min=smallest[0]), 3: torch.export.Dim("width", min=smallest[1])}
        # its solver does not see that half of a side is less than the side; what it cannot prove is checked when run
        options[DEFERRED] = True
    image = torch.zeros((2, 3, *fixed) if fixed else EXAMPLE, dtype=torch.uint8)
    try:
        with torch.no_grad(), same_padding_for_any_size():
            return torch.export.export(model, (image,), dynamic_shapes={"image": axes}, strict=False, **options)
    except Exception as error:  # torch.export has many
        hint = "" if fixed else "; --fixed exports the Config's size alone"
        raise ValueError(f"PyTorch cannot export this network: {one_line(error)}{hint}") from error


def onnx_of(program: torch.export.ExportedProgram) -> tuple[bytes, Run]:
    """The bytes of a .onnx, and how onnxruntime runs them."""
    import onnxruntime

    names: Any = {"image": {0: "batch", 2: "height", 3: "width"}}
    constraints = {"image": {axis: name for axis, name in names["image"].items() if axis in dynamic_axes(program)}}
    try:
        made = torch.onnx.export(
            program, dynamo=True, input_names=["image"], output_names=["map"], dynamic_shapes=constraints, verbose=False
        )
    except Exception as error:  # an operation that ONNX has not; so has the exporter many of its own
        raise ValueError(f"ONNX cannot hold this network: {one_line(error)}; a .pt2 may") from error
    assert made is not None
    content: bytes = made.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def dynamic_axes(program: torch.export.ExportedProgram) -> set[int]:
    """Axes of the picture that the program leaves open."""
    image = next(node for node in program.graph.nodes if node.op == "placeholder" and node.name == "image")
    return {axis for axis, side in enumerate(image.meta["val"].shape) if isinstance(side, torch.SymInt)}


def pt2_of(program: torch.export.ExportedProgram) -> tuple[bytes, Run]:
    """The bytes of a .pt2, and how PyTorch runs them."""
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    module = torch.export.load(file).module()
    return file.getvalue(), lambda image: module(image)


def pictures_of(folder: str | None) -> list[Image.Image]:
    """At most MOST pictures of a folder, or three made up."""
    if folder:
        return [read_whole_image(path) for path in evenly(list(find_images(folder).values()), MOST)]
    return [Image.fromarray(lesion_on_mucosa(np.random.default_rng(i), 128, 160)[0]) for i in range(4)]


def reference(network: net.Network, cfg: Config) -> Run:
    """What prediction_rgb.py makes of pictures, BatchNorm as it was trained."""
    predictor = Predictor(network, torch.device("cpu"))

    def run(image: Tensor) -> Tensor:
        arrays = image.permute(0, 2, 3, 1).numpy().astype(np.float32) / 255
        normal = np.stack([normalise(array, cfg.test_mean, cfg.test_std) for array in arrays])
        return predictor(torch.from_numpy(normal).permute(0, 3, 1, 2))

    return run


def largest_difference(first: Run, second: Run, pictures: Sequence[Image.Image], sides: Sides) -> float:
    """Between two models' maps, of one picture alone and of three at a time; NaN if either gives one."""
    arrays = [np.asarray(picture.resize(sides[::-1], Image.Resampling.BILINEAR)) for picture in pictures]
    images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()
    batches = [images[:1], *images[1:].split(3)]
    with torch.no_grad():
        return float(torch.stack([(first(batch) - second(batch)).abs().max() for batch in batches]).max())


def one_line(error: Exception) -> str:
    """The first line of an exporter's pages."""
    return str(error).strip().split("\n")[0]


if __name__ == "__main__":
    with errors_in_one_line("export"):
        main()
