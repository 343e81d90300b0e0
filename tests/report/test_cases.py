"""Cases: methods and test sets as people name them and leave them in folders."""

import pytest

import test_score
from report import arguments
from tests.miniatures import IMAGE, blob


@pytest.mark.parametrize(
    "left", [".DS_Store", "Thumbs.db", "readme.txt", "__MACOSX/._a.png", ".ipynb_checkpoints/a.png"]
)
def test_what_is_left_beside_test_sets_does_not_pool_them(tmp_path, write_png, left):
    sets = tmp_path / "sets"
    for name in ("one", "two"):
        write_png(sets / name / "masks" / "0.png", blob(0))
    (sets / left).parent.mkdir(exist_ok=True)
    (sets / left).write_bytes(b"x")
    assert arguments.sets_of(sets) == ({"one": sets / "one", "two": sets / "two"}, True)
    write_png(sets / "preview.png", IMAGE)
    with pytest.raises(ValueError, match=r"preview\.png lies beside the test sets one, two; move it away"):
        arguments.sets_of(sets)


def test_a_folder_may_have_an_equals_sign_and_so_may_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "lr=0.1" / "m").mkdir(parents=True)
    (tmp_path / "lr=2").mkdir()
    for text, name, path in (
        ("runs/lr=0.1/m", "m", "runs/lr=0.1/m"),
        ("A=runs/lr=0.1/m", "A", "runs/lr=0.1/m"),
        ("lr=0.1=runs", "lr=0.1", "runs"),
        ("lr=2", "lr=2", "lr=2"),
        ("A=absent", "A", "absent"),
        ("absent/lr=1/m", "m", "absent/lr=1/m"),
    ):
        found, folder = arguments.named_folder(text)
        assert (found, folder.as_posix()) == (name, path)
    (tmp_path / "2").mkdir()
    with pytest.raises(ValueError, match=r"lr=2 may be folder lr=2 or lr = 2; write \./lr=2 or lr=\./2"):
        arguments.named_folder("lr=2")
    assert arguments.named_folder("./lr=2")[0] == "lr=2"
    assert arguments.named_folder("lr=./2")[0] == "lr"
    with pytest.raises(ValueError, match="two folders share the name 'm'"):
        arguments.methods_of(["runs/lr=0.1/m", "runs/lr=0.1/m"])


def test_of_a_folder_of_test_sets_those_are_scored_that_are_named(tmp_path, write_png, capsys):
    for name in ("one", "two", "three"):
        write_png(tmp_path / "gt" / name / "masks" / "0.png", blob(0))
        write_png(tmp_path / "maps" / name / "0.png", blob(0))
    words = ["--gt", str(tmp_path / "gt"), "--pred", f"mine={tmp_path / 'maps'}", "--testsets"]
    test_score.main([*words, "two,one"])
    lines = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("dataset:")]
    assert lines == ["two", "one"]
    with pytest.raises(SystemExit, match=r"--testsets has 'four', but --gt \S+gt holds one, three, two"):
        test_score.main([*words, "four"])
    with pytest.raises(SystemExit, match="testsets names no set"):
        test_score.main([*words, ""])
