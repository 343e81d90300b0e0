"""Volumes in test_score.py: classes of label volumes, the spacing of their gts, and maps that lie elsewhere."""

import re
from contextlib import nullcontext

import numpy as np
import pytest

import test_score
from configs import Labels
from files import Grid, read_grid, read_volume_class, write_volume
from report import cases, scoring
from report.arguments import sets_of
from report.workers import here
from tests.miniatures import LPS, OBLIQUE, RAS, brats, hippocampus, label_volume, spine, volume

THREE = ("--classes", 3, "--label_values", "0,1,2", "--class_names", "background,front,back")

TWO = ("--classes", 2, "--label_values", "0,1")


def run(capsys, *arguments) -> str:
    test_score.main([*map(str, arguments), "--processes", "1"])
    return capsys.readouterr().out


def refused(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as done:
        test_score.main([*map(str, arguments), "--processes", "1"])
    return f"{capsys.readouterr().out}{done.value}"


def shifted(root, out, by=1, change=lambda label: label):
    """Maps that are the labels, `by` voxels along the first axis."""
    for path in root.glob("labelsTr/h*"):
        write_volume(_made(out) / path.name, change(np.roll(label_volume(), by, 0)), read_grid(path))
    return out


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def dice(table: str) -> list[float]:
    """The last column of every table."""
    return [float(line.split()[-1]) for line in table.splitlines() if line.startswith("maps ")]


def test_each_class_of_a_label_volume_has_a_table_and_then_their_mean(tmp_path, capsys):
    task = hippocampus(tmp_path)
    maps = shifted(task, tmp_path / "maps")
    out = run(capsys, "--gt", task / "labelsTr", "--pred", maps, "--protocol", "binary", *THREE)
    pred, gt = np.roll(label_volume(), 1, 0), label_volume()
    expected = [2 * ((pred == i) & (gt == i)).sum() / ((pred == i).sum() + (gt == i).sum()) for i in range(3)]
    assert dice(out) == pytest.approx([*expected, np.mean(expected[1:])], abs=1e-4)
    assert "Task04_Hippocampus front, 3 images" in out and "mean of front, back" in out


@pytest.mark.parametrize(("affine", "expected"), [(LPS, ["0.8000", "1.0000"]), (RAS, ["1.0000", "0.5323"])])
def test_distances_are_in_mm_of_the_gts_voxels(tmp_path, capsys, affine, expected):
    """A box one voxel beside its gt: 0.8 mm, within the tolerance; or 1 mm, where 132 of 248 voxels coincide."""
    label = np.zeros((30, 10, 8), np.uint8)
    label[5:25, 3:7, 2:6] = 1
    volume(tmp_path / "gt" / "a.nii.gz", label, affine)
    volume(tmp_path / "maps" / "a.nii.gz", np.roll(label, 1, 1), affine)
    arguments = ("--gt", tmp_path / "gt", "--pred", tmp_path / "maps", "--protocol", "volume", "--tolerance", 0.9)
    out = run(capsys, *arguments, "--columns", "HD95,NSD")
    assert [line.split()[1:] for line in out.splitlines() if line.startswith("maps ")] == [expected]
    assert "gt, 1 images, protocol volume" in out


def test_a_label_volume_of_three_classes_is_scored_by_protocol_volume_without_a_word(tmp_path, capsys):
    task = hippocampus(tmp_path)
    maps = shifted(task, tmp_path / "maps")
    out = run(capsys, "--gt", task / "labelsTr", "--pred", maps, "--protocol", "volume", *THREE)
    assert "mean of front, back, protocol volume" in out and "note" not in out
    assert out.count("lesion_sen") == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda label: (label > 0) * np.float32(0.501),
        lambda label: np.where(label > 0, 0.9, 0.499),
        lambda label: label > 0,
        lambda label: (label > 0) * 4,
    ],
)
def test_maps_of_one_class_are_probabilities_cut_at_half_or_masks_of_any_value(tmp_path, capsys, change):
    task = hippocampus(tmp_path)
    for path in task.glob("labelsTr/h*"):
        volume(path, (label_volume() > 0).astype(np.float32))
    maps = shifted(task, tmp_path / "maps", 1, change)
    out = run(capsys, "--gt", task, "--pred", maps, "--protocol", "binary")
    pred, gt = np.roll(label_volume(), 1, 0) > 0, label_volume() > 0
    assert dice(out) == pytest.approx([2 * (pred & gt).sum() / (pred.sum() + gt.sum())], abs=1e-4)


def test_maps_of_a_folder_per_class_are_scored_as_label_volumes_are(tmp_path, capsys):
    task = hippocampus(tmp_path)
    for value, name in enumerate(("background", "front", "back")):
        of_class = lambda label, value=value: np.where(label == value, 0.8, 0.2)  # noqa: E731
        shifted(task, tmp_path / "maps" / name, 1, of_class)
    shifted(task, tmp_path / "labels")
    both = [
        run(capsys, "--gt", task, "--pred", f"maps={tmp_path / folder}", "--protocol", "binary", *THREE)
        for folder in ("maps", "labels")
    ]
    assert len(dice(both[0])) == 4 and dice(both[0]) == dice(both[1])


def test_the_spacing_of_a_case_is_its_gts(tmp_path):
    for name, affine in (("a", LPS), ("b", RAS)):
        for folder in ("gt", "maps"):
            volume(tmp_path / folder / f"{name}.nii.gz", label_volume(values=(1,)), affine)
    job = cases.Job("set", "method", gt=tmp_path / "gt", maps=tmp_path / "maps")
    cases.pair(job)
    assert [case.spacing for case in job.files] == [pytest.approx((0.8, 0.8, 5)), (1, 1, 1)]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (Grid((12, 10, 8), OBLIQUE), r"\S*maps/hippocampus_001\.nii\.gz is 12x10x8 .* but \S*labelsTr/.*_001\.nii\.gz"),
        (Grid((12, 10, 9), RAS), r"_001\.nii\.gz is 12x10x9 .*_001\.nii\.gz is 12x10x8 .* must be one grid"),
    ],
)
def test_a_map_on_another_grid_is_an_error_naming_both_and_other_methods_are_scored(tmp_path, capsys, grid, words):
    task = hippocampus(tmp_path)
    maps, good = shifted(task, tmp_path / "maps"), shifted(task, tmp_path / "good")
    write_volume(maps / "hippocampus_001.nii.gz", np.zeros(grid.shape, np.uint8), grid)
    both = ("--pred", maps, "--pred", good, "--protocol", "binary")
    out = refused(capsys, "--gt", task, *both, "--classes", 3, "--label_values", "0,1,2")
    errors = [line for line in out.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3, "one for each class"
    assert re.search(words, errors[0])
    assert "good " in out


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ("protocol official scores pictures; of volumes give --protocol volume or binary", THREE),
        (r"holds 0,1,2; expected 0 and one other value. Several classes? Give label_values", ("--protocol", "binary")),
        ("holds 2 (48 voxels), not among label_values 0, 1", ("--protocol", "binary", *TWO)),
    ],
)
def test_what_cannot_be_scored_is_refused_in_words(tmp_path, capsys, words, flags):
    task = hippocampus(tmp_path, count=1)
    maps = shifted(task, tmp_path / "maps", 0, lambda label: (label > 0).astype(np.uint8))
    assert words in refused(capsys, "--gt", task, "--pred", maps, *flags)


def test_maps_that_are_pictures_are_no_maps_of_volumes(tmp_path, capsys, write_png):
    task = hippocampus(tmp_path, count=1)
    write_png(tmp_path / "maps" / "hippocampus_000.png", np.zeros((9, 9), np.uint8))
    out = refused(capsys, "--gt", task, "--pred", tmp_path / "maps", "--protocol", "binary", *THREE)
    assert "holds pictures, such as hippocampus_000.png, and no volume" in out


def test_patients_and_subjects_are_one_set(tmp_path):
    for folder in (brats(tmp_path / "brats"), (bids := spine(tmp_path / "bids")), bids / "derivatives" / "labels"):
        assert sets_of(folder) == ({folder.name: folder}, False)
    task = hippocampus(tmp_path / "tasks", count=1)
    assert sets_of(task) == sets_of(task.parent / task.name) == ({task.name: task}, False)
    assert sets_of(task.parent) == ({task.name: task}, True), "a folder of test sets"


def test_a_patients_map_is_scored_against_the_labels_in_the_patients_folder(tmp_path, capsys):
    gt = brats(tmp_path / "gt")
    for patient in ("BraTS20_001", "BraTS20_002"):
        volume(tmp_path / "maps" / f"{patient}.nii.gz", label_volume(values=(1, 4)), LPS)
    spine(tmp_path / "bids")
    for subject in ("sub-01", "sub-02"):
        volume(tmp_path / "spine" / subject / "anat" / f"{subject}_T2w.nii.gz", label_volume(values=(1,)), OBLIQUE)
    four = ("--classes", 3, "--label_values", "0,1,4", "--protocol", "binary")
    assert dice(run(capsys, "--gt", gt, "--pred", tmp_path / "maps", *four)) == [1, 1, 1, 1]
    observed = ("--observer", "seg-manual", "--protocol", "binary")
    for root in (tmp_path / "bids", tmp_path / "bids" / "derivatives" / "labels"):
        out = run(capsys, "--gt", root, "--pred", f"maps={tmp_path / 'spine'}", *observed)
        assert dice(out) == [1] and "2 images" in out


def test_a_field_of_view_of_a_volume_is_what_counts(tmp_path, capsys):
    for name in "ab":
        volume(tmp_path / "set" / "images" / f"{name}.nii.gz", label_volume())
        volume(tmp_path / "set" / "labels" / f"{name}.nii.gz", label_volume(values=(1, 1)))
        field = np.zeros((12, 10, 8), np.uint8)
        field[:6] = 1
        volume(tmp_path / "set" / "brain" / f"{name}.nii.gz", field)
        volume(tmp_path / "maps" / f"{name}.nii.gz", label_volume(values=(1,)))
    arguments = ("--gt", tmp_path / "set", "--pred", tmp_path / "maps", "--protocol", "binary")
    assert dice(run(capsys, *arguments)) == [pytest.approx(2 / 3, abs=1e-4)]
    assert dice(run(capsys, *arguments, "--field_of_view", "brain")) == [1]


def test_labels_of_three_classes_are_read_by_their_names(tmp_path):
    labels = Labels((0, 1, 2), ("b", "x", "y"))
    path = volume(tmp_path / "a.nii.gz", label_volume(), LPS)
    plane, grid = read_volume_class([path], labels, "y")
    assert grid.spacing[2] == 5
    np.testing.assert_array_equal(plane, 255 * (label_volume() == 2))
    with pytest.raises(ValueError, match=r"has no x\.nii\.gz; expected one label volume, or a file"):
        read_volume_class([path, path.with_name("b.nii.gz")], labels, "y")


def test_a_volume_takes_as_long_as_sixteen_pictures(monkeypatch):
    asked = []
    monkeypatch.setattr(scoring, "workers_for", lambda *what: asked.append(what) or (1, nullcontext(here)))
    monkeypatch.setattr(scoring, "score_files", lambda files, how: (how.blank(), {}))
    for ending in (".png", ".nii.gz"):
        job = cases.Job("set", "method", files=[cases.Case(f"map{ending}", (f"gt{ending}",))] * 20)
        scoring.score([job], "volume", "exclude", 8)
    assert asked == [(20, 8, False), (320, 8, True)]
