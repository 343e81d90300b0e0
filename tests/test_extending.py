"""docs/extending.md: its diffs are diffs of this tree, whole and small."""

import os
import re
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

CHAPTERS = re.split(r"^## (.+)$", (ROOT / "docs" / "extending.md").read_text(encoding="utf-8"), flags=re.M)[1:]
DIFFS = {
    title: "".join(found)
    for title, text in zip(CHAPTERS[::2], CHAPTERS[1::2], strict=True)
    if (found := re.findall(r"^```diff\n(.+?)^```$", text, re.M | re.S))
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The files that the diffs change, and nothing else of the tree."""
    folder = tmp_path_factory.mktemp("tree")
    for path in {path for diff in DIFFS.values() for path in re.findall(r"^--- a/(\S+)", diff, re.M)}:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    return folder


@pytest.mark.parametrize("title", DIFFS)
def test_each_diff_applies_and_leaves_files_that_python_reads(title, tree):
    def applied(*options: str) -> None:
        # of no repository around it, in which paths would be others
        alone = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)}
        command = ["git", "-C", str(tree), "apply", *options]
        done = subprocess.run(command, input=DIFFS[title], encoding="utf-8", capture_output=True, env=alone)
        assert done.returncode == 0, done.stderr

    applied()
    for path in re.findall(r"^\+\+\+ b/(\S+)", DIFFS[title], re.M):
        compile((tree / path).read_text(encoding="utf-8"), path, "exec")
    applied("--reverse")


def test_no_extension_costs_more_than_a_new_file_a_line_and_a_field():
    assert len(DIFFS) == 6
    for title, diff in DIFFS.items():
        new, changed = len(re.findall(r"^--- /dev/null", diff, re.M)), re.findall(r"^--- a/(\S+)", diff, re.M)
        assert new <= 1 and len(changed) <= 2, f"{title}: {new} new files, changed {changed}"
        config = re.search(r"^--- a/configs/config.py$(.+?)(?=^--- |\Z)", diff, re.M | re.S)
        assert not config or len(re.findall(r"^\+(?!\+\+)", config[1], re.M)) == 1, title
