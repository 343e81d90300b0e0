"""Exported models: the same maps as PyTorch's at any size and number, or one line and no file."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import net
from configs import Config, errors_in_one_line
from net.blocks import LAYERS, BoxView
from tests.conftest import ROOT
from tools import export
from tools.benchmark.prediction import settled

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def snapshot(tmp_path):
    """Writes a checkpoint whose statistics fit its weights, and gives the flags that name it."""

    def write(network: str, backbone: str) -> list[str]:
        torch.manual_seed(0)
        torch.save(settled(net.build(network, backbone), 64).state_dict(), tmp_path / "model")
        return ["--network", network, "--backbone", backbone, "--snapshot", str(tmp_path / "model")]

    return write


def test_box_views_in_onnx_sum_and_do_not_average():
    import onnxruntime

    views, x = torch.nn.Sequential(BoxView(3, 4), BoxView(5, 4)).eval(), torch.rand(1, 4, 7, 9)
    program = torch.export.export(views, (x,), strict=False)
    content = torch.onnx.export(program, dynamo=True, verbose=False).model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (seen,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(seen), views(x).detach())


@pytest.mark.parametrize(("dims", "operations"), [(2, ["avg_pool2d"]), (3, ["constant_pad_nd", "avg_pool3d"])])
def test_a_box_that_is_run_is_summed_in_one_operation_and_one_that_is_exported_is_the_same(dims, operations):
    class Sum(torch.nn.Module):
        def forward(self, x):
            return LAYERS[dims].box_sum(x, 3)

    class Operations(TorchDispatchMode):
        seen: list[str] = []

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            self.seen.append(operation.overloadpacket.__name__)
            return operation(*args, **(kwargs or {}))

    x = torch.rand(1, 1, *(5, 6, 7)[:dims])
    with Operations() as counter:
        box = LAYERS[dims].box_sum(x, 3)
    assert counter.seen == operations
    torch.testing.assert_close(torch.export.export(Sum(), (x,), strict=False).module()(x), box)


def test_a_model_of_one_size_is_the_network_and_takes_any_number_of_pictures(snapshot, tmp_path, capsys):
    out = tmp_path / "model.pt2"
    export.main([*snapshot("msnet", "tiny"), "--size", "67,97", "--scales", "97", "--fixed", "--out", str(out)])
    assert f"{out}: " in capsys.readouterr().out
    model = torch.export.load(out).module()
    for count in (1, 3):
        assert model(torch.zeros(count, 3, 67, 97, dtype=torch.uint8)).shape == (count, 1, 67, 97)


def test_a_model_holds_the_statistics_of_the_run_that_trained_it(snapshot, tmp_path, capsys):
    """Others give maps that look right: a config file's or a flag's are said."""
    flags, out = snapshot("msnet", "tiny"), tmp_path / "model.pt2"
    run = Config(backbone="tiny", size=64, train_mean=(51, 102, 153), train_std=(51, 51, 51))
    (tmp_path / "config.json").write_text(json.dumps({"config": dataclasses.asdict(run)}), encoding="utf-8")
    export.main([*flags[-2:], "--fixed", "--out", str(out)])
    assert "NOTE" not in capsys.readouterr().out
    held = torch.export.load(out).state_dict
    assert held["mean"].flatten().tolist() == pytest.approx([0.2, 0.4, 0.6])
    export.main([*flags[-2:], "--fixed", "--out", str(out), "--test_mean", "0.5,0.5,0.5"])
    assert re.search(r"NOTE: trained for mean .*--test_mean 0\.2,0\.4,0\.6 changes it", capsys.readouterr().out)
    with pytest.raises(ValueError, match="2 checkpoints; a model holds one"):
        export.main(["--snapshot", f"{flags[-1]},{tmp_path / 'other'}", "--out", str(out)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "backbone", "suffixes"), [("m2snet", "tiny", [".onnx"]), ("msnet", "test_resnet", [".onnx", ".pt2"])]
)
def test_a_model_of_any_size_gives_pytorchs_maps(network, backbone, suffixes, snapshot, tmp_path, monkeypatch, capsys):
    real, kept = export.captured, []  # to follow sizes takes long: once for both kinds of file
    monkeypatch.setattr(export, "captured", lambda *given: (kept or kept.append(real(*given)) or kept)[0])
    for suffix in suffixes:
        out = tmp_path / f"model{suffix}"
        export.main([*snapshot(network, backbone), "--size", "96", "--out", str(out)])
        said = capsys.readouterr().out
        assert [f"{size}: at most" in said for size in ("96 x 96", "97 x 203", "128 x 64")] == [True] * 3
        assert out.exists()


@pytest.mark.slow
def test_the_example_of_the_guide_runs_as_it_stands(snapshot, tmp_path, monkeypatch, rng):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    export.main([*snapshot("msnet", "tiny"), "--fixed", "--out", "model.onnx"])
    Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save("photo.jpg")
    exec(compile(example, "docs/export.md", "exec"), {})
    assert Image.open("map.png").size == (120, 90)
    assert np.ptp(np.asarray(Image.open("map.png"))) > 0


def test_a_model_that_differs_is_refused_and_leaves_no_file(snapshot, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "captured", lambda model, fixed: model)
    for wrong in (0.002, math.nan):
        monkeypatch.setattr(export, "pt2_of", lambda model, wrong=wrong: (b"", lambda x: model(x) + wrong))
        with pytest.raises(ValueError, match="differs from PyTorch by more than 0.001"):
            export.main([*snapshot("msnet", "tiny"), "--size", "64", "--fixed", "--out", str(tmp_path / "m.pt2")])
    assert not [*tmp_path.glob("*.pt2*"), *tmp_path.glob(".*")]


def test_what_is_missing_is_said_in_one_line(monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install onnx onnxruntime onnxscript"), errors_in_one_line("export"):
        export.require_able(".onnx", None)
    with pytest.raises(ValueError, match="expected .onnx or .pt2"):
        export.require_able(".pth", None)
