"""timm's networks as backbones: every kind of pyramid, at any size, folded exactly, filled from files and named."""

import ast
import itertools

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import net
import weights
from configs import ORIGINAL, Config
from net.backbones import IMAGENET, padding
from net.backbones.timm import Timm
from tests.conftest import ROOT
from tests.golden import recipe

# one of each kind: a map of stride 2, with BatchNorms that hold an activation, none of both, channels last, odd sizes
# that do not add up
KINDS = ["test_resnet", "test_efficientnet", "pvt_v2_b0", "test_mambaout", "hrnet_w18_small"]
FAMILIES = [
    *("resnet18", "resnet50", "vgg16_bn", "mobilenetv2_100", "mobilenetv3_large_100", "mobilenetv4_conv_small"),
    *("efficientnet_b0", "tf_efficientnet_lite0", "tf_efficientnetv2_s", "densenet121", "regnety_004", "resnest14d"),
    *("seresnet50", "ghostnet_100", "hrnet_w18_small", "dla34", "pvt_v2_b2", "convnext_tiny", "convnextv2_atto"),
    *("edgenext_xx_small", "fastvit_t8", "davit_tiny", "twins_svt_small", "poolformerv2_s12", "hgnetv2_b0"),
    *("tiny_vit_5m_224", "repvit_m0_9", "swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "mambaout_femto"),
]


def two_steps_of_training(model: net.MSNet, image: torch.Tensor) -> None:
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        logits = model.train()(image)
        assert logits.shape == (len(image), 1, *image.shape[2:])
        logits.square().mean().backward()
        # gradients are averaged over processes: a weight without one would keep the others waiting
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
        optimiser.step()


def folded_apart(model: net.MSNet, size: tuple[int, int]) -> float:
    model, image = model.double().eval(), torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        before = model(image)
        after = net.fold_batchnorm(model)(image)
    return float((after - before).abs().max() / before.abs().max())


@pytest.mark.parametrize("name", KINDS)
def test_a_network_of_each_kind_has_five_levels_trains_and_folds_at_any_size(name):
    torch.manual_seed(0)
    model = net.build("m2snet", name, width=8)
    for size in ((97, 203), (64, 64)):
        for level, x in model.resnet.features(torch.randn(2, 3, *size)).items():
            sides = tuple(-(-side // stride) for side, stride in zip(size, model.resnet.strides[level]))
            assert x.shape == (2, model.resnet.channels[level], *sides)
    two_steps_of_training(model, torch.randn(2, 3, 97, 70))
    assert folded_apart(model, (97, 70)) <= 1e-9
    left = [key for key, module in model.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert left == ["conv_3.norm", "conv_5.norm"], "all others are folded"


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_and_folds_at_odd_sizes(name):
    torch.manual_seed(0)
    model = net.build("msnet", name, width=8)
    two_steps_of_training(model, torch.randn(2, 3, 97, 70))
    assert folded_apart(model, (97, 70)) <= 1e-9


def test_the_adapter_reproduces_our_res2net50_bit_for_bit():
    ours = recipe.fill(net.Res2Net50()).eval()
    theirs = Timm("res2net50d").eval()
    state = {key: value for key, value in ours.state_dict().items() if not key.startswith("fc.")}
    theirs.get_submodule("res2net50d").load_state_dict(state)
    for size in ((96, 128), (101, 67)):
        image = recipe.images(1, *size, 3)
        with torch.inference_mode():
            expected, actual = ours.features(image), theirs.features(image)
        assert expected.keys() == actual.keys()
        for level, x in expected.items():
            torch.testing.assert_close(actual[level], x, rtol=0, atol=0)
    assert (theirs.channels, theirs.strides, theirs.statistics) == (ours.channels, ours.strides, ours.statistics)


@pytest.mark.slow
def test_a_swin_built_for_224_and_one_built_for_352_are_the_same_network():
    import timm

    ours = Timm("swin_tiny_patch4_window7_224").eval()
    options = {"img_size": 352, "strict_img_size": False, "always_partition": True, "features_only": True}
    large = timm.create_model("swin_tiny_patch4_window7_224", **options).eval()
    large.load_state_dict(ours.get_submodule(ours.name).state_dict(), strict=False)
    image = torch.randn(1, 3, 352, 352)
    with torch.inference_mode():
        deepest = large(image)[-1].permute(0, 3, 1, 2)
        torch.testing.assert_close(ours.features(image)[5], deepest, rtol=0, atol=0)


def test_a_network_of_one_size_takes_that_and_names_the_fields_for_any_other():
    model = net.build("msnet", "coatnet_pico_rw_224", width=8).eval()
    assert model(torch.randn(1, 3, 224, 224)).shape == (1, 1, 224, 224)
    assert folded_apart(model, (224, 224)) <= 1e-9
    with pytest.raises(ValueError, match=r"built for 224 x 224 alone: set size and scales to 224 \(Config fields\)"):
        model(torch.randn(1, 3, 352, 352))


def test_batchnorm_over_all_processes_keeps_the_activation_that_timms_hold():
    model = recipe.fill(net.build("m2snet", "test_efficientnet", width=8)).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = model(image)
        torch.testing.assert_close(net.sync_batchnorm(model)(image), expected, rtol=0, atol=0)
    assert not [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_a_convolution_that_something_else_reads_too_is_not_folded():
    class Branching(net.Backbone):
        channels, smallest = dict.fromkeys(range(1, 6), 4), (1, 1)

        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.alone, self.own = (
                *(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)),
                *(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)),
            )

        def features(self, image):
            x = self.conv(image)
            return dict.fromkeys(range(1, 6), x + self.norm(x) + self.own(self.alone(image)))

    from net.backbones.timm import sole_readers

    assert sole_readers(Branching(), torch.randn(1, 3, 8, 8)) == [("alone", "own")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("res2net5", "unknown backbone 'res2net5'.*did you mean 'res2net50'"),
        ("pvt_v2b2", "did you mean.*'pvt_v2_b2'"),
        ("resnet18.of_mine", "no weights 'resnet18.of_mine'; it has .*resnet18.a1_in1k"),
        ("test_vit", "'test_vit' gives maps of strides 16, 16, 16; expected .*take a pyramid such as pvt_v2_b2"),
    ],
)
def test_what_is_no_pyramid_of_timms_is_refused_in_one_line(name, message):
    with pytest.raises(ValueError, match=message) as error:
        net.build(backbone=Config(backbone=name).backbone)  # a Config asks timm for statistics, and leaves the words
    assert "\n" not in str(error.value)


def test_a_config_has_the_statistics_that_its_backbone_says():
    for name in ("test_resnet", "tf_efficientnet_lite0", "mobilenetv3_small_050"):
        cfg, (mean, std) = Config(backbone=name), net.build(backbone=name).resnet.statistics
        assert (cfg.test_mean, cfg.test_std) == (pytest.approx(mean, abs=1e-6), pytest.approx(std, abs=1e-6))
    assert net.Res2Net50.statistics == IMAGENET
    assert (Config().train_mean, Config().train_std) == ORIGINAL, "as the original, whatever its weights saw"


def test_timm_is_imported_when_a_network_of_its_is_built_and_not_before():
    """It takes seconds that a Res2Net-50 need not wait for."""
    ours = [path for path in ROOT.rglob("*.py") if not {"tests", ".venv"} & {*path.relative_to(ROOT).parts}]
    for path in ours:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                assert "timm" not in {alias.name.split(".")[0] for alias in node.names}, path
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("timm", "net.backbones.timm"), path


# -------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder of weights, empty."""
    monkeypatch.setenv("MSNET_WEIGHTS", str(tmp_path))
    return tmp_path


def published(name: str) -> dict[str, torch.Tensor]:
    """A state dict as timm publishes it, classifier included."""
    import timm

    return recipe.fill(timm.create_model(name)).state_dict()


def first_weight(model: net.MSNet) -> torch.Tensor:
    return next(model.resnet.get_submodule(model.resnet.name).parameters())


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext"])
def test_weights_are_found_by_name_as_pth_or_safetensors_and_with_a_tag(name, home):
    from safetensors.torch import save_file

    state = published(name)
    torch.save(state, home / f"{name}.pth")
    model = net.build(backbone=f"{name}.r160_in1k", pretrained=True)
    assert torch.equal(first_weight(model), next(iter(state.values())))
    assert model.resnet.name == name, "a checkpoint's keys do not hold the tag"
    (home / f"{name}.pth").unlink()
    save_file(state, home / f"{name}.safetensors")
    assert weights.locate_backbone(name) == home / f"{name}.safetensors"
    assert torch.equal(first_weight(net.build(backbone=name, pretrained=True)), next(iter(state.values())))


def test_weights_that_are_missing_or_another_networks_are_refused(home):
    torch.manual_seed(0)
    with pytest.raises(FileNotFoundError, match=r"no weights of test_resnet: .*test_resnet\.pth.*_weights random"):
        net.build(backbone="test_resnet", pretrained=True)
    with pytest.raises(FileNotFoundError, match=r"no weights of volume.*--backbone_weights random"):
        net.build(backbone="volume", pretrained=True)
    torch.save(published("test_efficientnet"), home / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not fit the test_resnet backbone: it has other weights"):
        net.build(backbone="test_resnet", pretrained=home / "other.pth")
    part = published("test_resnet")
    gone = next(key for key in part if key.startswith("layer3") and part[key].ndim == 4)
    torch.save({key: value for key, value in part.items() if key != gone}, home / "part.pth")
    with pytest.raises(ValueError, match="it lacks layer3.*1 such"):
        net.build(backbone="test_resnet", pretrained=home / "part.pth")
    torch.save(part | {gone: torch.zeros(2, 2, 3, 3)}, home / "shape.pth")
    with pytest.raises(ValueError, match=r"shape\.pth does not fit.*size mismatch"):
        net.build(backbone="test_resnet", pretrained=home / "shape.pth")


def test_weights_of_an_installed_package_load_under_its_own_names(home, monkeypatch):
    name, state = "test_efficientnet", published("test_efficientnet")
    named = {f"_old{i}.weight": value for i, (key, value) in enumerate(state.items()) if "tracked" not in key}
    (home / "packaged" / "models").mkdir(parents=True)
    (home / "packaged" / "__init__.py").touch()
    torch.save(named, home / "packaged" / "models" / "file.pth")
    monkeypatch.syspath_prepend(home)
    entry = "packaged", weights.Source("models/file.pth", "", ""), "MIT"
    monkeypatch.setitem(weights.backbones.PACKAGED, name, entry)
    model = net.build(backbone=name, pretrained=True)
    loaded = model.resnet.get_submodule(name).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_the_list_shows_backbones_that_are_there_with_their_licence(home):
    from weights.__main__ import table

    for name in ("convnextv2_atto", "of_mine"):
        torch.save({"a": torch.zeros(1)}, home / f"{name}.pth")
    rows = {line.split()[0]: line for line in table().splitlines()}
    assert "unchecked" in rows["convnextv2_atto"]
    assert "cc-by-nc-4.0" in rows["convnextv2_atto"]
    assert "unknown" in rows["of_mine"]


@pytest.mark.parametrize(
    ("saved", "built", "named"),
    [
        (
            "test_resnet",
            "test_convnext",
            "test_resnet, expected test_convnext; build that one (--backbone test_resnet)",
        ),
        ("test_convnext", "res2net50", "test_convnext, expected res2net50"),
        ("res2net50", "test_resnet", "res2net50, expected test_resnet"),
        ("volume", "test_resnet", "volume, expected test_resnet"),
    ],
)
def test_a_checkpoint_with_another_backbone_is_refused_by_its_name(saved, built, named, tmp_path):
    torch.save(net.build(backbone=saved, width=8).state_dict(), tmp_path / "model")
    with pytest.raises(ValueError, match="its backbone is ") as error:
        net.load(net.build(backbone=built, width=8), tmp_path / "model")
    assert named in str(error.value)


def test_a_checkpoint_of_a_timm_backbone_loads_again(tmp_path):
    model = net.build("m2snet", "test_convnext", width=8)
    torch.save(model.state_dict(), tmp_path / "model")
    again = net.load(net.build("m2snet", "test_convnext", width=8), tmp_path / "model")
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


# millions of parameters, and of multiply-adds in thousands, at 352 x 352
MEASURED = {
    "pvt_v2_b0": (4.49, 5.12),
    "efficientnet_b0": (4.71, 4.66),
    "resnet18": (12.66, 8.52),
    "resnet50": (27.53, 15.84),
    "vgg16_bn": (16.76, 43.86),
    "mobilenetv3_large_100": (4.82, 4.38),
    "pvt_v2_b2": (26.37, 13.70),
    "swin_tiny_patch4_window7_224": (29.42, 17.16),
    "convnext_tiny": (29.72, 15.38),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_parameters_and_multiply_adds_are_as_measured(name):
    parameters, multiply_adds = MEASURED[name]
    model = net.build("msnet", name).eval()
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(parameters, abs=0.006)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 352, 352))
    assert counter.get_total_flops() / 2e9 == pytest.approx(multiply_adds, abs=0.006)


def test_the_padding_of_a_graph_is_the_one_of_timm_and_timm_has_its_own_back():
    from timm.layers import padding as timms

    theirs = timms.get_same_padding
    for side, kernel, stride, dilation in itertools.product((64, 65, 66, 67, 203), (1, 3, 5, 7), (1, 2, 3), (1, 2)):
        found = padding.same_padding(side, kernel, stride, dilation)
        assert found == theirs(side, kernel, stride, dilation), (side, kernel, stride, dilation)
    with padding.same_padding_for_any_size():
        assert timms.get_same_padding is padding.same_padding
    assert timms.get_same_padding is theirs


def test_a_graph_of_any_size_names_a_side_once_behind_any_number_of_paddings():
    """Where each level names it twice, a model on such a network is read from its file for minutes."""
    from timm.layers import Conv2dSame

    convolutions = torch.nn.Sequential(*(Conv2dSame(1, 1, kernel, stride=2) for kernel in (3, 5, 3)))
    axes = {"input": {2: torch.export.Dim("height", min=64)}}
    with padding.same_padding_for_any_size():
        program = torch.export.export(convolutions, (torch.zeros(1, 1, 67, 97),), dynamic_shapes=axes, strict=False)
    (side,) = {out.args[0][0].meta["val"].shape[2].node.expr for out in program.graph.nodes if out.op == "output"}
    (symbol,) = side.free_symbols
    assert side.count(symbol) == 1, side
