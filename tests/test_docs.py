"""The documents: what they link to, and name, is there. Offline: addresses on the web are not asked for."""

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.conftest import ROOT

PLACES = ("*.md", "docs/*.md", "metrics/*.md", "weights/*.md", "tests/golden/**/*.md")
DOCUMENTS = sorted(path for place in PLACES for path in ROOT.glob(place))


def of_root(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """A document without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def links(path: Path) -> list[str]:
    """Targets of links and pictures, in Markdown and in HTML."""
    text = re.sub(r"`[^`\n]*`", "", prose(path))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset|href)="([^"]+)"', text)


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings: small letters, no punctuation, hyphens for spaces."""
    titles = re.findall(r"^#{1,6} (.+)$", prose(path), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=of_root)
def test_every_relative_link_and_picture_leads_somewhere(path):
    for target in links(path):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists() and there.is_relative_to(ROOT), f"{of_root(path)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(there), f"{of_root(path)} links to {target}; {name or 'it'} has {anchors(there)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=of_root)
def test_every_footnote_is_called_and_written(path):
    text = prose(path)
    written = re.findall(r"^\[\^(\w+)\]:", text, flags=re.M)
    assert {*re.findall(r"\[\^(\w+)\](?!:)", text)} == {*written} and len({*written}) == len(written)


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.name != "extending.md"], ids=of_root)
def test_every_file_of_ours_that_is_named_is_there(path):
    named = re.findall(r"(?<![\w./])((?:\w+/)*\w+\.(?:py|csv|cff|md))\b", path.read_text(encoding="utf-8"))
    rooms = {folder.name for folder in ROOT.iterdir() if folder.is_dir()}
    ours = {name for name in named if "/" in name and name.split("/")[0] in rooms}
    assert not [name for name in ours if not (ROOT / name).exists()]


def test_every_document_is_reached_from_the_front_page():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        there = {(path.parent / target.split("#")[0]).resolve() for target in links(path) if "://" not in target}
        waiting += [other for other in there if other.suffix == ".md" and other not in seen]
    assert {*ROOT.glob("docs/*.md")} <= seen


def test_the_two_commands_stand_first_and_are_those_that_the_gate_runs():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python3 -m venv .venv && .+$", page, flags=re.M)
    assert [command.split(".venv/bin/python ")[-1] for command in commands] == [
        "train.py configs/demo.py",
        "-m pytest -n auto",
    ]
    assert re.findall(r"^## (.+)$", page, flags=re.M)[0] == "Two commands"


def test_the_newest_change_is_that_of_the_version_and_no_other_file_has_one():
    (version,) = re.findall(r'^version = "(.+?)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), flags=re.M)
    assert re.findall(r"^## (\S+) \(", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)[0] == version
    assert not re.search(r"^version:", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), flags=re.M)


def test_the_container_installs_and_runs_what_the_front_page_says():
    page, image = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "Dockerfile"))
    environment, install, demo = re.findall(r"^python3 -m venv .venv && .+$", page, flags=re.M)[0].split(" && ")
    assert f"RUN {environment} && {install.replace('install', 'install --no-cache-dir')}\n" in image
    assert re.search(r"^RUN .*apt-get install .*\bgcc libc6-dev\b", image, flags=re.M), "what Triton asks for"
    arguments = ", ".join(f'"{word}"' for word in demo.removeprefix(".venv/bin/").split())
    assert image.rstrip().endswith(f"CMD [{arguments}]")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ".venv" in ignored  # or the copy of the tree would lay a strange one over it


def test_what_the_documents_write_is_no_change_of_the_project():
    """Every file or folder of a command's --out, --savepath, --mapspath, --json, and check_data's own sheet."""
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").split()]
    flags = r"--(?:out|savepath|mapspath|json)[ =]([a-z][\w.-]*)"
    written = {name for path in DOCUMENTS for name in re.findall(flags, path.read_text(encoding="utf-8"))}
    assert {"panel.png", "figures", "scores", "my", "saved_model"} <= written
    for name in {*written, "check.png", "data", "maps", "model.pt2", "panel-Kvasir.png"}:
        assert any(fnmatch(name, pattern) for pattern in ignored), f"{name} would be untracked; add it to .gitignore"
