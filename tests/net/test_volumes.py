"""The networks on volumes: what holds of them in two dimensions holds in three."""

import pytest
import torch
import torch.nn.functional as F

import net
from net.blocks import BoxView
from net.compare import compare
from tests.golden import recipe
from tests.helpers import require_equal_to_dense

SMALL = (4, 4, 6, 6, 8)  # widths
FLAT = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))  # thick slices: strides 4 along them, 16 within


def network(name="m2snet", inputs=1, classes=2, **how) -> net.MSNet:
    return net.build(name, net.Volume(inputs, SMALL, **how), classes, width=8)


@pytest.mark.parametrize("inputs", [1, 2, 3, 4])
@pytest.mark.parametrize("name", net.NETWORKS)
@pytest.mark.parametrize("training", [True, False])
def test_volumes_of_one_to_four_inputs_give_logits_of_their_size(name, inputs, training):
    model = network(name, inputs, batch_norm=inputs > 2).train(training)
    logits = model(torch.randn(2, inputs, 16, 21, 18))
    assert logits.shape == (2, 2, 16, 21, 18)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_network_of_volumes_has_no_layer_of_images():
    kinds = {type(module).__name__ for module in network(batch_norm=True).modules()}
    assert {"Conv3d", "BatchNorm3d"} <= kinds
    assert not {kind for kind in kinds if kind.endswith("2d")}


def test_levels_have_the_sizes_that_the_strides_say_axis_by_axis():
    backbone = net.Volume(1, SMALL, FLAT)
    assert backbone.strides[5] == (4, 16, 16)
    assert backbone.smallest == (8, 32, 32)
    space = (9, 33, 40)
    for level, x in backbone.features(torch.randn(1, 1, *space)).items():
        sides = tuple(-(-side // stride) for side, stride in zip(space, backbone.strides[level]))
        assert x.shape == (1, backbone.channels[level], *sides)


def test_a_unet_has_nnunets_decoder_and_any_size_of_odd_sides():
    """Doubled by a transposed convolution where the encoder halves, beside the encoder's map, two convolutions."""
    model = net.build("unet", net.Volume(1, SMALL, FLAT), 3)
    assert model(torch.randn(1, 1, 9, 33, 47)).shape == (1, 3, 9, 33, 47)
    for k in (4, 3, 2, 1):
        up, (first, *_), deep = model.get_submodule(f"up{k}"), model.get_submodule(f"level{k}"), SMALL[k]
        assert up.kernel_size == up.stride == FLAT[k] and (up.in_channels, up.out_channels) == (deep, SMALL[k - 1])
        assert (first.in_channels, first.out_channels) == (2 * SMALL[k - 1], SMALL[k - 1])
    kinds = [type(module).__name__ for module in model.level1]
    assert kinds == 2 * ["Conv3d", "InstanceNorm3d", "LeakyReLU"]


@pytest.mark.parametrize("name", net.NETWORKS)
def test_a_checkpoint_tells_its_network_and_is_refused_by_another(name, tmp_path):
    torch.save(network(name).state_dict(), tmp_path / "model")
    assert net.kind_of(torch.load(tmp_path / "model")) == (name, "volume", 2)
    for other in net.NETWORKS.keys() - {name}:
        with pytest.raises(ValueError, match=rf"it is a checkpoint of {net.NETWORKS[name].__name__}; build that"):
            net.load(network(other), tmp_path / "model")


@pytest.mark.parametrize("name", net.NETWORKS)
def test_deep_supervision_gives_the_logits_of_levels_2_and_3_in_training_alone(name, tmp_path):
    model = net.build(name, net.Volume(1, SMALL, FLAT), 2, width=8, deep_supervision=True)
    logits = model(x := torch.randn(2, 1, 9, 33, 47))
    assert [tuple(each.shape) for each in logits] == [(2, 2, 9, 33, 47), (2, 2, 9, 17, 24), (2, 2, 9, 9, 12)]
    sum(each.square().mean() for each in logits).backward()
    assert all(p.grad is not None for p in model.parameters())
    plain = net.build(name, net.Volume(1, SMALL, FLAT), 2, width=8)
    torch.save(model.state_dict(), tmp_path / "deep")
    torch.save(plain.state_dict(), tmp_path / "plain")
    assert net.start(plain, tmp_path / "deep") == f"starts from {tmp_path / 'deep'}"
    torch.testing.assert_close(plain.eval()(x), model.eval()(x))
    assert "those of deep supervision anew" in net.start(model, tmp_path / "plain")
    assert "those of deep supervision" not in net.start(model, tmp_path / "deep")


def test_thick_slices_keep_their_axis_and_few_of_them_are_enough():
    flat = net.Volume(1, SMALL, ((1, 2, 2),) * 5)
    assert flat.smallest == (1, 64, 64)
    assert net.build("msnet", flat, width=8)(torch.randn(1, 1, 3, 64, 64)).shape == (1, 1, 3, 64, 64)


@pytest.mark.parametrize("name", net.NETWORKS)
def test_folding_is_exact_in_three_dimensions(name):
    model = recipe.fill(network(name, batch_norm=True)).double().eval()
    x = torch.randn(1, 1, 17, 16, 20, dtype=torch.float64)
    with torch.inference_mode():
        before = model(x)
        after = net.fold_batchnorm(model)(x)
    assert (after - before).abs().max() <= 1e-9 * before.abs().max()
    assert not [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm3d)]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("training", [True, False])
def test_a_box_view_of_volumes_equals_the_dense_convolution_of_ones_and_instance_norm(kernel, training):
    torch.manual_seed(0)
    view = recipe.fill(BoxView(kernel, 8, dims=3)).double().train(training)
    dense = torch.nn.InstanceNorm3d(8, affine=True).double().train(training)
    x = torch.randn(2, 8, 6, 7, 5, dtype=torch.float64, requires_grad=True)
    require_equal_to_dense(view, dense, x, F.conv3d)


def test_pairs_of_volumes_are_compared_in_training_as_in_prediction_and_each_as_alone():
    """The maps of ten units differ in scale by orders of magnitude: no statistics kept from others are theirs."""
    torch.manual_seed(0)
    views = [recipe.fill(BoxView(kernel, 8, dims=3)).double() for kernel in (3, 5)]
    a, b = torch.randn(2, 3, 8, 4, 5, 6, dtype=torch.float64) * torch.tensor([1, 100, 1e4]).view(3, 1, 1, 1, 1)
    training = compare(a, b, views)
    assert all(view(a).amax() < 100 for view in views)
    assert torch.equal(compare(a, b, [view.eval() for view in views]), training)
    for i in range(3):
        torch.testing.assert_close(compare(a[i : i + 1], b[i : i + 1], views), training[i : i + 1])


def test_the_derivatives_of_a_comparison_of_volumes_are_those_of_finite_differences():
    torch.manual_seed(1)
    views = [recipe.fill(BoxView(kernel, 2, dims=3)).double() for kernel in (3, 5)]
    a, b = (x.requires_grad_() for x in torch.randn(2, 2, 2, 2, 3, 2, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda *pair: compare(*pair, views), (a, b))


def test_weights_of_volumes_with_running_statistics_of_the_views_are_refused_in_words(tmp_path):
    model = network()
    running = {f"conv_3.norm.running_{name}": torch.ones(8) for name in ("mean", "var")}
    torch.save(model.state_dict() | running, tmp_path / "model")
    for fill in (net.load, net.start):
        with pytest.raises(ValueError, match=r"model does not fit M2SNet: its conv_3.norm has running .*train it anew"):
            fill(model, tmp_path / "model")


def test_one_slice_thick_volume_through_a_network_of_images_weights_is_the_image():
    """A kernel of which only the middle plane is not zero sees one slice as the image's network does."""
    flat = recipe.fill(net.build("msnet", Flat(), width=8)).double().eval()
    solid = net.build("msnet", net.Volume(3, SMALL, ((1, 2, 2),) * 5, batch_norm=True), width=8).double().eval()
    state = flat.state_dict()
    for key, value in solid.state_dict().items():
        if value.ndim == 5:
            value.zero_()[:, :, 1] = state[key]
        else:
            value.copy_(state[key])
    image = torch.randn(1, 3, 64, 70, dtype=torch.float64)
    torch.testing.assert_close(solid(image[:, :, None])[:, :, 0], flat(image), rtol=1e-9, atol=1e-9)


class Flat(net.Backbone):
    """net.Volume's encoder of BatchNorm, for images."""

    channels = dict(enumerate(SMALL, start=1))
    smallest = (64, 64)

    def __init__(self) -> None:
        super().__init__()
        self.levels = torch.nn.ModuleList()
        for before, width in zip((3, *SMALL), SMALL):
            parts = []
            for inputs, stride in ((before, 2), (width, 1)):
                conv = torch.nn.Conv2d(inputs, width, 3, stride, padding=1)
                parts += [conv, torch.nn.BatchNorm2d(width), torch.nn.LeakyReLU(0.01)]
            self.levels.append(torch.nn.Sequential(*parts))

    def features(self, image):
        maps = {}
        for level, block in enumerate(self.levels, start=1):
            maps[level] = image = block(image)
        return maps


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"dims": 3}, "backbone 'res2net50' is for 2 dimensions, the data has 3; expected volume"),
        ({"backbone": "volume", "dims": 2}, "backbone 'volume' is for 3 dimensions, the data has 2.*res2net50"),
        ({"inputs": 1}, "backbone 'res2net50' takes 3 input channels, the data has 1"),
        ({"backbone": "volume", "inputs": 5}, "inputs is 5; expected 1 to 4"),
        ({"backbone": net.Volume(), "pretrained": "file"}, "pretrained is 'file' beside a backbone made by hand"),
    ],
)
def test_data_of_another_kind_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        net.build(**how)


def test_volumes_of_a_wrong_shape_are_refused():
    model = network(strides=FLAT)
    for shape in ((1, 1, 7, 32, 32), (1, 2, 8, 32, 32), (1, 1, 32, 32)):
        least = "D at least 8, H at least 32, W at least 32"
        with pytest.raises(ValueError, match=rf"volumes of shape .* expected \(N, 1, D, H, W\) with {least}"):
            model(torch.zeros(shape))
    with pytest.raises(ValueError, match="expected five each"):
        net.Volume(1, SMALL, (1, 2, 2))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"width": 6}, r"its width is 8, expected 6 \(Config field of that name\)"),
        ({"widths": (4, 4, 6, 8, 8)}, r"its widths is \(4, 4, 6, 6, 8\), expected \(4, 4, 6, 8, 8\)"),
        ({"inputs": 2}, "its inputs is 1, expected 2"),
    ],
)
def test_a_checkpoint_of_another_shape_is_refused_by_the_field_that_says_it(how, message, tmp_path):
    torch.save(network().state_dict(), tmp_path / "model")
    other = net.build("m2snet", "volume", 2, **({"widths": SMALL, "width": 8} | how))
    for fill in (net.load, net.start):
        with pytest.raises(ValueError, match=message):
            fill(other, tmp_path / "model")


def test_one_class_is_a_sigmoid_and_several_are_a_softmax_in_any_dimensions():
    for space in ((4, 5), (3, 4, 5)):
        one, three = torch.randn(2, 1, *space), torch.randn(2, 3, *space)
        torch.testing.assert_close(net.probabilities(one), 1 / (1 + torch.exp(-one)))
        several = net.probabilities(three)
        torch.testing.assert_close(several.sum(1), torch.ones(2, *space))
        torch.testing.assert_close(several, three.exp() / three.exp().sum(1, keepdim=True))
