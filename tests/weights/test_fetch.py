"""Fetching: what is downloaded is whole and checked, or nothing is left of it."""

import io
import os

import pytest
import torch

from tests.weights.conftest import GOOD, GOOD_HASH, checkpoint_bytes, names
from weights import download, fetch, locate


def test_a_download_is_checked_and_leaves_only_the_file(home, server, table_of, capfd):
    table_of(server + "/good")
    assert download("small") == home / "small.pth"
    assert names(home) == ["small.pth"]
    assert locate("small").read_bytes() == GOOD
    assert capfd.readouterr().err == ""  # no bar where nobody watches


def test_a_download_makes_the_folder_and_can_be_told_another(tmp_path, server, table_of):
    table_of(server + "/good")
    assert download("small", folder=tmp_path / "new" / "deep") == tmp_path / "new" / "deep" / "small.pth"


def test_a_right_file_is_not_fetched_again_and_a_damaged_one_is_replaced(home, server, table_of):
    (home / "small.pth").write_bytes(GOOD)
    table_of("http://127.0.0.1:1/")
    assert download("small", opener=None) == home / "small.pth"
    (home / "small.pth").write_bytes(GOOD[:-1])
    table_of(server + "/good")
    assert download("small").read_bytes() == GOOD


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("/cut", f"the connection broke after {len(GOOD) // 2} of {len(GOOD)} bytes"),
        ("/half", "found sha256"),
        ("/wrong", "found sha256"),
        ("/html", "web page"),
        ("/gone", "404"),
    ],
)
def test_a_bad_answer_leaves_nothing_and_the_next_source_is_tried(home, server, table_of, answer, says):
    table_of(server + answer)
    with pytest.raises(FileNotFoundError) as error:
        download("small")
    assert says in str(error.value)
    assert server + answer in str(error.value)
    assert names(home) == []
    table_of(server + answer, server + "/good")
    assert download("small").read_bytes() == GOOD
    assert names(home) == ["small.pth"]


def test_without_network_one_error_gives_file_address_folder_and_hash(home, table_of):
    table_of("http://127.0.0.1:1/small.pth")  # port 1 refuses
    with pytest.raises(FileNotFoundError) as error:
        download("small")
    for part in ("refused", "small.pth", "http://127.0.0.1:1/small.pth", str(home), GOOD_HASH[:8], "copy it into"):
        assert part in str(error.value)
    assert names(home) == []


def test_a_refused_connection_is_followed_by_the_second_source(home, server, table_of):
    table_of("http://127.0.0.1:1/small.pth", server + "/good")
    assert download("small").read_bytes() == GOOD


def test_a_failed_download_keeps_the_file_that_was_there(home, server, table_of):
    (home / "small.pth").write_bytes(b"older")
    table_of(server + "/cut")
    with pytest.raises(FileNotFoundError):
        download("small")
    assert (home / "small.pth").read_bytes() == b"older"
    assert names(home) == ["small.pth"]


class Breaks(io.BytesIO):
    """An answer that gives some bytes and then raises; it notes what lay in the folder at that moment."""

    headers = {"Content-Length": "1000"}

    def __init__(self, error, folder):
        super().__init__()
        self.error, self.folder, self.seen, self.given = error, folder, [], False

    def read(self, *_):
        if not self.given:
            self.given = True
            return b"half"
        self.seen = names(self.folder)
        raise self.error

    read1 = read


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), RuntimeError("odd")])
def test_whatever_interrupts_a_download_nothing_half_written_stays(home, table_of, error):
    answer = Breaks(error, home)
    with pytest.raises(type(error)):
        download("small", opener=lambda *_, **__: answer)
    assert [name.endswith(".part") for name in answer.seen] == [True]  # it was there, under no name anyone loads
    assert names(home) == []


@pytest.mark.parametrize("error", [TimeoutError("timed out"), ConnectionResetError("reset"), OSError("no route")])
def test_a_connection_that_dies_half_way_counts_as_network_trouble(home, table_of, error):
    with pytest.raises(FileNotFoundError, match=str(error)):
        download("small", opener=lambda *_, **__: Breaks(error, home))
    assert names(home) == []


@pytest.mark.parametrize(("size", "said"), [(10, "announces"), (None, "stalls")])
def test_a_source_that_gives_too_much_or_next_to_nothing_ends(home, table_of, monkeypatch, size, said):
    class Drips(io.BytesIO):
        headers = {"Content-Length": "1000"}

        def read1(self, *_):
            return b"x"

    table_of("http://127.0.0.1:1/", size=size)
    monkeypatch.setattr(fetch.time, "monotonic", iter(range(0, 10_000, 20)).__next__)
    with pytest.raises(FileNotFoundError, match=said):
        download("small", opener=lambda *_, **__: Drips())
    assert names(home) == []


def test_a_folder_that_cannot_be_made_is_said_with_the_way_out(tmp_path, server, table_of):
    (tmp_path / "file").write_text("in the way")
    table_of(server + "/good")
    with pytest.raises(OSError, match="cannot write small.pth in .*file.*MSNET_WEIGHTS"):
        download("small", folder=tmp_path / "file")


def test_a_full_disk_is_said_and_leaves_nothing(home, server, table_of, monkeypatch):
    def full(source, target):
        raise OSError(28, "No space left on device")

    table_of(server + "/good")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="cannot write small.pth in .*No space left"):
        download("small")
    assert names(home) == []


def test_without_a_published_hash_the_hash_is_shown_recorded_and_checked_later(home, server, table_of, capsys):
    table_of(server + "/good", sha256="")
    path = download("small")
    assert GOOD_HASH in capsys.readouterr().out
    assert (home / "small.pth.sha256").read_text() == f"{GOOD_HASH}  small.pth\n"
    assert locate("small") == path
    assert capsys.readouterr().err == ""
    path.write_bytes(checkpoint_bytes({"other": torch.zeros(1)}))
    with pytest.raises(ValueError, match="expected " + GOOD_HASH):
        locate("small")


@pytest.mark.parametrize("answer", ["/html", "/wrong", "/half"])
def test_without_a_published_hash_only_a_checkpoint_is_accepted(home, server, table_of, answer):
    table_of(server + answer, sha256="")
    with pytest.raises(FileNotFoundError, match="web page|no PyTorch checkpoint"):
        download("small")
    assert names(home) == []


def test_a_file_copied_by_hand_gets_its_hash_recorded_by_the_command(home, table_of):
    table_of("http://127.0.0.1:1/", sha256="")
    (home / "small.pth").write_bytes(GOOD)
    assert download("small", opener=None) == home / "small.pth"
    assert names(home) == ["small.pth", "small.pth.sha256"]
