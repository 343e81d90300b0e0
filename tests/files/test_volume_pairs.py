"""Pairs of volumes: the Decathlon, nnU-Net, BIDS and a folder per patient, by the rules that pictures pair by."""

import shutil

import numpy as np
import pytest

import files
from configs import Config, Labels
from files import decathlon, find_images, find_masks, find_pairs, read_classes, read_volume_class
from files.survey_volumes import look_at_volume
from report.arguments import sets_of
from tests.miniatures import brats, hippocampus, label_volume, scan, spine, volume


def names(root, **how) -> list[str]:
    return [pair.name for pair in find_pairs(root, volumes=True, **how)]


def test_a_task_of_the_decathlon_pairs_without_its_stray_files(tmp_path):
    task = hippocampus(tmp_path)
    expected = ["hippocampus_000", "hippocampus_001", "hippocampus_002"]
    assert names(task) == names(tmp_path) == expected
    assert list(find_images(task, volumes=True)) == [*expected, "hippocampus_100"], "what to predict is in imagesTs"
    assert list(find_images(task / "imagesTs", volumes=True)) == ["hippocampus_100"]
    assert list(find_masks(task, volumes=True)) == list(find_masks(task / "labelsTr", volumes=True)) == expected
    pair = find_pairs(task, volumes=True)[0]
    assert pair.files == (task / "imagesTr" / f"{pair.name}.nii.gz", task / "labelsTr" / f"{pair.name}.nii.gz")
    (task / "labelsTr" / "hippocampus_001.nii.gz").unlink()
    with pytest.raises(
        ValueError, match=r"1 without mask, .*_001\.nii\.gz: add .*labelsTr/hippocampus_001\.nii\.gz or"
    ):
        names(task)


def test_one_name_in_both_folders_of_images_is_refused(tmp_path):
    task = hippocampus(tmp_path)
    volume(task / "imagesTs" / "hippocampus_001.nii.gz", scan())
    with pytest.raises(ValueError, match=r"imagesTs and .*imagesTr share the name 'hippocampus_001'; give one of"):
        find_images(task, volumes=True)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            '{"labels": {"0": "b", "10": "x", "2": "y"}, "modality": {"0": "MR"}}',
            ((0, 2, 10), ("b", "y", "x"), ("MR",)),
        ),
        ('{"labels": {"b": 0, "x": 1}, "channel_names": {"1": "T2", "0": "ADC"}}', ((0, 1), ("b", "x"), ("ADC", "T2"))),
    ],
)
def test_the_classes_and_channels_of_a_task_are_read_as_either_version_writes_them(tmp_path, said, expected):
    (tmp_path / "Task").mkdir()
    (tmp_path / "Task" / "dataset.json").write_text(said)
    assert decathlon(tmp_path / "Task") == decathlon(tmp_path) == expected


@pytest.mark.parametrize("said", ["{", "{}", '{"labels": {"b": 0, "whole": [1, 2]}, "channel_names": {"0": "CT"}}'])
def test_a_description_that_cannot_be_used_is_named(tmp_path, said):
    assert decathlon(tmp_path) is None
    (tmp_path / "dataset.json").write_text(said)
    with pytest.raises(ValueError, match=r"dataset\.json cannot be read .*; expected labels .*or give label_values"):
        decathlon(tmp_path)


def nnunet(root, counts=(2, 2), labels=("case_1", "case_2")):
    for name, count in zip(labels, counts):
        for channel in range(count):
            volume(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz", scan(channel))
        volume(root / "labelsTr" / f"{name}.nii.gz", label_volume())
    return root


def test_numbered_channels_of_nnu_net_are_one_image(tmp_path):
    pairs = find_pairs(nnunet(tmp_path), volumes=True)
    assert [pair.name for pair in pairs] == ["case_1", "case_2"]
    assert [path.name for path in pairs[0].channels] == ["case_1_0000.nii.gz", "case_1_0001.nii.gz"]
    assert pairs[0].more == pairs[0].files[1:2] and len(pairs[0].files) == 3
    assert find_images(tmp_path / "imagesTr", volumes=True) == {pair.name: pair.channels for pair in pairs}


def test_a_test_set_of_nnu_net_pairs_where_there_is_no_training_set(tmp_path):
    nnunet(tmp_path)
    for folder in ("images", "labels"):
        (tmp_path / f"{folder}Ts").mkdir()
        for path in (tmp_path / f"{folder}Tr").glob("case_2*"):
            path.rename(tmp_path / f"{folder}Ts" / path.name)
    assert names(tmp_path) == ["case_1"], "what is tested on is never trained on"
    for folder in ("images", "labels"):
        shutil.rmtree(tmp_path / f"{folder}Tr")
    assert names(tmp_path) == ["case_2"]


def test_a_channel_that_others_have_is_missed_unless_the_image_is_left_out(tmp_path):
    with pytest.raises(ValueError, match=r"case_2 has one channel but case_1 has 2 channels \(0000, 0001\); every"):
        find_pairs(nnunet(tmp_path, counts=(2, 1)), volumes=True)
    assert names(tmp_path, include="case_1") == ["case_1"]


def test_four_digits_that_labels_have_too_are_no_channels(tmp_path):
    for number in ("0000", "0001"):
        volume(tmp_path / "imagesTr" / f"case_{number}.nii", scan())
        volume(tmp_path / "labelsTr" / f"case_{number}.nii", label_volume())
    assert names(tmp_path) == ["case_0000", "case_0001"]


def test_of_bids_one_kind_of_label_is_chosen_as_an_observer_is(tmp_path):
    spine(tmp_path / "data")
    with pytest.raises(ValueError, match="several kinds, .*: --observer lesion-manual or --observer seg-manual"):
        names(tmp_path / "data")
    for label in ("seg-manual", "lesion-manual"):
        for root in (tmp_path, tmp_path / "data"):
            pairs = find_pairs(root, observer=label, volumes=True)
            assert [pair.name for pair in pairs] == ["sub-01/anat/sub-01_T2w", "sub-02/anat/sub-02_T2w"]
            assert [path.name for path in pairs[0].masks] == [f"sub-01_T2w_{label}.nii.gz"]
        assert list(find_images(tmp_path, volumes=True)) == [pair.name for pair in pairs]
    assert len(find_masks(tmp_path / "data", volumes=True)) == 4
    volume(tmp_path / "data" / "sub-01" / "anat" / "sub-01_T1w.nii.gz", scan())
    with pytest.raises(
        ValueError, match=r"1 without mask, first .*sub-01_T1w\.nii\.gz: .* or leave it out by `include`"
    ):
        names(tmp_path, observer="seg-manual")
    assert len(names(tmp_path, observer="seg-manual", include="_T2w")) == 2


@pytest.mark.parametrize(
    "word", ["seg-manual", "gmseg-manual", "labels-disc-manual", "label-lesion_mask", "dseg", "seg"]
)
def test_labels_of_bids_find_their_image(tmp_path, word):
    assert len(find_pairs(spine(tmp_path, (word,)), volumes=True)) == 2


def test_an_observers_folder_may_hold_a_folder_per_subject(tmp_path):
    spine(tmp_path, ("seg-manual",))
    shutil.copytree(tmp_path / "derivatives" / "labels", tmp_path / "derivatives" / "rater2")
    for observer, folder in (("rater2", "rater2"), ("", "labels"), ("seg-manual", "labels")):
        pairs = find_pairs(tmp_path, observer=observer, volumes=True)
        assert {pair.masks[0].relative_to(tmp_path).parts[1] for pair in pairs} == {folder} and len(pairs) == 2


def test_sessions_of_a_subject_stay_together():
    groups = {files.group_of(f"sub-01/ses-{i}/anat/sub-01_ses-{i}_T1w") for i in (1, 2)}
    assert groups == {"sub-01"} and files.group_of("site/sub-2/anat/x") == "site/sub-2"


def test_a_folder_per_patient_is_one_image_of_several_channels(tmp_path):
    pairs = find_pairs(brats(tmp_path), volumes=True)
    assert [pair.name for pair in pairs] == ["BraTS20_001", "BraTS20_002"]
    first = [f"BraTS20_001_{word}.nii.gz" for word in ("flair", "t1", "t1ce", "t2", "seg")]
    assert [path.name for path in pairs[0].files] == first
    images = {pair.name: pair.channels for pair in pairs}
    assert find_images(tmp_path, volumes=True) == images
    assert find_masks(tmp_path, volumes=True) == {pair.name: pair.masks for pair in pairs}
    for pair in pairs:
        pair.masks[0].unlink()
    assert find_images(tmp_path, volumes=True) == images, "to predict, no labels are needed"
    (tmp_path / "BraTS20_002" / "BraTS20_002_t1.nii.gz").unlink()
    assert len(find_images(tmp_path, volumes=True)) == 7, "other files in each are no channels"


@pytest.mark.parametrize(
    ("image", "label"),
    [("imaging", "segmentation"), ("Flair_subtrMeanDivStd", "OTMultiClass"), ("image", "mask"), ("{}_ct", "{}_GT")],
)
def test_the_labels_in_a_patients_folder_are_told_by_their_name(tmp_path, image, label):
    for patient in ("p1", "p2"):
        volume(tmp_path / "set" / patient / f"{image.format(patient)}.nii.gz", scan())
        volume(tmp_path / "set" / patient / f"{label.format(patient)}.nii.gz", label_volume())
    pairs = find_pairs(tmp_path, volumes=True)
    assert [pair.name for pair in pairs] == ["set/p1", "set/p2"]
    assert [path.name for path in pairs[1].files] == [f"{word.format('p2')}.nii.gz" for word in (image, label)]


def test_a_patient_without_a_channel_or_a_label_is_named(tmp_path):
    brats(tmp_path)
    (tmp_path / "BraTS20_002" / "BraTS20_002_t1.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"BraTS20_002 has 3 channels \(flair, t1ce, t2\) but BraTS20_001 has 4 "):
        names(tmp_path)
    (tmp_path / "BraTS20_002" / "BraTS20_002_seg.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"1 without mask, first .*BraTS20_002_flair\.nii\.gz"):
        names(tmp_path)


def totalsegmentator(root, *patients):
    for patient in patients:
        volume(root / patient / "ct.nii.gz", scan())
        for i, organ in enumerate(("liver", "lung_upper_lobe_left", "spleen")):
            mask = np.zeros((12, 10, 8), np.uint8)
            mask[3 * i : 3 * i + 4] = 1  # a plane of each is the next one's too
            volume(root / patient / "segmentations" / f"{organ}.nii.gz", mask)
    return find_pairs(root, volumes=True)


def test_a_file_per_organ_is_read_by_the_names_of_classes(tmp_path):
    pairs = totalsegmentator(tmp_path / "set", "s0000", "s0001")
    assert [pair.name for pair in pairs] == ["s0000", "s0001"] and pairs[0].image.name == "ct.nii.gz"
    assert find_images(tmp_path / "set", volumes=True) == {pair.name: pair.channels for pair in pairs}
    assert find_masks(tmp_path / "set", volumes=True) == {pair.name: pair.masks for pair in pairs}
    assert sets_of(tmp_path / "set") == ({"set": tmp_path / "set"}, False)
    labels = Labels((0, 1, 7), ("background", "spleen", "liver"), 0)
    label, _ = read_classes(pairs[1].masks, labels)
    assert [*label[:, 0, 0]] == [7, 7, 7, 7, 0, 0, 1, 1, 1, 1, 0, 0]
    label, _ = read_classes(pairs[1].masks, Labels((0, 1, 2), ("background", "liver", "lung_upper_lobe_left"), 0))
    assert [*label[:, 0, 0]] == [1, 1, 1, 2, 2, 2, 2, 0, 0, 0, 0, 0]
    files.check_pairs(pairs, labels)
    plane, _ = read_volume_class(pairs[0].masks, labels, "liver")
    assert plane.sum() == 255 * 320
    assert look_at_volume(pairs[0], Labels((3,), ("liver",))).values == {0: 640, 3: 320}
    for given in (None, Labels()):
        with pytest.raises(ValueError, match=r"liver.nii.gz and lung_\w+.nii.gz belong to one image; .*class_names"):
            read_classes(pairs[0].masks, given)
    with pytest.raises(ValueError, match=r"segmentations has no heart\.nii\.gz; expected .* a file for each of"):
        read_classes(pairs[0].masks, Labels((0, 1), ("background", "heart"), 0))


def test_a_file_of_nnu_net_is_its_case_with_the_channels_beside_it(tmp_path):
    nnunet(tmp_path)
    folder = tmp_path / "imagesTr"
    for channel in range(2):
        path = folder / f"case_2_{channel:04d}.nii.gz"
        assert find_images(path, volumes=True) == {"case_2": tuple(sorted(folder.glob("case_2_*")))}
    (folder / "case_2_0001.nii.gz").unlink()
    assert find_images(folder / "case_2_0000.nii.gz", volumes=True) == {"case_2": (folder / "case_2_0000.nii.gz",)}


def test_loose_volumes_are_images_of_their_own(tmp_path):
    for folder, name in (("", "ct_1"), ("", "ct_2"), ("later", "1"), ("later", "2"), ("now", "1"), ("now", "2")):
        volume(tmp_path / folder / f"{name}.nii.gz", scan())
    assert list(find_images(tmp_path, volumes=True)) == ["ct_1", "ct_2", "later/1", "later/2", "now/1", "now/2"]
    for path in tmp_path.glob("ct_*"):
        path.unlink()
    assert len(find_images(tmp_path, volumes=True)) == 4, "numbers are no channels"
    one = tmp_path / "now" / "1.nii.gz"
    assert find_images(one, volumes=True) == {"1": (one,)}


def test_labels_beside_their_volumes_pair_by_name(tmp_path):
    for name in ("volume-0.nii", "volume-10.nii"):  # LiTS
        volume(tmp_path / name, scan())
        volume(tmp_path / name.replace("volume", "segmentation"), label_volume())
    assert names(tmp_path) == ["volume-0", "volume-10"]
    assert list(find_images(tmp_path, volumes=True)) == ["volume-0", "volume-10"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda root: (root / "a.nrrd").write_bytes(b"NRRD"),
            r"no NIfTI but 1 files such as a\.nrrd; convert them, so",
        ),
        (lambda root: (root / "7").write_bytes(bytes(128) + b"DICM"), "no NIfTI but 1 files such as 7; .* dcm2niix -z"),
        (
            lambda root: (root / "a.png").write_bytes(b""),
            r"pictures, such as a\.png, and no volume; expected \.nii\.gz",
        ),
        (lambda root: (root / "a.txt").write_bytes(b""), r"no volume; expected files ending in \.nii\.gz, \.nii"),
    ],
)
def test_a_folder_without_nifti_says_what_it_has(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(ValueError, match=message):
        find_images(tmp_path, volumes=True)


def test_other_formats_beside_nifti_are_left_aside_in_words(tmp_path):
    task = hippocampus(tmp_path, count=1)
    (task / "imagesTr" / "b.nrrd").write_bytes(b"NRRD")
    with pytest.warns(UserWarning, match=r"1 files of .*imagesTr are left aside, first b\.nrrd: .*; .*SimpleITK"):
        assert names(task) == ["hippocampus_000"]


def test_three_sides_ask_for_volumes(tmp_path, monkeypatch):
    task = hippocampus(tmp_path, count=1)
    cfg = Config(datapath=str(task))
    monkeypatch.setattr(Config, "sides", (8, 8, 8))
    assert [pair.name for pair in files.pairs_of(cfg)] == ["hippocampus_000"]
    assert files.are_volumes(task)


def test_lists_of_names_may_keep_the_ending_of_volumes(tmp_path):
    (tmp_path / "list.txt").write_text("hippocampus_001.nii.gz\nimagesTr/a.b.nii\nx.y.png\n")
    assert files.read_split(tmp_path / "list.txt") == {"train": ["hippocampus_001", "imagesTr/a.b", "x.y"]}
