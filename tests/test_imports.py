"""The rooms of the house and who may import whom, as a table that fails on any other arrow."""

import ast

import pytest

from tests.conftest import ROOT

MAY_IMPORT = {
    "train": {"configs", "files", "dataset", "net", "lossnet", "engine", "metrics", "validation"},
    "validation": {"configs", "files", "dataset", "engine", "metrics"},
    "prediction_rgb": {"configs", "files", "dataset", "net", "engine"},
    "test_score": {"configs", "files", "metrics", "tools"},
    "dataset": {"configs", "files"},
    "files": {"configs"},
    "configs": set(),
    "net": {"weights"},
    "lossnet": {"weights"},
    "metrics": set(),
    "weights": set(),
    "engine": {"files"},
    "tools": {"net", "lossnet", "metrics", "files", "dataset", "configs", "engine"},  # the last three: benchmark
}
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
