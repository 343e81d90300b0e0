"""Writing: a file is whole or not there, no link is followed, and nothing that is read is written into."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import cv2
import numpy as np
import pytest
import torch

import prediction_rgb
from configs import Config, parse
from engine import checkpoint, record
from engine.log import Log
from files import (
    DiskCache,
    Parts,
    require_apart,
    require_picture,
    require_writable,
    whole_file,
    write_file,
    write_maps,
    write_picture,
    write_split,
    writing,
)
from files.maps import is_whole, require_own, require_same_source, write_maps_record
from metrics import Scores
from report import tables
from report.cases import Job
from tests.conftest import ROOT
from tools import check_data, demo_data, figures, panels


class FullDisk(io.BytesIO):
    """A file that takes some bytes and then no more: when they are many, or else when they reach the disk."""

    def __init__(self, path, mode):
        super().__init__()
        assert mode == "xb", "anything else would follow a link"
        path.write_bytes(b"some")

    def write(self, data):
        if self.tell() + len(data) > 10_000:
            self.flush()
        return super().write(data)

    def flush(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def write_table(folder):
    scores = Scores("binary")
    scores.update(np.zeros((4, 4)), np.eye(4, dtype=bool))
    tables.write([Job("set", "method", names=["a"], scores=scores)], folder)


WRITERS = {
    "map.png": lambda folder: write_maps(folder, "map", np.zeros((1, 4, 4), np.float32), 4, 4),
    "model": lambda folder: checkpoint.save({"a": torch.zeros(2)}, folder / "model"),
    "config.json": lambda folder: record.write_record(folder / "config.json", Config(), torch.device("cpu")),
    "split.json": lambda folder: write_split(folder / "split.json", Parts([], [], [])),
    "log.csv": lambda folder: Log(folder / "log.csv").close(),
    "key.npy": lambda folder: DiskCache(folder, ["key"]).get(0, lambda: np.zeros(3, np.float32)),
    "maps.json": lambda folder: write_maps_record(folder, {"snapshot": "model"}, {}),
    "curve.pdf": lambda folder: figures._save(figures.plt.figure(), folder / "curve"),
    "sheet.jpg": lambda folder: write_picture(folder / "sheet.jpg", np.zeros((4, 4, 3), np.uint8)),
    "scores.csv": write_table,
}


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "model"])  # PyTorch opens that one itself
def test_on_a_full_disk_a_file_stays_as_it_was_and_one_line_says_so(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"before")
    monkeypatch.setattr("files.cache.require_writable", lambda folder: tmp_path)
    monkeypatch.setattr(writing, "open", FullDisk, raising=False)
    with pytest.raises(OSError, match=rf"could not write .*{name} .*No space left.*MiB are free.*intact; make room"):
        WRITERS[name](tmp_path)
    assert (tmp_path / name).read_bytes() == b"before"
    assert not list(tmp_path.glob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
@pytest.mark.parametrize("missing", [1, 100, 5000, 300_000])
def test_a_full_disk_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch, missing):
    held: list[str] = []

    def disk_usage(folder, measured=shutil.disk_usage):
        for number in os.listdir("/proc/self/fd") if os.path.isdir("/proc") else ():
            with suppress(OSError):
                held.append(os.readlink(f"/proc/self/fd/{number}"))
        return measured(folder)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    content = {"a": torch.zeros(100_000), "b": torch.ones(3)}
    checkpoint.save(content, tmp_path / "other")
    checkpoint.save({"a": torch.ones(3)}, tmp_path / "model")
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "other").stat().st_size - missing, before[1]))
    try:
        with pytest.raises(OSError, match=r"could not write .*model.*File too large.*are free.*intact"):
            checkpoint.save(content, tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(os.listdir(tmp_path)) == ["model", "other"]
    assert not [name for name in held if ".part." in name], "room is measured while what was written still takes it"
    assert torch.equal(torch.load(tmp_path / "model", weights_only=True)["a"], torch.ones(3))


def test_the_same_checkpoint_is_the_same_bytes(tmp_path):
    paths = [tmp_path / "one" / "model-1", tmp_path / "one" / "mine.best.pth", tmp_path / "v.1" / "model-1"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        checkpoint.save({"a": torch.arange(9.0)}, path)
    assert len({path.read_bytes() for path in paths}) == 1


def test_what_cannot_be_saved_for_another_reason_is_said_in_its_own_words(tmp_path):
    class Odd:
        def __reduce__(self):
            raise RuntimeError("of a kind that is not kept")

    with pytest.raises(OSError, match=r"could not write .*model .*of a kind that is not kept"):
        checkpoint.save({"a": Odd()}, tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(tmp_path, name):
    folder, other = tmp_path / "out", tmp_path / "other"
    folder.mkdir()
    other.write_bytes(b"somebody's")
    (folder / name).symlink_to(other)
    WRITERS[name](folder)
    assert other.read_bytes() == b"somebody's"
    assert (folder / name).stat().st_size > 0
    assert not (folder / name).is_symlink()


def test_links_under_names_that_could_be_foreseen_are_not_followed(tmp_path):
    other = tmp_path / "other"
    for name in (".last.pt.part", f".probe-{os.getpid()}"):
        (tmp_path / name).symlink_to(other)
    checkpoint.save({}, tmp_path / "last.pt")
    require_writable(tmp_path)
    assert not other.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_the_disk_is_asked_and_not_only_a_buffer(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "open", lambda *_: open("/dev/full", "wb"), raising=False)  # noqa: SIM115
    with pytest.raises(OSError, match="could not write .*No space left"):
        write_file(tmp_path / "small", b"x")


def test_what_a_kill_left_is_removed_once_nobody_can_be_writing_it(tmp_path):
    old, young, foreign = (tmp_path / f".part.{name}-{'0' * 15}{i}" for i, name in enumerate(("a", "a", "b")))
    for path in (old, young, foreign):
        path.touch()
    os.utime(old, (0, 0))
    os.utime(foreign, (0, 0))
    write_file(tmp_path / "a", "x")
    assert sorted(tmp_path.iterdir()) == sorted([young, foreign, tmp_path / "a"])


def test_a_stopped_write_leaves_what_was_there(tmp_path):
    write_file(tmp_path / "a", "before")
    with suppress(KeyboardInterrupt), whole_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_text() == "before"
    assert os.listdir(tmp_path) == ["a"]


def test_a_written_file_may_be_read_by_whom_the_umask_lets(tmp_path):
    (tmp_path / "plain").touch()
    write_file(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("place", [3, 60, 140, -1])
def test_a_flipped_bit_in_a_cache_is_seen(tmp_path, place):
    cache, array = DiskCache(tmp_path, ["a"]), np.arange(6, dtype=np.float32).reshape(2, 3)
    cache.get(0, lambda: array)
    assert np.array_equal(cache.get(0, lambda: pytest.fail("made again")), array)
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[place] ^= 4
    (tmp_path / "a.npy").write_bytes(content)
    made = []
    assert np.array_equal(cache.get(0, lambda: made.append(1) or array), array)
    assert made
    assert np.array_equal(cache.get(0, lambda: pytest.fail("made again")), array)


def test_a_long_name_is_written_whole(tmp_path):
    write_maps(tmp_path, "x" * 250, np.zeros((1, 8, 8), np.float32), 8, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 250 + ".png"]


# ---- what is read is not written into


@pytest.fixture
def images(polyp_folder):
    return polyp_folder / "TestDataset" / "small" / "images"


def predict(images, out, *words):
    """Prediction of a folder, which here never gets as far as the checkpoint."""
    prediction_rgb.main(["--snapshot", "absent", "--images", str(images), "--out", str(out), *words])


@pytest.mark.parametrize("out", ["images", "images/deeper", "", "linked", "masks"])
def test_prediction_does_not_write_among_images_or_over_files_of_others(images, out):
    (images.parent / "linked").symlink_to(images)
    before = {path: path.read_bytes() for path in images.parent.rglob("*.png")}
    with pytest.raises(ValueError, match=r"is read from; give a folder apart|is there already, and no maps\.json"):
        predict(images, images.parent / out)
    assert before == {path: path.read_bytes() for path in images.parent.rglob("*.png")}
    assert not (images / "deeper").exists()


def test_mapspath_cannot_be_testpath(images):
    root = str(images.parent.parent)
    with pytest.raises(ValueError, match="is read from"):
        prediction_rgb.main(["--snapshot", "absent", "--testpath", root, "--mapspath", root, "--testsets", "small"])


def test_maps_beside_clips_are_apart_and_among_them_are_not(images):
    clips = images.parent / "clips"
    (clips / "a").mkdir(parents=True)
    (images / "000.png").rename(clips / "a" / "000.png")
    with pytest.raises(ValueError, match="is read from"):
        predict(clips, clips / "maps")
    with pytest.raises(FileNotFoundError, match="absent"):
        predict(clips, images.parent / "maps")


def test_maps_with_their_record_may_be_written_again_and_kept_ones_must_be_of_the_same(tmp_path):
    target = tmp_path / "000.png"
    target.touch()
    with pytest.raises(ValueError, match=r"no maps\.json says that prediction wrote it"):
        require_own(tmp_path, [target])
    write_maps_record(tmp_path, {"snapshot": "a", "size": (3, 4)}, {})
    require_own(tmp_path, [target])
    require_same_source(tmp_path, {"snapshot": "elsewhere/a", "size": (3, 4)})
    with pytest.raises(ValueError, match=r"size was \[3, 4\], is 352; leave out --skip-existing"):
        require_same_source(tmp_path, {"snapshot": "a", "size": 352})
    (tmp_path / "maps.json").write_text(json.dumps(["somebody's"]))
    with pytest.raises(ValueError, match=r"maps\.json is there already"):
        require_own(tmp_path, [])


def test_a_map_that_is_torn_empty_or_of_another_size_is_not_kept(tmp_path, write_png):
    image = write_png(tmp_path / "image.png", np.zeros((30, 40, 3), np.uint8))
    path = write_png(tmp_path / "map.png", np.full((30, 40), 9, np.uint8))
    content = path.read_bytes()
    assert is_whole(path, image)
    for damaged in (b"", content[:-20], content[:60] + bytes([content[60] ^ 1]) + content[61:]):
        path.write_bytes(damaged)
        assert not is_whole(path, image)
    assert not is_whole(write_png(path, np.zeros((30, 41), np.uint8)), image)


@pytest.mark.parametrize("tool", ["check_data", "panels", "figures"])
def test_tools_neither_write_among_what_they_read_nor_start_where_they_cannot_write(images, tool, monkeypatch, capsys):
    small, name = images.parent, "" if tool == "figures" else "000.png"
    (small / "file.png").write_text("in the way")
    main, words = {
        "check_data": (check_data.main, [str(small)]),
        "panels": (panels.main, ["--images", str(small), "--masks", str(small), "--maps", str(small / "masks")]),
        "figures": (figures.main, ["--gt", str(small), "--pred", f"a={images}", "--images", str(small)]),
    }[tool]
    before = {path: path.read_bytes() for path in small.rglob("*.png")}
    for work in ("tools.check_data.survey", "report.scoring.score", "tools.panels._cell"):
        monkeypatch.setattr(work, lambda *_, **__: pytest.fail("work has begun"))
    for out, said in ((images / name, "is read from"), (small / "file.png" / "x" / name, "cannot write into")):
        monkeypatch.setattr(sys, "argv", [tool, *words, "--out", str(out)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert said in f"{stop.value} {capsys.readouterr().err}"
    assert before == {path: path.read_bytes() for path in small.rglob("*.png")}


def test_made_up_data_is_not_mixed_into_a_data_set(tmp_path, write_png):
    write_png(tmp_path / "TrainDataset" / "image" / "patient-7.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"patient-7\.png is not made up"):
        demo_data.write_demo_data(tmp_path, train=1, test=1)


def test_a_soft_map_takes_less_room_than_opencv_gives_it_and_keeps_every_pixel(tmp_path):
    y, x = np.mgrid[:200, :300]
    soft = (255 / (1 + np.hypot(y - 90, x - 140) / 30)).astype(np.uint8)
    write_picture(tmp_path / "soft.png", soft)
    assert (tmp_path / "soft.png").stat().st_size < 0.8 * len(cv2.imencode(".png", soft)[1])
    assert np.array_equal(cv2.imread(str(tmp_path / "soft.png"), cv2.IMREAD_UNCHANGED), soft)


def test_a_picture_needs_a_known_ending(tmp_path):
    for name in ("a.gif", "a"):
        with pytest.raises(ValueError, match=r"expected a file name that ends in \.png or \.jpg"):
            require_picture(tmp_path / name)


def test_folders_side_by_side_are_apart(tmp_path):
    require_apart(tmp_path / "maps", [tmp_path / "images"], around=True)
    require_apart(tmp_path, [tmp_path / "images"])


# ---- letters


def test_a_terminal_without_arrows_gets_plain_letters(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    parse("as every script begins", [])
    print("Sm ↑ 0.9 ± 0.1 é \udcff", flush=True)
    assert raw.getvalue().decode().rstrip() == r"Sm (up) 0.9 +- 0.1 \xe9 \udcff"


def test_a_tool_says_its_piece_to_an_ascii_terminal(polyp_folder):
    env = os.environ | {"PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
    words = ["-m", "tools.check_data", str(polyp_folder / "né")]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True)
    assert rb"n\xe9" in done.stderr
    assert b"Traceback" not in done.stderr
