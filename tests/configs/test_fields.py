"""What stands beside each field of Config: its group, comment, rules; and the --help that is made of them."""

import dataclasses
import re

import pytest

import configs
import net
import prediction_rgb
import test_score
import train
from configs import Config, parse
from engine import optim
from lossnet import TERMS
from metrics import PROTOCOLS
from tests.conftest import ROOT

FIELDS = {field.name: field.metadata for field in dataclasses.fields(Config)}

# a value of the right type that breaks the field's rule, and what is then said to be expected
BROKEN = {
    "include": ("(", "a regular expression (missing ), unterminated subpattern at position 0)"),
    "group": ("[", "a regular expression (unterminated character set at position 0)"),
    "stratify": ("*", "a regular expression (nothing to repeat at position 0)"),
    "backbone": ("", "a name, such as res2net50 or pvt_v2_b2"),
    "classes": (0, "at least 1"),
    "lossnet_factor": (-0.1, "at least 0"),
    "structure_factor": (-0.1, "at least 0"),
    "dice_factor": (-0.1, "at least 0"),
    "cross_entropy_factor": (-0.1, "at least 0"),
    "warmup": (-1.0, "at least 0"),
    "batch": (0, "at least 1"),
    "lr": (0.0, "above 0"),
    "momen": (1.5, "between 0 and 1"),
    "decay": (-1.0, "at least 0"),
    "backbone_lr_ratio": (-1.0, "at least 0"),
    "epoch": (0, "at least 1"),
    "save_from": (-0.5, "between 0 and 1"),
    "grad_clip": (-1.0, "at least 0"),
    "ema": (1.0, "at least 0 and below 1, such as 0.999"),
    "save_every": (-1, "at least 0"),
    "walltime": (-1.0, "at least 0"),
    "val_fraction": (1.0, "at least 0 and below 1"),
    "val_every": (0, "at least 1"),
    "folds": (1, "0, or at least 2"),
    "size": ((0, 96), "a side, height and width, or a patch's three sides"),
    "spacing": ((1.0, 0.0, 1.0), "three numbers above 0"),
    "inputs": (5, "between 0 and 4"),
    "widths": ((8, 8), "five numbers above 0"),
    "strides": (("1", "2", "2", "2x1", "2"), "five, each 1 or 2 or such as 1x2x2"),
    "width": (0, "at least 1"),
    "intensity": ((3.0, 1.0, 0.0, 1.0), "lowest, highest, mean and std"),
    "patches": (0, "at least 1"),
    "foreground": (1.5, "between 0 and 1"),
    "mirror": ((3,), "among 0, 1, 2, each once"),
    "overlap": (1.0, "at least 0 and below 1"),
    "scales": ((96, 32), "one or more sides of at least 64"),
    "flip": (1.01, "between 0 and 1"),
    "rotate": (181.0, "between 0 and 180"),
    "vertical_flip": (2.0, "between 0 and 1"),
    "quarter_turns": (-0.5, "between 0 and 1"),
    "zoom": (2.5, "between 0 and 2"),
    "colour": (1.5, "between 0 and 1"),
    "blur": (1.5, "between 0 and 1"),
    "noise": (256.0, "between 0 and 255"),
    "cutout": (-1.0, "between 0 and 1"),
    "gamma": (-1.0, "at least 0"),
    "low_resolution": (1.5, "between 0 and 1"),
    "train_mean": ((0.5, 0.5, 0.5), "numbers on 0..255, such as 124.55,118.9,102.94"),
    "train_std": ((57.0, 0.0, 57.0), "numbers above 0, on 0..255, such as 56.77,55.97,57.5"),
    "test_mean": ((124.0, 118.0, 103.0), "numbers on 0..1, such as 0.485,0.456,0.406"),
    "test_std": ((0.0, 0.2, 0.2), "numbers above 0, on 0..1, such as 0.229,0.224,0.225"),
    "test_batch": (0, "at least 1"),
    "test_scales": ((1.0, 0.0), "factors above 0"),
    "tolerance": (-1.0, "at least 0"),
    "threads": (-2, "at least -1"),
    "workers": (-1, "at least 0"),
    "seed": (-1, "at least 0"),
}


TOO_LARGE = {
    "decay": (5.0, 1),
    "size": ((352, 100_000), 8192),
    "scales": ((352, 100_000), 8192),
    "test_scales": ((1.0, 9.0), 8),
    "seed": (10**30, 2**63 - 1),
}


def test_what_a_config_may_name_is_there_and_nothing_else_is():
    dictionaries = {
        "network": net.NETWORKS,
        "optimiser": optim.OPTIMISERS.keys() - {"apex_sgd"},
        "schedule": optim.SCHEDULES,
        "protocol": PROTOCOLS,
        "val_protocol": PROTOCOLS,
    }
    for field, names in dictionaries.items():
        assert {*Config.__annotations__[field].__args__} == {*names}, field
    factors = {name for name in FIELDS if name.endswith("_factor")}
    assert {f"{name}_factor" for name in TERMS} == factors - {"structure_factor", "lossnet_factor"}  # MSNet's own


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_has_a_comment_and_a_group(name):
    assert FIELDS[name]["comment"] and FIELDS[name]["group"].title


def test_every_rule_is_broken_below():
    assert set(BROKEN) == {name for name, said in FIELDS.items() if said["rules"]}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_names_the_field_its_value_and_what_is_expected(name):
    value, expected = BROKEN[name]
    with pytest.raises(ValueError) as refused:
        Config(**{name: value})
    assert str(refused.value) == f"{name} is {value!r}; expected {expected}"


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_no_machine_or_library_could_take_is_refused_in_a_line(name):
    value, most = TOO_LARGE[name]
    with pytest.raises(ValueError, match=f"^{name} is {re.escape(repr(value))}; expected at most {most}$"):
        Config(**{name: value})


def test_what_is_learned_may_not_change_in_a_resumed_run():
    learned = {"datapath", "network", "classes", "lr", "batch", "epoch", "val_fraction", "folds", "size", "seed"}
    assert not configs.MAY_CHANGE & learned
    assert {"savepath", "class_names", "save_from", "walltime", "cache", "protocol", "workers"} < configs.MAY_CHANGE


def shown(main, capsys, monkeypatch, columns=100):
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_help_of_training_names_every_field_with_its_comment_and_default(capsys, monkeypatch):
    text = shown(train.main, capsys, monkeypatch, columns=1000)
    for name, said in FIELDS.items():
        assert re.search(rf"^  --{name} \S+\s+{re.escape(said['comment'])} \[.+\]$", text, re.M), name
        assert f"\n{said['group'].title}:\n" in text
    assert "peak of the learning rate [0.05]" in text and 'predict with [""]' in text


@pytest.mark.parametrize(("script", "own"), [(prediction_rgb, "--images"), (test_score, "--gt")])
def test_the_help_of_a_script_has_its_own_flags_first_and_every_field_that_it_reads(script, own, capsys, monkeypatch):
    text = shown(script.main, capsys, monkeypatch)
    read = set(re.findall(r"\bcfg\.(\w+)", (ROOT / f"{script.__name__}.py").read_text())) & set(FIELDS)
    assert not {name for name in read if f"  --{name} " not in text}
    assert text.index(f"  {own} ") < text.index("  --datapath ")
    assert "--lr" not in text and "optimisation" not in text and "last.pt" not in text
    assert parse("", ["--lr", "1"], "score")[0].lr == 1, "accepted all the same"


@pytest.mark.parametrize("script", [train, prediction_rgb, test_score])
def test_the_help_fits_a_terminal(script, capsys, monkeypatch):
    assert max(map(len, shown(script.main, capsys, monkeypatch, columns=80).splitlines())) <= 80


@pytest.mark.parametrize(("words", "resume"), [([], False), (["--resume"], True), (["--resume", "False"], False)])
def test_a_flag_of_yes_or_no_means_yes_on_its_own(words, resume):
    cfg, _ = parse("", [*words, "--epoch", "3"])
    assert (cfg.resume, cfg.epoch) == (resume, 3)
    assert parse("", [str(ROOT / "configs" / "demo.py"), *words])[0].resume is resume
