"""Config and its command line: what is accepted, what is refused, in which words."""

import dataclasses
import re

import pytest

import configs
import dataset
from configs import Config, parse
from tests.conftest import ROOT

EXPERIMENTS = sorted(
    path for path in (ROOT / "configs").glob("*.py") if path.stem not in {"__init__", "config", "command_line"}
)


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
    assert cfg.train_mean == (124.55, 118.90, 102.94)


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
        ({"train_mean": (0.5,)}, "three numbers"),
        ({"weighted_bce": 1}, "weighted_bce is 1 (int); expected bool"),
    ],
)
def test_a_wrong_field_is_refused_in_a_users_words(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Config(**fields)


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
        (["configs/absent.py"], "no config file configs/absent.py"),
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
