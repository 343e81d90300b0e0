"""The table of known weights, and the command that lists and fetches them."""

import subprocess
import sys
from pathlib import Path

import pytest

import weights
from tests.weights.conftest import GOOD, GOOD_HASH
from weights import WEIGHTS, Source, Weight, download, locate
from weights.__main__ import main, table


def test_every_known_weight_has_a_secure_address_a_file_and_a_unique_name():
    assert set(WEIGHTS) >= {"res2net50", "vgg16", "msnet", "m2snet"}
    for name, weight in WEIGHTS.items():
        assert weight.name == name
        for source in weight.sources:
            assert source.url.startswith("https://")
            assert source.file == Path(source.file).name
            if source.sha256:  # the prefix is in the name, so a look at the folder shows what it should be
                assert source.sha256[:8] in source.file
    files = [source.file for weight in WEIGHTS.values() for source in weight.sources]
    assert len(files) == len(set(files))


def test_the_readme_gives_file_address_and_hash_of_every_source():
    readme = (Path(weights.__file__).parent / "README.md").read_text()
    for source in (source for weight in WEIGHTS.values() for source in weight.sources):
        assert source.file in readme
        assert source.sha256 in readme
        assert (source.url if source.sha256 else source.url.split("id=")[1]) in readme


def test_an_unknown_name_is_answered_with_the_nearest():
    for ask in (locate, download):
        with pytest.raises(ValueError, match="no weights are called 'res2net5'; did you mean 'res2net50'"):
            ask("res2net5")


def test_the_list_shows_missing_verified_unchecked_and_damaged_in_aligned_columns(home, monkeypatch):
    for name, content, sha256 in (
        ("whole", GOOD, GOOD_HASH),
        ("broken", GOOD[:-1], GOOD_HASH),
        ("unhashed", GOOD, ""),
        ("absent", None, GOOD_HASH),
    ):
        monkeypatch.setitem(WEIGHTS, name, Weight(name, (Source(name + ".pth", "http://x", sha256),), "MIT", "a test"))
        if content:
            (home / f"{name}.pth").write_bytes(content)
    head, *lines = table().splitlines()
    state = {line.split()[0]: line[head.index("state") :].split()[0] for line in lines}
    assert {state[name] for name in ("res2net50", "vgg16", "msnet", "m2snet")} == {"missing"}
    assert (state["whole"], state["broken"], state["unhashed"]) == ("verified", "DAMAGED", "unchecked")
    assert state["absent"] == "missing"
    assert all(line[head.index("file") - 1] == " " != line[head.index("file")] for line in lines)


def test_the_command_downloads_and_its_exit_status_tells_failure(home, server, table_of, capsys):
    assert main([]) == 0
    table_of(server + "/good")
    assert main(["small"]) == 0
    assert str(home / "small.pth") in capsys.readouterr().out
    table_of(server + "/gone", sha256="0" * 8)
    assert main(["small"]) == 1
    assert "404" in capsys.readouterr().err
    assert main(["small", "smal"]) == 1
    assert "did you mean 'small'" in capsys.readouterr().err


def test_the_commands_help_names_what_it_knows(home, capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("`python -m weights` lists the known weights") and "res2net50, vgg16, msnet" in said


def test_all_downloads_every_known_weight(server, table_of, monkeypatch, capsys):
    table_of(server + "/good")
    for name in set(WEIGHTS) - {"small"}:
        monkeypatch.delitem(WEIGHTS, name)
    assert main(["all"]) == 0
    assert "small.pth" in capsys.readouterr().out


@pytest.mark.slow
def test_python_dash_m_weights_runs_without_network(capsys):
    assert main([]) == 0
    assert "res2net50_v1b_26w_4s-3cf99910.pth" in capsys.readouterr().out
    root = Path(weights.__file__).parent.parent
    wrong = subprocess.run(
        [sys.executable, "-m", "weights", "vgg61"], cwd=root, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert "did you mean 'vgg16'" in wrong.stderr
    assert wrong.stdout == ""
