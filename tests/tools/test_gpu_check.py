"""The check of a GPU, tried on the CPU at toy sizes: it says what it does, and it can fail."""

import json

import numpy as np
import pytest
import torch

import net
from lossnet import vgg
from metrics import OF_LEVELS
from tests.helpers import TinyBackbone
from tools.benchmark.clock import interleaved
from tools.gpu_check import __main__ as gpu_check
from tools.gpu_check import equality, training
from tools.gpu_check.line import TOY, Line

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lossnet():
    """The first layers of VGG-16 alone."""
    whole = vgg.LossNet()
    whole.blocks = whole.blocks[:1]
    return whole


@pytest.fixture(autouse=True)
def tiny(request, monkeypatch):
    """A backbone of eight channels and LossNet on small maps, but where a GPU checks the networks as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # for so little, handing it to threads costs more than it does
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.delitem(gpu_check.speed.WAYS, "bfloat16")  # seconds a step where a CPU has no instructions for it
        monkeypatch.setitem(net.BACKBONES, "res2net50", TinyBackbone)
        monkeypatch.setattr(vgg, "SIDE", 32)
        for module in (gpu_check.speed, gpu_check.prediction, gpu_check.scoring):
            monkeypatch.setattr(module, "interleaved", lambda turns, repeats=1: interleaved(turns, 1))
        monkeypatch.setattr(gpu_check, "LossNet", lambda: request.getfixturevalue("lossnet"))
    yield
    torch.set_num_threads(before)


def test_the_whole_program_runs_and_writes_every_line(tmp_path, capsys):
    file = tmp_path / "found.json"
    assert gpu_check.main(["--device", "cpu", "--quick", "--json", str(file)]) == 0
    found, out = json.loads(file.read_text()), capsys.readouterr().out
    assert found["machine"]["torch"] == torch.__version__
    assert out.index("to do:") < out.index("scores, official, 8-bit maps: most apart")
    verdicts = {line["what"]: line["verdict"] for line in found["lines"]}
    for protocol in OF_LEVELS:
        for kind in ("8-bit", "float"):
            for field in ("", ", field of view"):
                assert verdicts[f"scores, {protocol}, {kind} maps{field}: most apart"] == "ok"
    for name in ("msnet", "m2snet"):
        assert verdicts[f"maps, {name}, float32: most grey levels apart"] == "ok"
        for work in ("train", "predict"):
            assert verdicts[f"{work}, {name}, batch 2 at 64, float32 [images/s]"] == "measured"
        assert verdicts[f"train, {name}, batch 2 at 64, float32, backward [operations]"] == "measured"
    assert verdicts["training m2snet: steps with a loss that is not finite"] == "ok"
    assert len(found["seconds"]) == out.split("to do:\n")[1].split("\n\n")[0].count("\n") + 1
    assert all(line["what"] in out for line in found["lines"])


def test_without_cuda_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and "sees no CUDA device" in said.err


@pytest.mark.parametrize("kind", ["one pixel", "undefined"])
def test_a_wrong_scorer_differs_and_the_exit_status_says_so(kind, monkeypatch, capsys):
    def wrong(array, device):
        array = array.copy()
        if kind == "one pixel" or array.dtype == bool:
            array[-1, 5, 5] = 1 - array[-1, 5, 5] if array.dtype != np.uint8 else 255 - array[-1, 5, 5]
        else:
            array[-1] = 0
        return torch.from_numpy(array)

    monkeypatch.setattr(equality, "on_device", wrong)
    monkeypatch.setattr(gpu_check, "parts", lambda sizes, device: scores_alone)
    scores_alone = {name: lambda name=name: equality.scores(name, TOY, CPU) for name in OF_LEVELS}
    assert gpu_check.main(["--device", "cpu"]) == 1
    out = capsys.readouterr().out
    assert out.count("DIFFERS (limit 1e-09)") == 2 * 4 * len(OF_LEVELS), "once as found and once at the end"


def test_a_map_two_grey_levels_off_differs(monkeypatch):
    right, calls = equality.grey, []

    def wrong(predictor, images):
        calls.append(predictor)
        levels = right(predictor, images)
        levels[0, 0, 0, 0] += 2 * (len(calls) > 1)
        return levels

    monkeypatch.setattr(equality, "grey", wrong)
    assert next(equality.maps("msnet", TOY, CPU)).verdict == "DIFFERS"


def test_a_training_that_ends_elsewhere_or_in_nan_differs(monkeypatch, lossnet):
    right, ends = training.train, []

    def wrong(*what):
        ends.append(right(*what))  # float32 and the other precision take turns
        return ends[-1] if len(ends) % 2 else ends[-1]._replace(loss=float("nan"), dice=ends[-1].dice + 0.5, broken=1)

    monkeypatch.setattr(training, "train", wrong)
    *_, broken, loss, dice = training.half("msnet", TOY, CPU, lossnet)
    assert [line.verdict for line in (broken, loss, dice)] == ["DIFFERS"] * 3


def test_both_precisions_start_from_the_same_weights_and_see_the_same_batches(monkeypatch, lossnet):
    seen = []

    def watched(network, *_):
        first = network.output1[0].weight.detach().clone()

        def step(image, mask, lr):
            seen.append((first, image.sum(), mask.sum(), lr))
            return torch.zeros(())

        return step

    monkeypatch.setattr(training, "trainer", watched)
    list(training.half("msnet", TOY, CPU, lossnet))
    runs = [seen[i : i + TOY.steps] for i in range(0, len(seen), TOY.steps)]
    for full, half in zip(runs[::2], runs[1::2], strict=True):
        for a, b in zip(full, half, strict=True):
            assert torch.equal(a[0], b[0]) and a[1:] == b[1:]
    assert not torch.equal(runs[0][0][0], runs[2][0][0]), "another seed, other weights"


def test_a_part_that_fails_is_a_line_and_ends_no_other(capsys):
    def broken():
        yield Line("first", 0.0, 1.0)
        raise RuntimeError("device-side assert")

    lines, seconds = gpu_check.check({"a": broken, "b": lambda: [Line("second", 0.5)]})
    assert [line.verdict for line in lines] == ["ok", "FAILED", "measured"]
    assert "device-side assert" in capsys.readouterr().out
    assert set(seconds) == {"a", "b"}


def test_nan_is_within_no_limit_and_json_can_hold_it():
    line = Line("x", float("nan"), 1.0)
    assert line.verdict == "DIFFERS"
    assert line.record()["found"] == "nan"


@pytest.mark.gpu
def test_everything_agrees_on_this_gpu(capsys):
    assert gpu_check.main(["--quick"]) == 0, capsys.readouterr().out
