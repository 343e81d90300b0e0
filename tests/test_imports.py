"""The rooms of the house and who may import whom, as a table that fails on any other arrow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = {"train", "prediction_rgb", "test_score"}
MAY_IMPORT: dict[str, set[str]] = {
    "train": {"configs", "files", "dataset", "net", "lossnet", "engine", "volumes"},
    "prediction_rgb": {"configs", "files", "dataset", "engine", "weights"},
    "test_score": {"configs", "files", "report"},
    "configs": set(),
    "metrics": set(),
    "weights": set(),
    "augment": set(),
    "fused": set(),
    "net": {"weights", "fused"},
    "lossnet": {"weights", "fused"},
    "files": {"configs"},
    "volumes": {"configs", "files", "augment"},
    "dataset": {"configs", "files", "augment", "volumes"},
    # weights has the one function that opens what torch.save wrote and runs no code; last.pt is such a file too
    "engine": {"metrics", "files", "weights"},
    "report": {"files", "metrics", "configs"},
}
MAY_IMPORT["tools"] = set(MAY_IMPORT) - SCRIPTS
# these two run a network; `load` makes a predictor of a run's own record
ALSO = {"engine/inference.py": {"configs", "net", "dataset"}, "engine/windows.py": {"net"}}
# what a machine with a GPU must have for `pytest -m gpu`: requirements.txt, pytest and hypothesis, matplotlib
ON_ANY_MACHINE = {"torch", "torchvision", "numpy", "scipy", "cv2", "PIL", "tqdm", "tensorboard", "matplotlib"}
ON_ANY_MACHINE |= {"nibabel", "pytest", "hypothesis", "tests", "recipe", *MAY_IMPORT, *sys.stdlib_module_names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0].removesuffix(".py") in MAY_IMPORT)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def rooms_imported(path: Path) -> set[str]:
    """The other rooms that a file imports, at its top or in a function."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrow"
            imported.add(node.module.split(".")[0])
    return imported & set(MAY_IMPORT) - {room_of(path)}


def test_every_room_is_in_the_table():
    rooms = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms - {"tests"} == {name for name in MAY_IMPORT if "/" not in name}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
    strangers = rooms_imported(path) - MAY_IMPORT[room_of(path)] - ALSO.get(path.relative_to(ROOT).as_posix(), set())
    assert not strangers, f"{room_of(path)} may not import {strangers}"


def test_the_table_allows_nothing_that_nobody_does():
    for room, allowed in MAY_IMPORT.items():
        used = {other for path in FILES if room_of(path) == room for other in rooms_imported(path)}
        assert room == "tools" or allowed <= used, f"{room} imports no {allowed - used}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_missing_peer_fails_its_own_test_and_no_other(path):
    """Imported inside the test: at the top it would stop the collection, and `importorskip` would hide it."""
    tree = ast.parse(path.read_text())
    modules = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level]
    assert {name.split(".")[0] for name in modules} <= ON_ANY_MACHINE
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "importorskip"]


def test_every_text_file_is_opened_as_utf_8():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name not in ("open", "read_text", "write_text") or ast.unparse(node.func) in ("Image.open", "os.open"):
                continue
            binary = any(isinstance(a, ast.Constant) and "b" in str(a.value) for a in node.args)
            assert binary or any(k.arg == "encoding" for k in node.keywords), f"{path}:{node.lineno}"


def test_no_test_file_needs_another():
    """What several share lies in a file of its own; so one can be moved, split or run alone."""
    for path in ROOT.glob("tests/**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tests."):
                assert not node.module.split(".")[-1].startswith("test_"), f"{path} imports {node.module}"


def test_a_script_starts_without_what_only_some_of_its_runs_need():
    """Each of these takes half a second or more; torch._dynamo, which torchvision brings, as long as torch itself."""
    program = "import sys, train, prediction_rgb, test_score; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT)
    loaded = {*found.stdout.split()}
    assert {"torch", "train", "prediction_rgb", "test_score"} <= loaded
    heavy = {"torchvision", "torch._dynamo", "torch.utils.tensorboard", "timm", "matplotlib"}
    assert not loaded & (heavy | {"scipy.ndimage", "scipy.spatial", "scipy.stats"})
