"""Volumes: read as they lie, whatever their header says of types, order and scale; written back onto their grid."""

import gzip

import nibabel
import numpy as np
import pytest

from files import Grid, read_grid, read_label_volume, read_volume, require_same_grid, write_volume
from tests.helpers import memory_of
from tests.miniatures import LPS, OBLIQUE, RAS, label_volume, scan, volume


def scaled(array: np.ndarray, slope: float, inter: float) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(array, RAS)
    image.header.set_slope_inter(slope, inter)
    return image


@pytest.mark.parametrize("affine", [RAS, LPS, OBLIQUE], ids=["RAS", "LPS", "oblique"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_map_lies_over_its_image_in_the_world_of_nibabel(tmp_path, affine, ending):
    source = volume(tmp_path / f"image{ending}", scan(), affine)
    image, grid = read_volume([source])
    assert image.shape == (1, 12, 10, 8) and image.dtype == np.float32
    np.testing.assert_array_equal(image[0], scan())
    for written in (label_volume(values=(1, 2)), label_volume(values=(1, 300), dtype=np.int64), image[0] / 1000):
        write_volume(tmp_path / f"map{ending}", written, grid)
        back = nibabel.load(tmp_path / f"map{ending}")
        expected = np.float32 if written.dtype == np.float32 else np.uint16 if written.max() > 255 else np.uint8
        assert back.get_data_dtype() == expected
        np.testing.assert_array_equal(np.asarray(back.dataobj), written)
        for other in (back.affine, back.get_qform(), back.get_sform()):
            np.testing.assert_allclose(other, nibabel.load(source).affine, atol=1e-4)
        require_same_grid("map", read_grid(tmp_path / f"map{ending}"), "image", grid)


def test_the_code_of_the_world_is_kept_and_a_sheared_grid_has_no_quaternion(tmp_path):
    image = nibabel.Nifti1Image(scan(), OBLIQUE)
    image.set_sform(OBLIQUE, 4)
    image.to_filename(tmp_path / "mni.nii.gz")
    sheared = RAS.copy()
    sheared[0, 1] = 0.5
    volume(tmp_path / "sheared.nii.gz", scan(), sheared)
    for name, codes in (("mni", (4, 4)), ("sheared", (0, 2))):
        grid = read_grid(tmp_path / f"{name}.nii.gz")
        write_volume(tmp_path / "map.nii.gz", label_volume(), grid)
        back = nibabel.load(tmp_path / "map.nii.gz")
        assert (int(back.header["qform_code"]), int(back.header["sform_code"])) == codes
        np.testing.assert_allclose(back.affine, grid.affine, atol=1e-5)


def test_a_grid_says_its_spacing_and_where_its_axes_lead(tmp_path):
    grid = read_grid(volume(tmp_path / "a.nii", scan(), LPS))
    assert grid.spacing == pytest.approx((0.8, 0.8, 5))
    assert (grid.orientation, str(grid)) == ("LPS", "12x10x8 voxels of 0.8x0.8x5 mm, LPS")


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", ">f4", "<f8", "<i4", "u1"])
def test_every_type_and_order_of_bytes_is_the_same_image(tmp_path, dtype):
    header = nibabel.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    path = tmp_path / "a.nii.gz"
    nibabel.Nifti1Image((scan() % 200).astype(dtype), RAS, header, dtype=np.dtype(dtype)).to_filename(path)
    np.testing.assert_array_equal(read_volume([path])[0][0], scan() % 200)
    np.testing.assert_array_equal(read_label_volume(path)[0], scan() % 200)


def test_the_scale_in_the_header_is_applied(tmp_path):
    scaled(scan(), 0.5, -1024).to_filename(tmp_path / "ct.nii.gz")
    np.testing.assert_allclose(read_volume([tmp_path / "ct.nii.gz"])[0][0], scan() * 0.5 - 1024)
    scaled(label_volume(values=(255,)), 1 / 255, 0).to_filename(tmp_path / "label.nii.gz")
    assert set(np.unique(read_label_volume(tmp_path / "label.nii.gz")[0])) == {0, 1}


def test_what_is_packed_is_told_by_its_bytes_and_not_by_its_name(tmp_path):
    plain, packed = volume(tmp_path / "a.nii", scan()), volume(tmp_path / "b.nii.gz", scan())
    plain.rename(tmp_path / "b.NII.GZ")
    packed.rename(tmp_path / "a.nii")
    for name in ("b.NII.GZ", "a.nii"):
        np.testing.assert_array_equal(read_volume([tmp_path / name])[0][0], scan())


def test_nifti_2_is_read(tmp_path):
    path = volume(tmp_path / "a.nii.gz", scan(), OBLIQUE, nibabel.Nifti2Image)
    np.testing.assert_array_equal(read_volume([path])[0][0], scan())


def test_four_channels_are_first_whether_in_one_file_or_in_four(tmp_path):
    channels = np.stack([scan(i) for i in range(4)])
    together = volume(tmp_path / "x.nii.gz", np.moveaxis(channels, 0, 3), LPS)
    apart = [volume(tmp_path / f"x_{i:04d}.nii.gz", channel, LPS) for i, channel in enumerate(channels)]
    for paths in ([together], apart):
        image, grid = read_volume(paths)
        np.testing.assert_array_equal(image, channels)
        assert (grid.shape, image.dtype) == ((12, 10, 8), np.float32)
    one = volume(tmp_path / "one.nii.gz", scan()[..., None, None])
    assert read_volume([one])[0].shape == (1, 12, 10, 8), "further axes of one are none"
    with pytest.raises(ValueError, match=r"x\.nii\.gz holds 4 channels and is itself one of the files"):
        read_volume([apart[0], together])
    moved = volume(tmp_path / "moved.nii.gz", scan(), OBLIQUE)
    with pytest.raises(ValueError, match=r"moved\.nii\.gz is 12x10x8 .* but .*x_0000\.nii\.gz is .* mm, LPS and lies"):
        read_volume([apart[0], moved])


def test_labels_of_brats_are_floats_and_keep_their_values(tmp_path):
    label, _ = read_label_volume(volume(tmp_path / "a.nii.gz", label_volume(values=(1, 4), dtype=np.float32)))
    assert (label.dtype, set(np.unique(label))) == (np.uint8, {0, 1, 4})
    label, _ = read_label_volume(volume(tmp_path / "b.nii.gz", label_volume(values=(1, 300), dtype=np.float64)))
    assert (label.dtype, label.max()) == (np.uint16, 300)


def with_values(*values: float) -> np.ndarray:
    array = label_volume(dtype=np.float32)
    array.ravel()[: len(values)] = values
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (with_values(0.31), r"holds 0\.31 and 0 more values that are no whole numbers; expected label values: cut"),
        (with_values(-1), r"holds values -1 to 2; expected label values 0\.\.65535"),
        (with_values(np.nan), r"holds 1 of 960 voxels that are NaN or infinite"),
        (np.stack([label_volume()] * 3, 3), r"is 12x10x8x3, labels in 3 channels; expected one volume"),
    ],
)
def test_what_is_no_label_volume_is_refused_in_words(tmp_path, array, message):
    path = volume(tmp_path / "a.nii.gz", array)
    with pytest.raises(ValueError, match=rf"a\.nii\.gz {message}"):
        read_label_volume(path)


def affine_of(rows: np.ndarray):
    """A file with these rows (3, 4) for its sform."""

    def make(path):
        data = bytearray(nibabel.Nifti1Image(scan(), RAS).to_bytes())
        data[280:328] = rows.astype("<f4").tobytes()
        path.write_bytes(data)

    return make


def cut(size: int, pack=bytes):
    return lambda path: path.write_bytes(pack(nibabel.Nifti1Image(scan(), RAS).to_bytes())[:size])


def coded(path):
    data = bytearray(nibabel.Nifti1Image(scan(), LPS).to_bytes())
    data[254] = 9
    path.write_bytes(data)


def in_unit(path):
    image = nibabel.Nifti1Image(scan(), RAS)
    image.header.set_xyzt_units("micron")
    path.write_bytes(image.to_bytes())


def claim(path):
    data = bytearray(nibabel.Nifti1Image(scan(), RAS).to_bytes())
    data[42:48] = (30000).to_bytes(2, "little") * 3
    path.write_bytes(gzip.compress(data))


RGB = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
FLAT = np.diag([1.0, 0, 1, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), r"cannot be decoded \(it is empty\)"),
        (lambda path: path.write_bytes(b"no volume at all" * 99), r"cannot be decoded \(no NIfTI; expected \.nii or"),
        (cut(900, gzip.compress), r"cannot be decoded \(Compressed file ended"),
        (cut(-9), r"decoded \(it ends after 1911 of 1920 bytes of vox"),
        (lambda path: volume(path, scan()[0]), r"is 10x8, no volume; expected X x Y x Z voxels"),
        (lambda path: volume(path, np.zeros((4, 4, 4, 2, 3), np.int16)), r"has 5 axes, 4x4x4x2x3; expected"),
        (lambda path: volume(path, with_values(np.nan, np.inf)), "holds 2 of 960 voxels that are NaN or infinite; nob"),
        (lambda path: volume(path, RGB), r"holds .*'R'.* values; expected one number a voxel"),
        (affine_of(np.zeros((3, 4))), r"has an affine that is no grid, \[\[0\.0, .*copy that of its image"),
        (affine_of(FLAT[:3]), r"has an affine that is no grid"),
        (affine_of(np.full((3, 4), np.nan)), r"has an affine that is no grid"),
        (coded, r"cannot be decoded \(its header has sform_code 9; expected 0 to 5\)"),
        (lambda path: volume(path, with_values(1).astype(float) * 1e300), "97 of 960 voxels that are NaN or infinite"),
        (in_unit, r"measures its grid in microns; expected mm"),
        (claim, r"is 30000x30000x30000 voxels; expected at most 2147483648"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_what_is_no_volume_is_one_line_that_names_it(tmp_path, make, message, ending):
    path = tmp_path / f"a{ending}"
    with np.errstate(all="ignore"):
        make(path)
    with pytest.raises(ValueError, match=message) as caught:
        read_volume([path])
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_flipped_bit_in_a_packed_file_is_seen(tmp_path):
    path = volume(tmp_path / "a.nii.gz", np.zeros((40, 40, 40), np.uint8))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the checksum: the voxels themselves come out without a complaint
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.nii\.gz cannot be decoded \(CRC check failed"):
        read_volume([path])


@pytest.mark.parametrize(
    ("name", "content", "command"),
    [
        ("a.nrrd", b"NRRD0004", "SimpleITK"),
        ("a.mha", b"ObjectType", "SimpleITK"),
        ("I.dcm", b"", "dcm2niix -z y -o OUT"),
        ("IM-0001-0001", bytes(128) + b"DICM", "dcm2niix -z y -o OUT"),
        ("1.2.840.113619.2", bytes(128) + b"DICM", "dcm2niix -z y -o OUT"),
    ],
)
def test_other_formats_are_refused_with_the_command_that_converts_them(tmp_path, name, content, command):
    (tmp_path / name).write_bytes(content)
    for read in (lambda path: read_volume([path]), read_label_volume):
        with pytest.raises(ValueError, match=f"{name} is no NIfTI; convert it: .*{command}"):
            read(tmp_path / name)


def test_grids_that_differ_are_refused_naming_both_and_rounding_is_not(tmp_path):
    grid = Grid((122, 101, 30), LPS)
    require_same_grid("a", grid, "b", grid._replace(affine=LPS + 1e-6))
    with pytest.raises(ValueError, match=r"a is 122x101x30 .*, but b is 122x101x112 .*; they must be one grid: is it"):
        require_same_grid("a", grid, "b", grid._replace(shape=(122, 101, 112)))
    for change, apart in ((np.diag([-1, 1, 1, 1.0]), r"193.* mm"), (np.diag([1, 1.01, 1, 1]), r"0\.8 mm")):
        with pytest.raises(ValueError, match=rf"a is .* but b is .* lies up to {apart} beside it"):
            require_same_grid("a", grid, "b", grid._replace(affine=LPS @ change))


@pytest.mark.parametrize("name", ["a.png", "a.nii.gz"])
def test_a_map_of_another_grid_or_with_another_ending_is_not_written(tmp_path, name):
    with pytest.raises(ValueError, match=r"12x10x8 values for a grid of 12x10x.; expected \.nii"):
        write_volume(tmp_path / name, label_volume(), Grid((12, 10, 8 if name == "a.png" else 9), RAS))
    assert not (tmp_path / name).exists()


def test_equal_maps_are_equal_files(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, label_volume(), Grid((12, 10, 8), RAS))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("kind", [np.float32, np.int16])
def test_a_volume_is_in_memory_once(tmp_path, kind):
    """As float32; of a file that has it packed, or of another type, nothing else of its size is held."""
    path = volume(tmp_path / "a.nii.gz", np.zeros((96, 96, 96), kind))
    assert memory_of(lambda: read_volume([path])) < 1.5 * 4 * 96**3
