"""test_score.py: pairing, notes, tables, statistics, and that one method's bad file spares the others."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import test_score
from metrics import Scores
from report import cases, empty, layout, scoring, workers
from tests.conftest import GOLDEN, ROOT


def run(*arguments, capsys=None) -> str:
    test_score.main([*map(str, arguments), "--processes", "1"])
    return capsys.readouterr().out if capsys else ""


def test_the_originals_line_carries_the_originals_numbers(capsys):
    folder = GOLDEN / "scores" / "regular"
    out = run("--gt", folder / "gt", "--pred", folder / "pred", capsys=capsys)
    expected = json.loads((GOLDEN / "scores" / "regular_official.json").read_text())["dataset"]
    keys = {"MAE": "mae", "maxF": "maxf", "avgF": "avgf", "wfm": "wfm", "Sm": "sm", "Em": "em"}
    keys |= {"M_dice": "dice", "M_iou": "iou", "Ber": "ber"}
    line = "dataset: gt " + " ".join(f"{name}: {expected[key]:.4f}" for name, key in keys.items())
    assert f"{line}  Acc: {expected['acc']:.4f}\n" in out


def test_the_edge_pairs_count_undefined_scores_and_say_what_was_resized(capsys):
    folder = GOLDEN / "scores" / "edge"
    out = run("--gt", folder / "gt", "--pred", folder / "pred", capsys=capsys)
    assert "maps differ in size from the mask and were resized (bicubic), first size_mismatch.png" in out
    assert re.search(r"Ber is undefined for \d of 18 images, left out of its mean", out)
    assert "Ber: nan" not in out
    out = run("--gt", folder / "gt", "--pred", folder / "pred", "--undefined", "propagate", capsys=capsys)
    assert "Ber: nan" in out


def test_several_methods_and_sets_make_tables_of_every_kind(sets, capsys):
    arguments = ("--gt", sets / "gt", "--pred", f"Good_1={sets / 'good'}", "--pred", f"B={sets / 'bad'}")
    out = run(*arguments, "--confidence", "--out", sets / "out", capsys=capsys)
    assert "one, 6 images, protocol official" in out
    assert "two, 6 images, protocol official" in out
    assert "paired Wilcoxon" in out

    with open(sets / "out" / "scores.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 6
    summary = json.loads((sets / "out" / "summary.json").read_text())
    assert [(s["dataset"], s["method"]) for s in summary] == [(d, m) for d in ("one", "two") for m in ("Good_1", "B")]
    for entry in summary:
        own = [float(r["MAE"]) for r in rows if (r["dataset"], r["method"]) == (entry["dataset"], entry["method"])]
        assert np.mean(own) == pytest.approx(entry["scores"]["MAE"])
    assert summary[0]["scores"]["MAE"] < summary[1]["scores"]["MAE"]

    markdown, latex = ((sets / "out" / name).read_text() for name in ("tables.md", "tables.tex"))
    best = f"{summary[0]['scores']['MAE']:.4f}"
    assert f"| Good_1 | **{best}** |" in markdown
    assert f"Good\\_1 & \\textbf{{{best}}} &" in latex
    assert "MAE $\\downarrow$" in latex
    assert "maxF $\\uparrow$" in latex
    assert latex.count("\\toprule") == 3  # a table of each set, and one of all


def test_a_name_given_again_is_a_fold_and_tables_show_mean_and_std(sets, capsys):
    arguments = (
        "--gt",
        sets / "gt" / "one",
        "--pred",
        f"A={sets / 'good' / 'one'}",
        "--pred",
        f"A={sets / 'bad' / 'one'}",
    )
    out = run(*arguments, "--out", sets / "out", capsys=capsys)
    summary = json.loads((sets / "out" / "summary.json").read_text())
    values = [entry["scores"]["MAE"] for entry in summary]
    assert [entry["run"] for entry in summary] == [1, 2]
    assert f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}" in out
    assert f"{np.mean(values):.4f} $\\pm$ {np.std(values, ddof=1):.4f}" in (sets / "out" / "tables.tex").read_text()


def test_threads_do_not_change_a_number(sets, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK", 4)
    arguments = ["--gt", str(sets / "gt"), "--pred", str(sets / "good"), "--protocol", "pranet", "--out"]
    for count in ("1", "2"):
        test_score.main([*arguments, str(sets / count), "--confidence"])
        monkeypatch.setattr(scoring, "workers_for", lambda *_: (2, workers.in_threads(2)))
    one, two = ((sets / count / "scores.csv").read_text() for count in ("1", "2"))
    assert one == two


@pytest.mark.slow
def test_the_script_in_processes_changes_no_number_from_whichever_folder_it_is_run(sets):
    masks, maps = sets / "gt" / "one" / "masks", sets / "good" / "one"
    for i in range(6, 130):
        for folder in (masks, maps):
            shutil.copy(folder / f"{i % 6}.png", folder / f"{i}.png")
    arguments = ["--gt", str(masks), "--pred", str(maps), "--confidence"]
    test_score.main([*arguments, "--processes", "1", "--out", str(sets / "alone")])
    for name, folder in {"here": ROOT, "elsewhere": sets}.items():
        program = [sys.executable, str(ROOT / "test_score.py"), *arguments, "--processes", "2"]
        found = subprocess.run([*program, "--out", str(sets / name)], check=True, capture_output=True, cwd=folder)
        assert b"dataset: one" in found.stdout
        assert (sets / name / "scores.csv").read_text() == (sets / "alone" / "scores.csv").read_text()


def test_a_config_names_its_test_sets(sets, capsys):
    arguments = ["--testpath", sets / "gt", "--testsets", "one,two", "--mapspath", sets / "good"]
    out = run(*arguments, capsys=capsys)
    assert out.count("dataset: ") == 2


@pytest.mark.parametrize("strict", [False, True])
def test_what_does_not_pair_is_said_and_strict_makes_it_an_error(sets, capsys, strict):
    (sets / "good" / "one" / "3.png").unlink()
    shutil.copy(sets / "good" / "one" / "0.png", sets / "good" / "one" / "extra.png")
    Image.open(sets / "good" / "one" / "1.png").convert("RGB").save(sets / "good" / "one" / "1.png")
    arguments = ["--gt", sets / "gt" / "one", "--pred", sets / "good" / "one", *(["--strict"] if strict else [])]
    if strict:
        with pytest.raises(SystemExit) as stop:
            run(*arguments)
        assert stop.value.code == 1
    else:
        run(*arguments)
    out = capsys.readouterr().out
    word = "error" if strict else "note"
    assert f"{word}: one / one: 1 of 6 masks have no map and are NOT scored, first 3" in out
    assert f"{word}: one / one: 1 maps have no mask and are left out, first extra" in out
    assert f"{word}: one / one: 1 maps are RGB, converted to 8-bit grey, first 1.png" in out


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda root: (root / "bad" / "one" / "2.png").write_bytes(b"\x89PNG"), r"2\.png cannot be decoded"),
        (lambda root: shutil.rmtree(root / "bad" / "one"), "no folder .*one"),
        (
            lambda root: shutil.copy(root / "bad" / "one" / "2.png", root / "bad" / "one" / "2.bmp"),
            "share the name '2'",
        ),
        (
            lambda root: [p.rename(p.with_name("x" + p.name)) for p in (root / "bad" / "one").iterdir()],
            "no map in .* is named",
        ),
    ],
)
def test_one_methods_bad_files_spare_the_others(sets, capsys, harm, message):
    harm(sets)
    arguments = ["--gt", sets / "gt", "--pred", sets / "good", "--pred", sets / "bad", "--out", sets / "out"]
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 1
    assert re.search(f"error: one / bad: .*{message}", capsys.readouterr().out)
    summary = json.loads((sets / "out" / "summary.json").read_text())
    assert [(s["dataset"], s["method"]) for s in summary] == [("one", "good"), ("two", "good"), ("two", "bad")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gt", "absent", "--pred", "x"], "no folder absent"),
        (["--gt", "."], "needs at least one --pred"),
        (["--gt", ".", "--pred", "a/x", "--pred", "b/x"], "two folders share the name"),
    ],
)
def test_a_wrong_call_is_one_clear_line(arguments, message):
    with pytest.raises(SystemExit, match=message):
        test_score.main(arguments)


def test_scoring_masks_against_themselves_is_refused(sets, capsys):
    with pytest.raises(SystemExit):
        run("--gt", sets / "gt" / "one", "--pred", sets / "gt" / "one" / "masks")
    assert "maps and masks are the same folder" in capsys.readouterr().out


def test_clips_are_scored_each_and_on_average(tmp_path, write_png, rng, capsys):
    for clip, shift in (("a", 0), ("b", 4)):
        for i in range(3 if clip == "a" else 1):
            mask = np.zeros((40, 50), np.uint8)
            mask[8 + i : 28, 10:30] = 255
            write_png(tmp_path / "gt" / "masks" / clip / f"{i}.png", mask)
            write_png(tmp_path / "maps" / clip / f"{i}.png", np.roll(mask, shift, 1) // 2)
    said = run("--gt", tmp_path / "gt", "--pred", tmp_path / "maps", "--by_group", "True", capsys=capsys)
    assert "maps on gt, its 2 groups" in said
    lines = {line.split("  ")[0]: re.findall(r"\d\.\d{4}", line) for line in said.split("its 2 groups")[1].splitlines()}
    for clip in "ab":
        alone = run("--gt", tmp_path / "gt" / "masks" / clip, "--pred", tmp_path / "maps" / clip, capsys=capsys)
        assert lines[clip] == re.findall(r"\d\.\d{4}", alone.splitlines()[0])
    for a, b, mean in zip(lines["a"], lines["b"], lines["mean of groups"], strict=True):
        assert float(mean) == pytest.approx((float(a) + float(b)) / 2, abs=1e-4)


def test_columns_and_per_cent_are_what_a_paper_prints(sets, capsys):
    arguments = ("--gt", sets / "gt", "--pred", sets / "good", "--protocol", "binary")
    plain = run(*arguments, capsys=capsys)
    cent = run(*arguments, "--percent", "True", "--columns", "Dice,Recall", capsys=capsys)
    header, line = cent.split("per cent")[1].splitlines()[1:3]
    assert header.split() == ["method", "Dice", "↑", "Recall", "↑"]
    _, _, recall, _, dice = re.findall(r"\d\.\d{4}", plain.split("protocol binary")[1])[:5]
    assert [float(x) for x in line.split()[1:]] == pytest.approx([100 * float(dice), 100 * float(recall)], abs=0.011)
    with pytest.raises(SystemExit, match="columns holds 'Dize'; protocol binary has Jaccard, Precision"):
        test_score.main([*map(str, arguments), "--columns", "Dize"])


def test_distances_are_no_per_cent_and_the_shorter_is_bold(sets, capsys):
    arguments = ("--gt", sets / "gt" / "one", "--pred", f"A={sets / 'good' / 'one'}", "--pred")
    arguments = (*arguments, f"B={sets / 'bad' / 'one'}", "--protocol", "volume", "--columns", "HD95,NSD,Dice")
    run(*arguments, "--out", sets / "out", "--percent", "True", "--confidence", capsys=capsys)
    a, b = (entry["scores"] for entry in json.loads((sets / "out" / "summary.json").read_text()))
    assert 1 < a["HD95"] < b["HD95"]
    text = (sets / "out" / "tables.md").read_text()
    assert "| method | HD95 ↓ | NSD ↑ | Dice ↑ |" in text
    assert f"| A | **{a['HD95']:.4f}** | **{100 * a['NSD']:.2f}** | **{100 * a['Dice']:.2f}** |" in text
    wide = run(*arguments, "--tolerance", "20", capsys=capsys)
    assert a["NSD"] < 1 and re.search(r"\nA +\S+ +1\.0000", wide)


def test_an_image_whose_map_alone_is_empty_is_said_to_have_a_penalty(sets, write_png, capsys):
    for i in (2, 4):
        write_png(sets / "good" / "one" / f"{i}.png", np.ones((40, 50), np.uint8))  # a grey map that finds nothing
    arguments = ("--gt", sets / "gt" / "one", "--pred", sets / "good" / "one", "--protocol", "volume")
    out = run(*arguments, "--out", sets / "out", capsys=capsys)
    for name in ("HD95", "ASSD"):
        assert f"note: one / one: {name} is the diagonal for 2 of 6 images, whose map or mask alone is empty" in out
    (entry,) = json.loads((sets / "out" / "summary.json").read_text())
    assert entry["penalised"] == {"HD95": 2, "ASSD": 2}
    with open(sets / "out" / "scores.csv") as file:
        assert [float(row["HD95"]) > 64 for row in csv.DictReader(file)] == [False, False, True, False, True, False]


def test_a_group_that_finds_nothing_and_an_out_that_is_no_folder_are_met_before_scoring(sets, monkeypatch):
    monkeypatch.setattr(scoring, "score", lambda *_: pytest.fail("an hour was lost"))
    arguments = ["--gt", sets / "gt", "--pred", sets / "good"]
    with pytest.raises(SystemExit, match=r"group is 'patient.*finds nothing in the name '0'"):
        run(*arguments, "--by_group", "True", "--group", r"patient(\d+)")
    (sets / "file").write_text("")
    (sets / "full" / "tables.md").mkdir(parents=True)
    for out in ("file", "full"):
        with pytest.raises(SystemExit, match=rf"cannot write into \S+{out} .*change the path"):
            run(*arguments, "--out", sets / out)


def test_odd_names_break_no_table_and_run_in_no_spreadsheet(sets, capsys):
    name = "=cmd\n| x"
    arguments = ("--gt", sets / "gt" / "one", "--pred", f"{name}={sets / 'good' / 'one'}")
    out = run(*arguments, "--out", sets / "out", capsys=capsys)
    assert "\n=cmd | x  " in out
    with open(sets / "out" / "scores.csv", newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {f"'{name}"}
    markdown, latex = ((sets / "out" / name).read_text() for name in ("tables.md", "tables.tex"))
    assert "\n| =cmd \\| x | " in markdown
    assert "\n=cmd | x & " in latex
    assert [layout.no_formula(text) for text in ("+a", "-a", "@a", "a=b")] == ["'+a", "'-a", "'@a", "a=b"]


@pytest.mark.parametrize("protocol", ["official", "pranet", "infnet", "binary"])
def test_a_set_with_empty_masks_is_named_with_its_false_alarms_and_is_no_fault_of_its_files(
    sets, write_png, capsys, protocol
):
    for i in (0, 1, 2):
        write_png(sets / "gt" / "one" / "masks" / f"{i}.png", np.zeros((40, 50), np.uint8))
        write_png(sets / "good" / "one" / f"{i}.png", np.full((40, 50), (0, 127, 200)[i], np.uint8))
    arguments = ("--gt", sets / "gt", "--pred", sets / "good", "--pred", sets / "bad", "--protocol", protocol)
    out = run(*arguments, "--strict", "--out", sets / "out", capsys=capsys)
    (note,) = [line for line in out.splitlines() if "empty;" in line]
    assert note.startswith("note: one: 3 of 6 masks are empty; ") and out.rindex("note: one: 3") > out.rindex("method")
    assert "False alarms, maps that reach one half anywhere: good 1 of 3, bad " in note
    assert ("--protocol binary has their specificity" in note) == (protocol != "binary")
    assert note in (sets / "out" / "tables.md").read_text()
    summary = json.loads((sets / "out" / "summary.json").read_text())
    assert [(s["empty_masks"], s["false_alarms"]) for s in summary if s["method"] == "good"] == [(3, 1), (0, 0)]


def test_a_mask_is_empty_and_an_alarm_is_false_as_the_scores_see_them(sets, write_png, capsys):
    """A lesion outside the field of view, an alarm outside of it, and a mask below the protocol's cut."""
    left = np.zeros((40, 50), np.uint8)
    left[:, :25] = 255
    faint = np.zeros((40, 50), np.uint8)
    faint[9, 30:34] = 3, 5, 2, 7  # what JPEG leaves of black
    for i in range(6):
        write_png(sets / "gt" / "one" / "images" / f"{i}.png", left)
        write_png(sets / "gt" / "one" / "within" / f"{i}.png", 255 - left)
        write_png(sets / "gt" / "one" / "masks" / f"{i}.png", {0: left, 1: faint}.get(i, 255 - left))
        pred = left.copy() if i == 0 else 255 - left
        pred[9] = 100
        write_png(sets / "good" / "one" / f"{i}.png", pred)
    arguments = ("--gt", sets / "gt" / "one", "--pred", sets / "good" / "one", "--protocol", "pranet")
    assert "note: one: 1 of 6 masks are empty; " in (out := run(*arguments, capsys=capsys)) and "one 1 of 1" in out
    out = run(*arguments, "--field_of_view", "within", capsys=capsys)
    assert "note: one: 2 of 6 masks are empty; " in out and "one 1 of 2; " in out


@pytest.mark.parametrize(("only", "said"), [(frozenset("ab"), "3 of 4"), (None, "1 of 2")], ids=["folds", "seeds"])
def test_empty_masks_of_folds_are_of_all_folds_and_those_of_seeds_are_the_same(only, said):
    jobs = []
    for run_, found in ((1, 1), (2, 2)):
        scores = Scores("pranet")
        scores.update([np.zeros((4, 4), np.uint8)] * 2, [np.zeros((4, 4), np.uint8)] * 2)
        jobs.append(cases.Job("set", "net", run_, 2, only=only, empty=found, scores=scores))
    (note,) = empty.notes(jobs)
    assert note.startswith(f"note: set: {said} masks are empty; ")
    assert "net 0 of 1, net run 2 0 of 2; " in note


def test_what_the_note_on_empty_masks_says_of_each_protocol_is_so():
    gt, maps = np.zeros((9, 9), np.uint8), [np.full((9, 9), level, np.uint8) for level in (0, 40, 255)]

    def scored(protocol, pred):
        scores = Scores(protocol)
        scores.update(pred, gt)
        return scores.result()

    for protocol, text in empty.MISLEADING.items():
        found = [scored(protocol, pred) for pred in maps]
        zero = re.findall(r"\w+", text.split(" are 0 there")[0].replace(" and ", " ")) if " are 0 there" in text else ()
        assert all(result[name] == 0 for result in found for name in zero), protocol
        assert len(zero) == {"official": 3, "pranet": 5, "infnet": 3, "binary": 0}[protocol]
    assert scored("official", maps[0])["Em"] == 0
    nothing, alarm = scored("binary", maps[0]), scored("binary", maps[2])
    assert all(np.isnan(nothing[name]) for name in ("Jaccard", "Recall", "Dice")) and alarm["Dice"] == 0
