"""Config and its command line: what is accepted, what is refused, in which words."""

import dataclasses
import re

import pytest

import configs
import dataset
from configs import Config, parse
from tests.conftest import ROOT

EXPERIMENTS = sorted(path for path in (ROOT / "configs").glob("*.py") if "\nconfig = Config(" in path.read_text())


def test_the_originals_call_works():
    cfg = dataset.Config(datapath="a", savepath="b", mode="train", batch=16, lr=0.05, momen=0.9, decay=5e-4, epoch=50)
    assert (cfg.datapath, cfg.savepath, cfg.epoch) == ("a", "b", 50)


def test_defaults_are_the_originals():
    cfg = Config()
    assert (cfg.batch, cfg.lr, cfg.momen, cfg.decay, cfg.epoch) == (16, 0.05, 0.9, 5e-4, 50)
    assert (cfg.size, cfg.scales, cfg.backbone_lr_ratio, cfg.weighted_bce) == (
        352,
        (224, 256, 288, 320, 352),
        1.0,
        False,
    )
    assert (cfg.train_mean, cfg.train_std) == ((124.55, 118.90, 102.94), (56.77, 55.97, 57.50))
    assert (cfg.test_mean, cfg.test_std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_and_says_its_command(path):
    assert isinstance(configs.load(path), Config)
    assert f"python train.py configs/{path.name}" in path.read_text()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epocs": 3}, "Config has no field 'epocs'; did you mean 'epoch'?"),
        ({"epoch": "3"}, "epoch is '3' (str); expected int"),
        ({"epoch": 0}, "epoch is 0; expected at least 1"),
        ({"batch": True}, "batch is True (bool); expected int"),
        ({"lr": -1}, "lr is -1.0; expected above 0"),
        ({"network": "m2snett"}, "did you mean 'm2snet'?"),
        ({"scales": (224, "256")}, "scales[1] is '256' (str); expected int"),
        ({"scales": 224}, "scales is 224 (int); expected a tuple of int"),
        ({"scales": (32,)}, "sides of at least 64"),
        ({"momen": 1, "optimiser": "adamw"}, "momen is 1.0; expected below 1 where optimiser is adamw"),
        ({"momen": 0}, "momen is 0.0; expected above 0 where nesterov is True"),
        ({"train_mean": (0.5,)}, "three numbers"),
        ({"train_mean": (0.485, 0.456, 0.406)}, "expected numbers on 0..255, such as 124.55,118.9,102.94"),
        ({"train_std": (0.229, 0.224, 0.225)}, "expected numbers on 0..255, such as 56.77,55.97,57.5"),
        ({"train_mean": (300, 0, 0)}, "train_mean is (300.0, 0.0, 0.0); expected numbers on 0..255"),
        ({"test_mean": (124, 118, 103)}, "expected numbers on 0..1, such as 0.485,0.456,0.406"),
        ({"test_std": (57, 56, 57)}, "expected numbers on 0..1, such as 0.229,0.224,0.225"),
        ({"test_mean": (-0.1, 0, 0)}, "expected numbers on 0..1"),
        ({"train_std": (57, 0, 57)}, "expected numbers above 0, on 0..255"),
        ({"test_std": (0.2, 0.2, 0)}, "expected numbers above 0, on 0..1"),
        ({"test_std": (0.2, 0.2, -0.2)}, "expected numbers on 0..1"),
        ({"backbone_lr_ratio": -1}, "backbone_lr_ratio is -1.0; expected at least 0"),
        ({"weighted_bce": 1}, "weighted_bce is 1 (int); expected bool"),
    ],
)
def test_a_wrong_field_is_refused_in_a_users_words(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Config(**fields)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_no_field_takes_a_number_that_is_not_finite(value):
    for field in dataclasses.fields(Config):
        default = getattr(Config(), field.name)
        several = isinstance(default, tuple) and bool(default) and isinstance(default[0], float)
        if several or isinstance(default, float):
            with pytest.raises(ValueError, match=rf"{field.name}.* is {value}; expected a finite number"):
                Config(**{field.name: (float(value),) * 3 if several else float(value)})


def test_scales_follow_the_size_unless_given():
    assert Config(size=192).scales == (128, 160, 192)
    assert Config(size=512).scales == (320, 384, 416, 480, 512)
    assert Config(size=64).scales == (64,)
    assert Config(size=(256, 352)).scales == Config().scales
    assert Config(size=(64, 128)).scales == (128,), "none whose shorter side would be below 64"
    assert Config(size=192, scales=(96,)).scales == (96,)
    assert parse("", ["--size", "192"])[0].scales == (128, 160, 192)
    assert parse("", [str(ROOT / "configs" / "demo.py"), "--size", "192"])[0].scales == (64, 80, 96), "the file's own"
    assert parse("", ["--size", "192", "--scales", "64,192"])[0].scales == (64, 192)
    for empty in ("()", ""):
        file = str(ROOT / "configs" / "demo.py")
        assert parse("", [file, "--size", "192", "--scales", empty])[0].scales == (128, 160, 192)


def test_prediction_is_normalised_as_training_unless_both_are_given():
    mean, std = (51.0, 102.0, 153.0), (25.5, 51.0, 76.5)
    assert Config(train_mean=mean, train_std=std).test_mean == pytest.approx((0.2, 0.4, 0.6))
    assert Config(train_mean=mean, train_std=std).test_std == pytest.approx((0.1, 0.2, 0.3))
    assert Config(train_mean=mean).test_std == pytest.approx([value / 255 for value in Config().train_std])
    assert Config(train_mean=mean, test_mean=(0.5, 0.5, 0.5)).test_mean == (0.5, 0.5, 0.5)
    assert parse("", ["--train_mean", "51,102,153"])[0] == Config(train_mean=mean)
    assert parse("", ["--train_mean", "51,102,153", "--test_std", "1,1,1"])[0].test_std == (1, 1, 1)


def test_a_square_given_as_a_pair_is_its_side():
    assert Config(size=(96, 96)) == Config(size=96)


def test_a_config_never_changes():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().epoch = 3


def test_every_field_is_a_flag():
    texts = {"testsets": "a,b", "scales": "64,96", "before": "", "after": ""}
    for field in dataclasses.fields(Config):
        value = getattr(Config(), field.name)
        text = texts.get(field.name, ",".join(map(str, value)) if isinstance(value, tuple) else str(value))
        cfg, _ = parse("", [f"--{field.name}", text])
        expected = {"testsets": ("a", "b"), "scales": (64, 96)}.get(field.name, value)
        assert getattr(cfg, field.name) == expected


def test_flags_override_the_file():
    cfg, _ = parse("", [str(ROOT / "configs" / "polyp_m2snet.py"), "--epoch", "2", "--weighted_bce", "true"])
    assert (cfg.network, cfg.epoch, cfg.weighted_bce) == ("m2snet", 2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epocs", "3"], "Config has no field 'epocs'; did you mean 'epoch'?"),
        (["--epo", "3"], "did you mean 'epoch'?"),
        (["--epoch", "three"], "epoch is 'three'; expected int"),
        (["--weighted_bce", "maybe"], "expected True or False"),
        (["--resume", "configs/demo.py"], "expected True or False; the config file stands before the flags"),
        (["configs/absent.py"], "no config file configs/absent.py"),
        (["configs/polyp_m3snet.py"], "such as polyp_msnet.py, polyp_m2snet.py"),
        (["saved_model/mine"], "no config file saved_model/mine, and no folder of a run; configs/ has"),
        (["configs/demo.py", "stray"], "unexpected argument 'stray'"),
    ],
)
def test_a_wrong_command_line_exits_with_one_clear_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        parse("", arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_file_without_config_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text("Config = 3\n")
    with pytest.raises(ValueError, match="does not define `config = Config"):
        configs.load(tmp_path / "mine.py")
