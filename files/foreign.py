"""What volumes come in besides NIfTI, and the command line that makes NIfTI of it."""

import shlex
from pathlib import Path

SIMPLE_ITK = (
    'pip install SimpleITK, then python -c "import SimpleITK as s; '
    "s.WriteImage(s.ReadImage('{path}'), '{stem}.nii.gz')\""
)
DCM2NIIX = "dcm2niix -z y -o OUT {folder}"
# what volumes come in besides -> how it becomes NIfTI
CONVERSIONS = {
    **dict.fromkeys((".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".img", ".hdr"), SIMPLE_ITK),
    **dict.fromkeys((".dcm", ".ima"), DCM2NIIX),
}


def conversion(path: Path) -> str:
    """How a file that holds a volume, but is no NIfTI, becomes one: a command line; "" for any other file."""
    command = CONVERSIONS.get(path.suffix.lower(), "")
    if not command and not path.suffix.strip(".0123456789") and path.is_file():  # how DICOM mostly is named
        with open(path, "rb") as file:
            command = DCM2NIIX if file.read(132)[128:] == b"DICM" else ""
    return command.format(path=path, stem=path.with_suffix(""), folder=shlex.quote(str(path.parent)))
