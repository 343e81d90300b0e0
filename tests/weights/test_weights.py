"""Weights: what locate, load and download promise, shown with small files and a server on this machine."""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

import weights
from weights import WEIGHTS, Source, Weight, download, fetch, load, locate
from weights.__main__ import main, table

HTML = b"\n<!DOCTYPE html><html><body>Quota exceeded</body></html>"
STATE = {"conv.weight": torch.arange(6.0).reshape(2, 3), "bn.num_batches_tracked": torch.tensor(7)}


def checkpoint_bytes(content=STATE, **how):
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


GOOD = checkpoint_bytes()
GOOD_HASH = hashlib.sha256(GOOD).hexdigest()


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    """No real weights, hub folder or proxy takes part in a test."""
    monkeypatch.setenv("MSNET_WEIGHTS", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def server():
    """Address of a server that answers /good, /html, /wrong, /cut (half of what it announces) and 404."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            bodies = {"/good": GOOD, "/html": HTML, "/wrong": GOOD[::-1], "/cut": GOOD, "/half": GOOD[: len(GOOD) // 2]}
            body = bodies.get(self.path)
            if body is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def table_of(monkeypatch):
    """table_of(url, ..., sha256=) puts weights `small` in the table, with one source a url, all of one file."""

    def put(*urls, sha256=GOOD_HASH[:8], size=None):
        sources = tuple(Source("small.pth", url, sha256, size) for url in urls)
        monkeypatch.setitem(WEIGHTS, "small", Weight("small", sources, "MIT", "a test"))

    put("http://127.0.0.1:1/small.pth")
    return put


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def equal(state):
    return list(state) == list(STATE) and all(torch.equal(state[key], STATE[key]) for key in STATE)


# the table


def test_every_known_weight_has_a_secure_address_a_file_and_a_unique_name():
    assert set(WEIGHTS) >= {"res2net50", "vgg16", "msnet", "m2snet"}
    for name, weight in WEIGHTS.items():
        assert weight.name == name
        for source in weight.sources:
            assert source.url.startswith("https://")
            assert source.file == Path(source.file).name
            if source.sha256:  # the prefix is in the name, so a look at the folder shows what it should be
                assert source.sha256[:8] in source.file
    files = [source.file for weight in WEIGHTS.values() for source in weight.sources]
    assert len(files) == len(set(files))


def test_the_readme_gives_file_address_and_hash_of_every_source():
    readme = (Path(weights.__file__).parent / "README.md").read_text()
    for source in (source for weight in WEIGHTS.values() for source in weight.sources):
        assert source.file in readme
        assert source.sha256 in readme
        assert (source.url if source.sha256 else source.url.split("id=")[1]) in readme


def test_an_unknown_name_is_answered_with_the_nearest():
    for ask in (locate, download):
        with pytest.raises(ValueError, match="no weights are called 'res2net5'; did you mean 'res2net50'"):
            ask("res2net5")


# locate


def test_locate_finds_a_verified_file_in_the_folder_of_the_environment_variable(home, table_of):
    (home / "small.pth").write_bytes(GOOD)
    assert locate("small") == home / "small.pth"


def test_locate_looks_beside_the_package_without_the_environment_variable(monkeypatch, table_of):
    monkeypatch.delenv("MSNET_WEIGHTS")
    with pytest.raises(FileNotFoundError) as error:
        locate("small")
    assert str(Path(weights.__file__).parent) in str(error.value)


def test_locate_finds_the_same_file_name_in_torch_hubs_folder(tmp_path, home, table_of):
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    (hub / "small.pth").write_bytes(GOOD)
    assert locate("small") == hub / "small.pth"
    with pytest.raises(FileNotFoundError):
        locate("small", folder=home)  # a folder given by hand is the only one looked into
    (hub / "small.pth").write_bytes(GOOD[:-1])
    with pytest.raises(ValueError, match="damaged"):
        locate("small")


def test_a_missing_file_is_one_error_with_file_address_folder_hash_and_command(tmp_path, table_of):
    table_of("http://first.example/small.pth", "http://second.example/small.pth")
    with pytest.raises(FileNotFoundError) as error:
        locate("small")
    for part in (
        "small.pth",
        "http://first.example/small.pth",
        "http://second.example/small.pth",
        str(tmp_path / "home"),
        "no such folder",
        GOOD_HASH[:8],
        "python -m weights small",
        "MSNET_WEIGHTS",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD[: len(GOOD) // 2], f"found sha256 {hashlib.sha256(GOOD[: len(GOOD) // 2]).hexdigest()}"),
        (HTML, "web page"),
        (b"", "empty"),
    ],
    ids=["truncated", "html", "empty"],
)
def test_a_damaged_file_is_an_error_that_says_found_expected_and_fix(home, table_of, content, says):
    (home / "small.pth").write_bytes(content)
    with pytest.raises(ValueError) as error:
        locate("small")
    assert says in str(error.value)
    assert GOOD_HASH[:8] in str(error.value)
    assert "python -m weights small" in str(error.value)


def test_a_wrong_size_is_said_in_bytes(home, table_of):
    table_of("http://127.0.0.1:1/", size=len(GOOD))
    (home / "small.pth").write_bytes(GOOD[:-10])
    with pytest.raises(ValueError, match=f"found {len(GOOD) - 10} bytes, expected {len(GOOD)}"):
        locate("small")


def test_a_right_second_file_serves_where_the_first_is_damaged(home, monkeypatch):
    sources = (Source("a.pth", "http://a", GOOD_HASH), Source("b.pth", "http://b", GOOD_HASH))
    monkeypatch.setitem(WEIGHTS, "small", Weight("small", sources, "MIT", "a test"))
    (home / "a.pth").write_bytes(GOOD[:-1])
    (home / "b.pth").write_bytes(GOOD)
    assert locate("small") == home / "b.pth"


def test_a_file_without_any_known_hash_is_used_and_said_to_be_unchecked(home, table_of, capsys):
    table_of("http://127.0.0.1:1/", sha256="")
    (home / "small.pth").write_bytes(GOOD)
    assert locate("small") == home / "small.pth"
    assert "not checked" in capsys.readouterr().err


# load


@pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_load_unwraps_and_strips_the_module_prefix(tmp_path, wrap, prefix):
    state = {prefix + key: value for key, value in STATE.items()}
    torch.save({wrap: state, "epoch": 3} if wrap else state, tmp_path / "file")
    assert equal(load(tmp_path / "file"))


def test_load_keeps_a_prefix_that_not_every_key_has(tmp_path):
    torch.save({"module.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "file")
    assert list(load(tmp_path / "file")) == ["module.a", "b"]


def test_load_reads_the_format_of_old_pytorch_and_a_path_as_text(tmp_path):
    (tmp_path / "old").write_bytes(checkpoint_bytes(_use_new_zipfile_serialization=False))
    assert equal(load(str(tmp_path / "old")))


def test_load_by_name_checks_the_hash_first(home, table_of):
    (home / "small.pth").write_bytes(GOOD)
    assert equal(load("small"))
    (home / "small.pth").write_bytes(checkpoint_bytes({"other": torch.zeros(1)}))
    with pytest.raises(ValueError, match="expected " + GOOD_HASH[:8]):
        load("small")


def test_load_of_a_missing_file_or_a_folder_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint file .*gone.*known weights: res2net50"):
        load(tmp_path / "gone")
    with pytest.raises(ValueError, match="is a folder; give the checkpoint file in it"):
        load(tmp_path)


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_a_truncated_checkpoint_is_a_clear_error(tmp_path, old_format, kept):
    whole = checkpoint_bytes({"a": torch.zeros(1000)}, _use_new_zipfile_serialization=not old_format)
    (tmp_path / "file").write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r"file \(\d+ bytes\) is truncated, damaged or no PyTorch checkpoint"):
        load(tmp_path / "file")


@pytest.mark.parametrize("junk", [b"Rar!\x1a\x07" + bytes(range(256)), b"\x80\x02garbage", b"hello\n" * 50])
def test_a_file_that_is_no_checkpoint_is_a_clear_error(tmp_path, junk):
    (tmp_path / "file").write_bytes(junk)
    with pytest.raises(ValueError, match="no PyTorch checkpoint"):
        load(tmp_path / "file")


def test_load_says_that_a_web_page_is_a_web_page(tmp_path):
    (tmp_path / "file").write_bytes(HTML)
    with pytest.raises(ValueError, match="web page"):
        load(tmp_path / "file")


@pytest.mark.parametrize(
    "content", [[1, 2], {}, {"a": 1}, {1: torch.zeros(1)}, torch.zeros(2), {"epoch": 3, "model": 4}]
)
def test_what_is_no_state_dict_is_a_clear_error(tmp_path, content):
    torch.save(content, tmp_path / "file")
    with pytest.raises(ValueError, match="state dict"):
        load(tmp_path / "file")


class RunsCode:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run_it(tmp_path):
    trap = tmp_path / "ran"
    torch.save({"a": RunsCode(str(trap))}, tmp_path / "file")
    with pytest.raises(ValueError, match="mkdir, which could run code"):
        load(tmp_path / "file")
    (tmp_path / "bare").write_bytes(pickle.dumps(RunsCode(str(trap))))
    with pytest.raises(ValueError):
        load(tmp_path / "bare")
    assert not trap.exists()


def test_a_whole_saved_model_is_refused_with_the_way_out(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "file")
    with pytest.raises(ValueError, match=r"Linear.*save model.state_dict\(\)"):
        load(tmp_path / "file")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (torch.ones(3, dtype=torch.int8), "of whole numbers"),
        (torch.ones(3, dtype=torch.complex64), "complex"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.empty(3, device="meta"), "without content"),
    ],
)
def test_a_tensor_that_is_no_weight_is_refused_by_name(tmp_path, value, said):
    torch.save({"conv.weight": value}, tmp_path / "file")
    with pytest.raises(ValueError, match=rf"conv\.weight is .*{said}"):
        load(tmp_path / "file")


def test_a_small_archive_that_declares_far_more_than_its_size_is_not_loaded(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "file", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
        archive.writestr("archive/data/0", bytes(20 << 20))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match="declare 20 MiB"):
        load(tmp_path / "file")


@pytest.mark.parametrize("archived", [True, False])
def test_a_pickle_that_asks_for_a_large_bytearray_is_not_loaded(tmp_path, monkeypatch, archived):
    asks = b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x00\x40\x85R."
    if archived:
        with zipfile.ZipFile(tmp_path / "file", "w") as archive:
            archive.writestr("archive/data.pkl", asks)
    else:
        (tmp_path / "file").write_bytes(asks)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match="bytearray"):
        load(tmp_path / "file")


@pytest.mark.parametrize("record", ["", GOOD_HASH[:40], "no hash at all"])
def test_a_torn_record_of_a_hash_is_said_and_verifies_nothing(home, table_of, record):
    table_of("http://127.0.0.1:1/", sha256="")
    (home / "small.pth").write_bytes(GOOD)
    (home / "small.pth.sha256").write_text(record)
    with pytest.raises(ValueError, match=r"small\.pth\.sha256 should hold a sha256"):
        locate("small")
    assert "DAMAGED" in table()


# download


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


# the command


def test_the_list_shows_missing_verified_unchecked_and_damaged_in_aligned_columns(home, monkeypatch):
    for name, content, sha256 in (
        ("whole", GOOD, GOOD_HASH),
        ("broken", GOOD[:-1], GOOD_HASH),
        ("unhashed", GOOD, ""),
        ("absent", None, GOOD_HASH),
    ):
        monkeypatch.setitem(WEIGHTS, name, Weight(name, (Source(name + ".pth", "http://x", sha256),), "MIT", "a test"))
        if content:
            (home / f"{name}.pth").write_bytes(content)
    head, *lines = table().splitlines()
    state = {line.split()[0]: line[head.index("state") :].split()[0] for line in lines}
    assert {state[name] for name in ("res2net50", "vgg16", "msnet", "m2snet")} == {"missing"}
    assert (state["whole"], state["broken"], state["unhashed"]) == ("verified", "DAMAGED", "unchecked")
    assert state["absent"] == "missing"
    assert all(line[head.index("file") - 1] == " " != line[head.index("file")] for line in lines)


def test_the_command_downloads_and_its_exit_status_tells_failure(home, server, table_of, capsys):
    assert main([]) == 0
    table_of(server + "/good")
    assert main(["small"]) == 0
    assert str(home / "small.pth") in capsys.readouterr().out
    table_of(server + "/gone", sha256="0" * 8)
    assert main(["small"]) == 1
    assert "404" in capsys.readouterr().err
    assert main(["small", "smal"]) == 1
    assert "did you mean 'small'" in capsys.readouterr().err


def test_all_downloads_every_known_weight(server, table_of, monkeypatch, capsys):
    table_of(server + "/good")
    for name in set(WEIGHTS) - {"small"}:
        monkeypatch.delitem(WEIGHTS, name)
    assert main(["all"]) == 0
    assert "small.pth" in capsys.readouterr().out


@pytest.mark.slow
def test_python_dash_m_weights_runs_without_network():
    root = Path(weights.__file__).parent.parent
    listing = subprocess.run([sys.executable, "-m", "weights"], cwd=root, capture_output=True, text=True, check=True)
    assert "res2net50_v1b_26w_4s-3cf99910.pth" in listing.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "weights", "vgg19"], cwd=root, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert "did you mean 'vgg16'" in wrong.stderr
    assert wrong.stdout == ""
