"""Folds and lists: disjoint, complete, balanced, groups whole, the same everywhere; trained, predicted and scored."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import pytest

import prediction_rgb
import test_score
import train
from engine import earlier
from files import (
    Pair,
    Parts,
    deal_folds,
    find_pairs,
    group_of,
    hold_out,
    read_split,
    require_unseen,
    seen_by,
    split_pairs,
    write_split,
)
from files.lists import fingerprint
from tests.helpers import small

BUSI = [f"{kind}/{kind} ({i})" for kind, count in (("benign", 437), ("malignant", 210)) for i in range(1, count + 1)]


def test_four_folds_of_busi_have_their_share_of_both_classes():
    parts = deal_folds(BUSI, 4, seed=0, stratify="^(benign|malignant)/")
    assert sorted(name for part in parts for name in part) == sorted(BUSI)
    for part in parts:
        count = Counter(name.split("/")[0] for name in part)
        assert count["benign"] in (109, 110)
        assert count["malignant"] in (52, 53)
    assert parts == deal_folds(BUSI[::-1], 4, seed=0, stratify="^(benign|malignant)/")
    assert parts != deal_folds(BUSI, 4, seed=1, stratify="^(benign|malignant)/")


def test_a_seed_means_the_same_folds_on_any_machine():
    assert deal_folds("abcdefg", 3, seed=7) == [["a", "c", "d"], ["e", "f"], ["b", "g"]]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"clip{c}/{f}" for c in range(11) for f in range(3 + c)], ""),
        ([f"volume-{v}_slice_{s}" for v in range(11) for s in range(3 + v)], r"^(volume-\d+)_"),
    ],
)
def test_clips_and_volumes_stay_whole_and_parts_near_equal(names, pattern):
    parts = deal_folds(names, 3, 5, pattern)
    groups = [{group_of(name, pattern) for name in part} for part in parts]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    assert sum(map(len, parts)) == len(names)
    assert max(map(len, parts)) - min(map(len, parts)) <= 6
    with pytest.raises(ValueError, match=r"form 11 group\(s\); folds is 12"):
        deal_folds(names, 12, 5, pattern)


def test_a_name_without_a_class_or_a_group_is_refused():
    with pytest.raises(ValueError, match=r"stratify is .* which finds nothing in the name 'normal/1'"):
        deal_folds(["benign/1", "normal/1"], 2, 0, stratify="benign|malignant")
    with pytest.raises(ValueError, match=r"group is .* which finds nothing in the name 'patient1_1'"):
        deal_folds(["patient1_1", "patient1_2"], 2, 0, group=r"^(Patient\d+)_")


def test_folders_that_are_classes_are_no_groups_and_clips_in_them_are():
    pattern = "^(benign|malignant)/"
    assert group_of("benign/benign (1)", "", pattern) == "benign/benign (1)"
    clips = [f"{kind}/clip{c}/{f}" for kind in ("benign", "malignant") for c in range(6) for f in range(4)]
    parts = deal_folds(clips, 3, 0, stratify=pattern)
    groups = [{group_of(name, "", pattern) for name in part} for part in parts]
    assert [len(group) for group in groups] == [4, 4, 4]
    assert len(set.union(*groups)) == 12
    assert all(Counter(group.split("/")[0] for group in part) == {"benign": 2, "malignant": 2} for part in groups)


def test_validation_takes_its_share_of_each_class_and_never_most_of_the_data():
    pairs = [Pair(name, None, ()) for name in BUSI]
    _, held = split_pairs(pairs, 0.1, 0, stratify="^(benign|malignant)/")
    assert Counter(pair.name.split("/")[0] for pair in held) == {"benign": 44, "malignant": 21}
    with pytest.raises(
        ValueError, match=r"form 2 group\(s\), of which the smallest has 210; let `group` \(or `stratify`"
    ):
        split_pairs(pairs, 0.1, 0)
    uneven = [Pair(f"{clip}/{f}", None, ()) for clip, count in (("a", 100), ("b", 10), ("c", 10)) for f in range(count)]
    for seed in range(5):
        assert len(split_pairs(uneven, 0.1, seed)[1]) == 10


def test_a_list_may_say_what_to_validate_on_and_a_runs_own_list_is_read_back(polyp_folder, tmp_path):
    pairs = find_pairs(polyp_folder / "TrainDataset")
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"train": ["000", "001"], "val": ["image/002.png"], "test": ["003"]}))
    parts = train.parts_of_run(small(polyp_folder, split=str(listed)))
    assert [[pair.name for pair in part] for part in parts] == [["000", "001"], ["002"], ["003"]]
    with pytest.raises(ValueError, match="says what to validate on; leave out valpath and val_fraction"):
        train.parts_of_run(small(polyp_folder, split=str(listed), val_fraction=0.5))
    drawn = train.parts_of_run(small(polyp_folder, val_fraction=0.3))
    write_split(listed, drawn)  # with fingerprints of the images, which are no part
    assert set(read_split(listed)) == {"train", "validation", "test"}
    assert train.parts_of_run(small(polyp_folder, split=str(listed))) == drawn
    assert len(drawn.validation) == 2 and not drawn.test and len(pairs) == 6
    with pytest.raises(ValueError, match="valpath .* holds 6 images that are trained or tested on too, first .*000"):
        train.parts_of_run(small(polyp_folder, valpath=str(polyp_folder / "TrainDataset")))


def test_a_windows_csv_is_read(tmp_path):
    (tmp_path / "a.csv").write_bytes("\ufeffname,part\r\nclip1\\001.png,train\r\n".encode())
    assert read_split(tmp_path / "a.csv") == {"train": ["clip1/001"]}


def test_lists_made_by_others_are_read(tmp_path):
    names = [f"{i:03d}" for i in range(6)]
    pairs = [Pair(name, None, ()) for name in names]
    (tmp_path / "a.json").write_text(json.dumps({"train": names[:4], "test": ["images/004.png", "005.jpg"]}))
    (tmp_path / "a.txt").write_text("\n".join(f"{name}.png" for name in names[:4]) + "\n\n")
    (tmp_path / "a.csv").write_text("name,part\n" + "".join(f"{n},{'test' if n > '003' else 'train'}\n" for n in names))
    (tmp_path / "folds.json").write_text(json.dumps([names[:2], names[4:], names[2:4]]))
    for name, fields in (("a.json", {}), ("a.txt", {}), ("a.csv", {}), ("folds.json", {"folds": 3, "fold": 2})):
        parts = hold_out(pairs, small(tmp_path, split=str(tmp_path / name), **fields))
        assert [[pair.name for pair in part] for part in parts] == [names[:4], [], names[4:]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"train": ["000"], "test": ["999"]}', r"lists '999' in test, which .* does not hold"),
        ("a.json", '{"train": ["000"], "test": ["000"]}', "000 is in two of its parts"),
        ("a.json", '{"train": [], "test": ["000"]}', "0 images to train on, 1 to test on"),
        ("a.json", '{"train": ', "cannot be read .*; expected JSON of parts"),
        ("a.json", '{"1": ["000"], "2": ["001"]}', "has parts 1, 2; expected train, validation, test; or --folds 2"),
        ("a.json", '{"train": null}', "cannot be read .* something else than names in parts"),
        ("a.json", '{"train": ["siteB/000"], "test": ["001"]}', "lists 'siteB/000' in train"),
        ("a.csv", "file,fold\n000,1\n", r"its line 2 lacks name or part; columns \['file', 'fold'\].*expected JSON"),
        ("a.xls", "", "ends in neither"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    pairs = [Pair(f"siteA/00{i}" if "siteB" in text else f"00{i}", None, ()) for i in range(3)]
    with pytest.raises(ValueError, match=message):
        hold_out(pairs, small(tmp_path, split=str(tmp_path / name)))


def test_a_checkpoint_knows_its_images_again_wherever_they_lie(polyp_folder, tmp_path):
    """By the record of its own run: another one in the same folder sets both aside together."""
    pairs, saved = find_pairs(polyp_folder / "TrainDataset"), tmp_path / "saved"
    saved.mkdir()
    elsewhere = shutil.copytree(polyp_folder / "TrainDataset" / "image", tmp_path / "photos")
    photos = {f"photo {path.stem}": path for path in sorted(elsewhere.iterdir())}
    for chosen in (pairs[:3], pairs[3:]):
        for name in ("model-1", "model-2", "model-best"):
            (saved / name).touch()
        write_split(saved / "split.json", Parts(chosen[:2], chosen[2:], []))
        if chosen == pairs[:3]:
            earlier.set_aside(saved)
            assert not list(saved.glob("model-*")), "no checkpoint lies beside the record of another run"
    assert seen_by(saved / "model-1", photos) == ["photo 003", "photo 004", "photo 005"]
    assert seen_by(saved / "before-1" / "model-2", photos) == ["photo 000", "photo 001", "photo 002"]
    with pytest.raises(ValueError, match=r"model-1 was trained on 3 of the 6 images that are held out here, first 003"):
        require_unseen(saved / "model-1", pairs)
    (elsewhere / "003.png").write_bytes((elsewhere / "000.png").read_bytes()[:-1])
    assert "photo 003" not in seen_by(saved / "model-1", photos)


def test_files_that_differ_in_their_middle_have_other_fingerprints(tmp_path):
    """A slice of a volume, not compressed, is as large as its neighbour and black at its borders."""
    prints = set()
    for value in range(3):
        array = np.zeros((512, 512), np.uint8)
        array[200:300, 200:300] = value
        (tmp_path / "a").write_bytes(array.tobytes())
        prints.add(fingerprint(tmp_path / "a"))
    assert len(prints) == 3


def test_folds_are_trained_predicted_and_scored_as_mean_and_std(polyp_folder, capsys):
    common = {"folds": 3, "epoch": 1, "mapspath": str(polyp_folder / "maps")}
    seen = []
    for fold in (1, 2, 3):
        cfg = small(polyp_folder, **common, fold=fold)
        train.train(cfg)
        lists = read_split(polyp_folder / "saved" / f"fold-{fold}" / "split.json")
        assert sorted(lists["train"] + lists["test"]) == [pair.name for pair in find_pairs(cfg.datapath)]
        seen += lists["test"]
        flags = ["--datapath", cfg.datapath, "--mapspath", cfg.mapspath, "--folds", "3"]
        flags += ["--size", "64", "--backbone", "tiny"]
        snapshot = str(polyp_folder / "saved" / f"fold-{fold}" / "model-1")
        prediction_rgb.main([*flags, "--fold", str(fold), "--snapshot", snapshot, "--workers", "0"])
        assert sorted(path.stem for path in (polyp_folder / "maps" / f"fold-{fold}").glob("*.png")) == lists["test"]
        with pytest.raises(ValueError, match=r"was trained on 2 of the 2 images that are held out here.*another fold"):
            prediction_rgb.main([*flags, "--fold", str(fold % 3 + 1), "--snapshot", snapshot, "--workers", "0"])
    assert sorted(seen) == [f"00{i}" for i in range(6)]
    capsys.readouterr()
    test_score.main([*flags, "--out", str(polyp_folder / "scores")])
    said = capsys.readouterr().out
    assert "±" in said
    assert "NOT scored" not in said, "a fold is scored on its own images"
    assert "TrainDataset, 6 images, 3 runs, protocol official" in said
    with open(polyp_folder / "scores" / "scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    folds, run = polyp_folder / "maps", str(polyp_folder / "saved")
    maps = {path.relative_to(folds): path.read_bytes() for path in folds.glob("fold-*/*.png")}
    shutil.rmtree(folds)
    prediction_rgb.main([run, "--fold", "all", "--workers", "0"])
    assert {path.relative_to(folds): path.read_bytes() for path in folds.glob("fold-*/*.png")} == maps
    capsys.readouterr()
    test_score.main([run, "--fold", "all"])
    table = said[said.index("TrainDataset, 6 images") :].split("\n\n")[0]
    assert table in capsys.readouterr().out, "the record of the run says what the flags did"
    test_score.main([f"{run}/fold-2/config.json", "--fold", "2"])
    assert "TrainDataset fold 2, 2 images" in capsys.readouterr().out
    (polyp_folder / "saved" / "fold-3" / "model-1").unlink()
    prediction_rgb.main([run, "--fold", "all", "--workers", "0"])
    assert "no checkpoint of fold 3 of 3: what it holds out is NOT predicted" in capsys.readouterr().out
    test_score.main([*flags, "--pred", f"A={folds}", "--pred", f"B={folds}", "--confidence"])
    said = capsys.readouterr().out
    assert "NOT scored" not in said and "run 2:" not in said.split("95 %")[1], "folds are pooled"
    (folds / "fold-2").rename(folds / "elsewhere")
    with pytest.raises(SystemExit):
        test_score.main(flags)
    said = capsys.readouterr().out
    assert "no folder" in said and "TrainDataset, 4 images, ONLY 2 of 3 runs" in said


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ([f"clip{clip}/{frame}" for clip in range(5) for frame in range(4)], ""),
        ([f"volume-{v}_slice_{s}" for v in range(5) for s in range(4)], r"^(volume-\d+)_"),
    ],
)
def test_a_validation_split_keeps_clips_and_volumes_whole(names, pattern):
    pairs = [Pair(name, None, ()) for name in names]
    training, held = split_pairs(pairs, 0.4, 1, pattern)
    assert (len(training), len(held)) == (12, 8)
    of = [{group_of(pair.name, pattern) for pair in part} for part in (training, held)]
    assert not of[0] & of[1]
    with pytest.raises(ValueError, match=r"form 1 group\(s\)"):
        split_pairs(pairs[:4], 0.4, 1, pattern)
