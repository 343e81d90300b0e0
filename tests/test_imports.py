"""The rooms of the house and who may import whom, as a table that fails on any other arrow."""

import ast
import sys

import pytest

from tests.conftest import ROOT

MAY_IMPORT = {
    "train": {"configs", "files", "dataset", "net", "lossnet", "engine", "metrics"},
    "prediction_rgb": {"configs", "files", "dataset", "net", "engine"},
    "test_score": {"configs", "files", "metrics", "report"},
    "dataset": {"configs", "files"},
    "files": {"configs"},
    "configs": set(),
    "net": {"weights"},
    "lossnet": {"weights"},
    "metrics": set(),
    "weights": set(),
    "engine": {"files", "metrics", "weights"},
    "report": {"files", "metrics", "configs"},
    "tools": {"report", "weights", "net", "lossnet", "metrics", "files", "dataset", "configs", "engine"},
}
# what a machine with a GPU must have for `pytest -m gpu`: requirements.txt, pytest and hypothesis, matplotlib
ON_ANY_MACHINE = {"torch", "torchvision", "numpy", "scipy", "cv2", "PIL", "tqdm", "tensorboard", "matplotlib"}
ON_ANY_MACHINE |= {"pytest", "hypothesis", "tests", "recipe", *MAY_IMPORT, *sys.stdlib_module_names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0].removesuffix(".py") in MAY_IMPORT)


def test_every_room_is_in_the_table():
    rooms = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert rooms - {"tests"} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path):
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the arrow"
            imported.add(node.module.split(".")[0])
    strangers = (imported & set(MAY_IMPORT)) - MAY_IMPORT[room] - {room}
    assert not strangers, f"{room} may not import {strangers}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/**/*.py")), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_missing_peer_fails_its_own_test_and_no_other(path):
    """Imported inside the test: at the top it would stop the collection, and `importorskip` would hide it."""
    tree = ast.parse(path.read_text())
    modules = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level]
    assert {name.split(".")[0] for name in modules} <= ON_ANY_MACHINE
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "importorskip"]
