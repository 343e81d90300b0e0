"""Data sets and pictures in miniature, with the layouts and traps of the public ones."""

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image


def blob(left: int, shape=(70, 80), value=255, dtype=np.uint8) -> np.ndarray:
    """A mask with one lesion of ten by ten pixels."""
    mask = np.zeros(shape, dtype)
    mask[10:20, left : left + 10] = value
    return mask


IMAGE = np.full((70, 80, 3), 90, np.uint8)


def chase(root, write_png) -> None:
    """CHASE_DB1: masks of two observers beside each image."""
    for eye in ("Image_01L", "Image_01R"):
        write_png(root / f"{eye}.jpg", IMAGE)
        for left, observer in ((0, "1stHO"), (30, "2ndHO")):
            write_png(root / f"{eye}_{observer}.png", blob(left))


def pair_at(write_png, root, name, images="images", masks="masks", mask=None):
    """One image and its mask; None for a folder leaves that half out."""
    if images:
        write_png(root / images / f"{name}.png", IMAGE)
    if masks:
        write_png(root / masks / f"{name}.png", blob(0) if mask is None else mask)


def picture(path: Path, number: int, mode: str = "RGB") -> None:
    array = np.random.default_rng(number).integers(0, 255, (66, 88, 3), np.uint8)
    save(path, Image.fromarray(array).convert(mode))


def mask(path: Path, left: int = 20) -> None:
    array = np.zeros((66, 88), np.uint8)
    array[20:40, left : left + 20] = 255
    save(path, Image.fromarray(array))


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def video_polyp(data: Path) -> None:
    for part, clip in (("CVC-300", "1"), ("CVC-612", "4"), ("Kvasir", "9")):
        picture(data / f"VPS-TrainSet/{part}/Train/{clip}/Frame/f1.jpg", 1)
        mask(data / f"VPS-TrainSet/{part}/Train/{clip}/GT/f1.png")
    for name in ("CVC-ColonDB-300", "CVC-ClinicDB-612-Valid", "CVC-ClinicDB-612-Test"):
        for clip in ("2", "3"):
            picture(data / f"VPS-TestSet/{name}/Frame/{clip}/f1.png", 2)
            mask(data / f"VPS-TestSet/{name}/GT/{clip}/f1.png")


def covid(data: Path) -> None:
    for root, names in (
        ("TrainingSet/LungInfection-Train/Doctor-label", "ab"),
        ("TestingSet/LungInfection-Test", "cd"),
    ):
        for i, name in enumerate(names):
            picture(data / "COVID-19" / root / "Imgs" / f"{name}.jpg", i, "L")
            mask(data / "COVID-19" / root / "GT" / f"{name}.png")


def covid_by_volume(data: Path) -> None:
    for root in ("TrainingSet/LungInfection-Train/Doctor-label", "TestingSet/LungInfection-Test"):
        for volume in "abc" if "Train" in root else "bcde":
            name = f"volume_{volume}_{'01' if 'Train' in root else '02'}"
            picture(data / "COVID-19" / root / "Imgs" / f"{name}.jpg", 1, "L")
            mask(data / "COVID-19" / root / "GT" / f"{name}.png")


def oct_goals(data: Path) -> None:
    for i in range(1, 6):
        picture(data / f"GOALS/Train/Image/{i:04d}.png", i)
        labels = np.full((66, 88), 255, np.uint8)
        for value, top in ((0, 10), (80, 22), (160, 40)):
            labels[top + i : top + i + 10] = value
        save(data / f"GOALS/Train/Layer_Masks/{i:04d}.png", Image.fromarray(labels))
        picture(data / f"GOALS/Train/Layer_show/{i:04d}.png", i)


def breast_busi(data: Path) -> None:
    for kind in ("benign", "malignant", "normal"):
        for i in range(1, 5):
            stem = data / "Dataset_BUSI_with_GT" / kind / f"{kind} ({i})"
            picture(stem.with_suffix(".png"), i)
            mask(stem.with_name(f"{stem.name}_mask.png"))
    mask(data / "Dataset_BUSI_with_GT/benign/benign (2)_mask_1.png", 60)


def skin_isic2018(data: Path) -> None:
    for part, word in (("train", "Training"), ("test", "Test")):
        for i in range(2):
            picture(data / f"ISIC2018/{part}/ISIC2018_Task1-2_{word}_Input/ISIC_000000{i}.jpg", i)
            mask(data / f"ISIC2018/{part}/ISIC2018_Task1_{word}_GroundTruth/ISIC_000000{i}_segmentation.png")


def nuclei_dsb2018(data: Path) -> None:
    for i in range(5):
        picture(data / f"stage1_train/id{i}/images/id{i}.png", i, "RGBA")
        for part in range(3):
            mask(data / f"stage1_train/id{i}/masks/m{part}.png", 20 * part)


def vessel_drive(data: Path) -> None:
    for part, first in (("training", 21), ("test", 1)):
        for i in range(first, first + 2):
            picture(data / f"DRIVE/{part}/images/{i:02d}_{part}.tif", i)
            mask(data / f"DRIVE/{part}/1st_manual/{i:02d}_manual1.gif")
            save(data / f"DRIVE/{part}/mask/{i:02d}_{part}_mask.gif", Image.new("L", (88, 66), 255))


# ---- volumes: X x Y x Z voxels

RAS = np.diag([1.0, 1, 1, 1])
LPS = np.array([[-0.8, 0, 0, 90], [0, -0.8, 0, 120], [0, 0, 5, -30], [0, 0, 0, 1.0]])  # a CT of thick slices
OBLIQUE = np.array([[0.72, -0.576, 0.336, -40], [0.54, 0.768, -0.448, 10], [0, 0.28, 1.92, 7], [0, 0, 0, 1.0]])


def volume(path: Path, array: np.ndarray, affine: np.ndarray = RAS, kind: type = nibabel.Nifti1Image) -> Path:
    """A NIfTI file of an array in its own type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind(array, affine).to_filename(path)
    return path


def scan(number: int = 0, shape=(12, 10, 8), scale: float = 1000) -> np.ndarray:
    """An image of one channel, int16."""
    return np.random.default_rng(number).integers(0, int(scale), shape).astype(np.int16)


def label_volume(shape=(12, 10, 8), values=(1, 2), dtype=np.uint8) -> np.ndarray:
    """Of each value a box; the boxes lie along the first axis."""
    array = np.zeros(shape, dtype)
    for i, value in enumerate(values):
        array[2 + 4 * i : 5 + 4 * i, 3:7, 2:6] = value
    return array


def hippocampus(root: Path, count: int = 3) -> Path:
    """A task of the Decathlon: labels in float, stray files of a Mac, an intensity scale for each volume."""
    task = root / "Task04_Hippocampus"
    for i in range(count):
        name = f"hippocampus_{i:03d}.nii.gz"
        volume(task / "imagesTr" / name, scan(i, scale=100 * 10**i).astype(np.float32))
        volume(task / "labelsTr" / name, label_volume(dtype=np.float32))
        for folder in ("imagesTr", "labelsTr"):
            (task / folder / f"._{name}").write_bytes(b"\0\5\26\7")
    volume(task / "imagesTs" / "hippocampus_100.nii.gz", scan(9))
    (task / "dataset.json").write_text(
        '{"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior", "2": "Posterior"}}'
    )
    return task


def brats(root: Path, patients=("BraTS20_001", "BraTS20_002"), channels=("flair", "t1", "t1ce", "t2")) -> Path:
    """A folder per patient, a file per channel, labels 0, 1, 2 and 4 in float."""
    for patient in patients:
        for i, channel in enumerate(channels):
            volume(root / patient / f"{patient}_{channel}.nii.gz", scan(i), LPS)
        volume(root / patient / f"{patient}_seg.nii.gz", label_volume(values=(1, 4), dtype=np.float32), LPS)
    return root


def spine(root: Path, labels=("seg-manual", "lesion-manual")) -> Path:
    """BIDS: a subject's image, and labels of several kinds under derivatives/."""
    for subject in ("sub-01", "sub-02"):
        volume(root / subject / "anat" / f"{subject}_T2w.nii.gz", scan(), OBLIQUE)
        for label in labels:
            place = root / "derivatives" / "labels" / subject / "anat"
            volume(place / f"{subject}_T2w_{label}.nii.gz", label_volume(values=(1,)), OBLIQUE)
    (root / "dataset_description.json").write_text("{}")
    return root
